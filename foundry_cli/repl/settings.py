"""Settings of a chat, and the parameters that `/set` changes."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass, fields, replace
from typing import Any

from foundry_cli.errors import InvalidRequestError


@dataclass(frozen=True)
class ChatSettings:
    """How answers are made; None leaves it to the model."""

    system: str | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    repetition_penalty: float | None = None
    stop: tuple[str, ...] | None = None
    ttl: int | None = None
    verbose: bool = False

    def request_parameters(self) -> dict[str, Any]:
        """The settings that go with a request."""
        names = [field.name for field in fields(self) if field.name not in ("system", "verbose")]
        values = {name: getattr(self, name) for name in names}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items() if value is not None}


@dataclass(frozen=True)
class Parameter:
    """A parameter of `/set`; `kind` is `int`, `float`, `stop` or `switch`."""

    name: str
    kind: str
    description: str
    low: float = 0
    high: float = 0

    def parse(self, text: str) -> Any:
        """The value that `text` means. Raises `InvalidRequestError`."""
        if self.kind == "stop":
            return _parse_stop(text)
        if self.kind == "switch":
            return self._parse_switch(text)
        try:
            value: float = int(text) if self.kind == "int" else float(text)
        except ValueError:
            raise self._wrong(text) from None
        if not self.low <= value <= self.high:  # also for what is not a number
            raise self._wrong(text)
        return value

    @property
    def values(self) -> str:
        """The values that can be given, as a phrase."""
        if self.kind == "stop":
            return "a text, or a JSON list of up to 16 texts"
        if self.kind == "switch":
            return "on or off"
        noun = "a whole number" if self.kind == "int" else "a number"
        return f"{noun} from {self.low} to {self.high}"

    def _parse_switch(self, text: str) -> bool:
        values = {"on": True, "true": True, "off": False, "false": False}
        if text.lower() not in values:
            raise self._wrong(text)
        return values[text.lower()]

    def _wrong(self, text: str) -> InvalidRequestError:
        return InvalidRequestError(f"{self.name} cannot be {text!r}; it is {self.values}.", param=self.name)


PARAMETERS = (
    Parameter("temperature", "float", "randomness; 0 always takes the likeliest token", 0, 2),
    Parameter("top_p", "float", "share of the probability to choose from", 0, 1),
    Parameter("top_k", "int", "number of tokens to choose from", 0, 1_000_000),
    Parameter("max_tokens", "int", "longest answer, in tokens", 1, 10_000_000),
    Parameter("seed", "int", "makes answers repeatable", 0, 2**32 - 1),
    Parameter("presence_penalty", "float", "above 0: fewer words that were used", -2, 2),
    Parameter("frequency_penalty", "float", "above 0: fewer words that were used often", -2, 2),
    Parameter("repetition_penalty", "float", "above 1: less repetition", 0.01, 10),
    Parameter("stop", "stop", "text that ends the answer"),
    Parameter("ttl", "int", "seconds of idleness before the model is unloaded", 1, 315_360_000),
    Parameter("verbose", "switch", "statistics after every answer"),
)


def set_parameter(settings: ChatSettings, argument: str) -> ChatSettings:
    """The settings after `/set argument`, a name and a value; the value `default` resets. Raises `InvalidRequestError`."""
    name, _, text = argument.partition(" ")
    parameter, text = find_parameter(name), text.strip()
    value = getattr(ChatSettings(), parameter.name) if text.lower() == "default" else parameter.parse(text)
    return replace(settings, **{parameter.name: value})


def find_parameter(name: str) -> Parameter:
    """The parameter called `name`, also with hyphens. Raises `InvalidRequestError`."""
    wanted = name.lower().replace("-", "_")
    names = [parameter.name for parameter in PARAMETERS]
    if wanted not in names:
        near = difflib.get_close_matches(wanted, names, n=1)
        hint = f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(names)}."
        raise InvalidRequestError(f"There is no parameter {name!r}.", hint=hint, param=name)
    return PARAMETERS[names.index(wanted)]


def value_text(settings: ChatSettings, parameter: Parameter) -> str:
    """The value of `parameter` in `settings`, as a person would write it."""
    value = getattr(settings, parameter.name)
    if value is None:
        return "default"
    if isinstance(value, bool):
        return "on" if value else "off"
    return json.dumps(list(value), ensure_ascii=False) if isinstance(value, tuple) else f"{value}"


def describe_parameters(settings: ChatSettings) -> list[tuple[str, str]]:
    """Every parameter: name and value, and what it means."""
    width = max(len(parameter.name) for parameter in PARAMETERS)
    return [
        (f"{parameter.name:<{width}}  {value_text(settings, parameter)}", f"{parameter.description}: {parameter.values}")
        for parameter in PARAMETERS
    ]


def _parse_stop(text: str) -> tuple[str, ...]:
    try:
        texts = json.loads(text) if text.startswith(("[", '"')) else text
    except ValueError as error:
        raise InvalidRequestError(f"stop is not correct JSON: {error}.", param="stop") from error
    texts = [texts] if isinstance(texts, str) else texts
    if (
        not isinstance(texts, list)
        or not 1 <= len(texts) <= 16
        or not all(isinstance(t, str) and 0 < len(t) <= 1000 for t in texts)
    ):
        raise InvalidRequestError("stop is a text, or a JSON list of up to 16 texts of up to 1,000 characters.", param="stop")
    return tuple(texts)
