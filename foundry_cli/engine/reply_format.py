"""What a model's reply is made of: text, what it thinks before it, and calls of tools, each written as its family does.

A family is a module in `reply_formats/`; `find_reply_format` there chooses it by the chat template. Its parser takes a reply
apart while it comes; its grammar sees to it that there is something to take apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from foundry_cli.engine.request import Grammar, ToolUse


@dataclass(frozen=True)
class Text:
    """Some of the answer."""

    text: str


@dataclass(frozen=True)
class Reasoning:
    """Some of what the model thinks, without its markers."""

    text: str


@dataclass(frozen=True)
class CallStart:
    """A call begins: of the tool `name`, the `index`th of the reply, from 0."""

    index: int
    name: str


@dataclass(frozen=True)
class CallArguments:
    """Some of the text of the JSON object that the call `index` passes."""

    index: int
    text: str


ReplyPiece = Text | Reasoning | CallStart | CallArguments


class ReplyParser(Protocol):
    """State machine over the text of one reply. However that is cut, the pieces put together are the same."""

    @property
    def is_reasoning(self) -> bool:
        """Whether what comes next is thought, as far as is known."""

    def add(self, text: str) -> Sequence[ReplyPiece]:
        """What is certain after more text; what may be the beginning of a marker is held back."""

    def end(self) -> Sequence[ReplyPiece]:
        """What was held back, at the end of the reply. An incomplete call stays incomplete; a marker alone is nothing."""


class ReplyFormat(Protocol):
    """How one family of models writes."""

    @property
    def name(self) -> str:
        """Of the family."""

    @property
    def visible_tokens(self) -> frozenset[str]:
        """Control tokens that are markers of the format: they are in the text for the parser, other control tokens are not."""

    def new_parser(self, prompt_end: str, tools: ToolUse | None) -> ReplyParser | None:
        """The parser of a reply to a prompt that ends so (it may have opened a thought); None when all of it is text.

        Without `tools` nothing is a call.
        """

    def grammar(
        self, prompt_end: str, tools: ToolUse | None, answer: Grammar | None, control_tokens: Mapping[str, int]
    ) -> Grammar | None:
        """The grammar of the whole reply, as `lark`: thoughts are free, calls match their schemas, `answer` is the text.

        None when everything is allowed. Raises `InvalidRequestError` for what cannot be enforced.
        """

    def instructions(self, tools: ToolUse) -> str | None:
        """What the system message must say because the template does not know tools; None when it does."""
