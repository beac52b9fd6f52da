"""A loaded model that makes embeddings: texts to tokens, hidden states to vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from foundry_cli.engine.embedding_form import PooledStates, read_form
from foundry_cli.engine.genai import translated
from foundry_cli.engine.hidden_states import HiddenStates
from foundry_cli.engine.model_files import ModelFiles
from foundry_cli.errors import ContextLengthError, EngineError, InvalidRequestError, ModelInvalidError
from foundry_cli.execution_providers import CPU

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Entry = str | Sequence[int]
"""What one vector is made of: a text, or tokens of the model."""


class EmbeddingRuntime:
    """A model loaded on the CPU."""

    name = "embedding"

    def __init__(self, files: ModelFiles, *, threads: int, provider: str = CPU, own_kernels: bool = True) -> None:
        """Load the weights. Raises `ModelInvalidError`, and `EngineError` for a provider other than the CPU's."""
        if provider != CPU:
            raise EngineError(
                f"Models for embeddings run on the CPU only, not with {provider}.",
                hint="Load it with ep=cpu (--ep cpu), or use a CPU variant of the model.",
            )
        self.files = files
        self.form = read_form(files.directory)
        self._tokenizer = _open_tokenizer(files)
        self.states = HiddenStates(files, threads=threads, own_kernels=own_kernels)
        self.kernels = self.states.kernels

    def encode(self, entry: Entry, name: str) -> list[int]:
        """The tokens of a text, with those that the model wants around it; tokens that are given stay as they are.

        Raises `InvalidRequestError` and `ContextLengthError`, calling the entry `name`.
        """
        tokens = self._encode(entry) if isinstance(entry, str) else list(entry)
        if not tokens:
            raise InvalidRequestError(f"{name}: there is nothing in it.", param=name)
        if len(tokens) > self.files.context_length:
            raise ContextLengthError(
                f"This model's maximum context length is {self.files.context_length} tokens. {name} has {len(tokens)}.",
                hint="Send it in parts.",
                param=name,
            )
        if max(tokens) >= self.files.vocabulary_size or min(tokens) < 0:
            wrong = next(token for token in tokens if not 0 <= token < self.files.vocabulary_size)
            raise InvalidRequestError(f"{name}: the model has no token {wrong}.", param=name)
        return tokens

    def check_dimensions(self, dimensions: int | None) -> None:
        """Raise `InvalidRequestError` for more numbers than the model gives."""
        if dimensions is not None and not 1 <= dimensions <= self.states.size:
            message = f"dimensions: vectors of this model have {self.states.size} numbers, not {dimensions}."
            raise InvalidRequestError(message, hint=f"Ask for 1 to {self.states.size}.", param="dimensions")

    def vector(self, pooled: PooledStates, dimensions: int | None) -> bytes:
        """The vector as float32, little-endian; with `dimensions` only so many numbers of it. Raises `EngineError`."""
        numbers = pooled.vector()[:dimensions]
        if self.form.is_normalized:
            numbers = numbers / (float(np.linalg.norm(numbers)) or 1.0)
        if not np.isfinite(numbers).all():
            raise EngineError("The model gave a vector that is no number everywhere.", hint="Use another variant of it.")
        return numbers.astype("<f4").tobytes()

    def _encode(self, text: str) -> list[int]:
        text = text.encode("utf-8", "replace").decode()  # the library takes no half surrogate pairs
        with translated(EngineError, "The text cannot be turned into tokens"):
            tokens: list[int] = self._tokenizer.encode(text).ids
        return tokens


def _open_tokenizer(files: ModelFiles) -> Tokenizer:
    import tokenizers  # here only: no other process of ours needs it

    path = files.directory / "tokenizer.json"
    with translated(ModelInvalidError, f"The tokenizer in {files.directory} cannot be loaded"):
        opened = tokenizers.Tokenizer.from_file(str(path))
    opened.no_truncation()  # nothing is ever cut without a word
    opened.no_padding()
    return opened
