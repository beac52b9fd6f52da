"""Answers of which several tokens are computed at once, because the prompt says them: the same text, in fewer steps."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import foundry_cli
from foundry_cli.engine.batch_runtime import BatchRuntime
from foundry_cli.engine.model_files import read_model_files
from foundry_cli.engine.request import Grammar
from foundry_cli.engine.runtime import LogitRows, TokenContext
from foundry_cli.engine.sampling import Logits
from foundry_cli.errors import EngineError
from tests.engine.fakes import END, Bench, FakeRuntime, reply, request
from tests.engine.test_attention import can_attend
from tests.engine.workers import needs_batches
from tests.models.small_decoder import Shape, write_small_decoder

PROMPT = "one two three four five six seven, eight nine ten"
GUIDE = Path(foundry_cli.__file__).parent / "catalog" / "bundled" / "foundry-guide"
SECONDS_AHEAD = 0.1  # of a token that is computed ahead; one alone takes a second


def drafting(answer: Callable[[list[int]], Logits] | bytes, **options: Any) -> Bench:
    """A worker whose model computes tokens ahead in a tenth of the time."""
    runtime = FakeRuntime(reply(answer) if isinstance(answer, bytes) else answer, **options)

    def append_draft(context: TokenContext, tokens: Sequence[int]) -> LogitRows:
        context.append(tokens[:1])
        runtime.now += SECONDS_AHEAD * (len(tokens) - 1)
        assert len(context.tokens) + len(tokens) - 1 <= context.max_length
        return np.stack([runtime.answer([*context.tokens, *tokens[1:end]]) for end in range(1, len(tokens) + 1)])

    runtime.append_draft = append_draft
    return Bench(runtime)


def counts(end: dict[str, Any]) -> tuple[int, int]:
    return end["usage"]["draft_tokens"], end["usage"]["accepted_tokens"]


def steps_of(bench: Bench) -> int:
    """Passes after the prompt was read."""
    return sum(count == 1 for _, count in bench.runtime.steps)


def test_a_quotation_takes_few_steps() -> None:
    answer = b"It says: two three four five six seven, eight nine."
    bench = drafting(answer)
    text, end = bench.answer(request(PROMPT))
    assert text == answer.decode()
    assert (end["reason"], end["usage"]["completion_tokens"]) == ("stop", len(answer) + 1)
    drafted, accepted = counts(end)
    assert drafted >= accepted > 30
    assert steps_of(bench) == len(answer) - accepted < 20


def test_an_answer_in_other_words_is_what_it_was() -> None:
    answer = b"two thr__ fou__ six s__ even, ei__ two two tw"
    bench = drafting(answer)
    text, end = bench.answer(request(PROMPT))
    assert text == answer.decode()
    drafted, accepted = counts(end)
    assert drafted > accepted
    assert steps_of(bench) == len(answer) - accepted


def test_nothing_is_computed_ahead_of_an_engine_that_cannot() -> None:
    bench = Bench(FakeRuntime(reply(b"two three four")))
    assert counts(bench.answer(request(PROMPT))[1]) == (0, 0)


@pytest.mark.parametrize("most", range(1, 20))
def test_the_answer_ends_within_a_draft_by_its_length(most: int) -> None:
    bench = drafting(b"two three four five six")
    text, end = bench.answer(request(PROMPT, max_tokens=most))
    assert (text, end["reason"]) == ("two three four five six"[:most], "length")
    assert end["usage"]["completion_tokens"] == most


@pytest.mark.parametrize("stop", ["r", " f", "e four f", "seven,", "n"])
def test_the_answer_ends_within_a_draft_by_a_stop_sequence(stop: str) -> None:
    answer = "two three four five six seven, eight"
    text, end = drafting(answer.encode()).answer(request(PROMPT, stop=(stop,)))
    assert (text, end["reason"], end["stop_sequence"]) == (answer[: answer.index(stop)], "stop", stop)


@pytest.mark.parametrize("length", range(6, 20))
def test_the_answer_ends_within_a_draft_by_its_last_token(length: int) -> None:
    bench = drafting(PROMPT[4 : 4 + length].encode())
    text, end = bench.answer(request(PROMPT))
    assert (text, end["reason"], end["usage"]["completion_tokens"]) == (PROMPT[4 : 4 + length], "stop", length + 1)


def test_what_is_kept_is_what_was_said() -> None:
    answer = b"two three fouXX"
    bench = drafting(answer)
    bench.answer(request(PROMPT))
    said = {"role": "assistant", "content": answer.decode()}
    again = {"role": "user", "content": "again"}
    bench.answer(request(messages=({"role": "user", "content": PROMPT}, said, again)))
    # The template writes no `>` before the answer in the second prompt: the first one is in common.
    assert bench.runtime.contexts[0].tokens[: len(PROMPT)] == list(PROMPT.encode())
    assert b">" in bytes(token for token in bench.runtime.contexts[0].tokens if token < END)


@pytest.mark.parametrize("context_length", [70, 75, 80, 81, 82, 83, 84, 85])
def test_the_context_ends_within_a_draft(context_length: int) -> None:
    answer = PROMPT.encode()
    bench = drafting(answer, context_length=context_length)
    text, end = bench.answer(request(PROMPT))
    assert (text, end["reason"]) == (PROMPT[: context_length - len(PROMPT) - 1], "length")


def test_an_answer_that_outgrows_its_room_goes_on() -> None:
    answer = (PROMPT * 30).encode()
    bench = drafting(answer)
    text, end = bench.answer(request(PROMPT))
    assert text == answer.decode()
    assert counts(end)[1] > 500


def test_two_answers_at_once_are_what_they_are_alone() -> None:
    bench = drafting(PROMPT.encode())
    for identity in (1, 2):
        bench.ask(identity, request(PROMPT + "!" * identity, max_tokens=20 * identity))
    bench.run()
    assert [bench.text(identity) for identity in (1, 2)] == [PROMPT[:20], PROMPT[:40]]


def test_an_answer_that_is_cancelled_within_a_draft() -> None:
    bench = drafting((PROMPT * 3).encode())
    bench.runtime.on_step = lambda step: bench.cancel(1) if step == 12 else None
    bench.ask(1, request(PROMPT))
    bench.run()
    assert bench.end(1)["reason"] == "cancelled"
    assert (PROMPT * 3).startswith(bench.text(1))


def test_an_answer_goes_on_when_a_pass_for_a_draft_fails() -> None:
    bench = drafting(b"two three four five")
    tried = []

    def fail(context: TokenContext, tokens: Sequence[int]) -> LogitRows:
        tried.append(tokens)
        context.append(tokens[:1])
        raise EngineError("no memory for so many")

    bench.runtime.append_draft = fail
    text, end = bench.answer(request(PROMPT))
    assert (text, end["reason"], counts(end)) == ("two three four five", "stop", (0, 0))
    assert tried


def test_an_answer_of_a_model_that_fails_altogether_ends_with_an_error() -> None:
    bench = drafting(b"two three four five")

    def fail(context: TokenContext, tokens: Sequence[int]) -> LogitRows:
        raise EngineError("out of order")

    bench.runtime.append_each = lambda contexts, tokens: fail(contexts[0], tokens)  # type: ignore[method-assign]
    assert bench.answer(request(PROMPT))[1]["message"] == "out of order"


def test_values_that_are_no_numbers_within_a_draft() -> None:
    def answer(tokens: list[int]) -> Logits:
        written = reply(b"two three four five")(tokens)
        return written * np.float32("nan") if bytes(tokens[-5:]) == b"three" and tokens.count(ord(">")) else written

    text, end = drafting(answer).answer(request(PROMPT))
    assert (text, end["op"]) == ("two three", "error")


def unsure(tokens: list[int]) -> Logits:
    """Likely what the prompt says, but not certainly."""
    logits = np.zeros(END + 1, dtype=np.float32)
    logits[reply(PROMPT.encode() * 9)(tokens).argmax()] = 8.5
    return logits


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_seed_and_penalties_give_the_same_answer(seed: int) -> None:
    asked = request(PROMPT, seed=seed, temperature=1.0, frequency_penalty=0.1, max_tokens=200, logprobs=2)
    plain, drafted = Bench(FakeRuntime(unsure)), drafting(unsure)
    assert drafted.answer(asked)[0] == plain.answer(asked)[0]
    told = [[frame.get("logprobs") for frame in bench.frames if frame["op"] == "text"] for bench in (plain, drafted)]
    assert told[0] == told[1]
    assert counts(drafted.end(1))[0] > 0


# Real models

MODELS = {
    "heads of 16, 4 bits": Shape(is_int4=True),
    "heads of 64, 4 bits": Shape(head_size=64, is_int4=True),
    "heads of 128, 4 bits": Shape(head_size=128, kv_heads=4, is_int4=True),
}


@needs_batches
@pytest.mark.skipif(not can_attend(), reason="no attention of our own on this machine")
@pytest.mark.parametrize("shape", MODELS.values(), ids=MODELS)
def test_a_draft_gives_the_bits_of_single_tokens(tmp_path: Path, shape: Shape) -> None:
    files = read_model_files(write_small_decoder(tmp_path, shape))
    runtime = BatchRuntime(files, threads=2)
    assert runtime.append_draft
    tokens = np.random.default_rng(5).integers(3, 250, 400).tolist()
    lease = runtime.new_cache(1 << 30).acquire(tokens, 1)
    assert lease
    context = lease.context
    for length, count in zip((3, 8, 31, 64, 120, 130, 200, 258, 300, 384), (2, 8, 4, 3, 8, 5, 8, 8, 7, 8), strict=True):
        context.append(tokens[len(context.tokens) : length])
        ahead = runtime.append_draft(context, tokens[length : length + count]).copy()
        context.rewind(length)
        single = [runtime.append_each([context], [token])[0].copy() for token in tokens[length : length + count]]
        assert np.array_equal(ahead, single)


@needs_batches
@pytest.mark.parametrize("own_kernels", [True, False])
def test_of_a_model_that_gives_the_last_logits_only_nothing_is_drafted(tmp_path: Path, own_kernels: bool) -> None:
    files = read_model_files(write_small_decoder(tmp_path, Shape(head_size=64, only_last_logits=True, is_int4=True)))
    assert BatchRuntime(files, threads=2, own_kernels=own_kernels).append_draft is None


@needs_batches
def test_without_attention_of_our_own_nothing_is_drafted(tmp_path: Path) -> None:
    files = read_model_files(write_small_decoder(tmp_path, Shape(head_size=64, is_int4=True)))
    assert BatchRuntime(files, threads=2, own_kernels=False).append_draft is None


@needs_batches
@pytest.mark.parametrize("operator", ["MoE", "QMoE", "Elu", "NeverHeardOf"])
def test_of_a_model_with_operators_that_mix_tokens_nothing_is_drafted(tmp_path: Path, operator: str) -> None:
    files = read_model_files(write_small_decoder(tmp_path, Shape(head_size=64, is_int4=True)))
    mixing = dataclasses.replace(files, operators=files.operators | {operator})
    assert BatchRuntime(mixing, threads=2).append_draft is None


@needs_batches
@pytest.mark.skipif(not can_attend(), reason="no attention of our own on this machine")
@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.0},
        {"temperature": 0.0, "logprobs": 3},
        {"temperature": 0.5, "seed": 5},
        {"temperature": 0.0, "frequency_penalty": 0.1},
        {"temperature": 0.0, "grammar": Grammar("regex", "Run `foundry model list` .short: `foundry model ls`.{20,}")},
    ],
    ids=str,
)
def test_the_bundled_model_says_the_same_with_drafts(options: dict[str, Any]) -> None:
    runtime = BatchRuntime(read_model_files(GUIDE), threads=2)
    append_draft = runtime.append_draft
    assert append_draft
    question = {"role": "user", "content": "How do I list the models?"}
    messages: tuple[dict[str, str], ...] = (question,)
    told = []
    for _ in range(2):  # the second answer is like the first one, which is in its prompt
        asked = request(messages=messages, max_tokens=60, **options)
        for runtime.append_draft in (None, append_draft):
            bench = Bench(runtime, memory_budget=1 << 30, clock=itertools.count(1.0).__next__)
            text, end = bench.answer(asked)
            told.append([(frame["text"], frame.get("logprobs")) for frame in bench.frames if frame["op"] == "text"])
        assert told[-2] == told[-1]
        messages += ({"role": "assistant", "content": text}, question)
    drafted, accepted = counts(end)
    assert drafted > 0
    assert accepted > 0
