"""Requests of OpenAI's chat completions interface, as pydantic models: the service validates and documents with them.

https://platform.openai.com/docs/api-reference/chat/create, Foundry's own additions `top_k`, `random_seed`, `ttl`, `ep`, and
`min_p`, `repetition_penalty`, `priority` and grammars as response formats. The tables below say what becomes of the fields
that are not in the model; the table in the documentation is made of both.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from foundry_cli.api.chat_messages import ChatMessage
from foundry_cli.api.chat_tools import FunctionChoice, Functions, ToolChoice, Tools
from foundry_cli.api.content import Wire
from foundry_cli.api.limits import MOST_MESSAGES
from foundry_cli.api.sampling import Count, SamplingFields, StreamOptions


class JsonSchema(Wire):
    """A JSON schema that the answer must satisfy.

    `strict`: one that cannot be enforced whole is refused. Otherwise the rest is enforced, and the answer is checked.
    """

    name: Annotated[str, Field(pattern="^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    json_schema: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class PlainFormat(Wire):
    """Any text, or any JSON object."""

    type: Literal["text", "json_object"]


class JsonSchemaFormat(Wire):
    """JSON that satisfies a schema."""

    type: Literal["json_schema"]
    json_schema: JsonSchema


class RegexFormat(Wire):
    """A text that matches a regular expression, in the syntax of Rust; Foundry's own."""

    type: Literal["regex"]
    regex: Annotated[str, Field(min_length=1)]


class LarkFormat(Wire):
    """A text of a grammar, in the Lark syntax of llguidance; Foundry's own."""

    type: Literal["lark_grammar"]
    lark_grammar: Annotated[str, Field(min_length=1)]


def _format_kind(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else None
    return "text" if kind == "json_object" else str(kind)


ResponseFormat = Annotated[
    Annotated[PlainFormat, Tag("text")]
    | Annotated[JsonSchemaFormat, Tag("json_schema")]
    | Annotated[RegexFormat, Tag("regex")]
    | Annotated[LarkFormat, Tag("lark_grammar")],
    Discriminator(_format_kind),
]


_Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh"]
_METADATA = "only `top_k` and `random_seed` in it have an effect, where the fields of these names are not given"
_TEMPLATE = "further names for the chat template, as `enable_thinking` of Qwen3"


class ChatCompletionRequest(SamplingFields):
    """What `POST /v1/chat/completions` takes. Every number is range-checked; None is the same as not given."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MOST_MESSAGES)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    functions: Functions | None = None
    function_call: FunctionChoice | None = None
    reasoning_effort: Annotated[_Effort | None, Field(description="where the template of the model has such a setting")] = None
    chat_template_kwargs: Annotated[dict[str, Any] | None, Field(max_length=16, description=_TEMPLATE)] = None
    metadata: Annotated[dict[str, Any] | None, Field(description=_METADATA)] = None


OWN_FIELDS = frozenset(
    {
        *("top_k", "min_p", "random_seed", "repetition_penalty", "priority", "ttl", "ep", "chat_template_kwargs"),
        "stream_options.include_progress",
    }
)
"""Fields of the model that OpenAI's reference does not have."""

HARMLESS_FIELDS = {
    "store": "answers are never stored",
    "service_tier": "there is one tier",
    "safety_identifier": "nobody is told",
    "prompt_cache_key": "common beginnings are always found",
    "prompt_cache_options": "common beginnings are always found",
    "prompt_cache_retention": "common beginnings are always found",
    "prediction": "it could only change the speed",
}
"""Known fields that do not change the answer here, and why; accepted without a word."""

UNSUPPORTED_FIELDS = {
    "audio": "models write text only",
    "modalities": "models write text only",
    "verbosity": "models have no such setting",
    "web_search_options": "nothing is sent to the network",
    "moderation": "nothing is sent to the network",
}
"""Known fields that would change the answer and cannot be honoured, and why; refused."""

NEUTRAL_VALUES: dict[str, tuple[Any, ...]] = {"modalities": (["text"],), "verbosity": ("medium",)}
"""Values of unsupported fields that ask for nothing: what is done anyway."""
