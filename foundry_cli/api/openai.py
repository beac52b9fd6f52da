"""Requests of OpenAI's chat completions interface, as pydantic models: the service validates and documents with them.

https://platform.openai.com/docs/api-reference/chat/create, Foundry's own additions `top_k`, `random_seed`, `ttl`, `ep`, and
`min_p`, `repetition_penalty` and `priority`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

LARGEST_COUNT = 2**31 - 1
LARGEST_SEED = 2**64 - 1
LARGEST_SCHEMA = 64 * 1024  # bytes, as compact JSON

_Count = Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
_Seed = Annotated[int, Field(ge=-(2**63), le=LARGEST_SEED)]
_StopText = Annotated[str, Field(max_length=1000)]
_TokenId = Annotated[str, Field(pattern="^[0-9]{1,9}$")]
_Bias = Annotated[float, Field(ge=-100, le=100)]


class TextPart(BaseModel):
    """A part of a message that is text."""

    model_config = ConfigDict(strict=True, extra="ignore")
    type: Literal["text", "input_text"]
    text: str


class ChatMessage(BaseModel):
    """One message of the conversation."""

    model_config = ConfigDict(strict=True, extra="allow")
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[TextPart] | None = None
    name: str | None = None

    def text(self) -> str:
        """The content as one text."""
        if isinstance(self.content, list):
            return "".join(part.text for part in self.content)
        return self.content or ""


class StreamOptions(BaseModel):
    """Options of a streamed answer."""

    model_config = ConfigDict(strict=True, extra="ignore")
    include_usage: bool | None = None


class JsonSchema(BaseModel):
    """A JSON schema that the answer must satisfy, whatever `strict` says."""

    model_config = ConfigDict(strict=True, extra="ignore")
    name: Annotated[str, Field(pattern="^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    json_schema: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class ResponseFormat(BaseModel):
    """What the text of the answer must be like."""

    model_config = ConfigDict(strict=True, extra="ignore")
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class ChatCompletionRequest(BaseModel):
    """What `POST /v1/chat/completions` takes. Every number is range-checked; None is the same as not given."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: Annotated[str, Field(min_length=1, max_length=512, description="id, id without version, or alias")]
    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=10_000)]
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: _Count | None = None
    max_completion_tokens: _Count | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=LARGEST_COUNT)] | None = None
    seed: _Seed | None = None
    random_seed: _Seed | None = None
    stop: _StopText | Annotated[list[_StopText], Field(max_length=16)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    logit_bias: Annotated[dict[_TokenId, _Bias], Field(max_length=1024)] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    n: Annotated[int, Field(ge=1, le=16)] | None = None
    priority: Annotated[
        Literal["interactive", "background"] | None, Field(description="background: only while no other request is answered")
    ] = None
    ttl: Annotated[int, Field(ge=0, le=315_360_000, description="seconds of idleness before the model is unloaded")] | None = (
        None
    )
    ep: Annotated[str, Field(max_length=64)] | None = None
    user: str | None = None
    metadata: dict[str, Any] | None = None


HARMLESS_FIELDS = frozenset(
    {"store", "service_tier", "safety_identifier", "prompt_cache_key", "prediction", "parallel_tool_calls"}
)
"""Known fields that do not change the answer here; accepted without a word."""

HARMLESS_MESSAGE_FIELDS = frozenset({"tool_calls", "function_call", "audio", "refusal", "annotations"})
"""The same of messages: what an answer holds and clients send back, as long as it is empty."""

UNSUPPORTED_FIELDS = (
    "tools", "tool_choice", "functions", "function_call", "audio", "modalities", "reasoning_effort", "web_search_options",
    "verbosity",
)  # fmt: skip
"""Known fields that would change the answer and are refused until they do."""

NEUTRAL_VALUES: dict[str, tuple[Any, ...]] = {
    "tools": ([],),
    "functions": ([],),
    "tool_choice": ("none", "auto"),
    "function_call": ("none", "auto"),
    "modalities": (["text"],),
}
"""Values of unsupported fields that ask for nothing: what is done anyway."""
