"""Requests of OpenAI's older completions interface, which continues a text without a chat template.

https://platform.openai.com/docs/api-reference/completions/create, with Foundry's additions.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from foundry_cli.api.limits import LARGEST_COUNT
from foundry_cli.api.sampling import SamplingFields, StreamOptions

DEFAULT_MAX_TOKENS = 16
MOST_ANSWERS = 32
"""To one request: prompts times `n`."""
LARGEST_PROMPT = 1 << 20  # tokens


def _kind_of_prompt(prompt: Any) -> str:
    """Which of the four forms is meant, so that a wrong value has one complaint and not four."""
    first = prompt[0] if isinstance(prompt, list) and prompt else None
    if isinstance(first, int):
        return "tokens"
    if isinstance(first, list):
        return "token lists"
    return "texts" if isinstance(prompt, list) else "text"


_Text = Annotated[str, Field(min_length=1)]
_Token = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
_Tokens = Annotated[list[_Token], Field(min_length=1, max_length=LARGEST_PROMPT)]
_Texts = Annotated[list[_Text], Field(min_length=1, max_length=MOST_ANSWERS)]
_TokenLists = Annotated[list[_Tokens], Field(min_length=1, max_length=MOST_ANSWERS)]
_Prompt = Annotated[
    Annotated[_Text, Tag("text")]
    | Annotated[_Tokens, Tag("tokens")]
    | Annotated[_Texts, Tag("texts")]
    | Annotated[_TokenLists, Tag("token lists")],
    Discriminator(_kind_of_prompt),
]


class CompletionRequest(SamplingFields):
    """What `POST /v1/completions` takes. `prompt`: one or several, each as text or as tokens of the model."""

    prompt: _Prompt
    max_tokens: Annotated[int, Field(ge=0, le=LARGEST_COUNT)] | None = None
    echo: bool | None = None
    suffix: str | None = None
    best_of: Annotated[int, Field(ge=1, le=20)] | None = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


HARMLESS_FIELDS = frozenset({"store", "metadata", "service_tier", "safety_identifier", "prompt_cache_key"})
"""Fields that do not change the answer here; accepted without a word."""

UNSUPPORTED_FIELDS = ("messages", "tools", "tool_choice", "functions", "function_call", "response_format", "reasoning_effort")
"""Fields of chat completions that would change the answer, and that this interface does not have."""
