"""Requests of OpenAI's Responses interface, as pydantic models: the service validates and documents with them.

https://platform.openai.com/docs/api-reference/responses/create, with Foundry's additions.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import Discriminator, Field, Tag

from foundry_cli.api.content import FunctionName, Wire
from foundry_cli.api.field_notes import InPart, NoEffect, Only
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


_Callers = Annotated[list[str], Field(max_length=16)]


class FunctionTool(Wire):
    """A function that the model may call. `strict`: a schema that cannot be enforced whole is refused."""

    type: Literal["function"]
    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    defer_loading: Annotated[bool | None, InPart("only false: all tools are in the prompt")] = None
    allowed_callers: Annotated[_Callers | None, InPart("only with `direct` among them: no tools run here")] = None


class OtherTool(Wire):
    """What clients list beside their functions, whoever answers: left out, as no model need call it. Alone it is refused."""

    type: Literal["web_search", "web_search_preview", "image_generation", "namespace", "tool_search", "custom"]


_OTHER_TOOLS = frozenset(get_args(OtherTool.model_fields["type"].annotation))


def _tool_kind(tool: Any) -> str:
    kind = tool.get("type") if isinstance(tool, dict) else getattr(tool, "type", None)
    return "other" if isinstance(kind, str) and kind in _OTHER_TOOLS else "function"


ResponseTool = Annotated[
    Annotated[FunctionTool, Tag("function")] | Annotated[OtherTool, Tag("other")], Discriminator(_tool_kind)
]


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
    """JSON that satisfies a schema. `strict`: one that cannot be enforced whole is refused; otherwise the rest is enforced."""

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
    verbosity: Annotated[Literal["low", "medium", "high"] | None, Only(("medium",), "models have no such setting")] = None


_Summary = Literal["auto", "concise", "detailed"]
_ALL_THOUGHTS = "with it all that the model thinks is in `summary` of the items of type reasoning, else in their content"
_AS_TRAINED = "models have no such setting"


class ReasoningOptions(Wire):
    """How much the model is to think, and what is told of it."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    summary: Annotated[_Summary | None, Only(("auto", "detailed"), _ALL_THOUGHTS)] = None
    generate_summary: Annotated[_Summary | None, Only(("auto", "detailed"), _ALL_THOUGHTS)] = None
    context: Annotated[Literal["auto", "current_turn", "all_turns"] | None, Only(("auto",), _AS_TRAINED)] = None
    mode: Annotated[str | None, Only(("standard",), _AS_TRAINED)] = None

    @property
    def asks_for_summary(self) -> bool:
        """Whether thoughts shall be told as a summary."""
        return bool(self.summary or self.generate_summary)


class ResponseStreamOptions(Wire):
    """Options of a streamed response."""

    include_obfuscation: Annotated[bool | None, Only((False,), "events are not padded")] = None


_Number = Annotated[int, Field(ge=1, le=16)]
_OTHER_TYPES = "tools of other types are left out beside functions, and refused alone"
_NOTHING_LEFT_OUT = "nothing is left out of a conversation; send a shorter one"


class ResponsesRequest(SamplingFields):
    """What `POST /v1/responses` takes. Every number is range-checked; None is the same as not given."""

    input: str | Annotated[list[InputItem], Field(min_length=1, max_length=MOST_ITEMS)]
    instructions: str | None = None
    previous_response_id: Annotated[str, Field(max_length=128)] | None = None
    stream: bool | None = None
    stream_options: ResponseStreamOptions | None = None
    max_output_tokens: Count | None = None
    max_tool_calls: Annotated[Count | None, NoEffect("it counts tools that the service runs: there are none")] = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    include: Annotated[list[Includable], Field(max_length=20)] | None = None
    tools: Annotated[list[ResponseTool], Field(max_length=MOST_TOOLS, description=_OTHER_TYPES)] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextOptions | None = None
    reasoning: ReasoningOptions | None = None
    truncation: Annotated[Literal["auto", "disabled"] | None, Only(("disabled",), _NOTHING_LEFT_OUT)] = None
    store: Annotated[bool | None, Field(description="whether the response is kept in memory; it is, unless this is false")] = (
        None
    )
    background: Annotated[bool | None, Only((False,), "use `stream`, or wait for the answer")] = None
    n: Annotated[_Number | None, Only((1,), "a response is one answer")] = None
    metadata: Annotated[dict[_MetadataKey, _MetadataValue], Field(max_length=16)] | None = None
    prompt_cache_key: Annotated[str | None, NoEffect("common beginnings are always found")] = None
    safety_identifier: Annotated[str | None, NoEffect("nobody is told")] = None
    service_tier: Annotated[str | None, NoEffect("there is one tier")] = None

    @property
    def functions(self) -> list[tuple[int, FunctionTool]]:
        """The tools that are functions, with their places in the list."""
        return [(index, tool) for index, tool in enumerate(self.tools or ()) if isinstance(tool, FunctionTool)]


OWN_FIELDS = frozenset(
    {
        *("n", "seed", "stop", "presence_penalty", "frequency_penalty", "logit_bias"),
        *("top_k", "min_p", "random_seed", "repetition_penalty", "priority", "ttl", "ep"),
    }
)
"""Fields of the model that OpenAI's reference does not have."""

HARMLESS_FIELDS = {
    "prompt_cache_options": "common beginnings are always found",
    "prompt_cache_retention": "common beginnings are always found",
    "background_options": "they are for `background`, which is refused",
    "image": "it is about images, which are refused",
}
"""Further fields that do not change the answer here, and why; accepted without a word."""

UNSUPPORTED_FIELDS = {
    "access_programs": "models have none",
    "conversation": "use `previous_response_id`",
    "prompt": "no prompts are stored here",
    "context_management": "nothing is left out of a conversation",
    "moderation": "nothing is sent to the network",
    "messages": "it is called `input` here",
    "response_format": "it is called `text.format` here",
    "max_tokens": "it is called `max_output_tokens` here",
    "max_completion_tokens": "it is called `max_output_tokens` here",
    "reasoning_effort": "it is called `reasoning.effort` here",
    "functions": "use `tools`",
    "function_call": "use `tool_choice`",
    "logprobs": "use `include` or `top_logprobs`",
}
"""Fields that would change the answer, and why they are refused: some of OpenAI, and those that chat completions call so."""
