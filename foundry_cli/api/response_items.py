"""Items of OpenAI's Responses interface as clients send them, as pydantic models.

https://platform.openai.com/docs/api-reference/responses/create. What is not named here (images, files, sound, calls of
OpenAI's own tools) is refused by its type.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

LONGEST_IDENTITY = 128  # characters
MOST_ITEMS = 10_000
MOST_PARTS = 10_000

Identity = Annotated[str, Field(min_length=1, max_length=LONGEST_IDENTITY)]
Status = Literal["in_progress", "completed", "incomplete"]
FunctionName = Annotated[str, Field(pattern="^[a-zA-Z0-9_-]{1,64}$")]


class _Wire(BaseModel):
    model_config = ConfigDict(strict=True, extra="allow")


class TextPart(_Wire):
    """A part of a message, or of the result of a call, that is text."""

    type: Literal["input_text", "output_text", "text"]
    text: str


class RefusalPart(_Wire):
    """A part of an answer in which a model said that it will not answer."""

    type: Literal["refusal"]
    refusal: str


def _part_kind(part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    return kind if isinstance(kind, str) and kind not in ("input_text", "output_text") else "text"


Part = Annotated[Annotated[TextPart, Tag("text")] | Annotated[RefusalPart, Tag("refusal")], Discriminator(_part_kind)]
Parts = Annotated[list[Part], Field(max_length=MOST_PARTS)]


class MessageItem(_Wire):
    """A message; only here the type may be left out."""

    type: Literal["message"] | None = None
    role: Literal["user", "assistant", "system", "developer"]
    content: str | Parts
    id: Identity | None = None
    status: Status | None = None


class FunctionCallItem(_Wire):
    """A call that the model made. `arguments`: the text of a JSON object."""

    type: Literal["function_call"]
    call_id: Identity
    name: FunctionName
    arguments: str
    id: Identity | None = None
    status: Status | None = None


class FunctionCallOutputItem(_Wire):
    """What a call resulted in."""

    type: Literal["function_call_output"]
    call_id: Identity
    output: str | Parts
    id: Identity | None = None
    status: Status | None = None


class SummaryText(_Wire):
    """A part of a summary of thoughts."""

    type: Literal["summary_text"]
    text: str


class ReasoningText(_Wire):
    """A part of thoughts."""

    type: Literal["reasoning_text"]
    text: str


class ReasoningItem(_Wire):
    """What the model thought before it answered or called."""

    type: Literal["reasoning"]
    summary: Annotated[list[SummaryText], Field(max_length=MOST_PARTS)] | None = None
    content: Annotated[list[ReasoningText], Field(max_length=MOST_PARTS)] | None = None
    encrypted_content: str | None = None
    id: Identity | None = None
    status: Status | None = None


class ItemReference(_Wire):
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
