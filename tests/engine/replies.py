"""What the tests of reply formats share: tools, putting pieces together, and random replies that a grammar allows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from llguidance import LLMatcher, LLTokenizer

from foundry_cli.engine.reply_format import CallArguments, CallStart, ReplyFormat, ReplyPiece, Text
from foundry_cli.engine.request import Grammar, Tool, ToolUse

MODEL = Path(__file__).parents[1] / "models" / "qwen2-random" / "tokenizer.json"
END = 2
MOST_TOKENS = 2000

WEATHER = Tool(
    "get_weather",
    "Tells the weather.",
    {
        "type": "object",
        "properties": {
            "city": {"type": "string", "maxLength": 12},
            "unit": {"enum": ["C", "F"]},
            "days": {"type": "array", "items": {"$ref": "#/$defs/day"}, "maxItems": 2},
        },
        "required": ["city"],
        "$defs": {"day": {"type": "integer", "minimum": 1, "maximum": 7}},
    },
)
TIME = Tool("get_time", "Tells the time.", {"type": "object", "properties": {}})
TOOLS = ToolUse((WEATHER, TIME))


@dataclass
class Reply:
    """A reply put together: calls with their names and arguments, text, thoughts."""

    text: str = ""
    reasoning: str = ""
    calls: list[tuple[str, str]] = field(default_factory=list)


def read(reply_format: ReplyFormat, parts: Iterable[str], prompt_end: str = "", tools: ToolUse | None = TOOLS) -> Reply:
    """What the parser makes of a reply that comes in `parts`."""
    parser = reply_format.new_parser(prompt_end, tools)
    assert parser is not None
    pieces: list[ReplyPiece] = []
    for part in parts:
        pieces += parser.add(part)
    return together([*pieces, *parser.end()])


def together(pieces: Sequence[ReplyPiece]) -> Reply:
    reply = Reply()
    for piece in pieces:
        if isinstance(piece, CallStart):
            assert piece.index == len(reply.calls)
            reply.calls.append((piece.name, ""))
        elif isinstance(piece, CallArguments):
            name, arguments = reply.calls[piece.index]
            reply.calls[piece.index] = (name, arguments + piece.text)
        elif isinstance(piece, Text):
            reply.text += piece.text
        else:
            reply.reasoning += piece.text
    return reply


@cache
def tokenizer(control: tuple[str, ...] = ()) -> LLTokenizer:
    """That of the model, with more control tokens behind its own."""
    fields: dict[str, Any] = json.loads(MODEL.read_text(encoding="utf-8"))
    for text, token in control_tokens(control).items():
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        fields["added_tokens"].append({"id": token, "content": text, **flags})
    return LLTokenizer(json.dumps(fields), eos_token=[END], slices=LLTokenizer.json_slices())


def control_tokens(control: Sequence[str]) -> dict[str, int]:
    return {text: 551 + number for number, text in enumerate(control)}


class Follower:
    """A reply that is written under a grammar."""

    def __init__(self, grammar: Grammar, control: tuple[str, ...] = ()) -> None:
        assert grammar.kind == "lark"
        self._tokenizer = tokenizer(control)
        self._control = {token: text for text, token in control_tokens(control).items()}
        self._matcher = LLMatcher(self._tokenizer, LLMatcher.grammar_from_lark(grammar.text), log_level=0)
        assert not self._matcher.is_error(), (self._matcher.get_error(), grammar.text)

    def write(self, text: str) -> bool:
        """Go on with a text, control tokens in it as such; whether it is allowed."""
        return all(self._matcher.consume_token(token) for token in self._tokenizer.tokenize_str(text, parse_special=True))

    @property
    def may_end(self) -> bool:
        return self._matcher.is_accepting()

    def allowed(self) -> np.ndarray:
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        assert not self._matcher.is_error(), self._matcher.get_error()
        return np.flatnonzero(np.unpackbits(bits, bitorder="little")[: self._tokenizer.vocab_size])

    def random(self, seed: int) -> str | None:
        """The rest of the reply, by chance; what ends strings, objects and the reply becomes more probable with time."""
        random = np.random.default_rng(seed)
        closing = [token for token in range(551) if set(self._tokenizer.decode_bytes([token])) <= set(b"\"'])}")]
        tokens: list[int] = []
        for step in range(MOST_TOKENS):
            if self._matcher.is_stopped():
                break
            logits = random.gumbel(0, 1, self._tokenizer.vocab_size)
            logits[[END, *closing, *self._control]] += step / 20
            allowed = self.allowed()
            token = int(allowed[np.argmax(logits[allowed])])
            if token == END:
                break
            tokens.append(token)
            assert self._matcher.consume_token(token)
        else:
            return None
        return self._text(tokens)

    def _text(self, tokens: Sequence[int]) -> str:
        data = b""
        for token in tokens:
            data += self._control[token].encode() if token in self._control else self._tokenizer.decode_bytes([token])
        return data.decode()
