"""Our kernel for attention: it gives what the runtime's gives, and what a token gets depends on those before it only."""

from __future__ import annotations

import ctypes
import platform
import sys
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from foundry_cli.engine.attention import with_attention
from foundry_cli.engine.graph_edit import with_own_domain
from foundry_cli.engine.own_kernels import LIBRARY

CAPACITY = 640
Arrays = dict[str, NDArray[Any]]


def can_attend() -> bool:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    return bool(ctypes.CDLL(str(LIBRARY)).foundry_can_attend())


needs_kernel = pytest.mark.skipif(not can_attend(), reason="the kernel is for Linux and AVX-512")


@dataclass(frozen=True)
class Kind:
    """A `GroupQueryAttention`. `rotary`: numbers of a head that are turned; 0: none."""

    heads: int = 4
    key_heads: int = 2
    size: int = 64
    rotary: int = 64
    is_packed: bool = True
    attributes: dict[str, Any] = field(default_factory=dict)
    more_inputs: tuple[str, ...] = ()
    cache_type: int = TensorProto.FLOAT
    tells_size: bool = True

    def model(self) -> bytes:
        """From queries, keys and values of new tokens, and a cache with room for `CAPACITY`."""
        width = (self.heads + 2 * self.key_heads if self.is_packed else self.heads) * self.size
        inputs = {"query": ["rows", "new", width]}
        if not self.is_packed:
            inputs |= {name: ["rows", "new", self.key_heads * self.size] for name in ("key", "value")}
        size: int | str = self.size if self.tells_size else "size"
        inputs |= {name: ["rows", self.key_heads, "past", size] for name in ("past_key", "past_value")}
        values = [helper.make_tensor_value_info(name, self.cache_type, shape) for name, shape in inputs.items()]
        values.append(helper.make_tensor_value_info("last", TensorProto.INT32, ["rows"]))
        values.append(helper.make_tensor_value_info("total", TensorProto.INT32, [1]))
        names = ["query", "key", "value"] if not self.is_packed else ["query", "", ""]
        names += ["past_key", "past_value", "last", "total"]
        names += ["cosines", "sines"] if self.rotary else ["", ""]
        node = helper.make_node(
            "GroupQueryAttention", [*names, *self.more_inputs], ["output", "present_key", "present_value"],
            domain="com.microsoft", num_heads=self.heads, kv_num_heads=self.key_heads, do_rotary=int(self.rotary > 0),
            **self.attributes,
        )  # fmt: skip
        angles = np.arange(CAPACITY)[:, None] / 100 ** (np.arange(self.rotary // 2) * 2 / max(1, self.rotary))
        kind = helper.tensor_dtype_to_np_dtype(self.cache_type)
        tables = {"cosines": np.cos(angles), "sines": np.sin(angles)} if self.rotary else {}
        constants = [numpy_helper.from_array(table.astype(kind), name) for name, table in tables.items()]
        outputs = [
            helper.make_tensor_value_info(name, self.cache_type, None) for name in ("output", "present_key", "present_value")
        ]
        graph = helper.make_graph([node], "attention", values, outputs, constants)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())

    def tokens(self, rows: int, count: int) -> Arrays:
        """Random queries, keys and values."""
        chance = np.random.default_rng(rows * count)
        widths = {"query": self.heads, "key": self.key_heads, "value": self.key_heads}
        parts = {name: chance.normal(size=(rows, count, heads * self.size)) for name, heads in widths.items()}
        parts = {name: part.astype(np.float32) for name, part in parts.items()}
        return {"query": np.concatenate(list(parts.values()), -1)} if self.is_packed else parts

    def cache(self, rows: int) -> Arrays:
        """An empty one, with numbers that must not matter."""
        shape = (rows, self.key_heads, CAPACITY, self.size)
        return {name: np.full(shape, 7, dtype=np.float32) for name in ("past_key", "past_value")}


KINDS = {
    "groups": Kind(),
    "a group of seven": Kind(heads=7, key_heads=1),
    "no groups": Kind(heads=3, key_heads=3, size=32, rotary=32),
    "small heads": Kind(heads=8, key_heads=2, size=16, rotary=16),
    "odd heads": Kind(heads=2, key_heads=1, size=80, rotary=80),
    "heads of 96, a part of which is turned": Kind(heads=2, key_heads=1, size=96, rotary=64),
    "heads of 128, three tensors": Kind(heads=4, key_heads=2, size=128, rotary=128, is_packed=False),
    "large heads": Kind(heads=2, key_heads=1, size=256, rotary=256),
    "nothing is turned": Kind(rotary=0),
    "a size that is not told": Kind(tells_size=False),
    "another scale": Kind(attributes={"scale": 0.3}),
}


def session_of(model: bytes) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 4
    options.register_custom_ops_library(str(LIBRARY))
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def own_session(kind: Kind) -> Any:
    edited = with_attention(kind.model(), kind.size, CAPACITY)
    assert edited is not None
    return session_of(with_own_domain(edited))


def run(session: Any, new: Arrays, cache: Arrays, held: list[int]) -> NDArray[np.float32]:
    """What the new tokens get, behind so many of each row; they are added to `cache`."""
    rows, count = new["query"].shape[:2]
    last = np.array(held, dtype=np.int32) + count - 1
    feed = {**new, **cache, "last": last, "total": np.array([last.max() + 1], dtype=np.int32)}
    output, *present = session.run(None, feed)
    for name, values in zip(cache, present, strict=True):
        for row in range(rows):
            cache[name][row, :, held[row] : last[row] + 1] = values[row, :, held[row] : last[row] + 1]
    return np.asarray(output)


def same_bits(first: NDArray[np.float32], second: NDArray[np.float32]) -> bool:
    return np.array_equal(first.view(np.uint32), second.view(np.uint32))


def piece(new: Arrays, start: int, end: int) -> Arrays:
    return {name: np.ascontiguousarray(part[:, start:end]) for name, part in new.items()}


@needs_kernel
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_it_gives_what_the_runtime_gives(kind: Kind) -> None:
    own, other = own_session(kind), session_of(kind.model())
    new = kind.tokens(1, 300)
    caches = kind.cache(1), kind.cache(1)
    held = 0
    for end in (1, 2, 7, 135, 136, 300):
        found, expected = (
            run(each, piece(new, held, end), cache, [held]) for each, cache in zip((own, other), caches, strict=True)
        )
        assert np.allclose(found, expected, rtol=0, atol=2e-5)
        held = end
    assert all(np.allclose(caches[0][name], caches[1][name], rtol=0, atol=1e-5) for name in caches[0])


@needs_kernel
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_pieces_do_not_matter(kind: Kind) -> None:
    session, new = own_session(kind), kind.tokens(1, 290)
    whole = run(session, new, kind.cache(1), [0])
    for step in (1, 2, 3, 4, 5, 16, 17, 33, 128, 129):
        cache = kind.cache(1)
        pieces = [run(session, piece(new, at, at + step), cache, [at]) for at in range(0, 290, step)]
        assert same_bits(np.concatenate(pieces, 1), whole)


@needs_kernel
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_other_rows_do_not_matter(kind: Kind) -> None:
    session, lengths = own_session(kind), [0, 1, 15, 16, 127, 128, 129, 400]
    new = kind.tokens(len(lengths), 3)
    cache = kind.cache(len(lengths))
    for name in cache:
        cache[name][:] = np.random.default_rng(1).normal(size=cache[name].shape)
    apart = [{name: values[row : row + 1].copy() for name, values in cache.items()} for row in range(len(lengths))]
    together = run(session, new, cache, lengths)
    for row, length in enumerate(lengths):
        alone = run(session, {name: part[row : row + 1] for name, part in new.items()}, apart[row], [length])
        assert same_bits(alone[0], together[row])


@needs_kernel
@pytest.mark.parametrize("part", ["query", "key", "value"])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf, 1e30])
def test_what_is_no_number_does_not_change_what_was_before(part: str, number: float) -> None:
    kind = Kind(heads=3, key_heads=1, size=32, rotary=32, is_packed=False)
    own, other, new = own_session(kind), session_of(kind.model()), kind.tokens(1, 12)
    good = run(own, new, kind.cache(1), [0])
    new[part][0, 7, :] = number
    found, expected = run(own, new, kind.cache(1), [0]), run(other, new, kind.cache(1), [0])
    assert same_bits(found[:, :7], good[:, :7])
    if part != "query":  # of a query that is no number the runtime makes numbers, and of token 7 itself sometimes zeros
        assert np.array_equal(np.isfinite(found[0, 8:]), np.isfinite(expected[0, 8:]))


@needs_kernel
def test_zero_keeps_its_sign() -> None:
    kind = Kind(heads=1, key_heads=1, size=16, rotary=0, is_packed=False, attributes={"scale": 1.0})
    new = {name: np.zeros((1, 3, 16), dtype=np.float32) for name in ("query", "key", "value")}
    new["query"][:] = new["key"][0, 0] = 80
    new["value"][0, 1:] = np.array([-1e-30, 1])[:, None]
    session = own_session(kind)
    assert same_bits(run(session, new, kind.cache(1), [0])[:, :2], run(session, piece(new, 0, 2), kind.cache(1), [0]))


@needs_kernel
@pytest.mark.parametrize("count", [1, 3, 10])
def test_keys_that_are_in_memory_already(count: int) -> None:
    kind = Kind(is_packed=False)
    new, none = kind.tokens(1, count), np.zeros((1, 0, 2 * kind.size), dtype=np.float32)
    past = {name: values[:, :, :20] * 0.01 for name, values in kind.cache(1).items()}
    feed = {"query": new["query"], "key": none, "value": none, **past}
    feed |= {"last": np.array([9], dtype=np.int32), "total": np.array([10], dtype=np.int32)}
    found, expected = (session.run(None, feed)[0] for session in (own_session(kind), session_of(kind.model())))
    assert np.allclose(found, expected, rtol=0, atol=2e-5)


@needs_kernel
def test_a_cache_without_room_grows() -> None:
    kind = KINDS["groups"]
    own, other, new = own_session(kind), session_of(kind.model()), kind.tokens(2, 5)
    full = {name: values[:, :, :0] for name, values in kind.cache(2).items()}
    results = []
    for session in (own, other):
        feed = {**new, **full, "last": np.full(2, 4, dtype=np.int32), "total": np.array([5], dtype=np.int32)}
        results.append(session.run(None, feed))
    for found, expected in zip(*results, strict=True):
        assert found.shape == expected.shape
        assert np.allclose(found, expected, rtol=0, atol=2e-5)


@needs_kernel
@pytest.mark.parametrize(
    ("last", "total"),
    [(CAPACITY, CAPACITY), (CAPACITY + 9, CAPACITY + 10), (-1, 1), (1 << 30, 4), (9, 3)],
    ids=["behind the cache", "far behind what is in the past", "before it", "far behind it", "behind the total"],
)
def test_positions_outside_of_the_memory_are_refused(last: int, total: int) -> None:
    kind = KINDS["groups"]
    feed = {**kind.tokens(1, 1), **kind.cache(1), "last": np.array([last], dtype=np.int32)}
    with pytest.raises(Exception, match="GroupQueryAttention: a position that is not in memory"):
        own_session(kind).run(None, {**feed, "total": np.array([total], dtype=np.int32)})


@needs_kernel
@pytest.mark.parametrize("name", ["query", "past_key", "last", "total"])
def test_sizes_that_do_not_belong_together_are_refused(name: str) -> None:
    kind = KINDS["groups"]
    model = onnx.load_from_string(with_own_domain(with_attention(kind.model(), kind.size, CAPACITY) or b""))
    for value in model.graph.input:
        value.type.tensor_type.shape.Clear()
        value.type.tensor_type.ClearField("shape")
    feed = {**kind.tokens(2, 3), **kind.cache(2), "last": np.array([2, 2], np.int32), "total": np.array([3], np.int32)}
    feed[name] = feed[name][..., :-1]
    with pytest.raises(Exception, match="GroupQueryAttention: "):
        session_of(model.SerializeToString()).run(None, feed)


@pytest.mark.parametrize(
    "kind",
    [
        Kind(attributes={"local_window_size": 64}),
        Kind(attributes={"softcap": 30.0}),
        Kind(attributes={"rotary_interleaved": 1}),
        Kind(attributes={"smooth_softmax": 1}),
        Kind(attributes={"unknown": "text"}),
        Kind(size=24, rotary=24),
        Kind(size=272, rotary=64),
        Kind(more_inputs=("", "bias")),
        Kind(cache_type=TensorProto.FLOAT16),
    ],
    ids=[
        "a window",
        "a cap",
        "turned in pairs",
        "smooth",
        "an unknown attribute",
        "narrow heads",
        "wide heads",
        "a bias",
        "half precision",
    ],
)
def test_other_kinds_are_left_alone(kind: Kind) -> None:
    assert with_attention(kind.model(), kind.size, CAPACITY) is None


@needs_kernel
def test_a_window_as_long_as_the_context_is_none() -> None:
    kind = Kind(attributes={"local_window_size": CAPACITY})
    assert with_attention(kind.model(), kind.size, CAPACITY + 1) is None
    new = kind.tokens(1, CAPACITY)
    theirs = onnxruntime.InferenceSession(kind.model(), providers=["CPUExecutionProvider"])
    expected, given = (run(session, new, kind.cache(1), [0]) for session in (theirs, own_session(kind)))
    np.testing.assert_allclose(given, expected, atol=1e-4)


def test_a_graph_without_attention_is_left_alone() -> None:
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "none", [], [])
    assert with_attention(helper.make_model(graph).SerializeToString(), 64, CAPACITY) is None
