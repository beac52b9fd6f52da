"""What the worker needs of a loaded model, whichever engine runs it: `genai_runtime.py` or `batch_runtime.py`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from foundry_cli.engine.model_files import ModelFiles
from foundry_cli.engine.sampling import Logits

LogitRows = NDArray[np.float32]
"""Shape (answers, vocabulary)."""


AppendDraft: TypeAlias = "Callable[[TokenContext, Sequence[int]], LogitRows]"
"""Append the first of some tokens to a context, and compute the others behind it, a draft of what follows.

Gives the logits behind each of them, valid until the next pass. As far as the draft turns out right, its tokens may be added to
`TokenContext.tokens`: their keys and values are there.
"""


class TokenContext(Protocol):
    """Tokens whose keys and values are in memory, and the logits after the last one."""

    tokens: list[int]
    max_length: int

    @property
    def least_piece(self) -> int:
        """How many tokens must be appended at once next, at least; usually 1."""

    def append(self, tokens: Sequence[int]) -> None:
        """Compute `tokens` behind those that are there."""

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` tokens."""

    def logits(self) -> Logits:
        """float32 of shape (vocabulary,) for the token after the last; valid until the next `append`."""


@dataclass(frozen=True)
class Lease:
    """A context for one answer, and how many of the prompt's tokens it holds already."""

    context: TokenContext
    cached_tokens: int


class Reading(Protocol):
    """The part of a prompt that one answer is reading and another one needs, too."""

    @property
    def is_going_on(self) -> bool:
        """Whether it still pays to wait. Costs nothing; once it is False it stays so."""


class ContextCache(Protocol):
    """All contexts of one model, those of finished answers included: the next turn of a chat computes only what is new."""

    def find_reading(self, tokens: Sequence[int]) -> Reading | None:
        """What it pays to wait for, because another answer is just reading what `tokens` begin with."""

    def acquire(self, tokens: Sequence[int], room: int, *, is_background: bool = False) -> Lease | None:
        """A context for `tokens` with space for `room` more at least, or None when memory is taken for the moment.

        `is_background`: nobody shall wait for what is read into it.
        Raises `InsufficientMemoryError` when even an otherwise empty cache could not hold it.
        """

    def extend(self, context: TokenContext, length: int) -> bool:
        """Let a leased context have `length` tokens; False when that cannot be (now)."""

    def release(self, context: TokenContext, prompt_length: int) -> None:
        """Keep `context` for later, if it holds anything; its first `prompt_length` tokens are what it was asked."""

    def discard(self, context: TokenContext) -> None:
        """Give up a context that is too small or was left in an unknown state by an error."""

    def save_next(self) -> bool:
        """Write one conversation that is worth it to disk, where there is a place for it; False when there is none left."""


class Runtime(Protocol):
    """A loaded model."""

    name: str
    """Of the engine: `batch` or `genai`."""

    most_running: int
    """Answers that can be written at once."""

    append_draft: AppendDraft | None
    """See there; None where tokens that are computed at once get other bits than one after the other."""

    kernels: str
    """What computes the products with weights of four bits: `onnxruntime`, or one of our own, see `int4_matmul.py`."""

    @property
    def files(self) -> ModelFiles:
        """What its directory says."""

    def encode(self, text: str) -> list[int]:
        """Text to tokens; the names of control tokens count as such, what no tokenizer takes becomes U+FFFD or `?`."""

    def decode(self, tokens: Sequence[int]) -> str:
        """Tokens to text, special tokens left out; bytes that are no character become U+FFFD."""

    def apply_own_template(self, messages: Sequence[dict[str, Any]]) -> str:
        """The prompt by the template built into the runtime. Raises `ModelInvalidError` when there is none."""

    def new_cache(self, budget: int) -> ContextCache:
        """The contexts of this model, in at most `budget` bytes. Called once."""

    def append_each(self, contexts: Sequence[TokenContext], tokens: Sequence[int]) -> LogitRows:
        """Append one token to each context; the logits behind them, valid until the next call."""
