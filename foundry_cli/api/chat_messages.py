"""Messages of OpenAI's chat completions interface, as pydantic models.

https://platform.openai.com/docs/api-reference/chat/create#chat-create-messages.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from foundry_cli.api.content import FunctionName, Parts, TextPart, Wire

_MOST_CALLS = 1000
_LONGEST_IDENTITY = 512

Identity = Annotated[str, Field(min_length=1, max_length=_LONGEST_IDENTITY)]


Content = str | Parts


class FunctionCall(Wire):
    """A function and the text of the JSON object that is passed to it."""

    name: FunctionName
    arguments: str


class ToolCall(Wire):
    """A call that the model made."""

    id: Identity
    type: Literal["function"] = "function"
    function: FunctionCall


class SystemMessage(Wire):
    """What the application says."""

    role: Literal["system", "developer"]
    content: Content
    name: str | None = None


class UserMessage(Wire):
    """What the user says."""

    role: Literal["user"]
    content: Content
    name: str | None = None


class AssistantMessage(Wire):
    """What the model said."""

    role: Literal["assistant"]
    content: Content | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=_MOST_CALLS)] | None = None
    function_call: FunctionCall | None = None
    name: str | None = None


class ToolMessage(Wire):
    """What a call resulted in."""

    role: Literal["tool"]
    content: Content
    tool_call_id: Identity
    name: str | None = None


class FunctionMessage(Wire):
    """The same in the older form."""

    role: Literal["function"]
    name: FunctionName
    content: Content | None


def _role(message: Any) -> str:
    role = message.get("role") if isinstance(message, dict) else None
    return "system" if role == "developer" else str(role)


ChatMessage = Annotated[
    Annotated[SystemMessage, Tag("system")]
    | Annotated[UserMessage, Tag("user")]
    | Annotated[AssistantMessage, Tag("assistant")]
    | Annotated[ToolMessage, Tag("tool")]
    | Annotated[FunctionMessage, Tag("function")],
    Discriminator(
        _role,
        custom_error_type="unknown_role",
        custom_error_message="the role must be system, developer, user, assistant, tool or function",
    ),
]

HARMLESS_MESSAGE_FIELDS = frozenset({"annotations", "audio", "reasoning", "reasoning_details"})
"""What an answer holds beside these fields, and clients send back; it has no effect. `audio` must be empty."""


def content_text(content: Content | None) -> str:
    """The content as one text."""
    if isinstance(content, list):
        return "".join(part.text if isinstance(part, TextPart) else part.refusal for part in content)
    return content or ""
