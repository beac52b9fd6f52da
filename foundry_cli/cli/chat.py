"""The work of `foundry model run` and `foundry complete`: getting the model ready, one answer, or the interactive chat."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from foundry_cli.api.limits import LARGEST_BODY
from foundry_cli.cli import output
from foundry_cli.cli.lifecycle import running_service
from foundry_cli.cli.output import Say, symbol
from foundry_cli.cli.resolution import check_writes, find_model
from foundry_cli.client.client import AnswerEnd, ServiceClient, TextDelta
from foundry_cli.errors import FoundryError, InvalidRequestError, ModelInUseError
from foundry_cli.repl.sanitizer import Sanitizer, clean_prompt
from foundry_cli.repl.settings import ChatSettings
from foundry_cli.types import ModelInfo

_REST_OF_BODY = 1 << 20  # bytes that a request may have besides its question: the system message, and parameters


def read_question(prompt: str | None) -> str | None:
    """The text to answer once, from `--prompt` or piped standard input; None for the interactive chat."""
    if prompt is None and sys.stdin.isatty() and sys.stdout.isatty():
        return None
    return read_text(prompt)


def read_text(prompt: str | None) -> str:
    """`prompt`, or all of standard input, as models take it. Raises `InvalidRequestError` for nothing, or for too much."""
    if prompt is None:
        if sys.stdin.isatty():
            output.note("Type the prompt; Ctrl-D on a line of its own ends it.")
        prompt = sys.stdin.buffer.read(LARGEST_BODY + 1).decode("utf-8", "replace")
    if len(json.dumps(prompt, ensure_ascii=False).encode("utf-8", "replace")) > LARGEST_BODY - _REST_OF_BODY:
        size = f"{(LARGEST_BODY - _REST_OF_BODY) >> 20} MiB"
        raise InvalidRequestError(
            f"Prompt cannot be larger than {size}, written as JSON.", hint="No model reads so much at once: give a part."
        )
    prompt = clean_prompt(prompt)
    if not prompt.strip():
        raise InvalidRequestError("Prompt cannot be empty.", hint="Give a text on the command line, or on standard input.")
    return prompt


def system_message(text: str | None) -> str | None:
    """A system message as models take it."""
    return None if text is None else clean_prompt(text)


@dataclass(frozen=True)
class Wanted:
    """A model as it was asked for, and how it shall be loaded: other models make room unless `retain`."""

    name: str
    device: str | None
    ep: str | None
    ttl: int | None
    accept_license: bool
    retain: bool
    verbose: bool = False


def ready_model(wanted: Wanted, *, is_quiet: bool) -> tuple[ServiceClient, ModelInfo]:
    """Fetch the model unless it is here, start the service unless it runs, and load the model unless it is loaded.

    `is_quiet`: standard output is for the answer only.
    """
    say = output.note if is_quiet else output.line
    model = find_model(wanted.name, wanted.device)
    check_writes(model)
    if model.is_external:
        return running_service(say), model
    if not model.is_cached:
        from foundry_cli.cli.download import Downloads  # what is here starts faster without

        stream = sys.stderr if is_quiet else sys.stdout
        model = Downloads(say, stream).fetch(model, accept_license=wanted.accept_license)
    client = running_service(say)
    _load(client, model, wanted, say)
    return client, model


def _load(client: ServiceClient, model: ModelInfo, wanted: Wanted, say: Say) -> None:
    loaded = client.loaded_models()
    if model.id in loaded:
        if wanted.ep:
            client.load(model.id, ep=wanted.ep)
        return
    say(f"Model {model.id} was found in the local cache.")
    if loaded and not wanted.retain:
        say("Unloading existing models. Use --retain true to keep additional models loaded.")
        for other in loaded:
            _unload_idle(client, other)
    say(f"{symbol('🕘 ')}Loading model... ")
    output.flush()
    began = time.monotonic()
    client.load(model.id, ttl=wanted.ttl, ep=wanted.ep)
    if wanted.verbose:
        say(f"Time cost to load model: {_clock(time.monotonic() - began)}")
    say(f"{symbol('🟢 ')}Model {model.id} loaded successfully")


def _unload_idle(client: ServiceClient, model_id: str) -> None:
    try:
        client.unload(model_id)
    except ModelInUseError as error:  # somebody else is talking to it
        output.note(error.message)


def answer_once(client: ServiceClient, model: ModelInfo, question: str, settings: ChatSettings) -> None:
    """Stream one answer to standard output, nothing else."""
    write = _writer()
    began = time.monotonic()
    first: float | None = None
    try:
        for event in client.chat(model.id, _messages(settings.system, question), **settings.request_parameters()):
            if isinstance(event, TextDelta):
                first = first or time.monotonic() - began
                write(event.text)
            elif isinstance(event, AnswerEnd):
                write("\n")
                if settings.verbose:
                    from foundry_cli.repl.chat import AnswerStats

                    output.note(AnswerStats(first, event).text())
    except FoundryError:
        if first is not None and sys.stdout.isatty():
            write("\n")  # what went wrong is told on a line of its own
        raise


def answer_fields(client: ServiceClient, model: ModelInfo, question: str, settings: ChatSettings) -> dict[str, Any]:
    """One answer as `model`, `text`, `finish_reason` and `usage`."""
    answer = client.complete(model.id, _messages(settings.system, question), **settings.request_parameters())
    choice = answer["choices"][0]
    return {
        "model": answer["model"],
        "text": choice["message"].get("content") or "",
        "finish_reason": choice["finish_reason"],
        "usage": answer["usage"],
    }


def _writer() -> Callable[[str], None]:
    """Shows text at once: as it is in a file or a pipe, made harmless on a terminal."""
    clean: Callable[[str], str] = str
    if sys.stdout.isatty():
        clean = Sanitizer().feed

    def write(text: str) -> None:
        sys.stdout.write(clean(text))
        sys.stdout.flush()

    return write


def _messages(system: str | None, question: str) -> list[dict[str, str]]:
    start = [{"role": "system", "content": system}] if system else []
    return [*start, {"role": "user", "content": question}]


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes // 60):02d}:{int(minutes % 60):02d}:{rest:010.7f}"


def chat(client: ServiceClient, model: ModelInfo, settings: ChatSettings) -> None:
    """The interactive chat."""
    from foundry_cli.paths import Paths
    from foundry_cli.repl.session import run_chat

    output.line()
    run_chat(Paths.from_environment(), client, model.id, settings)
