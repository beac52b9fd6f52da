"""The engine for every device and every kind of graph: generators of ONNX Runtime GenAI, one per conversation.

It keeps to what was found out about them: threads must be set, `max_length` is allocated and touched at once, a generator
can be rewound to any prefix and continued.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np

from foundry_cli.engine.genai import og, translated
from foundry_cli.engine.long_rope import short_length
from foundry_cli.engine.mapped_files import forget_mapped
from foundry_cli.engine.model_files import ModelFiles
from foundry_cli.engine.own_kernels import LARGEST_EDITED, LIBRARY, RUNTIME_KERNELS, kernel_name, with_own_kernels
from foundry_cli.engine.prompt_cache import SMALLEST_CONTEXT, PromptCache
from foundry_cli.engine.providers import check_provider_options, register_library
from foundry_cli.engine.runtime import AppendDraft, LogitRows, TokenContext
from foundry_cli.engine.sampling import Logits
from foundry_cli.engine.tokenizer import Tokenizer
from foundry_cli.errors import EngineError, ModelInvalidError
from foundry_cli.execution_providers import CPU, find_provider

logger = logging.getLogger("foundry.engine")

_SHORT_LENGTHS = {"phi3": 4096, "phimoe": 4096, "phi3small": 8192}
"""By type of model, where the graph does not tell; those of `Generator::InitializePhi3RopeThreshold` of the runtime."""


class GenAIRuntime:
    """A model loaded by ONNX Runtime GenAI on one execution provider; what that cannot compute runs on the CPU."""

    name = "genai"
    append_draft: AppendDraft | None = None  # its generator gives the logits of the last token only
    most_running = 8

    def __init__(self, files: ModelFiles, *, threads: int, provider: str = CPU) -> None:
        """Load the weights. Raises `ModelInvalidError`, and `EngineError` when a provider other than the CPU's fails."""
        self.files = files
        kernels = kernel_name() if provider == CPU else None
        model = _load_with_own_kernels(files, threads) if kernels else None
        self.kernels = kernels if kernels and model else RUNTIME_KERNELS
        with _load_errors(files, provider):
            self._model = model or og.Model(_configuration(files, threads, provider))
            # Only now the runtime looks at token ids and names of caches: what is wrong with them is no request's fault.
            self._least = _least_context(files)
            _new_generator(self._model, max(min(SMALLEST_CONTEXT, files.context_length), self._least))
        self._short_length = _short_length(files)
        tokenizer = Tokenizer(files, self._model)
        self.encode, self.decode = tokenizer.encode, tokenizer.decode
        self.apply_own_template = tokenizer.apply_own_template

    def new_cache(self, budget: int) -> PromptCache:
        """See `Runtime.new_cache`."""
        return PromptCache(
            lambda max_length: GenAIContext(self._model, max_length, self._short_length),
            bytes_per_token=self.files.kv_bytes_per_token,
            budget=budget,
            context_length=self.files.context_length,
            least=self._least,
            short_length=self._short_length,
        )

    def append_each(self, contexts: Sequence[TokenContext], tokens: Sequence[int]) -> LogitRows:
        """See `Runtime.append_each`."""
        for context, token in zip(contexts, tokens, strict=True):
            context.append([token])
        return np.stack([context.logits() for context in contexts])


def _configuration(files: ModelFiles, threads: int, provider: str, **more_options: str) -> og.Config:
    config = og.Config(str(files.directory.absolute()))
    config.clear_providers()  # their options stay, for the one that is appended
    if provider != CPU:
        _append_provider(config, files, provider)
    options = {"intra_op_num_threads": threads, **more_options}
    overlay = {"model": {"decoder": {"session_options": options}}}
    config.overlay(json.dumps(overlay, ensure_ascii=False))  # the runtime's reader knows no escapes but a few
    return config


def _load_with_own_kernels(files: ModelFiles, threads: int) -> og.Model | None:
    """The model, its decoder edited to use them; None when it has nothing for them."""
    path, graph = _small_graph(files)
    edited = with_own_kernels(graph, int(files.decoder.get("head_size", 0)), files.context_length) if graph else None
    if edited is None:
        return None
    library = LIBRARY.resolve()
    try:
        with translated(EngineError, "Our own kernels cannot run this model"):
            config = _configuration(files, threads, CPU, custom_ops_library=str(library))
            config.add_model_data(path.name, edited.model)
            with _working_in(library.parent):  # the runtime takes libraries only from there, and from the model's directory
                model = og.Model(config)
    except EngineError as error:
        logger.warning("%s", error)
        return None
    forget_mapped(files.directory)
    return model


def _small_graph(files: ModelFiles) -> tuple[Path, bytes | None]:
    """Where the graph is, and the graph, unless it is too large to be looked at or there are several."""
    path = files.directory / str(files.decoder.get("filename", ""))
    is_small = path.is_file() and path.stat().st_size <= LARGEST_EDITED
    return path, path.read_bytes() if is_small else None


@contextmanager
def _working_in(directory: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(directory)
    try:
        yield
    finally:
        os.chdir(before)


def _append_provider(config: og.Config, files: ModelFiles, provider: str) -> None:
    check_provider_options(files.directory)
    known = find_provider(provider)
    if known is None:
        raise EngineError(f"The execution provider {provider} is not known here.")
    _preload_libraries()
    register_library(provider, og.register_execution_provider_library)
    config.append_provider(known.runtime_name)


def _preload_libraries() -> None:
    """Load CUDA and cuDNN if they were installed as Python packages, where the loader would not look."""
    import onnxruntime

    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()


def _load_errors(files: ModelFiles, provider: str) -> AbstractContextManager[None]:
    if provider == CPU:
        return translated(ModelInvalidError, f"The model in {files.directory} cannot be loaded")
    what = f"The model in {files.directory} cannot be loaded with {provider}"
    return translated(EngineError, what, hint="Load it with ep=cpu (--ep cpu), or use a CPU variant of the model.")


def _new_generator(model: og.Model, max_length: int) -> og.Generator:
    parameters = og.GeneratorParams(model)
    # What the model's own configuration says of beams and batches is not for a context of one conversation.
    parameters.set_search_options(max_length=max_length, do_sample=False, num_beams=1, num_return_sequences=1, batch_size=1)
    return og.Generator(model, parameters)


def _least_context(files: ModelFiles) -> int:
    """Tokens for which a context must have memory: a window that slides over it has to fit in."""
    window = files.decoder.get("sliding_window")
    size = window.get("window_size") if isinstance(window, dict) else 0
    return min(files.context_length, max(1, size)) if isinstance(size, int) else 1


def _short_length(files: ModelFiles) -> int | None:
    """See `long_rope.py`."""
    if "If" not in files.operators:
        return None
    _, graph = _small_graph(files)
    found = short_length(graph, files.mask_name) if graph else None
    return found or _SHORT_LENGTHS.get(str(files.config["model"].get("type")))


class GenAIContext:
    """A generator of the runtime, used as a token context: see `TokenContext`.

    One with more than `short_length` tokens has the rotary factors for long conversations. The graph takes these when what
    is appended at once ends behind `short_length`, so the first piece has to.
    """

    def __init__(self, model: og.Model, max_length: int, short_length: int | None = None) -> None:
        self._short_length = short_length if short_length and max_length > short_length else 0
        self.tokens: list[int] = []
        self.max_length = max_length
        with translated(EngineError, "Memory for the conversation cannot be had"):
            self._generator = _new_generator(model, max_length)

    @property
    def least_piece(self) -> int:
        """See `TokenContext.least_piece`."""
        return max(1, self._short_length + 1 - len(self.tokens))

    def append(self, tokens: Sequence[int]) -> None:
        """See `TokenContext.append`."""
        with translated(EngineError, "The model failed to run"):
            self._generator.append_tokens(np.asarray(tokens, dtype=np.int32))
        self.tokens.extend(tokens)

    def rewind(self, length: int) -> None:
        """See `TokenContext.rewind`."""
        if length < len(self.tokens):
            with translated(EngineError, "The model failed to go back"):
                self._generator.rewind_to(length)
            del self.tokens[length:]

    def logits(self) -> Logits:
        """See `TokenContext.logits`."""
        with translated(EngineError, "The model failed to run"):
            values: Logits = np.asarray(self._generator.get_logits()[0, -1], dtype=np.float32)
        return values
