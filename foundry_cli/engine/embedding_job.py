"""One request for embeddings, in steps that are short enough for others to come in between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from foundry_cli.engine.embedding_form import PooledStates, States
from foundry_cli.engine.embedding_runtime import EmbeddingRuntime, Entry
from foundry_cli.engine.hidden_states import PIECE_TOKENS

MOST_ROWS = 32
"""Vectors that one step gives, at most: so many fit into a message whatever their size."""

_ENCODED_AT_ONCE = 200_000  # characters: some tens of milliseconds

Vectors = dict[int, bytes]
"""By the place of their entry: float32, little-endian."""


class EmbeddingJob:
    """First all entries become tokens, so that a wrong one is refused before anything is computed; then the shortest begin."""

    def __init__(self, runtime: EmbeddingRuntime, entries: Sequence[Entry], dimensions: int | None) -> None:
        """Raises `InvalidRequestError` for `dimensions`."""
        runtime.check_dimensions(dimensions)
        self._runtime = runtime
        self._entries = entries
        self._dimensions = dimensions
        self._tokens: list[list[int]] = []  # of the entries, as far as they are encoded
        self._order: list[int] = []  # of those that are not computed, the next one last
        self._reading: Iterator[States] | None = None  # of the next one, a long one, and what has come of it
        self._pooled = PooledStates(runtime.form.pooling)

    @property
    def token_count(self) -> int:
        """Of all entries."""
        return sum(map(len, self._tokens))

    @property
    def is_done(self) -> bool:
        """Whether all vectors have been given."""
        return len(self._tokens) == len(self._entries) and not self._order

    @property
    def is_reading(self) -> bool:
        """Whether memory is taken by a long text."""
        return self._reading is not None

    @property
    def needs_memory(self) -> bool:
        """Whether the next step begins with a long text, which takes memory until it has been read."""
        return bool(self._order) and not self._reading and len(self._tokens[self._order[-1]]) > PIECE_TOKENS

    def step(self) -> Vectors:
        """Do the next part of the work; the vectors that are finished with it.

        Raises `InvalidRequestError`, `ContextLengthError`, `InsufficientMemoryError`, `EngineError`.
        """
        if len(self._tokens) < len(self._entries):
            self._encode_some()
            if len(self._tokens) < len(self._entries) or self.needs_memory:
                return {}
        if self._reading or self.needs_memory:
            return self._read_on()
        return self._compute_some()

    def _encode_some(self) -> None:
        characters = 0
        while len(self._tokens) < len(self._entries) and characters < _ENCODED_AT_ONCE:
            entry, place = self._entries[len(self._tokens)], len(self._tokens)
            self._tokens.append(self._runtime.encode(entry, f"input[{place}]" if len(self._entries) > 1 else "input"))
            characters += len(entry)
        if len(self._tokens) == len(self._entries):
            self._order = sorted(range(len(self._tokens)), key=lambda place: -len(self._tokens[place]))

    def _compute_some(self) -> Vectors:
        """Several texts in one pass."""
        places = [self._order.pop()]
        while self._order and self._has_room(len(places), len(self._tokens[self._order[-1]])):
            places.append(self._order.pop())
        vectors = {}
        for place, states in zip(places, self._runtime.states.of_rows([self._tokens[p] for p in places]), strict=True):
            pooled = PooledStates(self._runtime.form.pooling)
            pooled.add(states)
            vectors[place] = self._runtime.vector(pooled, self._dimensions)
        return vectors

    def _has_room(self, rows: int, length: int) -> bool:
        """Whether one more row, which is as long as any, goes into the pass."""
        return self._runtime.states.can_pad and rows < MOST_ROWS and (rows + 1) * length <= PIECE_TOKENS

    def _read_on(self) -> Vectors:
        """The next piece of a long text."""
        if self._reading is None:
            self._reading = self._runtime.states.in_pieces(self._tokens[self._order[-1]])
            self._pooled = PooledStates(self._runtime.form.pooling)
        piece = next(self._reading, None)
        if piece is not None:
            self._pooled.add(piece)
            return {}
        self._reading = None
        return {self._order.pop(): self._runtime.vector(self._pooled, self._dimensions)}
