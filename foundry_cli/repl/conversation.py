"""What has been said, as a value that can be stored and read again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from foundry_cli.errors import FoundryError
from foundry_cli.paths import write_atomically

FORMAT = "foundry-conversation"
VERSION = 1
_LARGEST_FILE = 64 * 1024 * 1024  # bytes
_ROLES = ("user", "assistant")


@dataclass(frozen=True)
class Message:
    """One message. A cancelled one is an answer that was stopped before its end."""

    role: str
    content: str
    is_cancelled: bool = False


@dataclass(frozen=True)
class Conversation:
    """A system prompt, and questions and answers in turn."""

    system: str | None = None
    messages: tuple[Message, ...] = ()

    def request(self, question: str) -> list[dict[str, str]]:
        """The messages to send with the next question."""
        return [*self.history(), {"role": "user", "content": question}]

    def history(self) -> list[dict[str, str]]:
        """The messages that go before the next question."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        return [*system, *({"role": message.role, "content": message.content} for message in self.messages)]

    def with_turn(self, question: str, answer: str, *, is_cancelled: bool = False) -> Conversation:
        """The conversation after one more question and its answer."""
        turn = (Message("user", question), Message("assistant", answer, is_cancelled))
        return replace(self, messages=self.messages + turn)

    def without_last_turn(self) -> Conversation:
        """The conversation before the last question."""
        return replace(self, messages=self.messages[:-2])

    def without_messages(self) -> Conversation:
        """Only the system prompt."""
        return replace(self, messages=())

    @property
    def last_question(self) -> str | None:
        """The question of the last turn."""
        return self.messages[-2].content if self.messages else None

    @property
    def turns(self) -> int:
        """How many questions have been answered."""
        return len(self.messages) // 2


def save_conversation(conversation: Conversation, model: str, path: Path) -> None:
    """Write `conversation` to `path`, atomically. Raises `FoundryError`."""
    document = {"format": FORMAT, "version": VERSION, "model": model, **asdict(conversation)}
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    try:
        if not path.parent.is_dir():
            raise FoundryError(f"The directory {path.parent} does not exist.")
        write_atomically(path, text.encode("utf-8", "replace"))
    except (OSError, ValueError) as error:
        raise FoundryError(f"The conversation cannot be saved to {path}: {_reason(error)}.") from error


def load_conversation(path: Path) -> tuple[Conversation, str]:
    """The conversation in `path`, and the model it was with. Raises `FoundryError`."""
    try:
        with path.open("rb") as stream:
            data = stream.read(_LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        raise FoundryError(f"The conversation {path} cannot be read: {_reason(error)}.") from error
    if len(data) > _LARGEST_FILE:
        raise FoundryError(f"The file {path} is too large for a conversation.")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _not_one(path) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise _not_one(path)
    if document.get("version") != VERSION:
        raise FoundryError(
            f"The conversation {path} has the format version {document.get('version')!r}; this program reads {VERSION}."
        )
    return _conversation(document, path), str(document.get("model", ""))


def _conversation(document: dict[str, Any], path: Path) -> Conversation:
    system, messages = document.get("system"), document.get("messages")
    if not isinstance(system, str | None) or not isinstance(messages, list) or len(messages) % 2:
        raise _not_one(path)
    return Conversation(system, tuple(_message(fields, index, path) for index, fields in enumerate(messages)))


def _message(fields: Any, index: int, path: Path) -> Message:
    if not isinstance(fields, dict) or fields.get("role") != _ROLES[index % 2] or not isinstance(fields.get("content"), str):
        raise _not_one(path)
    return Message(fields["role"], fields["content"], fields.get("is_cancelled") is True)


def _not_one(path: Path) -> FoundryError:
    return FoundryError(f"The file {path} does not hold a conversation.", hint="/save writes such files.")


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
