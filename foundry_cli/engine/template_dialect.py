"""How prompts are written with one chat template: where its tools go, its settings for thinking, and earlier calls.

What form it wants texts and earlier calls in is found out by trying, once: see `content_form.py` and `history_probe.py`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from foundry_cli.engine.chat_template import ChatTemplate, Message
from foundry_cli.engine.content_form import find_roles_with_parts, with_parts
from foundry_cli.engine.history_probe import find_history_form
from foundry_cli.engine.request import ToolUse
from foundry_cli.engine.tool_history import HistoryForm, has_tool_history, write_history
from foundry_cli.engine.tool_text import history_told
from foundry_cli.errors import FoundryError, UnsupportedFieldError

_PROBE_NAME = "probe_tool"
_PROBE_SCHEMA = {"type": "object", "properties": {"place": {"type": "string", "description": "A place"}}, "required": ["place"]}
_TOOLS_OF_MESSAGE = re.compile(r"message(\.tools\b|\[['\"]tools['\"]\])")  # as Phi-4-mini has it
_THINKING_SWITCHES = ("enable_thinking", "thinking")  # names of variables, true or false
_NO_EFFORT = "none"


@dataclass(frozen=True)
class PromptOptions:
    """How a prompt is to be written: fields of `GenerationRequest`, see there."""

    effort: str | None = None
    usual_effort: str = "medium"
    names: Mapping[str, Any] = field(default_factory=dict)


NO_OPTIONS = PromptOptions()


class TemplateDialect(Protocol):
    """How prompts are written for one model."""

    def render(self, messages: Sequence[Message], tools: ToolUse | None, options: PromptOptions = NO_OPTIONS) -> str:
        """The prompt, up to where the answer begins.

        Raises `ModelInvalidError`, `InvalidRequestError`, `UnsupportedFieldError` for an effort that cannot be set.
        """


class PlainDialect:
    """Templates that know nothing but roles and texts."""

    def __init__(self, render: Callable[[Sequence[Message]], str]) -> None:
        self._render = render

    def render(self, messages: Sequence[Message], tools: ToolUse | None, options: PromptOptions = NO_OPTIONS) -> str:
        """See `TemplateDialect`; `tools` are in the system message already, and no names are known."""
        if options.effort not in (None, _NO_EFFORT, options.usual_effort):
            raise _no_such_effort(options.effort)
        return self._render(history_told(messages))


class JinjaDialect:
    """Templates as Hugging Face describes them."""

    def __init__(self, template: ChatTemplate, source: str, with_tools: JinjaDialect | None = None) -> None:
        """`with_tools`: the model's other template, for conversations with tools."""
        self._template = template
        self._source = source
        self._with_tools = with_tools

    def render(self, messages: Sequence[Message], tools: ToolUse | None, options: PromptOptions = NO_OPTIONS) -> str:
        """See `TemplateDialect`."""
        if self._with_tools and tools:  # a template for tools fails without any
            return self._with_tools.render(messages, tools, options)
        adapted = write_history(messages, self._history_form) if has_tool_history(messages) else list(messages)
        listed = tool_list(tools) if tools else None
        if listed and self._has_tools_in_system:
            adapted = _with_tools_in_system(adapted, [tool["function"] for tool in listed])
        return self._write(adapted, listed, {**options.names, **self._names_of(options)})

    def _write(
        self, messages: Sequence[Message], tools: list[dict[str, Any]] | None, options: Mapping[str, Any] | None = None
    ) -> str:
        return self._template.render(with_parts(messages, self._roles_with_parts), tools, options)

    def _names_of(self, options: PromptOptions) -> Mapping[str, Any]:
        """The variables by which the template lets a model think more or less."""
        effort = options.effort
        if effort is None:
            return {}
        if "reasoning_effort" in self._source:
            return {"reasoning_effort": effort}
        switches = {name: effort != _NO_EFFORT for name in _THINKING_SWITCHES if name in self._source}
        if switches or effort == options.usual_effort or (effort == _NO_EFFORT and "<think>" not in self._source):
            return switches
        raise _no_such_effort(effort)

    @cached_property
    def _has_tools_in_system(self) -> bool:
        """Whether the template reads tools from the system message, and from nowhere else."""
        if _TOOLS_OF_MESSAGE.search(self._source) is None:
            return False
        try:
            return _PROBE_NAME not in self._write([{"role": "user", "content": "a"}], _PROBE_TOOLS)
        except FoundryError:
            return True

    @cached_property
    def _history_form(self) -> HistoryForm:
        return find_history_form(lambda messages: self._write(messages, _PROBE_TOOLS))

    @cached_property
    def _roles_with_parts(self) -> frozenset[str]:
        return find_roles_with_parts(self._template.render)


def _with_tools_in_system(messages: list[Message], functions: list[dict[str, Any]]) -> list[Message]:
    """For templates that read the functions from the system message, as JSON."""
    text = json.dumps(functions, ensure_ascii=False)
    if messages and messages[0]["role"] == "system":
        return [{**messages[0], "tools": text}, *messages[1:]]
    return [{"role": "system", "content": "", "tools": text}, *messages]


def tool_list(use: ToolUse) -> list[dict[str, Any]]:
    """The tools in the form that templates take."""
    return [tool_fields(tool.name, tool.description, tool.parameters) for tool in use.tools]


def tool_fields(name: str, description: str, parameters: dict[str, Any] | None) -> dict[str, Any]:
    """One tool in that form."""
    schema = parameters or {"type": "object", "properties": {}}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


_PROBE_TOOLS = [tool_fields(_PROBE_NAME, "A tool", _PROBE_SCHEMA)]


def _no_such_effort(effort: str) -> UnsupportedFieldError:
    message = f"reasoning_effort: this model has no setting for {effort!r}."
    return UnsupportedFieldError(message, hint="Leave the field out.", param="reasoning_effort")
