"""Requests of the older completions interface in the engine's terms: pure functions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from foundry_cli.api.completions import (
    DEFAULT_MAX_TOKENS,
    HARMLESS_FIELDS,
    MOST_ANSWERS,
    UNSUPPORTED_FIELDS,
    CompletionRequest,
)
from foundry_cli.engine.request import GenerationRequest
from foundry_cli.errors import InvalidRequestError, UnsupportedFieldError
from foundry_cli.service.fields import refuse_fields, validated
from foundry_cli.service.sampling import sampling_parameters, stop_sequences

Prompt = str | tuple[int, ...]


@dataclass(frozen=True)
class Completion:
    """A valid request: as sent, for the engine (one request per prompt), and what nobody here knows of it."""

    wire: CompletionRequest
    generations: tuple[GenerationRequest, ...]
    ignored_fields: list[str]

    @property
    def count(self) -> int:
        """Answers to each prompt."""
        return self.wire.n or 1


def read_completion(document: dict[str, Any]) -> Completion:
    """All that can be done with a request body before a model is needed. Raises `InvalidRequestError` naming the field."""
    wire = validated(CompletionRequest, document)
    _check_supported(wire)
    prompts = _prompts(wire)
    if len(prompts) * (wire.n or 1) > MOST_ANSWERS:
        message = f"prompt: {len(prompts)} prompts with n = {wire.n or 1} are more than {MOST_ANSWERS} answers."
        raise InvalidRequestError(message, hint="Send them in several requests.", param="prompt")
    known = {*HARMLESS_FIELDS, *UNSUPPORTED_FIELDS}
    ignored = sorted(name for name in wire.model_extra or {} if name not in known)
    return Completion(wire, tuple(_generation(wire, prompt) for prompt in prompts), ignored)


def _check_supported(wire: CompletionRequest) -> None:
    refuse_fields(wire, UNSUPPORTED_FIELDS)
    if wire.best_of is not None and wire.best_of != (wire.n or 1):
        message = "best_of: answers are not compared, so only the value of n is possible."
        raise UnsupportedFieldError(message, hint="Leave the field out.", param="best_of")
    if wire.echo and wire.logprobs is not None:
        message = "echo: log-probabilities of the prompt are not computed, so echo and logprobs exclude each other."
        raise UnsupportedFieldError(message, hint="Leave out one of the two.", param="echo")
    if wire.stream_options is not None and not wire.stream:
        raise InvalidRequestError("stream_options: only allowed when stream is true.", param="stream_options")


def _prompts(wire: CompletionRequest) -> list[Prompt]:
    if isinstance(wire.prompt, str):
        return [wire.prompt]
    tokens = [part for part in wire.prompt if isinstance(part, int)]
    if tokens:
        return [tuple(tokens)]
    return [part if isinstance(part, str) else tuple(part) for part in wire.prompt if not isinstance(part, int)]


def _generation(wire: CompletionRequest, prompt: Prompt) -> GenerationRequest:
    return GenerationRequest(
        prompt=prompt,
        max_tokens=DEFAULT_MAX_TOKENS if wire.max_tokens is None else wire.max_tokens,
        stop=stop_sequences(wire.stop),
        sampling=sampling_parameters(wire),
        logprobs=wire.logprobs,
        priority=wire.priority or "interactive",
    )
