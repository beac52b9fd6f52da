"""The output of a response: its items, and what is told of every step.

https://platform.openai.com/docs/api-reference/responses-streaming
"""

from __future__ import annotations

from foundry_cli.engine.request import EngineEvent, ReasoningChunk, TextChunk, ToolCallChunk
from foundry_cli.service.openai.item_conversion import Item
from foundry_cli.service.openai.output_items import Event, OpenCall, OpenMessage, OpenSummary, OpenThought


class ResponseOutput:
    """The items so far. Only the last one is open; what is of another kind closes it.

    `has_summary`: thoughts are told in the place of a summary.
    """

    def __init__(self, *, has_summary: bool) -> None:
        self._has_summary = has_summary
        self.items: list[Item] = []  # that are closed
        self._open: OpenMessage | OpenThought | OpenSummary | OpenCall | None = None

    def add(self, event: EngineEvent) -> list[Event]:
        """What to tell after the next event of the engine."""
        match event:
            case TextChunk():
                message, events = self._message()
                return [*events, message.add(event)]
            case ReasoningChunk():
                thought, events = self._thought()
                return [*events, thought.add(event.text)]
            case ToolCallChunk():
                call, events = self._call(event)
                return [*events, call.add(event.arguments)] if event.arguments else events
        return []

    def close(self, status: str) -> list[Event]:
        """End the open item, if there is one; `status` is completed, or incomplete when it was cut off."""
        if self._open is None:
            return []
        events = self._open.end(status)
        self.items.append(self._open.item(status))
        self._open = None
        return events

    def complete(self) -> list[Event]:
        """End an answer that nothing cut off: it has a message or a call, though an empty one, as programs look for it."""
        events = self.close("completed")
        if not any(item["type"] in ("message", "function_call") for item in self.items):
            events += self._begin(OpenMessage(len(self.items)))
        return events + self.close("completed")

    def _message(self) -> tuple[OpenMessage, list[Event]]:
        if isinstance(self._open, OpenMessage):
            return self._open, []
        closed = self.close("completed")
        message = OpenMessage(len(self.items))
        return message, closed + self._begin(message)

    def _thought(self) -> tuple[OpenThought | OpenSummary, list[Event]]:
        if isinstance(self._open, (OpenThought, OpenSummary)):
            return self._open, []
        closed = self.close("completed")
        thought = OpenSummary(len(self.items)) if self._has_summary else OpenThought(len(self.items))
        return thought, closed + self._begin(thought)

    def _call(self, chunk: ToolCallChunk) -> tuple[OpenCall, list[Event]]:
        if isinstance(self._open, OpenCall) and not chunk.name:
            return self._open, []  # calls come one after the other
        closed = self.close("completed")
        call = OpenCall(len(self.items), chunk)
        return call, closed + self._begin(call)

    def _begin(self, item: OpenMessage | OpenThought | OpenSummary | OpenCall) -> list[Event]:
        self._open = item
        return item.begin()
