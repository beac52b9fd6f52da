"""Anthropic's Messages interface, as pydantic models: the service validates and documents with them.

https://docs.anthropic.com/en/api/messages, with Foundry's additions `ttl` and `ep`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from foundry_cli.api.errors import full_message
from foundry_cli.api.field_notes import InPart, NoEffect
from foundry_cli.api.limits import LARGEST_COUNT
from foundry_cli.api.sampling import Count, PlacementFields, StopTexts
from foundry_cli.errors import FoundryError, UnsupportedFieldError

_Name = Annotated[str, Field(pattern="^[a-zA-Z0-9_-]{1,128}$")]
_Identity = Annotated[str, Field(min_length=1, max_length=256)]


class _Part(BaseModel):
    """Blocks may have more fields, such as `cache_control` and `citations`, which do not change the answer."""

    model_config = ConfigDict(strict=True, extra="ignore")


class TextBlock(_Part):
    """Some text."""

    type: Literal["text"]
    text: str


class ToolUseBlock(_Part):
    """A call of a tool that the model has made; `input` are its arguments."""

    type: Literal["tool_use"]
    id: _Identity
    name: _Name
    input: dict[str, Any]


class ToolResultBlock(_Part):
    """What came of a call."""

    type: Literal["tool_result"]
    tool_use_id: _Identity
    content: str | list[TextBlock] | None = None
    is_error: bool | None = None


class ThinkingBlock(_Part):
    """What the model has thought; the signature is for the service that wrote it, and this one has none."""

    type: Literal["thinking"]
    thinking: str
    signature: str | None = None


class RedactedThinkingBlock(_Part):
    """Thoughts that only another service can read; nothing of them reaches the model."""

    type: Literal["redacted_thinking"]
    data: str


ContentBlock = Annotated[
    TextBlock | ToolUseBlock | ToolResultBlock | ThinkingBlock | RedactedThinkingBlock, Field(discriminator="type")
]


class Message(_Part):
    """One message of the conversation."""

    role: Literal["user", "assistant", "system"]
    content: str | list[ContentBlock]


class ToolDefinition(BaseModel):
    """A tool that the caller carries out. Tools that Anthropic carries out have another `type`, and do not exist here."""

    model_config = ConfigDict(strict=True, extra="allow")
    type: Annotated[str | None, InPart("only `custom`: no tools run here")] = None
    name: _Name
    description: str | None = None
    input_schema: dict[str, Any] | None = None
    strict: bool | None = None


class ToolChoice(_Part):
    """Whether the model calls a tool; `name` for the type `tool`."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(_Part):
    """Whether the model thinks before it answers, and whether its thoughts are told. The budget is not kept."""

    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: Annotated[Count | None, NoEffect("a budget is not kept; the header says so")] = None
    display: Literal["summarized", "omitted"] | None = None


class OutputFormat(_Part):
    """What the text of the answer must be like."""

    type: Literal["json_schema"]
    json_schema: Annotated[dict[str, Any], Field(alias="schema")]


class OutputConfig(_Part):
    """How much the model thinks, and what it writes."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: OutputFormat | None = None


class ConversationRequest(PlacementFields):
    """What `POST /v1/messages/count_tokens` takes: everything that becomes a part of the prompt."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=10_000)]
    system: str | list[TextBlock] | None = None
    tools: Annotated[list[ToolDefinition], Field(max_length=128)] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None


class MessageRequest(ConversationRequest):
    """What `POST /v1/messages` takes."""

    max_tokens: Count
    stream: bool | None = None
    stop_sequences: StopTexts | None = None
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=LARGEST_COUNT)] | None = None
    metadata: Annotated[dict[str, Any] | None, NoEffect("nobody is told")] = None


OWN_FIELDS = frozenset({"ttl", "ep"})
"""Fields of the model that Anthropic's reference does not have."""

HARMLESS_FIELDS = {
    "service_tier": "there is one tier",
    "cache_control": "common beginnings are always found",
    "inference_geo": "everything is computed on this machine",
    "speed": "there is one speed",
    "diagnostics": "nothing is sent to the network",
    "user_profile_id": "nobody is told",
    "workspace_id": "there is one workspace",
    "betas": "what they ask for has fields of its own",
    "billing_policy": "nothing is billed",
    "fallback_credit_token": "nothing is billed",
}
"""Fields that do not change the answer here, and why; accepted without a word."""

HARMLESS_TOOL_FIELDS = {
    "cache_control": "common beginnings are always found",
    "eager_input_streaming": "arguments are always streamed as they are written",
    "allowed_callers": "no tools run here that could call it",
}
"""The same of tools."""

THREAD_FIELD = "thread"
"""A conversation that the server keeps. It is refused in a way after which clients send all of the conversation."""

UNSUPPORTED_FIELDS = {
    "container": "no tools run here",
    "context_management": 'nothing is left out of a conversation (edits with `keep` "all" are accepted)',
    "compaction": "nothing is left out of a conversation",
    "fallbacks": "only the model that is named answers",
    "mcp_servers": "no tools run here",
    "output_format": "it is called `output_config.format` here",
    "prompt": "this interface takes `messages`",
    THREAD_FIELD: "conversations are not kept; send all of their messages",
}
"""Fields that would change the answer, and why they are refused."""


def is_neutral(name: str, value: Any) -> bool:
    """Whether an unsupported field asks for what is done anyway: an edit of the context that keeps everything."""
    edits = value.get("edits") if name == "context_management" and isinstance(value, dict) else None
    return isinstance(edits, list) and all(isinstance(edit, dict) and edit.get("keep") == "all" for edit in edits)


UNSUPPORTED_TOOL_FIELDS = {
    "defer_loading": "all tools are in the prompt",
    "input_examples": "no template of a model has a place for them; put them into the description",
}
"""The same of tools."""

_ERROR_TYPES = {
    400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
    408: "timeout_error", 413: "request_too_large", 429: "rate_limit_error", 503: "overloaded_error",
}  # fmt: skip


class ThreadUnsupportedError(UnsupportedFieldError):
    """The conversation is not kept; clients know the code and go on without."""

    code = "thread_unsupported_request"


def error_body(error: FoundryError, status: int) -> dict[str, Any]:
    """`error` as Anthropic's clients expect it, for the HTTP status that goes with it."""
    kind = _ERROR_TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    details = {"details": {"error_code": error.code}} if isinstance(error, ThreadUnsupportedError) else {}
    return {"type": "error", "error": {"type": kind, "message": full_message(error), **details}}
