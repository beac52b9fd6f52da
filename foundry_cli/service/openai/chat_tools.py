"""The functions of a chat completion in the engine's terms, from the present and from the older form."""

from __future__ import annotations

from collections.abc import Iterator

from foundry_cli.api.chat_tools import AllowedTools, FunctionDefinition, FunctionNamed, NamedTool
from foundry_cli.api.openai import ChatCompletionRequest
from foundry_cli.engine.request import Tool, ToolUse
from foundry_cli.errors import InvalidRequestError
from foundry_cli.service.tool_selection import Selection, tool_use


def is_older_form(wire: ChatCompletionRequest) -> bool:
    """Whether the client knows `functions` and not `tools`, in the answer too."""
    return bool(wire.functions)


def chat_tool_use(wire: ChatCompletionRequest) -> ToolUse | None:
    """The functions that may be called; None when there are none, or none of them shall be called.

    Raises `InvalidRequestError` for a choice that names another function, and for two forms at once or mixed.
    """
    if wire.tools and wire.functions:
        raise InvalidRequestError("functions: not allowed beside tools, of which it is the older form.", param="functions")
    _check_choice(wire)
    return _older_use(wire) if is_older_form(wire) else _use(wire)


def unknown_tool_fields(wire: ChatCompletionRequest) -> Iterator[str]:
    """Names of fields that nobody knows."""
    for tool in wire.tools or ():
        yield from (f"tools[].{name}" for name in tool.model_extra or {})
        yield from (f"tools[].function.{name}" for name in tool.function.model_extra or {})
    for function in wire.functions or ():
        yield from (f"functions[].{name}" for name in function.model_extra or {})


def _check_choice(wire: ChatCompletionRequest) -> None:
    """Raise `InvalidRequestError` for the choice of the other form, unless it asks for what is done anyway."""
    if is_older_form(wire) and wire.tool_choice not in (None, "auto"):
        message = "tool_choice: not allowed beside functions, where function_call says it."
        raise InvalidRequestError(message, param="tool_choice")
    done_anyway = (None, "auto") if wire.tools else (None, "auto", "none")
    if not is_older_form(wire) and wire.function_call not in done_anyway:
        reason = "not allowed beside tools, where tool_choice says it" if wire.tools else "there are no functions"
        raise InvalidRequestError(f"function_call: {reason}.", param="function_call")


def _use(wire: ChatCompletionRequest) -> ToolUse | None:
    declared = [(_tool(tool.function), f"tools[{index}].function") for index, tool in enumerate(wire.tools or ())]
    choice, is_parallel = wire.tool_choice, wire.parallel_tool_calls is not False
    match choice:
        case NamedTool():
            named = (choice.function.name, "tool_choice.function.name")
            return tool_use(declared, Selection(named=named, is_parallel=is_parallel))
        case AllowedTools():
            place = "tool_choice.allowed_tools.tools[{}].function.name"
            allowed = [(tool.function.name, place.format(index)) for index, tool in enumerate(choice.allowed_tools.tools)]
            is_required = choice.allowed_tools.mode == "required"
            return tool_use(declared, Selection(allowed=allowed, is_required=is_required, is_parallel=is_parallel))
        case _:
            is_forbidden, is_required = choice == "none", choice == "required"
            return tool_use(declared, Selection(is_forbidden, is_required, is_parallel=is_parallel))


def _older_use(wire: ChatCompletionRequest) -> ToolUse | None:
    declared = [(_tool(function), f"functions[{index}]") for index, function in enumerate(wire.functions or ())]
    choice = wire.function_call
    named = (choice.name, "function_call.name") if isinstance(choice, FunctionNamed) else None
    return tool_use(declared, Selection(choice == "none", named=named, is_parallel=False, field="function_call"))


def _tool(function: FunctionDefinition) -> Tool:
    return Tool(function.name, function.description or "", function.parameters, strict=function.strict is True)
