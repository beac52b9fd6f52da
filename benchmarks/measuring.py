"""What the benchmarks share: services of their own, requests whose every event is stamped, and the document they print.

The client must not take the processor from what it measures: it speaks HTTP itself, stamps bytes as they come and reads
them when the answer has ended.
"""

from __future__ import annotations

import argparse
import asyncio
import builtins
import json
import keyword
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from foundry_cli import __version__
from foundry_cli.client.client import ServiceClient
from foundry_cli.client.supervisor import start_service, stop_service
from foundry_cli.hardware import detect_hardware
from foundry_cli.hardware.processors import usable_cores
from foundry_cli.paths import Paths

MODEL = "perf-model:1"
Messages = list[dict[str, str]]
median = statistics.median

_WORDS = sorted({*keyword.kwlist, *(name for name in dir(builtins) if name.islower() and name.isalpha())})
_TTL = 86_400  # seconds; no model is unloaded while another one is measured


@dataclass(frozen=True)
class Endpoint:
    """A model behind OpenAI's interface on a port of this machine. `name` is what the result calls it."""

    name: str
    port: int
    model: str = MODEL


@dataclass(frozen=True)
class Answer:
    """A streamed answer. `stamps` are the times of its pieces of text, on the same clock as `began`."""

    began: float
    finished: float  # when the last choice said why it ended
    stamps: tuple[float, ...]
    stamps_by_choice: Mapping[int, tuple[float, ...]]
    text: str
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int | None  # None: the server does not say
    drafted_tokens: int  # computed ahead, and those of them that were chosen
    accepted_tokens: int
    timings: Mapping[str, float]

    @property
    def first_s(self) -> float:
        """Time to the first token."""
        return self.stamps[0] - self.began

    @property
    def decode_rate(self) -> float:
        """Tokens per second after the first."""
        return (self.completion_tokens - 1) / max(self.finished - self.stamps[0], 1e-9)

    def longest_gap(self, after: float = 0.0, before: float = float("inf")) -> float:
        """The longest time without a piece within a period; one that reaches into it counts whole."""
        pairs = zip(self.stamps, self.stamps[1:], strict=False)
        return max((two - one for one, two in pairs if two > after and one < before), default=0.0)


class Refused(Exception):  # noqa: N818 - an answer, and for `overload.py` the one that is measured
    """A status other than 200."""

    def __init__(self, status: int, headers: Mapping[str, str], body: str, seconds: float) -> None:
        super().__init__(f"status {status}: {body[:300]}")
        self.status = status
        self.headers = headers
        self.seconds = seconds


async def ask(
    endpoint: Endpoint, messages: Messages, tokens: int, *, stop: asyncio.Event | None = None, **options: Any
) -> Answer:
    """One streamed answer of at most `tokens` tokens, greedy unless `options` say otherwise. Raises `Refused`.

    When `stop` is set, the client goes away after the next piece. An answer without counts (llama-cpp-python gives none in
    streams) has 0 prompt tokens, and a token for every piece.
    """
    return await _stream(endpoint, stop, messages=messages, max_tokens=tokens, **options)


async def complete(endpoint: Endpoint, prompt: str, tokens: int, **options: Any) -> Answer:
    """At most `tokens` tokens that follow `prompt`, which goes through no template; as `ask` otherwise."""
    return await _stream(endpoint, None, path="/v1/completions", prompt=prompt, max_tokens=tokens, **options)


async def _stream(endpoint: Endpoint, stop: asyncio.Event | None, **body: Any) -> Answer:
    body = {"temperature": 0, "stream": True, "stream_options": {"include_usage": True}, **body}
    began = time.perf_counter()
    async with _request(endpoint, began, **body) as reader:
        events = []
        async for event in _events(reader):
            events.append(event)
            if stop is not None and stop.is_set():
                break
    return _answer(began, events)


async def count_tokens(endpoint: Endpoint, messages: Messages) -> int:
    """Tokens of a prompt, as the server counts them."""
    async with _request(endpoint, time.perf_counter(), messages=messages, max_tokens=1) as reader:
        return int(json.loads(await reader.read())["usage"]["prompt_tokens"])


@asynccontextmanager
async def _request(
    endpoint: Endpoint, began: float, path: str = "/v1/chat/completions", **body: Any
) -> AsyncIterator[asyncio.StreamReader]:
    """The body of an answer. Raises `Refused`."""
    payload = json.dumps({"model": endpoint.model, **body}).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: 127.0.0.1:{endpoint.port}\r\nconnection: close\r\n"
        f"content-type: application/json\r\ncontent-length: {len(payload)}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", endpoint.port, limit=1 << 24)
    try:
        writer.write(head.encode() + payload)
        status, headers = await _head(reader)
        if status != 200:
            seconds = time.perf_counter() - began
            raise Refused(status, headers, (await reader.read()).decode("utf-8", "replace"), seconds)
        yield reader
    finally:
        writer.close()


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return int(first.split()[1]), headers


async def _events(reader: asyncio.StreamReader) -> AsyncIterator[tuple[float, bytes]]:
    """The data of a chunked event stream, unread, with the time when each came."""
    rest = b""
    while size := int(await reader.readline() or b"0", 16):
        data = await reader.readexactly(size + 2)
        now = time.perf_counter()
        *lines, rest = (rest + data[:-2]).split(b"\n")
        for line in lines:
            if line.startswith(b"data: {"):
                yield now, line[6:]


def _answer(began: float, events: Sequence[tuple[float, bytes]]) -> Answer:
    stamps: dict[int, list[float]] = {}
    pieces: list[str] = []
    usage: dict[str, Any] = {}
    timings: dict[str, float] = {}
    finished = 0.0
    for now, data in events:
        event = json.loads(data)
        if "error" in event:
            raise RuntimeError(f"the answer ended with an error: {event['error']}")
        usage = event.get("usage") or usage
        timings = event.get("timings") or timings
        for choice in event.get("choices", []):
            if piece := choice["delta"].get("content") if "delta" in choice else choice["text"]:
                stamps.setdefault(choice["index"], []).append(now)
                pieces.append(piece)
            finished = now if choice.get("finish_reason") else finished
    if not stamps:
        raise RuntimeError("an answer without text")
    details = usage.get("prompt_tokens_details") or {}
    answered = usage.get("completion_tokens_details") or {}
    accepted = answered.get("accepted_prediction_tokens", 0)
    return Answer(
        began=began,
        finished=finished,
        stamps=tuple(sorted(stamp for choice in stamps.values() for stamp in choice)),
        stamps_by_choice={index: tuple(choice) for index, choice in stamps.items()},
        text="".join(pieces),
        prompt_tokens=usage.get("prompt_tokens", 0),
        completion_tokens=usage.get("completion_tokens", len(pieces)),
        cached_tokens=details.get("cached_tokens"),
        drafted_tokens=accepted + answered.get("rejected_prediction_tokens", 0),
        accepted_tokens=accepted,
        timings=timings,
    )


class Prompts:
    """Texts of chosen lengths that share no beginning: random words, since repetition would flatter speculation."""

    def __init__(self, tokens_per_word: float, fixed_tokens: float, seed: int) -> None:
        self._tokens_per_word = tokens_per_word
        self._fixed_tokens = fixed_tokens
        self._random = random.Random(seed)

    @classmethod
    async def create(cls, endpoint: Endpoint, seed: int = 0) -> Prompts:
        """Learn from the server how many tokens a word has; warms it up, too."""
        raw = cls(1, 0, seed)
        few, many = [await count_tokens(endpoint, [raw.message(words)]) for words in (50, 250)]
        per_word = (many - few) / 200
        return cls(per_word, few - 50 * per_word, seed + 1)

    def message(self, tokens: int) -> dict[str, str]:
        """A question that makes a prompt of about `tokens` tokens, template included."""
        return {"role": "user", "content": self.text(tokens - self._fixed_tokens)}

    def text(self, tokens: float) -> str:
        """About `tokens` tokens of text, at least one word."""
        return " ".join(self._random.choice(_WORDS) for _ in range(max(1, round(tokens / self._tokens_per_word))))


class BenchService:
    """A service with one model on a home directory of its own; used as a context manager."""

    def __init__(self, model: Path, engine: str = "auto") -> None:
        self._model = model
        self.engine = engine
        self._home = tempfile.TemporaryDirectory(prefix="foundry-bench-", ignore_cleanup_errors=True)
        self.paths = Paths(Path(self._home.name))
        self.client: ServiceClient

    @property
    def directory(self) -> Path:
        """The model's files in the cache of this service."""
        return self.paths.default_cache / "Bench" / "perf-model"

    @property
    def environment(self) -> dict[str, str]:
        """Variables of this service and of commands that talk to it."""
        return {"FOUNDRY_HOME": str(self.paths.home), "FOUNDRY_ENGINE": self.engine, "FOUNDRY_OFFLINE": "1"}

    def __enter__(self) -> BenchService:
        shutil.copytree(self._model, self.directory)
        (self.directory / "inference_model.json").write_text(json.dumps({"Name": MODEL}))
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        stop_service(self.paths)
        self._home.cleanup()

    def start(self) -> None:
        """Start the service, or find it again after a restart, and load the model."""
        with _variables(self.environment):
            self.client, _ = start_service(self.paths)
        self.load()

    def load(self) -> None:
        """Load the model."""
        self.client.load(MODEL, ttl=_TTL)

    def restart(self) -> None:
        """`foundry service restart`, which loads the model again."""
        command = [sys.executable, "-m", "foundry_cli", "service", "restart"]
        subprocess.run(command, env={**os.environ, **self.environment}, check=True, stdout=subprocess.DEVNULL)
        self.client, _ = start_service(self.paths)

    @property
    def endpoint(self) -> Endpoint:
        """Where the model answers."""
        return Endpoint(self.engine, self.client.record.port)

    def worker(self) -> psutil.Process:
        """The process that runs the model."""
        return psutil.Process(self._loaded()["pid"])

    def described(self) -> str:
        """The engine that the service says it uses: a version without that choice ignores the wish."""
        return str(self._loaded().get("engine", "not said"))

    def _loaded(self) -> dict[str, Any]:
        return dict(self.client.status()["loadedModels"][0])


@contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    """The environment with `values` and no other variable of this program."""
    before = dict(os.environ)
    for name in [name for name in os.environ if name.startswith("FOUNDRY_")]:
        del os.environ[name]
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class BareLoop:
    """The yardstick process, see `bare_loop.py`."""

    def __init__(self, model: Path) -> None:
        script = Path(__file__).with_name("bare_loop.py")
        command = [sys.executable, str(script), str(model), str(usable_cores())]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._read()

    def __enter__(self) -> BareLoop:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> dict[str, float]:
        assert self._process.stdout is not None
        return dict(json.loads(self._process.stdout.readline()))

    def run(self, text: str, tokens: int, depth: int = 0) -> dict[str, float]:
        """One answer of `tokens` tokens to `text`, which has the template applied; its first `depth` tokens are not timed."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"text": text, "tokens": tokens, "depth": depth}) + "\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def template(messages: Messages) -> str:
    """The prompt as the model's own ChatML template writes it."""
    turns = "".join(f"<|im_start|>{message['role']}\n{message['content']}<|im_end|>\n" for message in messages)
    return turns + "<|im_start|>assistant\n"


def parser(description: str, *, rounds: int, engines: Sequence[str] = ("auto", "batch", "genai")) -> argparse.ArgumentParser:
    """The arguments that all benchmarks have."""
    result = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("model", type=Path, help="directory with a GenAI model that has a ChatML template")
    result.add_argument("--rounds", type=int, default=rounds, help="the ratios are medians over so many")
    result.add_argument("--engine", choices=engines, default="auto", help="engine of the service")
    return result


def run(work: Callable[[], Coroutine[Any, Any, dict[str, Any]]], benchmark: str, model: Path) -> None:
    """Do the work, which returns `ratios` and `figures`, and print the document."""
    began = datetime.now(timezone.utc)
    result = asyncio.run(work())
    machine = detect_hardware()
    document = {
        "benchmark": benchmark,
        **result,
        "date": began.isoformat(timespec="seconds"),
        "model": model.name,
        "machine": {
            "cpu": machine.cpu.name,
            "cores": usable_cores(),
            "memory_gib": round(machine.memory_bytes / 2**30, 1),
            "load_before": round(os.getloadavg()[2], 2),  # over the last 15 minutes: was it quiet?
        },
        "versions": {name: version(name) for name in ("onnxruntime", "onnxruntime-genai")} | {"foundry": __version__},
    }
    print(json.dumps(rounded(document), indent=2))


def rounded(value: Any) -> Any:
    """`value` with numbers that people can read."""
    if isinstance(value, float):
        return round(value, 4 if abs(value) < 1 else 3 if abs(value) < 100 else 1)
    if isinstance(value, Mapping):
        return {name: rounded(entry) for name, entry in value.items()}
    return [rounded(entry) for entry in value] if isinstance(value, (list, tuple)) else value


def note(text: str) -> None:
    """A line about what is going on; standard output is for the document."""
    print(text, file=sys.stderr, flush=True)
