"""The checks of `foundry model test` for models that make embeddings, over anything that answers like a service."""

from __future__ import annotations

import base64
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from foundry_cli.errors import ContextLengthError, InvalidRequestError
from foundry_cli.own_models.checking import ModelFacts
from foundry_cli.own_models.conformance import SAMPLE, CheckFailedError, require

Vector = Sequence[float]

_TEXTS = ("river", "What is the capital of France?", "The north wind and the sun. " * 12, SAMPLE)
_SAME = 1e-5  # 1 - cosine of what should be the same vector
_LENGTH_TOLERANCE = 1e-3
_LONGEST_COMPUTED = 4096  # tokens; a whole context beyond would take minutes


class Embedder(Protocol):
    """A model behind the route for embeddings."""

    def embed(self, entries: str | list[str] | list[int], **options: Any) -> list[Any]:
        """The embeddings as they were sent, numbers or text; `options` as in OpenAI's interface. Raises `FoundryError`."""


@dataclass(frozen=True)
class EmbeddingSubject:
    """What the checks look at."""

    model: Embedder
    facts: ModelFacts


def check_vectors(subject: EmbeddingSubject) -> str:
    """Vectors of equal size whose numbers are numbers, of length 1 unless the model's own files want it otherwise."""
    vectors = subject.model.embed(list(_TEXTS))
    require(len(vectors) == len(_TEXTS), f"{len(vectors)} vectors came for {len(_TEXTS)} texts")
    sizes = {len(vector) for vector in vectors}
    require(len(sizes) == 1 and sizes != {0}, f"the vectors have different sizes: {sorted(sizes)}")
    require(all(math.isfinite(number) for vector in vectors for number in vector), "a vector has something that is no number")
    lengths = [math.hypot(*vector) for vector in vectors]
    require(min(lengths) > 0, "a vector has no direction")
    if not subject.facts.has_unit_length:
        return f"{sizes.pop()} numbers, not scaled"
    off = max(abs(length - 1) for length in lengths)
    require(off < _LENGTH_TOLERANCE, f"the length of a vector is off from 1 by {off:.3g}")
    return f"{sizes.pop()} numbers, of length 1"


def check_batch(subject: EmbeddingSubject) -> str:
    """A text gets the same vector alone and among others."""
    together = subject.model.embed(list(_TEXTS))
    for text, vector in zip(_TEXTS, together, strict=True):
        (alone,) = subject.model.embed(text)
        away = 1 - cosine(alone, vector)
        require(away < _SAME, f"alone and among others {text[:20]!r} gets vectors that differ by {away:.3g}")
    return "the same vectors alone and among others"


def check_base64(subject: EmbeddingSubject) -> str:
    """What comes as base64 are the same numbers."""
    (numbers,) = subject.model.embed(_TEXTS[1], encoding_format="float")
    (text,) = subject.model.embed(_TEXTS[1], encoding_format="base64")
    require(isinstance(text, str), "base64 was asked for, and did not come")
    data = base64.b64decode(text)
    require(len(data) == 4 * len(numbers), f"{len(data)} bytes came for {len(numbers)} numbers")
    away = 1 - cosine(numbers, struct.unpack(f"<{len(numbers)}f", data))
    require(away < _SAME, f"as numbers and as base64 the vectors differ by {away:.3g}")
    return "the same as numbers"


def check_unicode(subject: EmbeddingSubject) -> str:
    """Texts in many scripts have vectors of their own."""
    words = SAMPLE.split(", ")
    vectors = subject.model.embed(words)
    for index, word in enumerate(words):
        nearest = max(cosine(vectors[index], other) for place, other in enumerate(vectors) if place != index)
        require(nearest < 1 - _SAME, f"{word!r} has the same vector as another text")
    return f"{len(words)} texts, all with vectors of their own"


def check_context_limit(subject: EmbeddingSubject) -> str:
    """As many tokens as the context has are taken, one more is refused with the right error, and the model goes on."""
    limit = subject.facts.context_length
    try:
        subject.model.embed([1] * (limit + 1))
    except ContextLengthError as error:
        subject.model.embed([1] * min(limit, _LONGEST_COMPUTED))
        return error.message.partition(".")[0]
    raise CheckFailedError(f"{limit + 1} tokens were accepted, with a context of {limit} tokens")


def check_dimensions(subject: EmbeddingSubject) -> str:
    """Fewer dimensions are the first numbers, scaled again; more than there are, are refused."""
    (whole,) = subject.model.embed(_TEXTS[1])
    size = max(1, len(whole) // 2)
    (part,) = subject.model.embed(_TEXTS[1], dimensions=size)
    require(len(part) == size, f"{len(part)} numbers came, {size} were asked for")
    away = 1 - cosine(part, whole[:size])
    require(away < _SAME, f"they are not the first {size} numbers: they differ by {away:.3g}")
    try:
        subject.model.embed(_TEXTS[1], dimensions=len(whole) + 1)
    except InvalidRequestError:
        return f"{size} of {len(whole)} numbers"
    raise CheckFailedError(f"{len(whole) + 1} dimensions were accepted, there are {len(whole)}")


def cosine(one: Vector, other: Vector) -> float:
    """Of the angle between two vectors; 0 where one has no direction."""
    lengths = math.hypot(*one) * math.hypot(*other)
    return sum(map(float.__mul__, map(float, one), map(float, other))) / lengths if lengths else 0.0


CHECKS: dict[str, Callable[[EmbeddingSubject], str]] = {
    "vectors": check_vectors,
    "batch": check_batch,
    "base64": check_base64,
    "Unicode": check_unicode,
    "context limit": check_context_limit,
    "dimensions": check_dimensions,
}

CORE = frozenset({"vectors", "batch", "Unicode"})
"""The checks that a model must pass."""
