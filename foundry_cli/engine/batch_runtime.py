"""The engine for decoders on the CPU: one session of ONNX Runtime, and one pass over the weights for all answers at once.

Keys and values of all conversations lie in `CacheRows`; a pass works on neighbouring rows, past and present being the same
memory, and a ragged mask says how long each row is. What a row gets does not depend on the others: the kernels give the
same bits for it alone and in a batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foundry_cli.engine.cache_rows import CacheRows
from foundry_cli.engine.conversation_store import ConversationStore
from foundry_cli.engine.cpu_session import open_cpu_session
from foundry_cli.engine.decoder_graph import DecoderGraph, UnusualGraphError, check_config, edit_graph, read_graph
from foundry_cli.engine.genai import first_line, translated
from foundry_cli.engine.model_files import ModelFiles
from foundry_cli.engine.runtime import AppendDraft, LogitRows, TokenContext
from foundry_cli.engine.slot_pool import PoolMemory, SlotPool
from foundry_cli.engine.token_independence import are_independent
from foundry_cli.engine.tokenizer import Tokenizer
from foundry_cli.errors import EngineError

_ROWS = 32  # conversations in memory, running and idle
_CHECK_TOKENS = 3
_SAME_IN_A_BATCH = 1e-3  # the same for a row alone and in a batch: there the kernels give the same bits
_SAME = 0.2  # share of the largest logit by which two ways to the same value may differ; a wrong way differs by more


class BatchRuntime:
    """A model loaded by ONNX Runtime on the CPU."""

    name = "batch"
    most_running = 16

    def __init__(
        self, files: ModelFiles, *, threads: int, store: ConversationStore | None = None, own_kernels: bool = True
    ) -> None:
        """Load the weights. Raises `UnusualGraphError`, also when the model cannot be loaded at all.

        Without `own_kernels`, or where there are none, ONNX Runtime computes everything.
        """
        graph_file = check_config(files)
        self.files = files
        try:
            with ThreadPoolExecutor(1) as executor:
                reading = executor.submit(Tokenizer, files)  # takes as long as a fifth of the rest
                path = files.directory / graph_file
                edited = edit_graph(path, files)
                sizes = {"head_size": int(files.decoder["head_size"]), "context_length": files.context_length}
                opened = open_cpu_session(path, edited.model, threads, **sizes, own_kernels=own_kernels)
                tokenizer = reading.result()
            self._session, self.kernels, self._short_length = opened.session, opened.kernels, edited.short_length
            self._graph = read_graph(self._session, files)
        except UnusualGraphError:
            raise
        except Exception as error:  # pybind raises many kinds
            raise UnusualGraphError(f"ONNX Runtime does not load it: {first_line(error)}") from error
        self.encode, self.decode = tokenizer.encode, tokenizer.decode
        self.apply_own_template = tokenizer.apply_own_template
        self._store = store
        self._checked = _check_passes(self._session, self._graph)
        is_exact = opened.has_own_attention and are_independent(files.operators) and self._checked.is_exact
        self.append_draft: AppendDraft | None = self._append_draft if is_exact else None
        self._passes: Passes | None = None

    def new_cache(self, budget: int) -> SlotPool:
        """See `Runtime.new_cache`."""
        bytes_per_token = self._graph.bytes_per_token
        capacity = min(self.files.context_length, max(1, budget // bytes_per_token))
        rows = _reserve_rows(self._graph, capacity + 1)  # one more: a row that only fills a gap is written to, too
        self._passes = Passes(self._session, self._graph, rows, self._checked.logits)
        memory = PoolMemory(rows, self._passes.run, bytes_per_token, budget, capacity, self._short_length)
        self._pool = SlotPool(memory, self._store)
        return self._pool

    def append_each(self, contexts: Sequence[TokenContext], tokens: Sequence[int]) -> LogitRows:
        """See `Runtime.append_each`."""
        is_long = [context.is_long for context in contexts]  # type: ignore[attr-defined]
        if len(set(is_long)) == 1:
            return self._append_to(contexts, tokens, is_long[0])
        logits = np.empty((len(contexts), self._checked.logits.vocabulary), dtype=np.float32)
        for kind in (False, True):
            index = [i for i, each in enumerate(is_long) if each == kind]
            logits[index] = self._append_to([contexts[i] for i in index], [tokens[i] for i in index], kind)
        return logits

    def _append_to(self, contexts: Sequence[TokenContext], tokens: Sequence[int], is_long: bool) -> LogitRows:
        """The same for contexts whose rotary factors are of one kind."""
        assert self._passes is not None
        first, held = self._pool.arrange(contexts)
        if self._short_length and not is_long and max(held) >= self._short_length:  # a row between them is too long
            pairs = zip(contexts, tokens, strict=True)
            return np.concatenate([self._append_to([context], [token], is_long).copy() for context, token in pairs])
        ids = np.zeros((len(held), 1), dtype=np.int64)
        index = [context.row - first for context in contexts]  # type: ignore[attr-defined]
        ids[index, 0] = tokens
        logits = self._passes.run(first, ids, held, is_long=is_long)[:, 0]
        for context, token in zip(contexts, tokens, strict=True):
            context.tokens.append(token)
        return logits if index == list(range(len(held))) else logits[index]

    def _append_draft(self, context: TokenContext, tokens: Sequence[int]) -> LogitRows:
        """See `AppendDraft`."""
        assert self._passes is not None
        first, held = self._pool.arrange([context])
        is_long: bool = context.is_long  # type: ignore[attr-defined]
        logits: LogitRows = self._passes.run(first, np.array([tokens]), held, wanted=len(tokens), is_long=is_long)[0]
        context.tokens.append(tokens[0])
        return logits


@dataclass(frozen=True)
class LogitShape:
    """What a graph gives of the logits: those of all new tokens, of any that are chosen, or of the last one only."""

    vocabulary: int
    gives_all: bool
    can_choose: bool


class Passes:
    """Passes over the weights, for neighbouring rows."""

    def __init__(self, session: Any, graph: DecoderGraph, rows: CacheRows, logits: LogitShape | None = None) -> None:
        """Without `logits` the graph is asked, by passes."""
        self.rows = rows
        self._session = session
        self._graph = graph
        self._bindings: dict[tuple[int, int], Any] = {}  # by first row and their count; binding all tensors takes 0.4 ms
        self._logits = np.empty(0, dtype=graph.logits_type)
        self.logits = logits or self._ask_logits()

    def run(
        self, first: int, ids: NDArray[np.int64], held: Sequence[int], wanted: int = 1, *, is_long: bool = False
    ) -> NDArray[np.float32]:
        """Compute `ids` (rows, new tokens) behind the `held` tokens of the rows from `first` on.

        `is_long`: with the rotary factors for long conversations, where there are two kinds of them.
        The logits of the last new tokens: (rows, wanted, vocabulary), valid until the next call; more than one where
        `logits.can_choose`. Raises `EngineError`.
        """
        rows, count = ids.shape
        binding = self._binding(first, rows)
        lengths = np.array(held) + count
        ids = np.ascontiguousarray(ids, dtype=self._graph.integer_type)
        mask = (np.arange(lengths.max()) < lengths[:, None]).astype(self._graph.integer_type)
        chosen, kind = np.arange(-wanted, 0, dtype=np.int64), np.array(is_long)
        logits = self._logit_memory((rows, count if self.logits.gives_all else wanted, self.logits.vocabulary))
        with translated(EngineError, "The model failed to run"):
            _bind_input(binding, self._graph.ids, ids)
            _bind_input(binding, self._graph.mask, mask)
            if self._graph.positions:
                positions = (np.array(held)[:, None] + np.arange(count)).astype(self._graph.integer_type)
                _bind_input(binding, self._graph.positions, positions)
            if self._graph.chosen:
                _bind_input(binding, self._graph.chosen, chosen)
            if self._graph.is_long:
                _bind_input(binding, self._graph.is_long, kind)
            _bind_output(binding, self._graph.logits, logits)
            self._session.run_with_iobinding(binding)
        return logits[:, -wanted:].astype(np.float32, copy=False)

    def _binding(self, first: int, rows: int) -> Any:
        if (first, rows) not in self._bindings:
            binding = self._session.io_binding()
            for tensor, memory in zip(self._graph.tensors, self.rows.tensors, strict=True):
                part = memory[first : first + rows]
                _bind_input(binding, tensor.past, part)
                _bind_output(binding, tensor.present, part)
            self._bindings[first, rows] = binding
        return self._bindings[first, rows]

    def _logit_memory(self, shape: tuple[int, int, int]) -> NDArray[Any]:
        size = int(np.prod(shape))
        if self._logits.size < size:
            self._logits = np.empty(size, dtype=self._graph.logits_type)
        return self._logits[:size].reshape(shape)

    def _ask_logits(self) -> LogitShape:
        """By a pass of two tokens. A graph that leaves only the last position by itself gives that for both."""
        binding = self._binding(0, 1)
        ids = np.array([[0, 1]], dtype=self._graph.integer_type)
        mask = np.ones((1, 2), dtype=self._graph.integer_type)
        positions = np.arange(2, dtype=self._graph.integer_type)[None]
        chosen, kind = np.array([0, -1], dtype=np.int64), np.array(False)
        _bind_input(binding, self._graph.ids, ids)
        _bind_input(binding, self._graph.mask, mask)
        if self._graph.positions:
            _bind_input(binding, self._graph.positions, positions)
        if self._graph.chosen:
            _bind_input(binding, self._graph.chosen, chosen)
        if self._graph.is_long:
            _bind_input(binding, self._graph.is_long, kind)
        binding.bind_output(self._graph.logits, "cpu")
        self._session.run_with_iobinding(binding)
        logits = binding.get_outputs()[-1].numpy()[0]  # in the order in which they were bound
        are_two = len(logits) == 2 and not np.array_equal(logits[0], logits[1])
        return LogitShape(logits.shape[1], gives_all=len(logits) == 2 and not self._graph.chosen, can_choose=are_two)


def _reserve_rows(graph: DecoderGraph, capacity: int) -> CacheRows:
    """As many rows as the system lets us reserve."""
    rows = _ROWS
    while True:
        try:
            return CacheRows(graph, rows, capacity)
        except OSError as error:
            if rows == 1:
                raise EngineError(f"Memory for conversations cannot be reserved: {error.strerror}.") from error
            rows //= 2


@dataclass(frozen=True)
class _Checked:
    logits: LogitShape
    is_exact: bool  # tokens that are computed at once get the same bits as one after the other


def _check_passes(session: Any, graph: DecoderGraph) -> _Checked:
    """Compute three tokens at once and one after the other, alone and in a batch. Raises `UnusualGraphError` if it differs."""
    ids = np.arange(1, _CHECK_TOKENS + 1)[None]
    try:
        passes = Passes(session, graph, CacheRows(graph, 2, 2 * _CHECK_TOKENS))
        at_once = passes.run(0, ids, [0], wanted=_CHECK_TOKENS if passes.logits.can_choose else 1)[0].copy()
        first = passes.run(0, ids[:, :1], [0])[0, 0].copy()
        shorter = passes.run(0, ids[:, 1:2], [1])[0, 0].copy()
        passes.run(1, ids[:, :2], [0])
        longer = passes.run(1, ids[:, 2:], [2])[0, 0].copy()
        both = passes.run(0, ids[:, 1:].T, [1, 2])[:, 0]
    except Exception as error:  # pybind raises many kinds
        raise UnusualGraphError(f"it does not run in shared memory: {first_line(error)}") from error
    largest = float(np.abs(at_once[-1]).max())
    is_same = np.allclose(at_once[-1], longer, rtol=0, atol=_SAME * largest)
    # With half precision the kernels for one row and for several round differently, and more so the longer the text.
    tolerance = 0.0 if graph.cache_type == np.float16 else _SAME_IN_A_BATCH * largest
    if not is_same or not np.allclose([shorter, longer], both, rtol=0, atol=tolerance):
        raise UnusualGraphError("a batch in shared memory gives other values")
    return _Checked(passes.logits, np.array_equal(at_once, [first, shorter, longer]))


def _bind_input(binding: Any, name: str, array: NDArray[Any]) -> None:
    binding.bind_input(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)


def _bind_output(binding: Any, name: str, array: NDArray[Any]) -> None:
    binding.bind_output(name, "cpu", 0, array.dtype.type, array.shape, array.ctypes.data)
