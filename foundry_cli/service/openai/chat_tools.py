"""The functions of a chat completion in the engine's terms, from the present and from the older form."""

from __future__ import annotations

from collections.abc import Iterator

from foundry_cli.api.chat_tools import AllowedTools, FunctionDefinition, FunctionNamed, NamedTool
from foundry_cli.api.limits import LARGEST_SCHEMA
from foundry_cli.api.openai import ChatCompletionRequest
from foundry_cli.api.sse import encode_value
from foundry_cli.engine.request import Tool, ToolUse
from foundry_cli.errors import InvalidRequestError


def is_older_form(wire: ChatCompletionRequest) -> bool:
    """Whether the client knows `functions` and not `tools`, in the answer too."""
    return bool(wire.functions)


def chat_tool_use(wire: ChatCompletionRequest) -> ToolUse | None:
    """The functions that may be called; None when there are none, or none of them shall be called.

    Raises `InvalidRequestError` for a choice that names another function, and for two forms at once.
    """
    if wire.tools and wire.functions:
        raise InvalidRequestError("functions: not allowed beside tools, of which it is the older form.", param="functions")
    return _older_use(wire) if is_older_form(wire) else _use(wire)


def unknown_tool_fields(wire: ChatCompletionRequest) -> Iterator[str]:
    """Names of fields that nobody knows."""
    for tool in wire.tools or ():
        yield from (f"tools[].{name}" for name in tool.model_extra or {})
        yield from (f"tools[].function.{name}" for name in tool.function.model_extra or {})
    for function in wire.functions or ():
        yield from (f"functions[].{name}" for name in function.model_extra or {})


def _use(wire: ChatCompletionRequest) -> ToolUse | None:
    functions = [tool.function for tool in wire.tools or ()]
    tools = _tools(functions, "tools[{index}].function")
    choice = wire.tool_choice
    is_required = choice == "required"
    named = None
    if isinstance(choice, NamedTool):
        named = choice.function.name
        _check_named(named, tools, "tool_choice.function.name")
    elif isinstance(choice, AllowedTools):
        allowed = choice.allowed_tools
        for index, tool in enumerate(allowed.tools):
            _check_named(tool.function.name, tools, f"tool_choice.allowed_tools.tools[{index}].function.name")
        tools = {tool.function.name: tools[tool.function.name] for tool in allowed.tools}
        is_required = allowed.mode == "required"
    if is_required and not tools:
        raise InvalidRequestError("tool_choice: there are no tools of which one could be required.", param="tool_choice")
    if choice == "none" or not tools:
        return None
    is_parallel = wire.parallel_tool_calls is not False
    return ToolUse(tuple(tools.values()), is_required=is_required, named=named, is_parallel=is_parallel)


def _older_use(wire: ChatCompletionRequest) -> ToolUse | None:
    tools = _tools(wire.functions or [], "functions[{index}]")
    choice = wire.function_call
    if choice == "none":
        return None
    named = choice.name if isinstance(choice, FunctionNamed) else None
    if named is not None:
        _check_named(named, tools, "function_call.name")
    return ToolUse(tuple(tools.values()), named=named, is_parallel=False)


def _tools(functions: list[FunctionDefinition], place: str) -> dict[str, Tool]:
    tools: dict[str, Tool] = {}
    for index, function in enumerate(functions):
        field = place.format(index=index)
        if function.name in tools:
            raise InvalidRequestError(f"{field}.name: there are two functions {function.name!r}.", param=f"{field}.name")
        if function.parameters is not None and len(encode_value(function.parameters)) > LARGEST_SCHEMA:
            message = f"{field}.parameters: the schema is larger than {LARGEST_SCHEMA >> 10} KiB."
            raise InvalidRequestError(message, param=f"{field}.parameters")
        tools[function.name] = Tool(
            function.name, function.description or "", function.parameters, strict=function.strict is True
        )
    return tools


def _check_named(name: str, tools: dict[str, Tool], field: str) -> None:
    if name not in tools:
        raise InvalidRequestError(f"{field}: there is no function {name!r}.", param=field)
