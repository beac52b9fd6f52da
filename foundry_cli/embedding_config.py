"""How a folder says that its model makes embeddings: its configuration, and the files of Sentence Transformers beside it."""

from __future__ import annotations

from typing import Any

MODULES = "modules.json"
"""The parts of a model of Sentence Transformers, one after the other."""

POOLING = "1_Pooling"
"""The folder of the part that makes one vector of those of all tokens; its only file is `config.json`."""


def is_embedding_config(config: object) -> bool:
    """Whether the decoder in the content of genai_config.json gives something, and no logits.

    That is what the model builder writes with `exclude_lm_head`; it never names the hidden states, which are there then.
    """
    value: Any = config
    for key in ("model", "decoder"):
        value = value.get(key) if isinstance(value, dict) else None
    outputs = value.get("outputs") if isinstance(value, dict) else None
    return isinstance(outputs, dict) and bool(outputs) and "logits" not in outputs and "pipeline" not in value
