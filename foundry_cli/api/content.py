"""What messages are made of in OpenAI's chat completions and in the Responses interface alike.

What is not text (images, sound, files) is refused by its type.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

MOST_PARTS = 10_000

FunctionName = Annotated[str, Field(pattern="^[a-zA-Z0-9_-]{1,64}$")]


class Wire(BaseModel):
    """An object of a request; fields that it does not know are kept, so that they can be named."""

    model_config = ConfigDict(strict=True, extra="allow")


class TextPart(Wire):
    """A part of a message, or of the result of a call, that is text."""

    type: Literal["text", "input_text", "output_text"]
    text: str


class RefusalPart(Wire):
    """A part of an answer in which a model said that it will not answer."""

    type: Literal["refusal"]
    refusal: str


def _part_kind(part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    return kind if isinstance(kind, str) and kind not in ("input_text", "output_text") else "text"


Part = Annotated[Annotated[TextPart, Tag("text")] | Annotated[RefusalPart, Tag("refusal")], Discriminator(_part_kind)]
Parts = Annotated[list[Part], Field(max_length=MOST_PARTS)]
