"""Scripted models do what they promise on the bare runtime."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from .runtime import Runtime, append, generate, generate_by_appending, seen
from .scripted import write_scripted_model
from .scripted_tokenizer import IS_OLD_RUNTIME, MARKERS

current_runtime = pytest.mark.skipif(IS_OLD_RUNTIME, reason="a fact about GenAI 0.18, which Python 3.10 cannot have")

Cache = NDArray[np.float32]

SMILE = "😀".encode()
REPLIES: list[Sequence[bytes] | str] = [
    "Hello, wörld 😀!",
    [b"one", b" ", b"one", b" two", SMILE[:2], SMILE[2:], b"one"],
    "third",
]
TEXTS = ["Hello, wörld 😀!", "one one two😀one", "third"]


@pytest.fixture(scope="module", params=[True, False], ids=["shared", "growing"])
def runtime(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    directory = tmp_path_factory.mktemp("scripted")
    return Runtime(write_scripted_model(directory, REPLIES, share_buffer=request.param))


def answer(runtime: Runtime, tokens: list[int]) -> str:
    return runtime.decode(generate(runtime.generator(tokens)))


def test_reply_is_exact_and_ends(runtime: Runtime) -> None:
    tokens = generate(runtime.generator(runtime.chat("hi")))
    assert runtime.decode(tokens) == TEXTS[0]
    assert tokens[-1] in runtime.tokenizer.eos_token_ids
    assert bytes(tokens[:-1]) == TEXTS[0].encode()


@pytest.mark.parametrize("turn", range(5))
def test_turn_decides_the_reply(runtime: Runtime, turn: int) -> None:
    history = [text for i in range(turn) for text in (f"question {i}", "whatever was said")]
    assert answer(runtime, runtime.chat(*history, "next?")) == TEXTS[min(turn, 2)]


def test_one_generator_continues_over_turns(runtime: Runtime) -> None:
    generator = runtime.generator(runtime.chat("hi"))
    replies = [runtime.decode(generate(generator))]
    for _ in range(3):
        append(generator, runtime.encode("\n<|im_start|>user\nmore<|im_end|>\n<|im_start|>assistant\n"))
        replies.append(runtime.decode(generate(generator)))
    assert replies == [*TEXTS, TEXTS[2]]


def test_pieces_may_cut_a_character_and_repeat(runtime: Runtime) -> None:
    tokens = generate(runtime.generator(runtime.chat("a", "b", "c")))[:-1]
    assert len(tokens) == 7
    assert tokens[0] == tokens[2] == tokens[6]
    stream = runtime.tokenizer.create_stream()
    assert [stream.decode(token) for token in tokens] == ["one", " ", "one", " two", "", "😀", "one"]


@current_runtime
def test_pieces_do_not_change_how_prompts_are_encoded(runtime: Runtime) -> None:
    text = "one two one 😀"
    assert runtime.encode(text) == list(text.encode())
    assert runtime.decode(runtime.encode(text)) == text


@pytest.mark.parametrize("size", [1, 3, 64])
def test_prefill_in_pieces_equals_whole(runtime: Runtime, size: int) -> None:
    tokens = runtime.chat("hello " * 20, "b", "c")
    generator = runtime.generator()
    for start in range(0, len(tokens), size):
        append(generator, tokens[start : start + size])
    assert runtime.decode(generate(generator)) == TEXTS[1]


@pytest.mark.parametrize("keep", [0, 1, 13])
def test_rewind_equals_fresh(runtime: Runtime, keep: int) -> None:
    long, short = runtime.chat("hello", "there", "and now " * 30), runtime.chat("hello")
    generator = runtime.generator(long)
    assert runtime.decode(generate(generator)) == TEXTS[1]
    keep = min(keep, len(short) - 1)
    generator.rewind_to(keep)
    append(generator, short[keep:])
    assert runtime.decode(generate(generator)) == TEXTS[0]


def test_rewind_into_a_reply(runtime: Runtime) -> None:
    prompt = runtime.chat("hi")
    generator = runtime.generator(prompt)
    whole = generate(generator)
    generator.rewind_to(len(prompt) + 4)
    append(generator, whole[4:6])
    assert generate(generator) == whole[6:]


def test_generators_interleave(runtime: Runtime) -> None:
    generators = [runtime.generator(runtime.chat(*["x"] * n)) for n in (1, 3, 5)]
    replies: list[list[int]] = [[] for _ in generators]
    while not all(generator.is_done() for generator in generators):
        for generator, reply in zip(generators, replies, strict=True):
            if not generator.is_done():
                generator.generate_next_token()
                reply.append(int(generator.get_next_tokens()[0]))
    assert [runtime.decode(reply) for reply in replies] == TEXTS


def test_appending_chosen_tokens_equals_generating(runtime: Runtime) -> None:
    prompt = runtime.chat("hi")
    expected = generate(runtime.generator(prompt))
    assert generate_by_appending(runtime.generator(prompt), len(expected)) == expected


def test_set_logits_forces_a_token_and_the_reply_goes_on(runtime: Runtime) -> None:
    generator = runtime.generator(runtime.chat("hi"))
    logits = np.zeros_like(generator.get_logits())
    logits[0, -1, ord("J")] = 100
    generator.set_logits(logits)
    assert runtime.decode(generate(generator)) == "J" + TEXTS[0][1:]


@current_runtime
def test_cache_tells_what_the_model_was_given(runtime: Runtime) -> None:
    prompt = runtime.chat("hi")
    generator = runtime.generator(prompt)
    generate_by_appending(generator, 5)
    append(generator, b"more")
    assert seen(generator) == [*prompt, *b"Hello", *b"more"]


@current_runtime
def test_append_after_generate_skips_the_last_token_and_the_reply_shows_it(runtime: Runtime) -> None:
    """A defect of GenAI 0.18: the next `get_logits` computes the token chosen last, `append_tokens` does not."""
    prompt = runtime.chat("hi")
    generator = runtime.generator(prompt)
    generate(generator, limit=5)
    append(generator, b", ")
    assert seen(generator) == [*prompt, *b"Hell\0, "]
    assert generate(generator)[0] in runtime.tokenizer.eos_token_ids


@current_runtime
def test_get_logits_before_append_closes_the_gap(runtime: Runtime) -> None:
    prompt = runtime.chat("hi")
    generator = runtime.generator(prompt)
    generate(generator, limit=5)
    generator.get_logits()
    append(generator, b", ")
    assert seen(generator) == [*prompt, *b"Hello, "]
    assert runtime.decode(generate(generator)) == TEXTS[0][7:]


@current_runtime
def test_end_of_turn_is_reported_but_not_kept(runtime: Runtime) -> None:
    prompt = runtime.chat("hi")
    generator = runtime.generator(prompt)
    tokens = generate(generator)
    assert generator.token_count() == len(prompt) + len(tokens) - 1


def test_text_without_a_marker_ends_at_once(runtime: Runtime) -> None:
    (token,) = generate(runtime.generator(runtime.encode("no turn here")))
    assert token in runtime.tokenizer.eos_token_ids


@pytest.mark.parametrize("marker", MARKERS)
def test_every_usual_marker_opens_a_reply(runtime: Runtime, marker: str) -> None:
    assert answer(runtime, runtime.encode(f"<|user|>hi<|end|>\n{marker}")) == TEXTS[0]


def test_reply_that_repeats(tmp_path: Path) -> None:
    runtime = Runtime(write_scripted_model(tmp_path, ["ab\n"], eos_after_reply=False))
    assert runtime.decode(generate(runtime.generator(runtime.chat("hi")), limit=8)) == "ab\nab\nab"


def test_special_tokens_are_skipped_and_added_tokens_kept(tmp_path: Path) -> None:
    pieces = [b"<|tool_call|>", b"<think>", b"x", b"</think>", b"<|end|>", b"y"]
    directory = write_scripted_model(tmp_path, [pieces], special_tokens=["<|tool_call|>"], added_tokens=["<think>", "</think>"])
    runtime = Runtime(directory)
    tokens = generate(runtime.generator(runtime.chat("hi")))[:-1]
    assert tokens == [runtime.tokenizer.to_token_id(piece.decode()) for piece in pieces]
    assert runtime.decode(tokens) == "<think>x</think>y"


def test_directory_has_the_foundry_files(tmp_path: Path) -> None:
    template = {"assistant": "{Content}", "prompt": "<|user|>{Content}<|end|><|assistant|>"}
    write_scripted_model(tmp_path, ["x"], name="mine:3", chat_template=None, prompt_template=template)
    about = json.loads((tmp_path / "inference_model.json").read_text(encoding="utf-8"))
    assert about == {"Name": "mine:3", "PromptTemplate": template}
    assert "chat_template" not in json.loads((tmp_path / "tokenizer_config.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("replies", [[], [[b"a", b""]], ["a\0"], [[b"<|assistant|>"]]])
def test_impossible_replies_are_refused(tmp_path: Path, replies: list[Any]) -> None:
    with pytest.raises(ValueError):
        write_scripted_model(tmp_path, replies)


def test_busy_work_grows_with_the_tokens_of_a_step(tmp_path: Path) -> None:
    one_thread = {"model": {"decoder": {"session_options": {"intra_op_num_threads": 1}}}}
    runtime = Runtime(write_scripted_model(tmp_path, ["x" * 100], busy=4), one_thread)
    prompt = runtime.chat("x" * 80)
    generator = runtime.generator()
    prefill = _seconds(lambda: append(generator, prompt)) / len(prompt)
    step = _seconds(lambda: generate(generator, limit=50)) / 50
    assert step > 0.0005
    assert 0.3 < prefill / step < 3


def test_ragged_batch_on_onnxruntime(tmp_path: Path) -> None:
    """Rows with different pasts in one step, `present` bound to the memory of `past`."""
    runtime = Runtime(write_scripted_model(tmp_path, REPLIES))
    session = ort.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    prompts = [runtime.chat(*["x"] * n) for n in (1, 5, 3)]
    caches = [np.zeros((len(prompts), 1, 128, 1), np.float32) for _ in range(2)]
    texts = [
        [*prompt, *_step(session, [prompt], [len(prompt)], [cache[i : i + 1] for cache in caches])]
        for i, prompt in enumerate(prompts)
    ]
    for _ in range(5):
        following = _step(session, [text[-1:] for text in texts], [len(text) for text in texts], caches)
        texts = [[*text, token] for text, token in zip(texts, following, strict=True)]
    assert texts == [prompt + generate(runtime.generator(prompt))[:6] for prompt in prompts]


def _seconds(work: Callable[[], object]) -> float:
    """Processor time, which other work on the machine does not change."""
    start = time.process_time()
    work()
    return time.process_time() - start


def _step(session: Any, tokens: list[list[int]], lengths: list[int], caches: list[Cache]) -> list[int]:
    """One run over a batch, whose rows are as long as `lengths` says; the next token of every row."""
    binding = session.io_binding()
    mask = [[1] * length + [0] * (max(lengths) - length) for length in lengths]
    binding.bind_cpu_input("input_ids", np.array(tokens, np.int64))
    binding.bind_cpu_input("attention_mask", np.array(mask, np.int64))
    binding.bind_output("logits", "cpu")
    for kind, cache in zip(("key", "value"), caches, strict=True):
        memory = ("cpu", 0, np.float32, cache.shape, cache.ctypes.data)
        binding.bind_input(f"past_key_values.0.{kind}", *memory)
        binding.bind_output(f"present.0.{kind}", *memory)
    session.run_with_iobinding(binding)
    return [int(token) for token in binding.copy_outputs_to_cpu()[0][:, -1].argmax(axis=-1)]
