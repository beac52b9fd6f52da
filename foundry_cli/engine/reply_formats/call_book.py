"""Which tools a reply may call, and how many calls it has so far."""

from __future__ import annotations

from typing import Any

from foundry_cli.engine.reply_format import CallStart
from foundry_cli.engine.request import ToolUse


class CallBook:
    """Numbers the calls of one reply."""

    def __init__(self, tools: ToolUse) -> None:
        self._tools = {tool.name: tool for tool in tools.tools}
        self._count = 0

    def knows(self, name: str) -> bool:
        """Whether there is a tool with that name."""
        return name in self._tools

    def property_schema(self, name: str, key: str) -> dict[str, Any]:
        """What is said of one argument of a tool; an empty schema if nothing is."""
        properties = (self._tools[name].parameters or {}).get("properties", {})
        schema = properties.get(key) if isinstance(properties, dict) else None
        return schema if isinstance(schema, dict) else {}

    def begin(self, name: str) -> CallStart:
        """The next call."""
        self._count += 1
        return CallStart(self._count - 1, name)
