"""The checks of `foundry model test` for embeddings, each on models that behave and that misbehave in one way."""

from __future__ import annotations

import base64
import hashlib
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from foundry_cli.errors import ContextLengthError, EngineDiedError, InvalidRequestError
from foundry_cli.own_models.conformance import Status, run_each, verdict_of
from foundry_cli.own_models.embedding_checks import CHECKS, CORE, EmbeddingSubject, Vector
from tests.own_models.folders import facts_of

SIZE, LIMIT = 8, 2048


def vector_of(entry: object) -> list[float]:
    """Numbers of length 1 that only `entry` has."""
    numbers = [byte - 127.5 for byte in hashlib.sha256(repr(entry).encode()).digest()[:SIZE]]
    return scaled(numbers)


def scaled(numbers: Vector) -> list[float]:
    return [number / (math.hypot(*numbers) or 1.0) for number in numbers]


@dataclass
class Model:
    """Answers as it should; `spoil` gets each vector with its entry, and how many were asked for, and gives the one told."""

    spoil: Callable[[list[float], Any, int], list[float]] = lambda vector, entry, count: vector
    limit: int = LIMIT
    takes_dimensions: bool = True
    spoil_text: Callable[[str], Any] = lambda text: text
    error: Exception | None = None

    def embed(self, entries: str | list[str] | list[int], **options: Any) -> list[Any]:
        if self.error:
            raise self.error
        several: list[Any] = [entries] if isinstance(entries, str) or isinstance(entries[0], int) else entries
        if any(isinstance(entry, list) and len(entry) > self.limit for entry in several):
            raise ContextLengthError(f"{self.limit} tokens at most. Shorten it.")
        size = options.get("dimensions", SIZE)
        if size > SIZE and self.takes_dimensions:
            raise InvalidRequestError("dimensions: too many.", param="dimensions")
        vectors = [self.spoil(vector_of(entry), entry, len(several)) for entry in several]
        if self.takes_dimensions and size < SIZE:
            vectors = [scaled(vector[:size]) for vector in vectors]
        if options.get("encoding_format") != "base64":
            return vectors
        return [self.spoil_text(base64.b64encode(struct.pack(f"<{len(each)}f", *each)).decode()) for each in vectors]


def results(model: Model, **facts: Any) -> dict[str, tuple[Status, str]]:
    subject = EmbeddingSubject(model, facts_of(Path("model"), makes_embeddings=True, **facts))
    found = list(run_each(CHECKS, subject))
    assert verdict_of(found, core=CORE).verdict == ("failed" if any(r.status is Status.failed for r in found) else "passed")
    return {result.name: (result.status, result.detail) for result in found}


def failed(model: Model, **facts: Any) -> set[str]:
    return {name for name, (status, _) in results(model, **facts).items() if status is Status.failed}


def test_a_model_that_behaves() -> None:
    assert {status for status, _ in results(Model()).values()} == {Status.passed}


SPOILT: dict[str, tuple[Model, set[str]]] = {
    "not a number": (Model(lambda vector, *_: [math.nan, *vector[1:]]), set(CHECKS) - {"context limit"}),
    "another length": (Model(lambda vector, *_: [2 * number for number in vector]), {"vectors"}),
    "no direction": (Model(lambda vector, *_: [0.0] * SIZE), {"vectors", "batch", "base64", "dimensions"}),
    "sizes differ": (Model(lambda vector, entry, _: vector if len(entry) > 5 else vector[:4]), {"vectors"}),
    "one for all": (Model(lambda *_: vector_of("x")), {"Unicode"}),
    "the batch matters": (
        Model(lambda vector, _, count: scaled([vector[0] + 0.1 * (count > 1), *vector[1:]])), {"batch"},
    ),
    "no base64": (Model(spoil_text=lambda _: [1.0]), {"base64"}),
    "other base64": (Model(spoil_text=lambda text: text[:-8]), {"base64"}),
    "no dimensions": (Model(takes_dimensions=False), {"dimensions"}),
    "no limit": (Model(limit=10**9), {"context limit"}),
    "gone": (Model(error=EngineDiedError("The worker ended.")), set(CHECKS)),
}  # fmt: skip


@pytest.mark.parametrize(("model", "names"), SPOILT.values(), ids=SPOILT)
def test_each_fault_is_found_by_its_check(model: Model, names: set[str]) -> None:
    assert failed(model) == names


def test_a_model_whose_vectors_are_not_scaled() -> None:
    model = Model(lambda vector, *_: [2 * number for number in vector])
    assert results(model, has_unit_length=False)["vectors"] == (Status.passed, f"{SIZE} numbers, not scaled")
