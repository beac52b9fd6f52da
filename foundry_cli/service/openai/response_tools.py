"""The functions of a request of the Responses interface in the engine's terms."""

from __future__ import annotations

from foundry_cli.api.responses import AllowedTools, FunctionTool, NamedFunction, ResponsesRequest
from foundry_cli.engine.request import Tool, ToolUse
from foundry_cli.errors import UnsupportedFieldError
from foundry_cli.service.tool_selection import Selection, tool_use


def response_tool_use(wire: ResponsesRequest) -> ToolUse | None:
    """The functions that may be called; None when there are none, or none of them shall be called.

    Raises `InvalidRequestError` for a choice that names another function, `UnsupportedFieldError`.
    """
    declared = [(_tool(tool, f"tools[{index}]"), f"tools[{index}]") for index, tool in wire.functions]
    if wire.tools and not declared and wire.tool_choice != "none":
        kind = wire.tools[0].type[:40]
        message = f"tools[0].type: {kind!r} is a tool of another service; only functions of the caller are called."
        raise UnsupportedFieldError(message, param="tools[0].type")
    choice, is_parallel = wire.tool_choice, wire.parallel_tool_calls is not False
    match choice:
        case NamedFunction():
            return tool_use(declared, Selection(named=(choice.name, "tool_choice.name"), is_parallel=is_parallel))
        case AllowedTools():
            allowed = [(tool.name, f"tool_choice.tools[{index}].name") for index, tool in enumerate(choice.tools)]
            is_required = choice.mode == "required"
            return tool_use(declared, Selection(allowed=allowed, is_required=is_required, is_parallel=is_parallel))
        case _:
            is_forbidden, is_required = choice == "none", choice == "required"
            return tool_use(declared, Selection(is_forbidden, is_required, is_parallel=is_parallel))


def _tool(tool: FunctionTool, field: str) -> Tool:
    _check_callers(tool, field)
    return Tool(tool.name, tool.description or "", tool.parameters, tool.strict is True)


def _check_callers(tool: FunctionTool, field: str) -> None:
    refused = {
        "defer_loading": bool(tool.defer_loading),
        "allowed_callers": tool.allowed_callers is not None and "direct" not in tool.allowed_callers,
    }
    for name, is_refused in refused.items():
        if is_refused:
            raise UnsupportedFieldError(f"{field}.{name}: this value is not supported.", param=f"{field}.{name}")
