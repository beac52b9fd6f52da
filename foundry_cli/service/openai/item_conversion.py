"""Items of the Responses interface: from the wire to what is kept, and from there to messages for the engine.

An item is kept as the plain object that `input_items` and `output` show, so a stored conversation needs no other form.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from foundry_cli.api.content import Part, TextPart
from foundry_cli.api.response_items import (
    FunctionCallItem,
    FunctionCallOutputItem,
    InputItem,
    ItemReference,
    MessageItem,
    ReasoningItem,
)
from foundry_cli.errors import InvalidRequestError, UnsupportedFieldError
from foundry_cli.service.call_arguments import arguments_of_history

Item = dict[str, Any]
Message = dict[str, Any]
FindItem = Callable[[str, str], Item]
"""The stored item with an id; raises when there is none, naming the field that is given second."""


def new_identity(prefix: str) -> str:
    """An id that nobody can guess."""
    return f"{prefix}_{uuid.uuid4().hex}"


def read_items(wire: str | Sequence[InputItem], earlier: Sequence[Item], find: FindItem) -> list[Item]:
    """The `input` of a request as items; `earlier` is what was said before.

    Raises `InvalidRequestError` for the result of a call that nobody made or that was cut off, `UnsupportedFieldError`, and
    what `find` raises.
    """
    if isinstance(wire, str):
        return [_message_fields(MessageItem(role="user", content=wire))]
    calls = set(complete_calls(earlier))
    items: list[Item] = []
    for index, each in enumerate(wire):
        item = _item_fields(each, f"input[{index}]", find)
        calls.update(complete_calls([item]))
        if item["type"] == "function_call_output" and item["call_id"] not in calls:
            field, call = f"input[{index}].call_id", item["call_id"]
            if any(other["type"] == "function_call" and other["call_id"] == call for other in (*earlier, *items)):
                reason = f"the call {call!r} was cut off before it was complete, so it can have no result."
            else:
                reason = f"no call {call!r} comes before its result."
            raise InvalidRequestError(f"{field}: {reason}", param=field)
        items.append(item)
    return items


def complete_calls(items: Iterable[Item]) -> dict[str, str]:
    """The calls among `items` that were not cut off: id and name of the function."""
    return {
        item["call_id"]: item["name"] for item in items if item["type"] == "function_call" and item["status"] != "incomplete"
    }


def _item_fields(item: InputItem, field: str, find: FindItem) -> Item:
    match item:
        case MessageItem():
            return _message_fields(item)
        case FunctionCallItem():
            return _call_fields(item)
        case FunctionCallOutputItem():
            output = item.output if isinstance(item.output, str) else _part_fields(item.output, "input_text")
            head = {"id": item.id or new_identity("fco"), "type": "function_call_output", "status": "completed"}
            return {**head, "call_id": item.call_id, "output": output}
        case ReasoningItem():
            return _reasoning_fields(item, field)
        case ItemReference():
            return find(item.id, f"{field}.id")


def _message_fields(item: MessageItem) -> Item:
    kind = "output_text" if item.role == "assistant" else "input_text"
    content = [TextPart(type="text", text=item.content)] if isinstance(item.content, str) else item.content
    head = {"id": item.id or new_identity("msg"), "type": "message", "status": item.status or "completed"}
    return {**head, "role": item.role, "content": _part_fields(content, kind)}


def _part_fields(parts: Iterable[Part], kind: str) -> list[Item]:
    return [_part(part, kind) for part in parts]


def _part(part: Part, kind: str) -> Item:
    if not isinstance(part, TextPart):
        return {"type": part.type, "refusal": part.refusal}
    text = {"type": kind, "text": part.text}
    return {**text, "annotations": [], "logprobs": []} if kind == "output_text" else text


def _call_fields(item: FunctionCallItem) -> Item:
    head = {"id": item.id or new_identity("fc"), "type": "function_call", "status": item.status or "completed"}
    return {**head, "call_id": item.call_id, "name": item.name, "arguments": item.arguments or "{}"}


def _reasoning_fields(item: ReasoningItem, field: str) -> Item:
    if item.encrypted_content is not None:
        field = f"{field}.encrypted_content"
        raise UnsupportedFieldError(f"{field}: thoughts are read from content and summary only.", param=field)
    return {
        "id": item.id or new_identity("rs"),
        "type": "reasoning",
        "summary": [{"type": part.type, "text": part.text} for part in item.summary or ()],
        "content": [{"type": part.type, "text": part.text} for part in item.content or ()],
        "status": item.status or "completed",
    }


def to_messages(items: Iterable[Item], instructions: str | None = None) -> list[Message]:
    """The messages that `items` are, as `GenerationRequest` has them, behind a system message with `instructions`.

    What a model thought, said and called in one turn is one message. A call that was cut off is left out.
    """
    conversation = _Conversation()
    if instructions:
        conversation.messages.append({"role": "system", "content": instructions})
    for item in items:
        conversation.add(item)
    return conversation.messages


class _Conversation:
    """Messages, as they are put together."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self._names: dict[str, str] = {}  # of the functions, by call
        self._steps = 0  # how far the last message is: 1 thought, 2 said, 3 called; 0: it is not the model's

    def add(self, item: Item) -> None:
        """The next item."""
        match item["type"]:
            case "reasoning":
                thought = "".join(part["text"] for part in item["content"] or item["summary"])
                self._turn(1)["reasoning_content"] = thought
            case "function_call":
                self._add_call(item)
            case "function_call_output":
                self._append({"role": "tool", "tool_call_id": item["call_id"], "content": _text(item["output"])})
                if name := self._names.get(item["call_id"]):
                    self.messages[-1]["name"] = name
            case _ if item["role"] == "assistant":
                self._turn(2)["content"] = _text(item["content"])
            case _:
                role = "user" if item["role"] == "user" else "system"
                self._append({"role": role, "content": _text(item["content"])})

    def _add_call(self, item: Item) -> None:
        if item["status"] == "incomplete":
            return
        self._names[item["call_id"]] = item["name"]
        function = {"name": item["name"], "arguments": arguments_of_history(item["arguments"])}
        call = {"id": item["call_id"], "type": "function", "function": function}
        self._turn(3).setdefault("tool_calls", []).append(call)

    def _append(self, message: Message) -> None:
        self.messages.append(message)
        self._steps = 0

    def _turn(self, step: int) -> Message:
        """The model's message that `step` belongs to: it goes forward in one, and only calls may be several."""
        if not 0 < self._steps < step and not self._steps == step == 3:
            self.messages.append({"role": "assistant", "content": ""})
        self._steps = step
        return self.messages[-1]


def _text(content: str | list[Item]) -> str:
    if isinstance(content, str):
        return content
    return "".join(part["refusal"] if part["type"] == "refusal" else part["text"] for part in content)
