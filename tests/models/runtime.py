"""A few lines around the bare runtime, for the tests of the test models themselves."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
import onnxruntime_genai as og

if hasattr(og, "disable_telemetry_events"):  # since 0.12
    og.disable_telemetry_events()


class Runtime:
    """A loaded model with its tokenizer."""

    def __init__(self, directory: Path, overlay: Mapping[str, object] | None = None) -> None:
        config = og.Config(str(directory))
        if overlay:
            config.overlay(json.dumps(overlay))
        self.model: Any = og.Model(config)
        self.tokenizer: Any = og.Tokenizer(self.model)

    def generator(self, tokens: Sequence[int] = (), max_length: int = 512) -> Any:
        """A greedy generator that has seen the tokens."""
        params = og.GeneratorParams(self.model)
        params.set_search_options(max_length=max_length, do_sample=False)
        generator = og.Generator(self.model, params)
        if len(tokens):
            append(generator, tokens)
        return generator

    def encode(self, text: str) -> list[int]:
        return [int(token) for token in self.tokenizer.encode(text)]

    def chat(self, *contents: str) -> list[int]:
        """The prompt tokens of a chat: user, assistant, user and so on, as the model's template renders them."""
        roles = ("user", "assistant")
        messages = [{"role": roles[i % 2], "content": content} for i, content in enumerate(contents)]
        return self.encode(self.tokenizer.apply_chat_template(json.dumps(messages)))

    def decode(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(np.asarray(tokens, dtype=np.int32)))


def append(generator: Any, tokens: Sequence[int]) -> None:
    generator.append_tokens(np.asarray(list(tokens), dtype=np.int32))


def generate(generator: Any, limit: int = 400) -> list[int]:
    """Tokens up to end-of-turn or the limit, decoded by `generate_next_token`."""
    tokens: list[int] = []
    while len(tokens) < limit and not generator.is_done():
        generator.generate_next_token()
        tokens.append(int(generator.get_next_tokens()[0]))
    return tokens


def generate_by_appending(generator: Any, count: int) -> list[int]:
    """The same tokens, chosen here from `get_logits` and given back by `append_tokens`, one at a time."""
    tokens: list[int] = []
    for _ in range(count):
        tokens.append(int(np.argmax(generator.get_logits()[0, -1])))
        append(generator, tokens[-1:])
    return tokens


def seen(generator: Any) -> list[int]:
    """The token ids in the cache of a scripted model: what it has really been given, 0 where it was given nothing."""
    cache = generator.get_output("present.0.key").ravel()
    return [int(token) for token in cache[: generator.token_count()]]
