"""The functions of a request of the Responses interface in the engine's terms."""

from __future__ import annotations

from foundry_cli.api.limits import LARGEST_SCHEMA
from foundry_cli.api.responses import AllowedTools, FunctionTool, NamedFunction, ResponsesRequest
from foundry_cli.api.sse import encode_value
from foundry_cli.engine.request import Tool, ToolUse
from foundry_cli.errors import InvalidRequestError, UnsupportedFieldError


def tool_use(wire: ResponsesRequest) -> ToolUse | None:
    """The functions that may be called; None when there are none, or none of them shall be called.

    Raises `InvalidRequestError` for a choice that names another function, `UnsupportedFieldError`.
    """
    tools = _tools(wire.tools or [])
    choice = wire.tool_choice
    if isinstance(choice, NamedFunction):
        _check_named(choice.name, tools, "tool_choice.name")
    if isinstance(choice, AllowedTools):
        for index, allowed in enumerate(choice.tools):
            _check_named(allowed.name, tools, f"tool_choice.tools[{index}].name")
        tools = {allowed.name: tools[allowed.name] for allowed in choice.tools}
    if choice == "required" and not tools:
        raise InvalidRequestError("tool_choice: there are no tools of which one could be required.", param="tool_choice")
    if choice == "none" or not tools:
        return None
    return ToolUse(
        tuple(tools.values()),
        is_required=choice == "required" or (isinstance(choice, AllowedTools) and choice.mode == "required"),
        named=choice.name if isinstance(choice, NamedFunction) else None,
        is_parallel=wire.parallel_tool_calls is not False,
    )


def _tools(wire: list[FunctionTool]) -> dict[str, Tool]:
    tools: dict[str, Tool] = {}
    for index, tool in enumerate(wire):
        field = f"tools[{index}]"
        _check_callers(tool, field)
        if tool.name in tools:
            raise InvalidRequestError(f"{field}.name: there are two tools {tool.name!r}.", param=f"{field}.name")
        if tool.parameters is not None and len(encode_value(tool.parameters)) > LARGEST_SCHEMA:
            message = f"{field}.parameters: the schema is larger than {LARGEST_SCHEMA >> 10} KiB."
            raise InvalidRequestError(message, param=f"{field}.parameters")
        tools[tool.name] = Tool(tool.name, tool.description or "", tool.parameters, tool.strict is True)
    return tools


def _check_callers(tool: FunctionTool, field: str) -> None:
    refused = {
        "defer_loading": bool(tool.defer_loading),
        "allowed_callers": tool.allowed_callers is not None and "direct" not in tool.allowed_callers,
    }
    for name, is_refused in refused.items():
        if is_refused:
            raise UnsupportedFieldError(f"{field}.{name}: this value is not supported.", param=f"{field}.{name}")


def _check_named(name: str, tools: dict[str, Tool], field: str) -> None:
    if name not in tools:
        raise InvalidRequestError(f"{field}: there is no tool {name!r}.", param=field)
