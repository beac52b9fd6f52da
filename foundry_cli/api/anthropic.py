"""Anthropic's Messages interface, as pydantic models: the service validates and documents with them.

https://docs.anthropic.com/en/api/messages, with Foundry's additions `ttl` and `ep`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from foundry_cli.api.errors import full_message
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
    type: str | None = None
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
    budget_tokens: Count | None = None
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
    metadata: dict[str, Any] | None = None


HARMLESS_FIELDS = frozenset(
    {
        "service_tier",
        "cache_control",
        "inference_geo",
        "speed",
        "diagnostics",
        "user_profile_id",
        "workspace_id",
        "betas",
        "billing_policy",
    }
)
"""Fields that do not change the answer here; accepted without a word."""

HARMLESS_TOOL_FIELDS = frozenset({"cache_control", "eager_input_streaming", "allowed_callers"})
"""The same of tools."""

UNSUPPORTED_FIELDS = (
    "container", "context_management", "compaction", "fallbacks", "mcp_servers", "output_format", "prompt",
)  # fmt: skip
"""Fields that would change the answer and are refused."""

THREAD_FIELD = "thread"
"""A conversation that the server keeps. It is refused in a way after which clients send all of the conversation."""

UNSUPPORTED_TOOL_FIELDS = ("defer_loading", "input_examples")
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
