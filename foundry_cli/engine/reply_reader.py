"""Tokens of one reply to its pieces: decoded, taken apart by the model's format, and ended by stop sequences.

Stop sequences are looked for in the text of the answer only, so none can cut a call or a thought.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from foundry_cli.engine.detokenizer import Detokenizer
from foundry_cli.engine.reply_format import CallStart, Reasoning, ReplyParser, ReplyPiece, Text
from foundry_cli.engine.stop_sequence import StopSequences

Decode = Callable[[Sequence[int]], str]


class ReplyReader:
    """State of one reply. `markers`: control tokens that the parser is to see, with their texts."""

    def __init__(
        self,
        decode: Decode,
        stop: Sequence[str] = (),
        parser: ReplyParser | None = None,
        markers: Mapping[int, str] | None = None,
    ) -> None:
        self._decode = decode
        self._detokenizer = Detokenizer(decode)
        self._stop = StopSequences(stop)
        self._parser = parser
        self._markers = (markers or {}) if parser else {}
        self.has_calls = False
        self.reasoning_tokens = 0

    @property
    def stop_sequence(self) -> str | None:
        """The one that was found, after which nothing comes out."""
        return self._stop.matched

    @property
    def is_reasoning(self) -> bool:
        """Whether what comes next is thought, as far as is known."""
        return self._parser is not None and self._parser.is_reasoning

    def add(self, token: int) -> list[ReplyPiece]:
        """What `token` completes."""
        was_reasoning = self.is_reasoning
        pieces = self._read(self._text_of(token))
        if was_reasoning or any(isinstance(piece, Reasoning) for piece in pieces):
            self.reasoning_tokens += 1
        return pieces

    def end(self) -> list[ReplyPiece]:
        """What is left at the end of the reply."""
        pieces = self._read(self._detokenizer.flush())
        if self._parser is not None:
            pieces += self._stopped(self._parser.end())
        return [*pieces, *self._held()]

    def _text_of(self, token: int) -> str:
        marker = self._markers.get(token)
        if marker is None:
            return self._detokenizer.add(token)
        text = self._detokenizer.flush() + marker
        self._detokenizer = Detokenizer(self._decode)
        return text

    def _read(self, text: str) -> list[ReplyPiece]:
        if not text:
            return []
        return self._stopped([Text(text)] if self._parser is None else self._parser.add(text))

    def _stopped(self, pieces: Iterable[ReplyPiece]) -> list[ReplyPiece]:
        """The pieces up to where a stop sequence ends them."""
        result: list[ReplyPiece] = []
        for piece in pieces:
            if self._stop.matched is not None:
                break
            if isinstance(piece, Text):
                text = self._stop.add(piece.text)
                result += [Text(text)] if text else []
                continue
            result += [*self._held(), piece]
            self.has_calls = self.has_calls or isinstance(piece, CallStart)
        return result

    def _held(self) -> list[ReplyPiece]:
        """What might have become a stop sequence and did not."""
        text = "" if self._stop.matched is not None else self._stop.flush()
        return [Text(text)] if text else []
