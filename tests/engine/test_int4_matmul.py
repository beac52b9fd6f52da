"""Our kernels for products with weights of four bits: what they compute, where they are used, what they refuse."""

from __future__ import annotations

import ctypes
import logging
import platform
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from foundry_cli.engine.batch_runtime import BatchRuntime
from foundry_cli.engine.decoder_graph import UnusualGraphError
from foundry_cli.engine.genai_runtime import GenAIRuntime
from foundry_cli.engine.graph_edit import message, nodes, whole_number, with_graph, with_own_domain
from foundry_cli.engine.int4_matmul import with_int4_matmul
from foundry_cli.engine.model_files import read_model_files
from foundry_cli.engine.own_kernels import LIBRARY, kernel_name
from tests.engine.workers import needs_batches
from tests.models.small_decoder import Shape, write_small_decoder

needs_kernels = pytest.mark.skipif(
    sys.platform != "linux" or platform.machine() != "x86_64", reason="the kernels are for Linux on x86-64"
)
KERNELS = ("avx512_vnni", "avx2")


@dataclass(frozen=True)
class Product:
    """Attributes and inputs of a `MatMulNBits`, for weights drawn at random."""

    columns: int
    depth: int
    block: int = 32
    has_zero_points: bool = False
    has_bias: bool = False
    bits: int = 4
    accuracy_level: int = 4
    has_order: bool = False
    inputs: tuple[str, ...] = ()  # constants that come from outside
    defaults: tuple[str, ...] = ()  # constants that may come from outside
    domain: str = "com.microsoft"
    scales_type: int = TensorProto.FLOAT
    missing_scales: int = 0

    @property
    def blocks(self) -> int:
        """Of a column."""
        return -(-self.depth // self.block)

    def constants(self) -> dict[str, NDArray[Any]]:
        """The inputs that are part of the model."""
        chance = np.random.default_rng(self.columns * self.depth)
        bytes_of = self.block * self.bits // 8
        scales = chance.uniform(0.001, 0.02, self.columns * self.blocks - self.missing_scales)
        return {
            "weights": chance.integers(0, 256, (self.columns, self.blocks, bytes_of), dtype=np.uint8),
            "scales": scales.astype(helper.tensor_dtype_to_np_dtype(self.scales_type)),
            "zero_points": chance.integers(0, 256, self.columns * ((self.blocks + 1) // 2), dtype=np.uint8),
            "order": np.zeros(self.blocks * self.block, dtype=np.int32),
            "bias": chance.normal(size=self.columns).astype(np.float32),
        }

    def model(self) -> bytes:
        """From `x` (batch, rows, depth) to `y`."""
        names = ["x", "weights", "scales", "zero_points" if self.has_zero_points else "", "order" if self.has_order else ""]
        names = [*names, "bias" if self.has_bias else ""]
        constants = {name: value for name, value in self.constants().items() if name in names}
        inputs = [helper.make_tensor_value_info("x", self.scales_type, ["batch", "rows", self.depth])]
        for name in (*self.inputs, *self.defaults):
            value = constants[name] if name in self.defaults else constants.pop(name)
            inputs.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape))
        node = helper.make_node(
            "MatMulNBits", names, ["y"], domain=self.domain, K=self.depth, N=self.columns, bits=self.bits,
            block_size=self.block, accuracy_level=self.accuracy_level,
        )  # fmt: skip
        outputs = [helper.make_tensor_value_info("y", self.scales_type, ["batch", "rows", self.columns])]
        parts = [numpy_helper.from_array(value, name) for name, value in constants.items()]
        graph = helper.make_graph([node], "product", inputs, outputs, parts)
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        return bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())

    def expected(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """The product as the operator is documented, with rows rounded to eight bits per block."""
        constants = self.constants()
        packed = constants["weights"]
        weights = np.stack([packed & 15, packed >> 4], -1).reshape(self.columns, self.blocks, self.block).astype(np.int64)
        zeros: Any = 8
        if self.has_zero_points:
            pairs = constants["zero_points"].reshape(self.columns, -1)
            zeros = np.stack([pairs & 15, pairs >> 4], -1).reshape(self.columns, -1)[:, : self.blocks, None].astype(np.int64)
        rows = np.zeros((len(x), self.blocks * self.block), dtype=np.float32)
        rows[:, : self.depth] = x
        rows = rows.reshape(len(x), self.blocks, self.block)
        largest = np.abs(rows).max(-1, keepdims=True)
        factors = np.divide(np.float32(127), largest, out=np.zeros_like(largest), where=largest > 0)
        rounded = np.rint(rows * factors).astype(np.int64)
        sums = np.einsum("rbk,cbk->rcb", rounded, weights - zeros)
        scales = constants["scales"].reshape(1, self.columns, self.blocks).astype(np.float64)
        result: NDArray[np.float64] = (sums * scales * (largest[:, None, :, 0].astype(np.float64) / 127)).sum(-1)
        return result + constants["bias"] if self.has_bias else result


PRODUCTS = {
    "plain": Product(1024, 256),
    "columns that fill no tile": Product(33, 96),
    "fewer columns than a tile": Product(5, 64),
    "a block that is not full": Product(48, 100),
    "a whole block of the longest kind, not full": Product(40, 300, block=256),
    "blocks of 64": Product(64, 192, block=64),
    "blocks of 128 with zero points": Product(100, 512, block=128, has_zero_points=True),
    "zero points of an odd number of blocks": Product(20, 96, has_zero_points=True),
    "bias": Product(37, 64, has_bias=True),
    "everything": Product(19, 200, has_zero_points=True, has_bias=True),
}


@pytest.fixture(params=KERNELS)
def kernel(request: pytest.FixtureRequest) -> Iterator[str]:
    """One kernel after the other; at the end the processor's best one again."""
    library = ctypes.CDLL(str(LIBRARY))
    best = kernel_name()
    assert best
    if not library.foundry_choose_kernel(request.param.encode()):
        assert request.param == KERNELS[0]  # without AVX2 there would be no kernel at all
        pytest.skip("this processor has no AVX-512 VNNI")
    yield request.param
    library.foundry_choose_kernel(best.encode())


def session_of(model: bytes, threads: int = 2) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4
    options.register_custom_ops_library(str(LIBRARY))
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def own_session(product: Product) -> Any:
    edited = with_int4_matmul(product.model())
    assert edited is not None
    return session_of(with_own_domain(edited))


def rows_for(product: Product, count: int) -> NDArray[np.float32]:
    """The first row is zeros."""
    rows = np.random.default_rng(count).normal(scale=3, size=(count, product.depth)).astype(np.float32)
    rows[0] = 0
    return rows


@needs_kernels
def test_the_kernels_are_built() -> None:
    assert kernel_name() in KERNELS


@needs_kernels
@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)
def test_products_are_those_of_the_documentation(kernel: str, product: Product) -> None:
    session = own_session(product)
    for count in (1, 2, 3, 5, 7, 8, 9, 16, 31, 130):
        rows = rows_for(product, count)
        expected = product.expected(rows)
        (found,) = session.run(None, {"x": rows[None]})
        assert np.allclose(found[0], expected, rtol=0, atol=2e-6 * np.abs(expected).max())


@needs_kernels
@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)
def test_a_row_does_not_depend_on_the_others(kernel: str, product: Product) -> None:
    session, rows = own_session(product), rows_for(product, 21)
    (together,) = session.run(None, {"x": rows[None]})
    (batch,) = session.run(None, {"x": rows[:, None]})
    alone = [session.run(None, {"x": row[None, None]})[0][0, 0] for row in rows]
    assert np.array_equal(together[0], np.stack(alone))
    assert np.array_equal(together[0], batch[:, 0])


@needs_kernels
@pytest.mark.parametrize("product", PRODUCTS.values(), ids=PRODUCTS)
def test_all_kernels_give_the_same_bits(product: Product) -> None:
    library, best = ctypes.CDLL(str(LIBRARY)), kernel_name()
    session, rows = own_session(product), rows_for(product, 13)
    found = [session.run(None, {"x": rows[None]})[0] for name in KERNELS if library.foundry_choose_kernel(name.encode())]
    assert best
    library.foundry_choose_kernel(best.encode())
    assert all(np.array_equal(each, found[0]) for each in found)


@needs_kernels
def test_an_empty_batch_gives_an_empty_product() -> None:
    product = PRODUCTS["plain"]
    (found,) = own_session(product).run(None, {"x": np.zeros((1, 0, product.depth), dtype=np.float32)})
    assert found.shape == (1, 0, product.columns)


@needs_kernels
def test_rows_that_are_no_numbers_stay_in_their_row() -> None:
    product = PRODUCTS["plain"]
    session, rows = own_session(product), rows_for(product, 9)
    (good,) = session.run(None, {"x": rows[None]})
    rows[4, 7] = np.nan
    rows[5, 7] = np.inf
    (found,) = session.run(None, {"x": rows[None]})
    kept = [row for row in range(9) if row not in (4, 5)]
    assert np.array_equal(found[0][kept], good[0][kept])
    assert not np.isfinite(found[0][5]).any()


@pytest.mark.parametrize(
    "product",
    [
        Product(32, 64, bits=8),
        Product(32, 64, block=16),
        Product(32, 64, accuracy_level=0),
        Product(32, 64, has_order=True),
        Product(32, 64, has_order=True, inputs=("order",)),
        Product(32, 64, inputs=("weights",)),
        Product(32, 64, defaults=("weights",)),
        Product(32, 64, has_bias=True, defaults=("bias",)),
        Product(32, 64, domain="theirs"),
        Product(32, 64, scales_type=TensorProto.FLOAT16),
    ],
    ids=[
        "8 bits",
        "small blocks",
        "floats",
        "another order",
        "an order from outside",
        "weights from outside",
        "weights that may come from outside",
        "bias that may come from outside",
        "another domain",
        "half precision",
    ],
)
def test_other_products_are_left_alone(product: Product) -> None:
    assert with_int4_matmul(product.model()) is None


def test_fields_of_another_kind_are_passed_over() -> None:
    """An attribute whose float is written as a whole number: the runtime reads the model without it."""
    model = PRODUCTS["plain"].model()
    odd = message(5, message(1, b"axis") + whole_number(2, 1) + whole_number(3, 0) + whole_number(20, 2))
    with_odd = with_graph(model, lambda graph: graph[: nodes(graph)[0].tag] + _longer(graph, odd))
    assert with_odd is not None
    assert with_int4_matmul(with_odd) is not None


def _longer(graph: bytes, more: bytes) -> bytes:
    node = nodes(graph)[0]
    return message(1, graph[node.start : node.end] + more) + graph[node.end :]


def test_what_is_cut_off_is_left_alone() -> None:
    model = PRODUCTS["fewer columns than a tile"].model()
    for end in range(len(model) - 60):
        edited = with_int4_matmul(model[:end])
        assert edited is None or not edited.startswith(model)


def test_the_rest_of_the_graph_stays() -> None:
    model = PRODUCTS["everything"].model()
    edited = onnx.load_from_string(with_own_domain(with_int4_matmul(model) or b""))
    (node,) = edited.graph.node
    assert (node.domain, node.op_type) == ("foundry", "Int4MatMul")
    assert [(each.domain, each.version) for each in edited.opset_import] == [("", 17), ("com.microsoft", 1), ("foundry", 1)]
    node.domain, node.op_type = "com.microsoft", "MatMulNBits"
    del edited.opset_import[2]
    assert edited == onnx.load_from_string(model)


@needs_kernels
@pytest.mark.parametrize(
    "product",
    [Product(32, 64, missing_scales=1), Product(32, 64, missing_scales=32)],
    ids=["one scale is missing", "half of the scales are missing"],
)
def test_weights_that_are_too_few_are_refused(product: Product) -> None:
    with pytest.raises(Exception, match="Int4MatMul: weights of another size"):
        own_session(product)


@needs_kernels
@pytest.mark.parametrize(("name", "value"), [("N", 0), ("N", 1 << 40), ("K", -1), ("K", 1 << 62), ("block_size", 96)])
def test_sizes_that_cannot_be_are_refused(name: str, value: int) -> None:
    edited = onnx.load_from_string(with_own_domain(with_int4_matmul(Product(32, 64).model()) or b""))
    (attribute,) = [each for each in edited.graph.node[0].attribute if each.name == name]
    attribute.i = value
    with pytest.raises(Exception, match="Int4MatMul: "):
        session_of(edited.SerializeToString())


@needs_kernels
def test_rows_of_another_length_are_refused() -> None:
    model = onnx.load_from_string(with_own_domain(with_int4_matmul(Product(32, 64).model()) or b""))
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "depth"
    with pytest.raises(Exception, match="rows of another length"):
        session_of(model.SerializeToString()).run(None, {"x": np.zeros((1, 1, 63), dtype=np.float32)})


def test_a_library_that_is_not_there_is_no_error(tmp_path: Path) -> None:
    assert kernel_name(tmp_path / "missing.so") is None
    (tmp_path / "text.so").write_text("no library", encoding="utf-8")
    assert kernel_name(tmp_path / "text.so") is None


@needs_batches
@needs_kernels
def test_both_engines_use_them_and_say_so(tmp_path: Path) -> None:
    files = read_model_files(write_small_decoder(tmp_path, Shape(is_int4=True)))
    kernels = {BatchRuntime(files, threads=1).kernels, GenAIRuntime(files, threads=1).kernels}
    assert kernels == {kernel_name()}
    assert BatchRuntime(files, threads=1, own_kernels=False).kernels == "onnxruntime"


@needs_batches
def test_models_for_which_there_is_nothing_are_computed_by_the_runtime(tmp_path: Path) -> None:
    files = read_model_files(write_small_decoder(tmp_path, Shape(kind=TensorProto.FLOAT16)))
    assert {BatchRuntime(files, threads=1).kernels, GenAIRuntime(files, threads=1).kernels} == {"onnxruntime"}


@needs_batches
@needs_kernels
def test_a_model_that_they_refuse_is_computed_by_the_runtime(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A column more than its weights have: they look at that, and so does the runtime, which says it is damaged."""
    files = read_model_files(write_small_decoder(tmp_path, Shape(is_int4=True)))
    model = onnx.load(tmp_path / "model.onnx")
    node = next(each for each in model.graph.node if each.op_type == "MatMulNBits")
    scales = next(each for each in model.graph.initializer if each.name == node.input[2])
    shorter = numpy_helper.to_array(scales)[:-1]
    scales.CopyFrom(numpy_helper.from_array(shorter, scales.name))
    onnx.save(model, tmp_path / "model.onnx")
    with caplog.at_level(logging.WARNING), pytest.raises(UnusualGraphError):
        BatchRuntime(files, threads=1)
    assert "Our own kernels cannot run this model" in caplog.text


@needs_batches
@needs_kernels
def test_logits_are_those_of_the_runtime_but_for_rounding(tmp_path: Path) -> None:
    files = read_model_files(write_small_decoder(tmp_path, replace(Shape(), is_int4=True, head_size=64)))
    own, other = (BatchRuntime(files, threads=2, own_kernels=each) for each in (True, False))
    logits = []
    for runtime in (own, other):
        cache = runtime.new_cache(1 << 24)
        lease = cache.acquire([5, 6, 7], 4)
        assert lease
        lease.context.append([5, 6, 7])
        logits.append(lease.context.logits().copy())
    assert np.allclose(logits[0], logits[1], rtol=0, atol=0.02 * np.abs(logits[1]).max())
