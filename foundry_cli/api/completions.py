"""Requests of OpenAI's older completions interface, which continues a text without a chat template.

https://platform.openai.com/docs/api-reference/completions/create, with Foundry's additions.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Discriminator, Field, Tag

from foundry_cli.api.field_notes import InPart, Only
from foundry_cli.api.limits import LARGEST_COUNT
from foundry_cli.api.sampling import SamplingFields, StreamOptions

DEFAULT_MAX_TOKENS = 16
MOST_ANSWERS = 32
"""To one request: prompts times `n`."""
LARGEST_PROMPT = 1 << 20  # tokens


def kind_of_prompt(prompt: Any) -> str:
    """Which of the four forms is meant, so that a wrong value has one complaint and not four."""
    first = prompt[0] if isinstance(prompt, list) and prompt else None
    if isinstance(first, int):
        return "tokens"
    if isinstance(first, list):
        return "token lists"
    return "texts" if isinstance(prompt, list) else "text"


Text = Annotated[str, Field(min_length=1)]
_Token = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
Tokens = Annotated[list[_Token], Field(min_length=1, max_length=LARGEST_PROMPT)]
_Texts = Annotated[list[Text], Field(min_length=1, max_length=MOST_ANSWERS)]
_TokenLists = Annotated[list[Tokens], Field(min_length=1, max_length=MOST_ANSWERS)]
_BestOf = Annotated[int, Field(ge=1, le=20)]
_Prompt = Annotated[
    Annotated[Text, Tag("text")]
    | Annotated[Tokens, Tag("tokens")]
    | Annotated[_Texts, Tag("texts")]
    | Annotated[_TokenLists, Tag("token lists")],
    Discriminator(kind_of_prompt),
]


class CompletionRequest(SamplingFields):
    """What `POST /v1/completions` takes. `prompt`: one or several, each as text or as tokens of the model."""

    prompt: _Prompt
    max_tokens: Annotated[int, Field(ge=0, le=LARGEST_COUNT)] | None = None
    echo: Annotated[bool | None, InPart("not together with `logprobs`: those of the prompt are not computed")] = None
    suffix: Annotated[str | None, Only(("",), "text before a given end cannot be generated")] = None
    best_of: Annotated[_BestOf | None, InPart("only the value of `n`: answers are not compared")] = None
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


OWN_FIELDS = frozenset(
    {"top_k", "min_p", "random_seed", "repetition_penalty", "priority", "ttl", "ep", "stream_options.include_progress"}
)
"""Fields of the model that OpenAI's reference does not have."""

HARMLESS_FIELDS = dict.fromkeys(
    ("store", "metadata", "service_tier", "safety_identifier", "prompt_cache_key"),
    "a field of chat completions; it would not change the answer",
)
"""Fields that do not change the answer here, and why; accepted without a word."""

UNSUPPORTED_FIELDS = dict.fromkeys(
    ("messages", "tools", "tool_choice", "functions", "function_call", "response_format", "reasoning_effort"),
    "it is a field of /v1/chat/completions",
)
"""Fields that would change the answer, and that this interface does not have, and why; refused."""
