"""Requests of OpenAI's embeddings interface: https://platform.openai.com/docs/api-reference/embeddings/create."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag

from foundry_cli.api.completions import Text, Tokens, kind_of_prompt
from foundry_cli.api.field_notes import NoEffect
from foundry_cli.api.limits import LARGEST_COUNT
from foundry_cli.api.sampling import PlacementFields

MOST_ENTRIES = 2048
"""Of one request."""

_Texts = Annotated[list[Text], Field(min_length=1, max_length=MOST_ENTRIES)]
_TokenLists = Annotated[list[Tokens], Field(min_length=1, max_length=MOST_ENTRIES)]
_Input = Annotated[
    Annotated[Text, Tag("text")]
    | Annotated[Tokens, Tag("tokens")]
    | Annotated[_Texts, Tag("texts")]
    | Annotated[_TokenLists, Tag("token lists")],
    Discriminator(kind_of_prompt),
]


class EmbeddingRequest(PlacementFields):
    """What `POST /v1/embeddings` takes. `input`: one or several entries, each as text or as tokens of the model."""

    input: _Input
    encoding_format: Literal["float", "base64"] | None = None
    dimensions: Annotated[int, Field(ge=1, le=LARGEST_COUNT)] | None = None
    user: Annotated[str | None, NoEffect("nobody is told")] = None


OWN_FIELDS = frozenset({"ttl", "ep"})
"""Fields of the model that OpenAI's reference does not have."""
