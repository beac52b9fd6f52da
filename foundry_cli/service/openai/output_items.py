"""Items of the output while they are written: a message, thoughts, a call; each tells its steps as events."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

from foundry_cli.engine.request import TextChunk, TokenText, ToolCallChunk
from foundry_cli.service.openai.item_conversion import Item, new_identity
from foundry_cli.service.openai.writer import logprob_fields

Event = dict[str, Any]
"""What an event of a stream tells, without its number."""


class _OpenItem(ABC):
    """What all kinds have in common: an id, a place in the output, and a text that grows."""

    prefix: ClassVar[str]

    def __init__(self, index: int) -> None:
        self._identity = new_identity(self.prefix)
        self._index = index
        self._texts: list[str] = []

    @abstractmethod
    def item(self, status: str) -> Item:
        """The item itself."""

    @property
    def text(self) -> str:
        """All of it so far."""
        return "".join(self._texts)

    def begin(self) -> list[Event]:
        """The item is there."""
        return [self._item_event("added", self.item("in_progress"))]

    def end(self, status: str) -> list[Event]:
        """The item has ended."""
        return [self._item_event("done", self.item(status))]

    def _item_event(self, step: str, item: Item) -> Event:
        return {"type": f"response.output_item.{step}", "output_index": self._index, "item": item}

    def _event(self, kind: str, **fields: Any) -> Event:
        return {"type": f"response.{kind}", "item_id": self._identity, "output_index": self._index, **fields}


class _OpenContent(_OpenItem):
    """An item with one part that is text."""

    text_kind: ClassVar[str]  # of the events of the text

    @abstractmethod
    def part(self) -> Item:
        """The part as it is."""

    def begin(self) -> list[Event]:
        """The item is there, and then its part."""
        added = self._item_event("added", {**self.item("in_progress"), "content": []})
        return [added, self._event("content_part.added", content_index=0, part=self.part())]

    def end(self, status: str) -> list[Event]:
        """The text, the part and the item have ended."""
        part = self.part()
        told = {name: part[name] for name in ("text", "logprobs") if name in part}
        text = self._event(f"{self.text_kind}.done", content_index=0, **told)
        return [text, self._event("content_part.done", content_index=0, part=part), *super().end(status)]


class OpenMessage(_OpenContent):
    """What the model says."""

    prefix, text_kind = "msg", "output_text"

    def __init__(self, index: int) -> None:
        super().__init__(index)
        self._logprobs: list[Item] = []

    def add(self, chunk: TextChunk) -> Event:
        """More text."""
        self._texts.append(chunk.text)
        logprobs = _token_list(chunk.logprobs)
        self._logprobs += logprobs
        return self._event("output_text.delta", content_index=0, delta=chunk.text, logprobs=logprobs)

    def part(self) -> Item:
        """The part as it is."""
        return {"type": "output_text", "annotations": [], "logprobs": self._logprobs, "text": self.text}

    def item(self, status: str) -> Item:
        """A message."""
        head = {"id": self._identity, "type": "message", "status": status}
        return {**head, "role": "assistant", "content": [self.part()]}


class OpenThought(_OpenContent):
    """What the model thinks."""

    prefix, text_kind = "rs", "reasoning_text"

    def add(self, text: str) -> Event:
        """More text."""
        self._texts.append(text)
        return self._event("reasoning_text.delta", content_index=0, delta=text)

    def part(self) -> Item:
        """The part as it is."""
        return {"type": "reasoning_text", "text": self.text}

    def item(self, status: str) -> Item:
        """An item of reasoning; nobody asked for a summary."""
        head = {"id": self._identity, "type": "reasoning", "status": status}
        return {**head, "summary": [], "content": [self.part()]}


class OpenSummary(_OpenItem):
    """What the model thinks, for who asked for a summary: all of it, in the place of one."""

    prefix = "rs"

    def begin(self) -> list[Event]:
        """The item is there, and then its part."""
        added = self._item_event("added", {**self.item("in_progress"), "summary": []})
        return [added, self._event("reasoning_summary_part.added", summary_index=0, part=self._part())]

    def add(self, text: str) -> Event:
        """More text."""
        self._texts.append(text)
        return self._event("reasoning_summary_text.delta", summary_index=0, delta=text)

    def end(self, status: str) -> list[Event]:
        """The text, the part and the item have ended."""
        text = self._event("reasoning_summary_text.done", summary_index=0, text=self.text)
        return [text, self._event("reasoning_summary_part.done", summary_index=0, part=self._part()), *super().end(status)]

    def item(self, status: str) -> Item:
        """An item of reasoning."""
        head = {"id": self._identity, "type": "reasoning", "status": status}
        return {**head, "summary": [self._part()], "content": []}

    def _part(self) -> Item:
        return {"type": "summary_text", "text": self.text}


class OpenCall(_OpenItem):
    """A call of a function."""

    prefix = "fc"

    def __init__(self, index: int, start: ToolCallChunk) -> None:
        super().__init__(index)
        self._call_id = start.identity
        self._name = start.name

    def add(self, arguments: str) -> Event:
        """More of the arguments."""
        self._texts.append(arguments)
        return self._event("function_call_arguments.delta", delta=arguments)

    def end(self, status: str) -> list[Event]:
        """The arguments and the item have ended."""
        done = self._event("function_call_arguments.done", name=self._name, arguments=self.text)
        return [done, *super().end(status)]

    def item(self, status: str) -> Item:
        """A call."""
        head = {"id": self._identity, "type": "function_call", "status": status}
        return {**head, "call_id": self._call_id, "name": self._name, "arguments": self.text}


def _token_list(tokens: Iterable[TokenText]) -> list[Item]:
    """Log-probabilities of tokens; this interface has no null for those that stand for no text."""
    content: list[Item] = logprob_fields(tokens)["content"]
    for token in content:
        for each in (token, *token["top_logprobs"]):
            each["bytes"] = each["bytes"] or []
    return content
