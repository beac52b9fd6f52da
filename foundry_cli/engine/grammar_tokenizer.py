"""The tokenizer as grammars need it: in which the texts of control tokens are texts like others.

A grammar may demand `"<|im_end|>"`, in a schema for example. That is written with ordinary tokens, as it is read in a
message; the library would take it for the control token, which its own mask forbids.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_OUTSIDE = "\ufdd0"  # no character, so no text has it


def read_plain_tokenizer(path: Path) -> str:
    """The content of `tokenizer.json` at `path`, its control tokens under names that no text has; their ids are the same.

    Raises `ValueError` for one that cannot be used.
    """
    try:
        document = json.loads(path.read_text("utf-8"))
        tokens = [token for token in document["added_tokens"] if token.get("special")]
        names = {token["content"]: f"{_OUTSIDE}{token['id']}{_OUTSIDE}" for token in tokens}
        for token in tokens:
            token["content"] = names[token["content"]]
        model = document["model"]
        model["vocab"] = _renamed(model["vocab"], names)
        if model.get("unk_token") in names:
            model["unk_token"] = names[model["unk_token"]]
        document["post_processor"] = None  # it puts control tokens around a text, by their names
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"{path.name} cannot be read: {error}") from error
    return json.dumps(document, ensure_ascii=False)


def _renamed(vocabulary: Any, names: dict[str, str]) -> Any:
    """Of the form with ids (BPE), or of that with scores (Unigram)."""
    if isinstance(vocabulary, dict):
        return {names.get(text, text): number for text, number in vocabulary.items()}
    return [[names.get(text, text), score] for text, score in vocabulary]
