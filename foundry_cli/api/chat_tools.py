"""Functions that a chat completion may call, as pydantic models, in the present and in the older form."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from foundry_cli.api.content import FunctionName, Wire
from foundry_cli.api.limits import MOST_TOOLS


class FunctionDefinition(Wire):
    """A function. `parameters`: JSON schema of the object that it takes; `strict`: a schema that cannot be kept is refused."""

    name: FunctionName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class FunctionTool(Wire):
    """A tool; only functions are."""

    type: Literal["function"]
    function: FunctionDefinition


class FunctionNamed(Wire):
    """A function by its name."""

    name: FunctionName


class NamedTool(Wire):
    """The function that must be called."""

    type: Literal["function"]
    function: FunctionNamed


class AllowedToolList(Wire):
    """Some of the tools."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(min_length=1, max_length=MOST_TOOLS)]


class AllowedTools(Wire):
    """Only some of the tools may be called."""

    type: Literal["allowed_tools"]
    allowed_tools: AllowedToolList


def _kind(value: Any) -> str:
    kind = value.get("type") if isinstance(value, dict) else None
    return str(kind) if isinstance(value, dict) else "mode"


Tools = Annotated[list[FunctionTool], Field(max_length=MOST_TOOLS)]
Functions = Annotated[list[FunctionDefinition], Field(max_length=MOST_TOOLS)]
ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("mode")]
    | Annotated[NamedTool, Tag("function")]
    | Annotated[AllowedTools, Tag("allowed_tools")],
    Discriminator(_kind),
]
FunctionChoice = Literal["none", "auto"] | FunctionNamed
