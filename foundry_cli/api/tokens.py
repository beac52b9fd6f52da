"""Requests that turn text into tokens and back."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from foundry_cli.api.completions import LARGEST_PROMPT
from foundry_cli.api.limits import LARGEST_COUNT
from foundry_cli.api.sampling import PlacementFields

_Token = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]


class TokenizeRequest(PlacementFields):
    """What `POST /tokenize` takes: a text (`content` or `prompt`), or `messages` and `tools` as a chat completion has them."""

    content: str | None = None
    prompt: str | None = None
    messages: list[dict[str, Any]] | None = None
    add_special: bool | None = None
    add_special_tokens: bool | None = None
    add_generation_prompt: bool | None = None


class DetokenizeRequest(PlacementFields):
    """What `POST /detokenize` takes."""

    tokens: Annotated[list[_Token], Field(max_length=LARGEST_PROMPT)]


TOKENIZE_UNSUPPORTED_FIELDS = dict.fromkeys(
    ("with_pieces", "return_token_strs", "continue_final_message", "chat_template"), "it is a field of other servers"
)
"""Fields that would change the answer, and that are not supported here, and why; refused."""
