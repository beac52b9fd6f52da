"""The real HTTP server in this process, over an engine whose answers a test decides; and HTTP without a library."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from foundry_cli.engine.model_manager import ModelManager
from foundry_cli.engine.process import EngineProcess
from foundry_cli.engine.request import EngineEvent, Finish, GenerationRequest, TextChunk, Timing, Usage
from foundry_cli.execution_providers import ProviderReport
from foundry_cli.instance import InstanceRecord
from foundry_cli.inventory import Inventory
from foundry_cli.service.app import create_app
from foundry_cli.service.guard import Access
from foundry_cli.service.protocol import LimitedProtocol
from foundry_cli.service.server import Server, bind_tcp, bind_unix
from foundry_cli.service.state import InstalledProviders, ServiceState

TOKEN = "the-token-of-the-record"
MODEL = "fake-model:3"
JSON = {"content-type": "application/json"}

Answer = Callable[[GenerationRequest], AsyncGenerator[EngineEvent, None]]


def finish(tokens: int = 1) -> Finish:
    """The end of an answer."""
    return Finish("stop", Usage(3, tokens, 0), Timing(0.001, 0.002, 0.003))


async def say_hello(_: GenerationRequest) -> AsyncGenerator[EngineEvent, None]:
    """An answer."""
    yield TextChunk("Hello")
    yield finish()


class FakeEngine:
    """Takes the place of an engine process."""

    pid = 4242
    context_length = 2048
    load_seconds = 0.0
    engine = "fake"
    kernels = "none"
    most_running = 8
    threads = 2
    has_given_up = False

    def __init__(self, answer: Answer) -> None:
        self.generate = answer
        self.ended = asyncio.Event()

    @property
    def is_alive(self) -> bool:
        """Whether it can take requests."""
        return not self.ended.is_set()

    async def tokenize(self, request: GenerationRequest) -> list[int]:
        """The bytes of the prompt, or of the messages."""
        prompt = "".join(message["content"] for message in request.messages) if request.prompt is None else request.prompt
        return list(prompt.encode() if isinstance(prompt, str) else prompt)

    async def detokenize(self, tokens: Sequence[int]) -> str:
        """The inverse."""
        return bytes(tokens).decode()

    async def stop(self) -> None:
        """End."""
        self.ended.set()


@dataclass
class LocalService:
    """A server that runs in a thread."""

    server: Server
    port: int
    socket: Path
    state: ServiceState
    engines: list[FakeEngine]
    stops: list[bool] = field(default_factory=list)
    started: list[str] = field(default_factory=list)  # the execution provider of each load

    def connect(self) -> http.client.HTTPConnection:
        """A connection over TCP."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)

    def get(self, path: str, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], Any]:
        """Status, headers and JSON of one request over TCP."""
        return self.send(method, path, None, headers)

    def chat(self, body: dict[str, Any] | bytes, **headers: str) -> tuple[int, dict[str, str], Any]:
        """Status, headers and JSON of one chat completion."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.send("POST", "/v1/chat/completions", data, {**JSON, **headers})

    def send(self, method: str, path: str, data: bytes | None, headers: dict[str, str]) -> tuple[int, dict[str, str], Any]:
        """Status, headers and JSON of one request over TCP."""
        connection = self.connect()
        try:
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            text = response.read()
            names = {name.lower(): value for name, value in response.getheaders()}
            return (
                response.status,
                names,
                json.loads(text) if names.get("content-type") == "application/json" and text else text,
            )
        finally:
            connection.close()

    def raw(self, data: bytes) -> bytes:
        """All that comes back on a TCP connection for `data`, up to its end."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=20) as connection:
            connection.sendall(data)
            return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    """Everything up to the end of the connection."""
    received = b""
    try:
        while data := connection.recv(1 << 16):
            received += data
    except ConnectionResetError:
        pass
    return received


def question(**fields: Any) -> dict[str, Any]:
    """A chat request."""
    return {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], **fields}


def events(body: bytes) -> list[Any]:
    """The events of a stream, strictly parsed; `[DONE]` as text."""
    assert body.endswith(b"\n\n")
    found: list[Any] = []
    for block in body[:-2].decode().split("\n\n"):
        assert block.startswith("data: ")
        assert "\n" not in block
        found.append("[DONE]" if block == "data: [DONE]" else json.loads(block[6:]))
    return found


@contextmanager
def local_service(
    directory: Path,
    answer: Answer = say_hello,
    *,
    start: Callable[[str, Path, str], Awaitable[Any]] | None = None,
    providers: tuple[str, ...] = ("CPUExecutionProvider",),
    installed: InstalledProviders | None = None,
    drain_seconds: int = 5,
    protocol: type[LimitedProtocol] = LimitedProtocol,
    **access: Any,
) -> Iterator[LocalService]:
    """Serve `answer` as the model `MODEL`; `start` may take the place of loading it."""
    model = directory / "cache" / "Tests" / "fake" / "v3"
    model.mkdir(parents=True)
    (model / "genai_config.json").write_text('{"model": {"context_length": 2048}}')
    (model / "inference_model.json").write_text(json.dumps({"Name": MODEL, "PromptTemplate": {"prompt": "{Content}"}}))
    engines: list[FakeEngine] = []
    started: list[str] = []
    stops: list[bool] = []

    async def start_engine(_: str, __: Path, provider: str, *, embeds: bool = False) -> EngineProcess:
        started.append(provider)
        engines.append(FakeEngine(answer))
        return cast(EngineProcess, engines[-1])

    access = {"host": "127.0.0.1", "is_same_user": lambda *_: True, **access}
    tcp, unix = bind_tcp(access["host"], 0), bind_unix(directory / "run" / "service.sock", directory)
    assert unix is not None
    port = tcp.getsockname()[1]
    models = ModelManager(default_ttl=600, available_memory=lambda: 1 << 40, start_engine=start or start_engine)
    record = InstanceRecord("identity", 1, 1795132800.0, access["host"], port, str(directory), TOKEN, "0.0.0")
    inventory = Inventory(directory / "cache")
    installed = installed or InstalledProviders(lambda: ProviderReport(providers))
    installed.known()  # the service asks when it starts
    state = ServiceState(record, inventory, models, lambda: stops.append(True), lambda: bool(stops), installed)
    ready = threading.Event()
    app = create_app(state, Access(port=port, token=TOKEN, **access))
    server = Server(app, ready.set, models.close, drain_seconds=drain_seconds, protocol=protocol)
    thread = threading.Thread(target=server.run_on, args=([tcp, unix],))
    thread.start()
    try:
        assert ready.wait(10)
        yield LocalService(server, port, directory / "run" / "service.sock", state, engines, stops, started)
    finally:
        server.should_exit = True
        thread.join(30)
        assert not thread.is_alive()
