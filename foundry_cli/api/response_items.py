"""Items of OpenAI's Responses interface as clients send them, as pydantic models.

https://platform.openai.com/docs/api-reference/responses/create. What is not named here (images, files, sound, calls of
OpenAI's own tools) is refused by its type.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from foundry_cli.api.content import MOST_PARTS, FunctionName, Parts, Wire

LONGEST_IDENTITY = 128  # characters
MOST_ITEMS = 10_000

Identity = Annotated[str, Field(min_length=1, max_length=LONGEST_IDENTITY)]
Status = Literal["in_progress", "completed", "incomplete"]


class MessageItem(Wire):
    """A message; only here the type may be left out."""

    type: Literal["message"] | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: str | Parts
    id: Identity | None = None
    status: Status | None = None


class FunctionCallItem(Wire):
    """A call that the model made. `arguments`: the text of a JSON object."""

    type: Literal["function_call"]
    call_id: Identity
    name: FunctionName
    arguments: str
    id: Identity | None = None
    status: Status | None = None


class FunctionCallOutputItem(Wire):
    """What a call resulted in."""

    type: Literal["function_call_output"]
    call_id: Identity
    output: str | Parts
    id: Identity | None = None
    status: Status | None = None


class SummaryText(Wire):
    """A part of a summary of thoughts."""

    type: Literal["summary_text"]
    text: str


class ReasoningText(Wire):
    """A part of thoughts."""

    type: Literal["reasoning_text"]
    text: str


class ReasoningItem(Wire):
    """What the model thought before it answered or called."""

    type: Literal["reasoning"]
    summary: Annotated[list[SummaryText], Field(max_length=MOST_PARTS)] | None = None
    content: Annotated[list[ReasoningText], Field(max_length=MOST_PARTS)] | None = None
    encrypted_content: str | None = None
    id: Identity | None = None
    status: Status | None = None


class ItemReference(Wire):
    """Stands for an item of a response that is stored."""

    type: Literal["item_reference"] | None = None
    id: Identity


def _item_kind(item: Any) -> str:
    kind = item.get("type") if isinstance(item, dict) else None
    if isinstance(item, dict) and kind is None and "id" in item and "role" not in item:
        return "item_reference"
    return kind if isinstance(kind, str) else "message"


InputItem = Annotated[
    Annotated[MessageItem, Tag("message")]
    | Annotated[FunctionCallItem, Tag("function_call")]
    | Annotated[FunctionCallOutputItem, Tag("function_call_output")]
    | Annotated[ReasoningItem, Tag("reasoning")]
    | Annotated[ItemReference, Tag("item_reference")],
    Discriminator(_item_kind),
]

HARMLESS_ITEM_FIELDS = frozenset({"annotations", "logprobs", "created_by", "caller", "name", "namespace"})
"""What the items and parts of an answer hold beside these fields, and clients send back; it has no effect."""
