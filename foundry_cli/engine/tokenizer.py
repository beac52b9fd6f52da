"""Text to tokens and back, by the tokenizer of ONNX Runtime GenAI."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from foundry_cli.engine.genai import og, translated
from foundry_cli.engine.model_files import ModelFiles
from foundry_cli.errors import EngineError, ModelInvalidError

_LIST_HINT = "Its tokenizer_config.json lists several chat templates: leave the one named 'default' there, as a text."
_TEMPLATE_HINT = "Add chat_template.jinja to its directory, or PromptTemplate to its inference_model.json."


class Tokenizer:
    """The tokenizer of one model; the methods are those of `Runtime`."""

    def __init__(self, files: ModelFiles, model: og.Model | None = None) -> None:
        """`model`: the same model, if it is loaded by GenAI already. Raises `ModelInvalidError`."""
        self._bos = files.bos_token_id
        self._control = frozenset(files.control_tokens.values())
        hint = _LIST_HINT if files.has_listed_templates else None
        with translated(ModelInvalidError, f"The tokenizer in {files.directory} cannot be loaded", hint=hint):
            self._tokenizer = og.Tokenizer(model or og.Config(str(files.directory)))

    def encode(self, text: str) -> list[int]:
        """See `Runtime.encode`."""
        # The runtime takes no half surrogate pairs, and would end the text at a zero.
        text = text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
        with translated(EngineError, "The text cannot be turned into tokens"):
            tokens = [int(token) for token in self._tokenizer.encode(text)]
        # Templates write the first token themselves, and some tokenizers add it once more.
        return tokens[1:] if self._bos is not None and tokens[:2] == [self._bos, self._bos] else tokens

    def decode(self, tokens: Sequence[int]) -> str:
        """See `Runtime.decode`."""
        if self._control.issuperset(tokens):  # the runtime would take that for bytes that are no character
            return ""
        with translated(EngineError, "The tokens cannot be turned into text"):
            return str(self._tokenizer.decode(np.asarray(tokens, dtype=np.int32)))

    def apply_own_template(self, messages: Sequence[dict[str, Any]]) -> str:
        """See `Runtime.apply_own_template`."""
        with translated(ModelInvalidError, "The model has no chat template", hint=_TEMPLATE_HINT):
            text = self._tokenizer.apply_chat_template(json.dumps(list(messages)), add_generation_prompt=True)
        return str(text)
