"""ONNX Runtime GenAI: the only module that imports it.

Translates its errors and keeps to what was found out about it: threads must be set, `max_length` is allocated and
touched at once, a generator can be rewound to any prefix and continued.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

import numpy as np

from foundry_cli.engine.model_files import ModelFiles
from foundry_cli.engine.providers import check_provider_options, register_library
from foundry_cli.engine.sampling import Logits
from foundry_cli.errors import EngineError, FoundryError, ModelInvalidError
from foundry_cli.execution_providers import CPU, find_provider

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import: the wheels report usage otherwise

try:
    import onnxruntime_genai as og
except ImportError as error:  # a wheel for another machine, a library that is missing
    raise EngineError(f"ONNX Runtime GenAI cannot be loaded: {error}") from error

if hasattr(og, "disable_telemetry_events"):  # since 0.12
    og.disable_telemetry_events()


class TokenContext(Protocol):
    """Tokens whose keys and values are in memory, and the logits after the last one."""

    tokens: list[int]
    max_length: int

    def append(self, tokens: Sequence[int]) -> None:
        """Compute `tokens` behind those that are there."""

    def rewind(self, length: int) -> None:
        """Forget all but the first `length` tokens."""

    def logits(self) -> Logits:
        """float32 of shape (vocabulary,) for the token after the last; valid until the next `append`."""


class Runtime(Protocol):
    """What the worker needs of a loaded model."""

    @property
    def files(self) -> ModelFiles:
        """What its directory says."""

    def encode(self, text: str) -> list[int]:
        """Text to tokens; the names of control tokens count as such, what no tokenizer takes becomes U+FFFD or `?`."""

    def decode(self, tokens: Sequence[int]) -> str:
        """Tokens to text, special tokens left out; bytes that are no character become U+FFFD."""

    def apply_own_template(self, messages: Sequence[dict[str, Any]]) -> str:
        """The prompt by the template built into the runtime. Raises `ModelInvalidError` when there is none."""

    def new_context(self, max_length: int) -> TokenContext:
        """Memory for `max_length` tokens, empty."""


class GenAIRuntime:
    """A model loaded by ONNX Runtime GenAI on one execution provider; what that cannot compute runs on the CPU."""

    def __init__(self, files: ModelFiles, *, threads: int, provider: str = CPU) -> None:
        """Load the weights. Raises `ModelInvalidError`, and `EngineError` when a provider other than the CPU's fails."""
        self.files = files
        options = {"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}
        with _load_errors(files, provider):
            config = og.Config(str(files.directory))
            config.clear_providers()  # their options stay, for the one that is appended
            if provider != CPU:
                _append_provider(config, files, provider)
            config.overlay(json.dumps(options))
            self._model = og.Model(config)
            self._tokenizer = og.Tokenizer(self._model)

    def encode(self, text: str) -> list[int]:
        """See `Runtime.encode`."""
        # The runtime takes no half surrogate pairs, and would end the text at a zero.
        text = text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
        with _translated(EngineError, "The text cannot be turned into tokens"):
            tokens = [int(token) for token in self._tokenizer.encode(text)]
        bos = self.files.bos_token_id
        # Templates write the first token themselves, and some tokenizers add it once more.
        return tokens[1:] if bos is not None and tokens[:2] == [bos, bos] else tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """See `Runtime.decode`."""
        with _translated(EngineError, "The tokens cannot be turned into text"):
            return str(self._tokenizer.decode(np.asarray(tokens, dtype=np.int32)))

    def apply_own_template(self, messages: Sequence[dict[str, Any]]) -> str:
        """See `Runtime.apply_own_template`."""
        with _translated(ModelInvalidError, "The model has no chat template", hint=_TEMPLATE_HINT):
            text = self._tokenizer.apply_chat_template(json.dumps(list(messages)), add_generation_prompt=True)
        return str(text)

    def new_context(self, max_length: int) -> GenAIContext:
        """See `Runtime.new_context`."""
        return GenAIContext(self._model, max_length)


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
        return _translated(ModelInvalidError, f"The model in {files.directory} cannot be loaded")
    what = f"The model in {files.directory} cannot be loaded with {provider}"
    return _translated(EngineError, what, hint="Load it with ep=cpu (--ep cpu), or use a CPU variant of the model.")


_TEMPLATE_HINT = "Add chat_template.jinja to its directory, or PromptTemplate to its inference_model.json."


class GenAIContext:
    """A generator of the runtime, used as a token context: see `TokenContext`."""

    def __init__(self, model: og.Model, max_length: int) -> None:
        self.tokens: list[int] = []
        self.max_length = max_length
        with _translated(EngineError, "Memory for the conversation cannot be had"):
            parameters = og.GeneratorParams(model)
            # What the model's own configuration says of beams and batches is not for a context of one conversation.
            parameters.set_search_options(
                max_length=max_length, do_sample=False, num_beams=1, num_return_sequences=1, batch_size=1
            )
            self._generator = og.Generator(model, parameters)

    def append(self, tokens: Sequence[int]) -> None:
        """See `TokenContext.append`."""
        with _translated(EngineError, "The model failed to run"):
            self._generator.append_tokens(np.asarray(tokens, dtype=np.int32))
        self.tokens.extend(tokens)

    def rewind(self, length: int) -> None:
        """See `TokenContext.rewind`."""
        if length < len(self.tokens):
            with _translated(EngineError, "The model failed to go back"):
                self._generator.rewind_to(length)
            del self.tokens[length:]

    def logits(self) -> Logits:
        """See `TokenContext.logits`."""
        with _translated(EngineError, "The model failed to run"):
            values: Logits = np.asarray(self._generator.get_logits()[0, -1], dtype=np.float32)
        return values


@contextmanager
def _translated(kind: type[FoundryError], what: str, *, hint: str | None = None) -> Iterator[None]:
    """Turn whatever the native library raises into an error of `kind` that begins with `what`."""
    try:
        yield
    except FoundryError:
        raise
    except Exception as error:  # pybind raises RuntimeError, ValueError, TypeError and OverflowError
        reason = str(error).strip().splitlines()
        raise kind(f"{what}: {reason[0] if reason else type(error).__name__}", hint=hint) from error
