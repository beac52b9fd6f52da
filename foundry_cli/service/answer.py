"""What has come of one answer, for interfaces that tell it in one piece."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from foundry_cli.engine.request import EngineEvent, Finish, ReasoningChunk, TextChunk, TokenText, ToolCallChunk


@dataclass
class ToolCall:
    """A call of a function, `arguments` being the text of a JSON object."""

    identity: str
    name: str
    arguments: str = ""


@dataclass
class Answer:
    """The events so far, put together."""

    finish: Finish | None = None
    tool_calls: list[ToolCall] = field(default_factory=list)
    chunks: list[TextChunk] = field(default_factory=list)
    _thoughts: list[str] = field(default_factory=list)

    def add(self, event: EngineEvent) -> None:
        """Note the next event."""
        match event:
            case Finish():
                self.finish = event
            case TextChunk():
                self.chunks.append(event)
            case ReasoningChunk():
                self._thoughts.append(event.text)
            case ToolCallChunk():
                if event.index == len(self.tool_calls):
                    self.tool_calls.append(ToolCall(event.identity, event.name))
                self.tool_calls[event.index].arguments += event.arguments

    @property
    def text(self) -> str:
        """All of its text."""
        return "".join(chunk.text for chunk in self.chunks)

    @property
    def reasoning(self) -> str:
        """All that was thought before."""
        return "".join(self._thoughts)

    @property
    def logprobs(self) -> Sequence[TokenText]:
        """The log-probabilities of its tokens, if they are wanted."""
        return [token for chunk in self.chunks for token in chunk.logprobs]
