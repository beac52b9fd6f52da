"""Fields with which several of OpenAI's interfaces say how an answer is to be written, and Foundry's additions to them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from foundry_cli.api.field_notes import NoEffect
from foundry_cli.api.limits import LARGEST_COUNT, LARGEST_SEED

Count = Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
Seed = Annotated[int, Field(ge=-(2**63), le=LARGEST_SEED)]
StopText = Annotated[str, Field(max_length=1000)]
StopTexts = Annotated[list[StopText], Field(max_length=16)]
_TokenId = Annotated[str, Field(pattern="^[0-9]{1,9}$")]
_Bias = Annotated[float, Field(ge=-100, le=100)]


class StreamOptions(BaseModel):
    """Options of a streamed answer. `include_progress`: chunks that say how far the prompt has been read; Foundry's own."""

    model_config = ConfigDict(strict=True, extra="allow")

    include_usage: bool | None = None
    include_obfuscation: Annotated[bool | None, NoEffect("events are not padded")] = None
    include_progress: bool | None = None


class PlacementFields(BaseModel):
    """Which model answers, where it runs and how long it stays loaded. Every number is range-checked; None: not given."""

    model_config = ConfigDict(strict=True, extra="allow")

    model: Annotated[str, Field(min_length=1, max_length=512, description="id, id without version, or alias")]
    ttl: Annotated[int, Field(ge=0, le=315_360_000, description="seconds of idleness before the model is unloaded")] | None = (
        None
    )
    ep: Annotated[str, Field(max_length=64, description="execution provider")] | None = None


class SamplingFields(PlacementFields):
    """How the tokens are chosen, how many answers there are, and where they end."""

    n: Annotated[int, Field(ge=1, le=16)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=LARGEST_COUNT)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Seed | None = None
    random_seed: Seed | None = None
    stop: StopText | StopTexts | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Field(ge=0.01, le=10)] | None = None
    logit_bias: Annotated[dict[_TokenId, _Bias], Field(max_length=1024)] | None = None
    priority: Annotated[
        Literal["interactive", "background"] | None, Field(description="background: only while no other request is answered")
    ] = None
    user: Annotated[str | None, NoEffect("nobody is told")] = None
