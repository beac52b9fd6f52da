"""A chat without a terminal: the conversation, how it is continued, and the service that answers."""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Thread
from typing import cast

from foundry_cli.client.client import AnswerEnd, AnswerEvent, ReasoningDelta, ServiceClient, TextDelta
from foundry_cli.client.supervisor import start_service
from foundry_cli.errors import EngineDiedError, FoundryError, ServiceStoppingError, ServiceUnreachableError
from foundry_cli.paths import Paths
from foundry_cli.repl.conversation import Conversation
from foundry_cli.repl.settings import ChatSettings

_ALIVE_SECONDS = 1.0
_AHEAD_SECONDS = 0.5  # for the service to take what is to be read ahead, before the next question is sent


@dataclass(frozen=True)
class AnswerStats:
    """What is known about an answer. `end` is missing when it was cancelled, both are when nothing had come."""

    first_token_seconds: float | None
    end: AnswerEnd | None

    def text(self) -> str:
        """All of it as one line."""
        first = "" if self.first_token_seconds is None else f"Time to first token: {1000 * self.first_token_seconds:.0f} ms. "
        if self.end is None:
            return f"{first}The answer was cancelled, so the service reported no counts."
        end = self.end
        return (
            f"{first}Prompt: {end.prompt_tokens} tokens, {end.cached_tokens} of them cached. "
            f"Answer: {end.completion_tokens} tokens, {end.tokens_per_second:.1f} tokens per second."
        )


class Answer:
    """An answer on its way: an iterator of its pieces, and of the thoughts before it."""

    def __init__(self, client: ServiceClient, model: str, base: Conversation, question: str, settings: ChatSettings) -> None:
        self.base = base  # the conversation before the question
        self.question = question
        self.end: AnswerEnd | None = None
        self._pieces: list[str] = []
        self._began = time.monotonic()
        self._first_token_seconds: float | None = None
        events = client.chat(model, base.request(question), **settings.request_parameters())
        self._events = cast(Generator[AnswerEvent, None, None], events)  # its end is the answer's cancellation

    def __iter__(self) -> Answer:
        return self

    def __next__(self) -> TextDelta | ReasoningDelta:
        for event in self._events:
            if isinstance(event, AnswerEnd):
                self.end = event
                continue
            if self._first_token_seconds is None:
                self._first_token_seconds = time.monotonic() - self._began
            if isinstance(event, TextDelta):
                self._pieces.append(event.text)
            return event
        raise StopIteration

    @property
    def text(self) -> str:
        """What has come so far, without thoughts."""
        return "".join(self._pieces)

    @property
    def stats(self) -> AnswerStats:
        """Its counts and times."""
        return AnswerStats(self._first_token_seconds, self.end)

    def close(self) -> None:
        """Cancel what has not come yet."""
        self._events.close()


class Chat:
    """The state of a chat. Nothing here reads from or writes to the terminal."""

    def __init__(self, paths: Paths, client: ServiceClient, model: str, settings: ChatSettings) -> None:
        self.model = model
        self.settings = settings
        self.conversation = Conversation(settings.system)
        self.stats: AnswerStats | None = None
        self.file: Path | None = None  # where it was saved or loaded last
        self.saved = self.conversation  # what that file holds
        self.is_connected = True
        self._paths = paths
        self._client = client
        self._question: str | None = None  # the last one, answered or not
        self._is_answered = False
        self._ahead: tuple[str, Conversation] | None = None  # what the model was asked to read last
        self._reading: Thread | None = None

    def read_ahead(self) -> None:
        """Let the model read what has been said while the next question is typed. Whether it does, is of no matter."""
        if (self.model, self.conversation) == self._ahead or not self.is_connected:
            return
        self._ahead = self.model, self.conversation
        if history := self.conversation.history():
            self._reading = Thread(target=self._read_ahead, args=(self._client, self.model, history), daemon=True)
            self._reading.start()

    @staticmethod
    def _read_ahead(client: ServiceClient, model: str, history: list[dict[str, str]]) -> None:
        with suppress(FoundryError):
            client.prefill(model, history)

    def ask(self, question: str) -> Answer:
        """Begin to answer `question`; hand the answer to `keep` afterwards."""
        return self._begin(self.conversation, question)

    def ask_again(self) -> Answer:
        """Begin to answer the last question anew. Raises `FoundryError` when there is none."""
        if self._question is None:
            raise FoundryError("There is no question to ask again.")
        base = self.conversation.without_last_turn() if self._is_answered else self.conversation
        return self._begin(base, self._question)

    def _begin(self, base: Conversation, question: str) -> Answer:
        self._ahead = None
        if self._reading is not None:
            self._reading.join(_AHEAD_SECONDS)
        self._question, self._is_answered = question, self._is_answered and base is not self.conversation
        return Answer(self._client, self.model, base, question, self.settings)

    def keep(self, answer: Answer, *, is_cancelled: bool = False) -> None:
        """Make `answer` part of the conversation; a cancelled one as far as it came."""
        self.stats = answer.stats
        if answer.text or not is_cancelled:
            self.conversation = answer.base.with_turn(answer.question, answer.text, is_cancelled=is_cancelled)
            self._is_answered = True

    def replace_conversation(self, conversation: Conversation) -> None:
        """Go on with another conversation."""
        self.conversation = conversation
        self._question, self._is_answered = conversation.last_question, bool(conversation.messages)

    def set_system(self, text: str) -> None:
        """Change the system prompt; an empty one is none."""
        self.conversation = replace(self.conversation, system=text or None)

    def switch_model(self, name: str) -> None:
        """Load another model and go on with it. Raises `FoundryError`, and then nothing has changed."""
        self._client.load(name, ttl=self.settings.ttl)
        self.model = name

    def model_names(self) -> list[str]:
        """Aliases and ids of the models on this machine; empty when the service does not say."""
        try:
            models = [model for model in self._client.models() if model.get("cached", True)]
        except FoundryError:
            return []
        return list(dict.fromkeys(str(model[key]) for key in ("alias", "name") for model in models if model.get(key)))

    def has_lost_service(self, error: FoundryError) -> bool:
        """Whether `error` means that the service has gone; the next question then needs `reconnect`."""
        if isinstance(error, (ServiceUnreachableError, ServiceStoppingError)):
            self.is_connected = False
        elif isinstance(error, EngineDiedError):  # a broken answer: of the model's process, or of the whole service
            self.is_connected = self._client.is_alive(_ALIVE_SECONDS)
        return not self.is_connected

    def reconnect(self) -> bool:
        """Find the service, or start it; True when it had to be started. Raises `FoundryError`."""
        self._client, was_started = start_service(self._paths)
        self.is_connected = True
        return was_started
