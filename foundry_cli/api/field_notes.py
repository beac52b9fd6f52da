"""What becomes of a field of a request, where that is not simply "it is honoured".

The notes stand in the annotations of the models. The service refuses values by them, and both the description at
`/openapi.json` and the tables in `docs` are made of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema

EFFECT = "x-foundry-effect"
VALUES = "x-foundry-values"
"""Keys in the JSON schema of a field."""

NO_EFFECT, IN_PART = "none", "part"


@dataclass(frozen=True)
class NoEffect:
    """The field is accepted and does not change the answer."""

    reason: str

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(core_schema), EFFECT: NO_EFFECT, "description": self.reason}


@dataclass(frozen=True)
class InPart:
    """Not everything that the field can ask for is honoured; what is not is refused."""

    reason: str

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {**handler(core_schema), EFFECT: IN_PART, "description": self.reason}


@dataclass(frozen=True)
class Only:
    """Of the values of the field only these are honoured, and null; the others are refused."""

    values: tuple[Any, ...]
    reason: str

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        notes = {EFFECT: IN_PART, VALUES: list(self.values), "description": self.reason}
        return {**handler(core_schema), **notes}
