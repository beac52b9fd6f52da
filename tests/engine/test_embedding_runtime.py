"""Vectors of the real runtime against a computation of their own, and what the files of a model may ask for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from foundry_cli.engine.embedding_form import PooledStates, Pooling, read_form
from foundry_cli.engine.embedding_job import MOST_ROWS, EmbeddingJob
from foundry_cli.engine.embedding_runtime import EmbeddingRuntime, Entry
from foundry_cli.engine.hidden_states import PIECE_TOKENS
from foundry_cli.engine.model_files import read_model_files
from foundry_cli.errors import ContextLengthError, EngineError, FoundryError, InvalidRequestError, ModelInvalidError
from foundry_cli.execution_providers import CUDA
from tests.models.embedding import MODES, SHAPE, Reference, half_precision, tokens_of, write_embedding_model

TEXTS = ["a", "The north wind and the sun", "Grüße, 東京 😀", "x" * 300, "stone " * 40, "river"]
LONG = "The north wind and the sun were disputing which was the stronger. " * 24


def open_runtime(directory: Path, *, own_kernels: bool = True) -> EmbeddingRuntime:
    return EmbeddingRuntime(read_model_files(directory), threads=1, own_kernels=own_kernels)


def embed(runtime: EmbeddingRuntime, entries: list[Entry], dimensions: int | None = None) -> list[NDArray[np.float32]]:
    """The vectors, as a job makes them."""
    job, vectors = EmbeddingJob(runtime, entries, dimensions), {}
    while not job.is_done:
        made = job.step()
        assert len(made) <= MOST_ROWS
        vectors.update(made)
    return [np.frombuffer(vectors[place], dtype="<f4") for place in range(len(entries))]


@pytest.mark.parametrize(
    ("own_kernels", "has_positions"),
    [(True, True), pytest.param(True, False, marks=pytest.mark.slow), pytest.param(False, True, marks=pytest.mark.slow)],
)
def test_vectors_are_those_of_another_computation(tmp_path: Path, own_kernels: bool, has_positions: bool) -> None:
    shape = replace(SHAPE, has_positions=has_positions)
    directory = write_embedding_model(tmp_path / "model", shape)
    reference = Reference(directory, shape)
    runtime = open_runtime(directory, own_kernels=own_kernels)
    assert (runtime.states.size, runtime.states.can_pad, runtime.states.can_continue) == (64, True, True)
    for text, vector in zip([*TEXTS, LONG], embed(runtime, [*TEXTS, LONG]), strict=True):
        assert vector.dtype == np.float32
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
        assert vector @ reference.vector(tokens_of(directory, text)) == pytest.approx(1, abs=1e-6)


def test_a_text_gets_the_same_vector_alone_and_among_others(tmp_path: Path) -> None:
    runtime = open_runtime(write_embedding_model(tmp_path / "model"))
    for text, vector in zip(TEXTS, embed(runtime, TEXTS), strict=True):
        (alone,) = embed(runtime, [text])
        assert vector @ alone == pytest.approx(1, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", MODES)
def test_pooling(tmp_path: Path, pooling: str) -> None:
    directory = write_embedding_model(tmp_path / "model", pooling=pooling, modules=["Transformer", "Pooling", "Normalize"])
    reference, entries = Reference(directory), [*TEXTS, LONG]
    assert len(tokens_of(directory, LONG)) > 3 * PIECE_TOKENS
    for text, vector in zip(entries, embed(open_runtime(directory), entries), strict=True):
        assert vector @ reference.vector(tokens_of(directory, text), pooling) == pytest.approx(1, abs=1e-6)


def test_pooling_as_newer_files_say_it(tmp_path: Path) -> None:
    directory = write_embedding_model(tmp_path / "model", pooling="cls")
    (directory / "1_Pooling" / "config.json").write_text('{"pooling_mode": "mean", "embedding_dimension": 64}')
    assert read_form(directory).pooling is Pooling.mean


def test_vectors_that_are_not_scaled(tmp_path: Path) -> None:
    directory = write_embedding_model(tmp_path / "model", pooling="lasttoken", modules=["Transformer", "Pooling"])
    (vector,) = embed(open_runtime(directory), ["a"])
    assert np.allclose(vector, Reference(directory).states(tokens_of(directory, "a"))[-1], atol=1e-4)
    (part,) = embed(open_runtime(directory), ["a"], 5)
    assert np.array_equal(part, vector[:5])


def test_fewer_dimensions_are_scaled_again(tmp_path: Path) -> None:
    directory = write_embedding_model(tmp_path / "model")
    runtime = open_runtime(directory)
    (vector,) = embed(runtime, ["river"], 10)
    assert vector.shape == (10,)
    assert vector @ Reference(directory).vector(tokens_of(directory, "river"), dimensions=10) == pytest.approx(1, abs=1e-6)
    for wrong in (0, -1, 65):
        with pytest.raises(InvalidRequestError) as caught:
            embed(runtime, ["a"], wrong)
        assert caught.value.param == "dimensions"


def test_tokens_are_taken_as_they_are(tmp_path: Path) -> None:
    directory = write_embedding_model(tmp_path / "model")
    vectors = embed(open_runtime(directory), [[5, 6, 7], tokens_of(directory, "a"), "a"])
    assert vectors[0] @ Reference(directory).vector([5, 6, 7]) == pytest.approx(1, abs=1e-6)
    assert vectors[1] @ vectors[2] == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("entries", "param", "kind"),
    [
        ([""], None, None),  # the token behind the text is something
        ([[]], "input", InvalidRequestError),
        (["a", [1, 10**6]], "input[1]", InvalidRequestError),
        ([[-1]], "input", InvalidRequestError),
        (["a", "b", "x" * 2048], "input[2]", ContextLengthError),
        ([[1] * 2049], "input", ContextLengthError),
        (["x" * 2047], None, None),
    ],
)
def test_entries_that_cannot_be_taken(
    tmp_path: Path, entries: list[Entry], param: str | None, kind: type[FoundryError] | None
) -> None:
    runtime = open_runtime(write_embedding_model(tmp_path / "model"))
    if kind is None:
        assert len(embed(runtime, entries)) == len(entries)
        return
    with pytest.raises(kind) as caught:
        embed(runtime, entries)
    assert (caught.value.param, type(caught.value)) == (param, kind)
    if kind is ContextLengthError:
        assert caught.value.message == f"This model's maximum context length is 2048 tokens. {param} has 2049."


def test_half_precision(tmp_path: Path) -> None:
    runtime = open_runtime(write_embedding_model(tmp_path / "model", half_precision()))
    (vector,) = embed(runtime, ["The north wind and the sun"])
    directory = write_embedding_model(tmp_path / "whole")
    assert vector @ Reference(directory).vector(tokens_of(directory, "The north wind and the sun")) > 0.999


def test_weights_of_four_bits_with_own_kernels_and_without(tmp_path: Path) -> None:
    directory = write_embedding_model(tmp_path / "model", replace(SHAPE, is_int4=True))
    own, others = (embed(open_runtime(directory, own_kernels=own), TEXTS) for own in (True, False))
    for one, other in zip(own, others, strict=True):
        assert one @ other > 0.999


def test_a_model_that_gives_logits_too(tmp_path: Path) -> None:
    shape = replace(SHAPE, gives=("hidden_states", "logits"))
    directory = write_embedding_model(tmp_path / "model", shape)
    for text, vector in zip([*TEXTS, LONG], embed(open_runtime(directory), [*TEXTS, LONG]), strict=True):
        assert vector @ Reference(directory, shape).vector(tokens_of(directory, text)) == pytest.approx(1, abs=1e-6)


def test_a_graph_that_branches_is_run_text_by_text_and_whole(tmp_path: Path) -> None:
    runtime = open_runtime(write_embedding_model(tmp_path / "model", replace(SHAPE, short_length=100)))
    assert (runtime.states.can_pad, runtime.states.can_continue) == (False, False)
    together = embed(runtime, [*TEXTS, LONG])
    for text, vector in zip([*TEXTS, LONG], together, strict=True):
        (alone,) = embed(runtime, [text])
        assert np.array_equal(vector, alone)


def test_a_graph_whose_past_is_copied_is_run_whole(tmp_path: Path) -> None:
    directory = write_embedding_model(tmp_path / "model")
    config = json.loads((directory / "genai_config.json").read_text())
    config["search"]["past_present_share_buffer"] = False
    (directory / "genai_config.json").write_text(json.dumps(config))
    runtime = open_runtime(directory)
    assert (runtime.states.can_pad, runtime.states.can_continue) == (True, False)
    (vector,) = embed(runtime, [LONG])
    assert vector @ Reference(directory).vector(tokens_of(directory, LONG)) == pytest.approx(1, abs=1e-6)


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "modules": (lambda folder: (folder / "modules.json").write_text("{"), "modules.json is damaged"),
    "a part": (lambda folder: (folder / "modules.json").write_text('[{"type": "x.Dense"}]'), "names a part 'Dense'"),
    "no pooling": (lambda folder: (folder / "1_Pooling" / "config.json").unlink(), "1_Pooling/config.json, which modules"),
    "pooling": (lambda folder: (folder / "1_Pooling" / "config.json").write_text("["), "config.json is damaged"),
    "two": (
        lambda folder: (folder / "1_Pooling" / "config.json").write_text(json.dumps(dict.fromkeys(MODES.values(), True))),
        "asks for another kind of pooling than lasttoken, mean, cls, or for several",
    ),
    "tokenizer": (
        lambda folder: (folder / "tokenizer.json").write_text('{"model": {"vocab": {}}, "added_tokens": []}'),
        "The tokenizer in",
    ),
}


@pytest.mark.parametrize(("damage", "words"), DAMAGES.values(), ids=DAMAGES)
def test_damaged_files_are_named(tmp_path: Path, damage: Callable[[Path], object], words: str) -> None:
    modules = ["Transformer", "Pooling", "Normalize"]
    directory = write_embedding_model(tmp_path / "model", pooling="mean", modules=modules)
    damage(directory)
    with pytest.raises(ModelInvalidError) as caught:
        open_runtime(directory)
    assert words in caught.value.message


def test_models_that_make_none(tmp_path: Path) -> None:
    with pytest.raises(ModelInvalidError, match="makes no embeddings: the graph has no 'hidden_states'"):
        open_runtime(write_embedding_model(tmp_path / "chat", replace(SHAPE, gives=("logits",))))
    directory = write_embedding_model(tmp_path / "model")
    with pytest.raises(EngineError, match="run on the CPU only, not with CUDAExecutionProvider"):
        EmbeddingRuntime(read_model_files(directory), threads=1, provider=CUDA)


def test_the_mean_does_not_depend_on_the_pieces() -> None:
    states = np.random.default_rng(1).normal(size=(10, 4)).astype(np.float32)
    for pooling, expected in ((Pooling.mean, states.mean(axis=0)), (Pooling.first, states[0]), (Pooling.last, states[-1])):
        pooled = PooledStates(pooling)
        for piece in np.split(states, [1, 4, 9]):
            pooled.add(piece)
        assert np.allclose(pooled.vector(), expected, atol=1e-6)
