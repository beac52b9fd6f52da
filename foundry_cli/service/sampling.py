"""The sampling fields of OpenAI's interfaces in the engine's terms."""

from __future__ import annotations

from foundry_cli.api.sampling import SamplingFields
from foundry_cli.engine.request import SamplingParameters


def sampling_parameters(fields: SamplingFields) -> SamplingParameters:
    """How the next token is chosen, as the engine takes it."""
    return SamplingParameters(
        temperature=fields.temperature,
        top_p=fields.top_p,
        top_k=fields.top_k,
        seed=fields.random_seed if fields.seed is None else fields.seed,
        presence_penalty=fields.presence_penalty or 0.0,
        frequency_penalty=fields.frequency_penalty or 0.0,
        repetition_penalty=fields.repetition_penalty,
        min_p=fields.min_p or 0.0,
        logit_bias=tuple({int(token): bias for token, bias in (fields.logit_bias or {}).items()}.items()),
    )


def stop_sequences(stop: str | list[str] | None) -> tuple[str, ...]:
    """The texts that end an answer."""
    return (stop,) if isinstance(stop, str) else tuple(stop or ())
