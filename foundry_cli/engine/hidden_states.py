"""The hidden states behind the last layer of a decoder, by one session of ONNX Runtime on the CPU.

A text that is not long is computed in one pass, several of them as rows of one, from an empty past; what the graph gives of
keys and values is not asked for, so it is gone behind each layer. A long one is computed piece by piece, behind keys and
values in memory that is there for this text only: the table of who looks at whom never grows with the square of its length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from foundry_cli.engine.batch_runtime import LogitShape, Passes
from foundry_cli.engine.cache_rows import CacheRows
from foundry_cli.engine.cpu_session import open_cpu_session
from foundry_cli.engine.decoder_graph import UnusualGraphError, check_parts, read_graph, shares_memory
from foundry_cli.engine.embedding_form import States
from foundry_cli.engine.genai import first_line, translated
from foundry_cli.engine.logit_positions import with_chosen_positions
from foundry_cli.engine.model_files import ModelFiles
from foundry_cli.engine.own_kernels import LARGEST_EDITED
from foundry_cli.errors import EngineError, InsufficientMemoryError, ModelInvalidError
from foundry_cli.hardware.memory import available_memory

PIECE_TOKENS = 512
"""Tokens, of all rows together, that are computed in one pass: a second or two for a model of medium size."""

_LEAST_PIECE = 32
_PAIRS = 4 << 20  # of tokens that look at each other, in one pass: 16 MiB of scores for each head
_FLOAT_BYTES = 4
_CHECK_TOKENS = 6
_SAME = 1e-3  # 1 - cosine of two ways to the same states; a wrong way differs by more


class HiddenStates:
    """A loaded model."""

    size: int
    """Numbers per token."""

    can_pad = False
    """Whether rows of several lengths may be computed in one pass."""

    can_continue = False
    """Whether a text may be computed piece by piece."""

    def __init__(self, files: ModelFiles, *, threads: int, own_kernels: bool = True) -> None:
        """Load the weights. Raises `ModelInvalidError`.

        Without `own_kernels`, or where there are none, ONNX Runtime computes everything.
        """
        sizes = {"head_size": int(files.decoder["head_size"]), "context_length": files.context_length}
        try:
            path = files.directory / check_parts(files)
            graph = _read_small(path)
            opened = open_cpu_session(path, graph, threads, **sizes, own_kernels=own_kernels)
            self._session, self.kernels = opened.session, opened.kernels
            self._graph = read_graph(self._session, files, "hidden_states")
            self._heads = int(files.decoder.get("num_attention_heads") or files.decoder["num_key_value_heads"])
        except UnusualGraphError as error:
            raise ModelInvalidError(f"The model in {files.directory} makes no embeddings: {error}.") from error
        except Exception as error:  # pybind raises many kinds
            raise ModelInvalidError(f"The model in {files.directory} cannot be loaded: {first_line(error)}") from error
        with translated(ModelInvalidError, f"The model in {files.directory} cannot be run"):
            self._check(files)

    def of_rows(self, rows: Sequence[Sequence[int]]) -> list[States]:
        """The states of the tokens of each row. One row alone where not `can_pad`. Raises `EngineError`."""
        graph, longest = self._graph, max(map(len, rows))
        # A token looks at those before it only, so what fills a row up to the longest one behind its end changes nothing.
        ids = np.zeros((len(rows), longest), dtype=graph.integer_type)
        for place, row in zip(ids, rows, strict=True):
            place[: len(row)] = row
        feeds = {graph.ids: ids, graph.mask: np.ones_like(ids)}
        if graph.positions:
            feeds[graph.positions] = np.broadcast_to(np.arange(longest, dtype=ids.dtype), ids.shape).copy()
        if graph.chosen:
            feeds[graph.chosen] = np.array([-1], dtype=np.int64)
        for tensor in graph.tensors:
            feeds[tensor.past] = np.zeros((len(rows), tensor.heads, 0, tensor.head_size), dtype=graph.cache_type)
        with translated(EngineError, "The model failed to run"):
            (states,) = self._session.run([graph.logits], feeds)
        return [each[: len(row)].astype(np.float32, copy=False) for each, row in zip(states, rows, strict=True)]

    def in_pieces(self, tokens: Sequence[int]) -> Iterator[States]:
        """The states of a long text piece by piece, each valid until the next one; all at once where not `can_continue`.

        Raises `InsufficientMemoryError`, `EngineError`.
        """
        if self.can_continue:
            _check_memory(self._graph.bytes_per_token * len(tokens), len(tokens))
            yield from self._read_pieces(tokens, PIECE_TOKENS)
        else:
            _check_memory(self._heads * len(tokens) ** 2 * _FLOAT_BYTES, len(tokens))
            yield self.of_rows([tokens])[0]

    def _read_pieces(self, tokens: Sequence[int], most: int) -> Iterator[States]:
        """`most` tokens or less at a time."""
        try:
            rows = CacheRows(self._graph, 1, len(tokens))
        except OSError as error:
            raise InsufficientMemoryError(f"Memory for the text cannot be had: {error.strerror}.") from error
        passes = Passes(self._session, self._graph, rows, LogitShape(self.size, gives_all=True, can_choose=False))
        done = 0
        while done < len(tokens):
            count = min(most, max(_LEAST_PIECE, _PAIRS // (done + most)))
            ids = np.array([tokens[done : done + count]], dtype=np.int64)
            yield passes.run(0, ids, [done], wanted=ids.shape[1])[0]
            done += ids.shape[1]

    def _check(self, files: ModelFiles) -> None:
        """Find out the size of the states, and what gives the same ones as a text alone and at once."""
        tokens = [token % files.vocabulary_size for token in range(1, _CHECK_TOKENS + 1)]
        (alone,) = self.of_rows([tokens])
        self.size = alone.shape[1]
        if "If" in files.operators:  # it branches by the longest row
            return
        half = _CHECK_TOKENS // 2
        with suppress(EngineError):
            padded = self.of_rows([tokens[:half], tokens])
            self.can_pad = _are_same(padded[0], alone[:half]) and _are_same(padded[1], alone)
        if not shares_memory(files) or "sliding_window" in files.decoder:
            return
        with suppress(EngineError):
            pieces = np.concatenate([piece.copy() for piece in self._read_pieces(tokens, half)])
            self.can_continue = _are_same(pieces, alone)


def _read_small(path: Path) -> bytes | None:
    """The graph, unless it is too large to be edited. Of logits, if it gives any, only those that are chosen are computed."""
    graph = path.read_bytes() if path.stat().st_size <= LARGEST_EDITED else None
    return graph and (with_chosen_positions(graph, "logits") or graph)


def _are_same(one: States, other: States) -> bool:
    """Whether the states of each token point the same way."""
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return bool(np.all((one * other).sum(axis=1) >= (1 - _SAME) * lengths))


def _check_memory(needed: int, tokens: int) -> None:
    if needed > (free := available_memory()):
        message = f"A text of {tokens} tokens needs {needed >> 20} MiB of memory, {free >> 20} MiB are free."
        raise InsufficientMemoryError(message, hint="Send shorter texts, or close other programs.")
