"""What one chat template expects of a conversation with tools, found out by trying it once.

Templates agree on the form that Hugging Face describes, but for three things: whether the arguments of a call are an object
or its text, what an identifier of a call may look like, and whether tools are known at all.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

from foundry_cli.engine.chat_template import ChatTemplate, Message
from foundry_cli.engine.request import ToolUse
from foundry_cli.errors import FoundryError, UnsupportedFieldError

_PROBE_ID = "a1B2c3D4e"  # nine letters and digits, which every template accepts
_PROBE_KEY, _PROBE_VALUE = "probe_key", "probe_value"
_TOOLS_OF_MESSAGE = re.compile(r"message(\.tools\b|\[['\"]tools['\"]\])")  # as Phi-4-mini has it
_THINKING_SWITCHES = ("enable_thinking", "thinking")  # names of variables, true or false
_DEFAULT_EFFORT = "medium"
_NO_EFFORT = "none"


class TemplateDialect(Protocol):
    """How prompts are written for one model."""

    def render(self, messages: Sequence[Message], tools: ToolUse | None, effort: str | None) -> str:
        """The prompt, up to where the answer begins.

        Raises `ModelInvalidError`, `InvalidRequestError`, `UnsupportedFieldError` for an effort that cannot be set.
        """


class PlainDialect:
    """Templates that know nothing but roles and texts."""

    def __init__(self, render: Callable[[Sequence[Message]], str]) -> None:
        self._render = render

    def render(self, messages: Sequence[Message], tools: ToolUse | None, effort: str | None) -> str:
        """See `TemplateDialect`; `tools` are in the system message already."""
        if effort not in (None, _NO_EFFORT, _DEFAULT_EFFORT):
            raise _no_such_effort(effort)
        return self._render([as_text(message) for message in messages])


class JinjaDialect:
    """Templates as Hugging Face describes them."""

    def __init__(self, template: ChatTemplate, source: str) -> None:
        self._template = template
        self._source = source
        self._has_short_ids = "length != 9" in source or "length == 9" in source
        self._knows_calls = "tool_calls" in source
        self._has_tools_in_system = _TOOLS_OF_MESSAGE.search(source) is not None

    def render(self, messages: Sequence[Message], tools: ToolUse | None, effort: str | None) -> str:
        """See `TemplateDialect`."""
        adapted = [self._adapted(message) if self._knows_calls else as_text(message) for message in messages]
        listed = tool_list(tools) if tools else None
        if listed and self._has_tools_in_system:
            adapted = _with_tools_in_system(adapted, [tool["function"] for tool in listed])
        return self._template.render(adapted, listed, self._options(effort))

    def _options(self, effort: str | None) -> Mapping[str, Any]:
        """The variables by which the template lets a model think more or less."""
        if effort is None:
            return {}
        if "reasoning_effort" in self._source:
            return {"reasoning_effort": effort}
        switches = {name: effort != _NO_EFFORT for name in _THINKING_SWITCHES if name in self._source}
        if switches or effort == _DEFAULT_EFFORT or (effort == _NO_EFFORT and "<think>" not in self._source):
            return switches
        raise _no_such_effort(effort)

    @cached_property
    def _takes_objects(self) -> bool:
        """Whether arguments are an object, as most want it, and not its text."""
        call = _call(_PROBE_ID, "probe", {_PROBE_KEY: _PROBE_VALUE})
        conversation: list[Message] = [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "b", "tool_call_id": _PROBE_ID, "name": "probe"},
            {"role": "user", "content": "c"},
        ]
        try:
            text = self._template.render(conversation, [tool_fields("probe", "", None)])
        except FoundryError:
            return False
        return f'"{_PROBE_KEY}":"{_PROBE_VALUE}"' in text.replace('": "', '":"')

    def _adapted(self, message: Message) -> Message:
        calls = message.get("tool_calls")
        if calls:
            return {**message, "tool_calls": [self._adapted_call(call) for call in calls]}
        if self._has_short_ids and "tool_call_id" in message:
            return {**message, "tool_call_id": _short_id(message["tool_call_id"])}
        return message

    def _adapted_call(self, call: dict[str, Any]) -> dict[str, Any]:
        identity = _short_id(call["id"]) if self._has_short_ids else call["id"]
        arguments = call["function"]["arguments"]
        wanted = arguments if self._takes_objects or isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        return _call(identity, call["function"]["name"], wanted)


def tools_told(messages: Sequence[Message], instructions: str) -> list[Message]:
    """The conversation for a template that knows no tools: the system message tells of them, calls and results are text."""
    told = [as_text(message) for message in messages]
    if told and told[0]["role"] == "system":
        return [{**told[0], "content": f"{told[0]['content']}\n\n{instructions}"}, *told[1:]]
    return [{"role": "system", "content": instructions}, *told]


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


def as_text(message: Message) -> Message:
    """A call, or the result of one, as a message of the roles and texts that every template knows."""
    if message["role"] == "tool":
        name = message.get("name")
        return {"role": "user", "content": f"Result of {name or 'the call'}: {message['content']}"}
    calls = message.get("tool_calls") or ()
    if not calls:
        return message
    functions = [{"name": call["function"]["name"], "arguments": call["function"]["arguments"]} for call in calls]
    lines = [json.dumps(function, ensure_ascii=False, separators=(",", ":")) for function in functions]
    return {"role": "assistant", "content": "\n".join([message["content"], *lines] if message["content"] else lines)}


def _no_such_effort(effort: str) -> UnsupportedFieldError:
    message = f"reasoning_effort: this model has no setting for {effort!r}."
    return UnsupportedFieldError(message, hint="Leave the field out.", param="reasoning_effort")


def _call(identity: str, name: str, arguments: object) -> dict[str, Any]:
    return {"id": identity, "type": "function", "function": {"name": name, "arguments": arguments}}


def _short_id(identity: str) -> str:
    """Nine letters and digits; the same for the same identifier, so that results still find their calls."""
    if len(identity) == 9 and identity.isalnum():
        return identity
    return hashlib.sha256(identity.encode("utf-8", "replace")).hexdigest()[:9]
