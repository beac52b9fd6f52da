"""Requests of OpenAI's Responses interface, as pydantic models: the service validates and documents with them.

https://platform.openai.com/docs/api-reference/responses/create, with Foundry's additions.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from foundry_cli.api.content import FunctionName, Wire
from foundry_cli.api.limits import MOST_TOOLS
from foundry_cli.api.openai import LarkFormat, PlainFormat, RegexFormat
from foundry_cli.api.response_items import MOST_ITEMS, InputItem
from foundry_cli.api.sampling import Count, SamplingFields

Includable = Literal[
    "message.output_text.logprobs",
    "reasoning.encrypted_content",
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
]
"""What may be asked for. Log-probabilities are added; thoughts are always there, unencrypted; the rest never occurs here."""

_MetadataKey = Annotated[str, Field(max_length=64)]
_MetadataValue = Annotated[str, Field(max_length=512)]


class FunctionTool(Wire):
    """A function that the model may call. `strict`: a schema that cannot be enforced whole is refused."""

    type: Literal["function"]
    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    defer_loading: bool | None = None
    allowed_callers: Annotated[list[str], Field(max_length=16)] | None = None


class NamedFunction(Wire):
    """The function that must be called, or one of several that may."""

    type: Literal["function"]
    name: FunctionName


class AllowedTools(Wire):
    """Those of the tools that may be called this time."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedFunction], Field(min_length=1, max_length=MOST_TOOLS)]


def _choice_kind(choice: Any) -> str:
    kind = choice.get("type", "function") if isinstance(choice, dict) else "mode"
    return kind if isinstance(kind, str) else "function"


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("mode")]
    | Annotated[NamedFunction, Tag("function")]
    | Annotated[AllowedTools, Tag("allowed_tools")],
    Discriminator(_choice_kind),
]


class SchemaFormat(Wire):
    """JSON that satisfies a schema, whatever `strict` says."""

    type: Literal["json_schema"]
    name: FunctionName
    json_schema: Annotated[dict[str, Any], Field(alias="schema")]
    description: str | None = None
    strict: bool | None = None


def _format_kind(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else None
    return kind if isinstance(kind, str) and kind != "json_object" else "text"


TextFormat = Annotated[
    Annotated[PlainFormat, Tag("text")]
    | Annotated[SchemaFormat, Tag("json_schema")]
    | Annotated[RegexFormat, Tag("regex")]
    | Annotated[LarkFormat, Tag("lark_grammar")],
    Discriminator(_format_kind),
]


class TextOptions(Wire):
    """How the text of the answer is to be."""

    format: TextFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningOptions(Wire):
    """How much the model is to think, and what is told of it."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    context: Literal["auto", "current_turn", "all_turns"] | None = None
    mode: str | None = None


class ResponseStreamOptions(Wire):
    """Options of a streamed response."""

    include_obfuscation: bool | None = None


class ResponsesRequest(SamplingFields):
    """What `POST /v1/responses` takes. Every number is range-checked; None is the same as not given."""

    input: str | Annotated[list[InputItem], Field(min_length=1, max_length=MOST_ITEMS)]
    instructions: str | None = None
    previous_response_id: Annotated[str, Field(max_length=128)] | None = None
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    max_output_tokens: Count | None = None
    max_tool_calls: Annotated[Count | None, Field(description="of tools that the service runs: there are none")] = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    include: Annotated[list[Includable], Field(max_length=20)] | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=MOST_TOOLS)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    truncation: Literal["auto", "disabled"] | None = None
    store: Annotated[bool | None, Field(description="keep the response in the memory of the service; None: yes")] = None
    background: bool | None = None
    metadata: Annotated[dict[_MetadataKey, _MetadataValue], Field(max_length=16)] | None = None
    prompt_cache_key: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None


HARMLESS_FIELDS = frozenset({"prompt_cache_options", "prompt_cache_retention"})
"""Further fields that do not change the answer here; accepted without a word."""

UNSUPPORTED_FIELDS = (
    "conversation", "prompt", "context_management", "moderation", "messages", "response_format", "max_tokens",
    "max_completion_tokens", "reasoning_effort", "functions", "function_call", "logprobs",
)  # fmt: skip
"""Fields that would change the answer: those of OpenAI that are not here, and those that chat completions call so."""
