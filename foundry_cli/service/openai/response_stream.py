"""Responses as server-sent events: each has a name, and a number that goes up."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from foundry_cli.api.sse import DONE, encode_event
from foundry_cli.engine.request import EngineEvent, Finish, Timing, Usage
from foundry_cli.errors import FoundryError
from foundry_cli.service.openai.output_items import Event
from foundry_cli.service.openai.response_output import ResponseOutput
from foundry_cli.service.openai.response_writer import Response, ResponseWriter, end_output

_END_EVENTS = {"cancelled": "incomplete"}
"""Names of the last events that are not those of the status: for a response that was cancelled OpenAI has none."""


class ResponseStream:
    """The events of one response; `on_end` gets it whole, before the client does."""

    def __init__(self, writer: ResponseWriter, on_end: Callable[[Response], None]) -> None:
        self._writer = writer
        self._on_end = on_end
        self._output = ResponseOutput(has_summary=writer.has_summary)
        self._next_number = 0
        self._cancelled: tuple[Response, bytes] | None = None  # and what is still to be told then

    def add(self, index: int, event: EngineEvent) -> bytes:
        """The next event of the answer; there is only one, the `index` is 0."""
        if self._cancelled is not None:
            return self._cancelled[1] if isinstance(event, Finish) else b""
        if not isinstance(event, Finish):
            return self._opening() + self._encode(self._output.add(event))
        return self._end(event)[1]

    def fail(self, error: FoundryError) -> bytes:
        """The end of a stream that broke off."""
        if self._cancelled is not None:
            return self._cancelled[1]
        data = self._opening() + self._encode(self._output.close("incomplete"))
        return data + self._close(self._writer.failed(self._output.items, error))

    def cancel(self) -> Response:
        """End the response as it is now; what the engine still says of it is not told."""
        if self._cancelled is None:
            self._cancelled = self._end(Finish("cancelled", Usage(), Timing()))
        return self._cancelled[0]

    def show(self) -> Response:
        """The response before its end; nothing of it is final."""
        return self._writer.unfinished()

    def _opening(self) -> bytes:
        """The first two events, once. They come with the first one of the engine, so that they mark real progress."""
        if self._next_number:
            return b""
        names = ("response.created", "response.in_progress")
        return self._encode({"type": name, "response": self._writer.unfinished()} for name in names)

    def _end(self, finish: Finish) -> tuple[Response, bytes]:
        data = self._opening() + self._encode(end_output(self._output, finish))
        response = self._writer.ended(self._output.items, finish)
        return response, data + self._close(response)

    def _close(self, response: Response) -> bytes:
        self._on_end(response)
        status = response["status"]
        return self._encode([{"type": f"response.{_END_EVENTS.get(status, status)}", "response": response}]) + DONE

    def _encode(self, events: Iterable[Event]) -> bytes:
        return b"".join(map(self._encode_one, events))

    def _encode_one(self, event: Event) -> bytes:
        number, self._next_number = self._next_number, self._next_number + 1
        return f"event: {event['type']}\n".encode() + encode_event({**event, "sequence_number": number})
