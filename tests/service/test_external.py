"""Models that other servers run: requests go there, answers come back byte by byte, and keys stay where they are."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest

from foundry_cli.config import load_config
from foundry_cli.errors import ProviderUnreachableError
from foundry_cli.external_models import ExternalModel, read_external_models
from foundry_cli.paths import Paths
from foundry_cli.service.errors import status_of
from foundry_cli.service.external.answer_headers import answer_headers
from foundry_cli.service.external.connection import post
from tests.fakes.web import Answer, Respond, Seen, WebServer, web_server
from tests.fakes.wire import Talk, read_request, tunnel_to, wait_for_end, wire_server
from tests.service.local import JSON, MODEL, TOKEN, LocalService, events, local_service, question, read_all
from tests.service.test_chat import Endless, _send

CERTIFICATE = Path(__file__).parents[1] / "fakes" / "tls" / "provider.test.pem"
EVENT_STREAM = {"Content-Type": "text/event-stream; charset=utf-8", "Transfer-Encoding": "chunked"}
REGISTER = "/openai/register"


def _external(url: str, **fields: Any) -> ExternalModel:
    return ExternalModel("cloud/big", url, "big-2", **fields)


@contextmanager
def _behind(directory: Path, url: str, *, is_offline: bool = False, **fields: Any) -> Iterator[LocalService]:
    """A service that knows the model at `url`."""
    with local_service(directory) as local:
        local.state.external.take_over([_external(url, **fields)], is_offline=is_offline)
        yield local


@contextmanager
def _with_web(directory: Path, respond: Respond, **fields: Any) -> Iterator[tuple[LocalService, WebServer]]:
    with web_server(respond) as server, _behind(directory, f"{server.url}/api/v1", **fields) as local:
        yield local, server


def _ok(_: Seen) -> Answer:
    return Answer(200, b'{ "id": 1,\n "choices": [] }', {"Content-Type": "application/json"})


def _ask(local: LocalService, path: str = "/v1/chat/completions", **fields: Any) -> tuple[int, dict[str, str], Any]:
    body = {"model": "Cloud/BIG", "messages": [{"role": "user", "content": "Hi \N{SNOWMAN}"}], **fields}
    return local.send("POST", path, json.dumps(body).encode(), JSON)


@pytest.mark.parametrize("path", ["chat/completions", "completions", "embeddings", "responses"])
def test_a_request_is_changed_in_its_model_only(tmp_path: Path, path: str) -> None:
    given = {"temperature": 0.30000000000000004, "unheard": {"of": [1, None, 1e3]}, "ttl": 5, "logit_bias": {"5": 1}}
    with _with_web(tmp_path, _ok) as (local, server):
        status, headers, answer = _ask(local, f"/v1/{path}?api-version=1", **given)
    assert (status, answer, headers["content-type"]) == (200, {"id": 1, "choices": []}, "application/json")
    (seen,) = server.seen
    assert (seen.method, seen.path) == ("POST", f"/api/v1/{path}?api-version=1")
    messages = [{"role": "user", "content": "Hi \N{SNOWMAN}"}]
    assert json.loads(seen.body) == {"model": "big-2", "messages": messages, **given}
    assert local.engines == []


def test_models_of_this_machine_stay_here(tmp_path: Path) -> None:
    with _with_web(tmp_path, _ok) as (local, server):
        assert local.chat(question())[2]["choices"][0]["message"]["content"] == "Hello"
        assert local.chat(question(pad="x" * 100_000))[0] == 200  # large bodies are read elsewhere
        for body in (b"{", b'{"model": 3}', b'{"model": "cloud/big", "model": "cloud/big"}', b"[]"):
            assert local.chat(body)[0] == 400
        assert local.chat(question(model="no-such"))[0] == 404
        assert server.seen == []


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (401, {"Content-Type": "application/json"}),
        (
            429,
            {
                "Retry-After": "7",
                "X-RateLimit-Remaining": "0",
                "Content-Type": "application/json; charset=utf-8",
            },
        ),
        (500, {"Content-Type": "text/plain"}),
        (200, {"Content-Type": "application/json", "OpenAI-Processing-Ms": "12"}),
    ],
)
def test_what_comes_back_is_passed_on_as_it_is(tmp_path: Path, status: int, headers: dict[str, str]) -> None:
    body = b'{"error" :\r\n {"message": "\xe2\x98\x83"} }\n\n'
    private = {
        "X-Foundry-Ignored-Fields": "a",
        "X-Foundry-Token": "b",
        "Set-Cookie": "a=b",
        "Access-Control-Allow-Origin": "*",
        "Server": "x",
        "Alt-Svc": "h3",
    }
    with _with_web(tmp_path, lambda _: Answer(status, body, {**headers, **private})) as (local, _):
        connection = local.connect()
        connection.request("POST", "/v1/chat/completions", json.dumps(question(model="cloud/big")).encode(), JSON)
        response = connection.getresponse()
        assert (response.status, response.read()) == (status, body)
        assert {name: response.headers[name] for name in headers} == headers
        assert not any(name in response.headers for name in private)
        connection.close()


def test_a_second_service_answers_as_if_it_were_asked_itself(tmp_path: Path) -> None:
    with local_service(tmp_path / "far") as far, local_service(tmp_path / "near") as near:
        near.state.external.register(ExternalModel("far-away", f"http://127.0.0.1:{far.port}", MODEL))
        with openai.OpenAI(base_url=f"http://127.0.0.1:{near.port}/v1", api_key="any", max_retries=0) as client:
            messages: Any = [{"role": "user", "content": "Hi"}]
            whole = client.chat.completions.create(model="far-away", messages=messages)
            assert (whole.choices[0].message.content, whole.model) == ("Hello", MODEL)
            pieces = list(client.chat.completions.create(model="far-away", messages=messages, stream=True))
            assert "".join(piece.choices[0].delta.content or "" for piece in pieces if piece.choices) == "Hello"
            with pytest.raises(openai.BadRequestError, match="temperature"):
                client.chat.completions.create(model="far-away", messages=messages, temperature=9)
        status, headers, body = near.chat(question(model="far-away", stream=True))
        assert (status, headers["content-type"], events(body)[-1]) == (200, "text/event-stream; charset=utf-8", "[DONE]")
        assert near.engines == []


def test_a_stream_comes_without_delay_and_byte_by_byte(tmp_path: Path) -> None:
    first, second = b'event: a\r\ndata: {"x": 1}\r\n\r\n: note\n', b"data: [DONE]\n\nwithout an end"
    go_on = threading.Event()

    def talk(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(_head(EVENT_STREAM) + _chunk(first[:9]) + _chunk(first[9:]))
        assert go_on.wait(20)
        connection.sendall(_chunk(second) + b"0\r\n\r\n")

    with wire_server(talk) as port, _behind(tmp_path, f"http://127.0.0.1:{port}") as local:
        connection = local.connect()
        connection.request("POST", "/v1/chat/completions", json.dumps(question(model="cloud/big")).encode(), JSON)
        response = connection.getresponse()
        assert response.read(len(first)) == first  # the second part is not sent before this is here
        go_on.set()
        assert response.read() == second
        connection.close()


def _head(headers: dict[str, str], status: str = "200 OK") -> bytes:
    return (
        f"HTTP/1.1 {status}\r\n".encode()
        + b"".join(f"{name}: {value}\r\n".encode() for name, value in headers.items())
        + b"\r\n"
    )


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_ends_the_answer_there(tmp_path: Path, stream: bool) -> None:
    answer = Endless("Hel")
    with local_service(tmp_path / "far", answer) as far, _behind(tmp_path / "near", f"http://127.0.0.1:{far.port}") as near:
        near.state.external.take_over([ExternalModel("away", f"http://127.0.0.1:{far.port}", MODEL)], is_offline=True)
        connection = _send(near, stream=stream, model="away")
        assert answer.has_begun.wait(20)
        connection.close()
        assert answer.is_cancelled.wait(20)


def test_a_service_that_stops_ends_a_stream_with_an_error(tmp_path: Path) -> None:
    far_answer = Endless("Hel")
    with local_service(tmp_path / "far", far_answer) as far:
        with local_service(tmp_path / "near", drain_seconds=1) as near:
            near.state.external.register(ExternalModel("away", f"http://127.0.0.1:{far.port}", MODEL))
            connection = _send(near, stream=True, model="away")
            assert far_answer.has_begun.wait(20)
            near.server.should_exit = True
            received = read_all(connection)
        assert b'"code":"service_stopping"' in received
        assert received.endswith(b"0\r\n\r\n")
        connection.close()


def _error(local: LocalService) -> tuple[int, dict[str, Any]]:
    status, _, answer = _ask(local)
    assert set(answer) == {"error"}
    return status, answer["error"]


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with _behind(tmp_path, f"http://127.0.0.1:{port}/secret-path") as local:
        status, error = _error(local)
    assert (status, error["code"], error["type"], error["param"]) == (502, "provider_unreachable", "server_error", None)
    assert f"http://127.0.0.1:{port} cannot be reached: connection refused" in error["message"]
    assert "secret-path" not in error["message"]


def _silence(connection: socket.socket) -> None:
    wait_for_end(connection)


def test_a_server_that_does_not_let_itself_be_connected_to() -> None:
    with wire_server(_silence) as port, pytest.raises(ProviderUnreachableError, match="does not answer within") as raised:
        asyncio.run(post(f"https://127.0.0.1:{port}/v1", [], b"{}", connect_seconds=0.2))
    assert (status_of(raised.value), raised.value.code) == (504, "provider_unreachable")


def _says(data: bytes) -> Talk:
    def talk(connection: socket.socket) -> None:
        read_request(connection)
        connection.sendall(data)

    return talk


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfive!",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfive!\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 300_000 + b"\r\n\r\n",
        b"HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 600 Odd\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 401 No\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
def test_a_broken_answer_is_an_error_and_not_half_an_answer(tmp_path: Path, data: bytes) -> None:
    with wire_server(_says(data)) as port, _behind(tmp_path, f"http://127.0.0.1:{port}") as local:
        status, error = _error(local)
    assert (status, error["code"]) == (502, "provider_unreachable")


def test_a_stream_that_breaks_off_ends_with_an_error(tmp_path: Path) -> None:
    data = _head(EVENT_STREAM) + _chunk(b'data: {"a": 1}\n\ndata: {"cut of')
    with wire_server(_says(data)) as port, _behind(tmp_path, f"http://127.0.0.1:{port}") as local:
        _, _, body = _ask(local, stream=True)
    begin, last = body.rstrip(b"\n").split(b"\n\n")
    assert begin == b'data: {"a": 1}'
    assert json.loads(last.strip().removeprefix(b"data: "))["error"]["code"] == "provider_unreachable"


def test_a_line_without_an_end_is_not_held_back_for_ever(tmp_path: Path) -> None:
    data = b"data: " + b"x" * 3_000_000
    said = _head(EVENT_STREAM) + _chunk(data) + b"0\r\n\r\n"
    with wire_server(_says(said)) as port, _behind(tmp_path, f"http://127.0.0.1:{port}") as local:
        assert _ask(local, stream=True)[2] == data


def test_a_request_in_a_circle_comes_to_an_end(tmp_path: Path) -> None:
    with local_service(tmp_path) as local:
        local.state.external.register(ExternalModel("ring", f"http://127.0.0.1:{local.port}", "ring"))
        status, _, answer = local.chat(question(model="ring"))
    assert (status, answer["error"]["param"]) == (400, "model")
    assert "circle" in answer["error"]["message"]


@pytest.mark.parametrize("place", ["variable", "file"])
def test_the_key_comes_from_its_place_and_goes_nowhere_else(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    key_file = tmp_path / "key"
    key_file.write_text("sk-of-the-owner\n")
    key_file.chmod(0o600)
    monkeypatch.setenv("MY_KEY", "sk-of-the-owner")
    fields = {"key_variable": "MY_KEY"} if place == "variable" else {"key_file": str(key_file)}
    with _with_web(tmp_path, _ok, **fields) as (local, server):
        local.chat(question(model="cloud/big"), Authorization="Bearer the-client's", Cookie="c=1", **{"X-Api-Key": "y"})
        said = json.dumps([local.get(path)[2] for path in ("/status", "/v1/models", "/foundry/list")])
    (seen,) = server.seen
    assert seen.headers["authorization"] == "Bearer sk-of-the-owner"
    assert not {"cookie", "x-api-key", TOKEN} & seen.headers.keys()
    assert "the-client" not in str(seen)
    assert "sk-of-the-owner" not in said + caplog.text


def test_without_a_key_none_is_sent(tmp_path: Path) -> None:
    with _with_web(tmp_path, _ok) as (local, server):
        local.chat(question(model="cloud/big"), Authorization="Bearer the-client's")
    assert "authorization" not in server.seen[0].headers


def test_a_key_that_is_not_in_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with _with_web(tmp_path, _ok, key_variable="NOT_THERE") as (local, server):
        for value in ("", "  ", "two words", "line\nbreak", "\N{SNOWMAN}"):
            monkeypatch.setenv("NOT_THERE", value)
            status, error = _error(local)
            assert (status, error["code"]) == (400, "config_invalid")
            assert "NOT_THERE" in error["message"]
            assert "two words" not in error["message"]
        assert server.seen == []


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604])
def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("sk-key")
    key_file.chmod(mode)
    with _with_web(tmp_path, _ok, key_file=str(key_file)) as (local, server):
        status, error = _error(local)
        assert (status, error["code"]) == (400, "config_invalid")
        assert f"chmod 600 {key_file}" in error["message"]
        key_file.unlink()
        assert "No such file" in _error(local)[1]["message"]
        os.mkfifo(key_file, 0o600)
        assert "not a plain file" in _error(local)[1]["message"]
        assert server.seen == []


def test_offline_other_machines_are_not_asked_and_this_one_is(tmp_path: Path) -> None:
    with _behind(tmp_path / "a", "https://provider.test/v1", is_offline=True) as local:
        status, error = _error(local)
        assert (status, error["code"]) == (502, "offline")
    with web_server(_ok) as server, _behind(tmp_path / "b", server.url, is_offline=True) as local:
        assert _ask(local)[0] == 200


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return monkeypatch


def test_the_proxy_of_the_environment_is_for_other_machines_only(tmp_path: Path, no_proxies: pytest.MonkeyPatch) -> None:
    with web_server(_ok) as proxy, web_server(_ok) as near:
        no_proxies.setenv("HTTP_PROXY", proxy.url.replace("http://", "http://me:pass@"))
        with _behind(tmp_path / "a", "http://provider.test/v1", is_insecure=True) as local:
            assert _ask(local)[0] == 200
        with _behind(tmp_path / "b", near.url) as local:
            assert _ask(local)[0] == 200
        no_proxies.setenv("HTTP_PROXY", "socks5://127.0.0.1:1")
        with _behind(tmp_path / "c", "http://provider.test/v1", is_insecure=True) as local:
            assert "not supported" in _error(local)[1]["message"]
    (seen,) = proxy.seen
    assert (seen.path, seen.headers["host"]) == ("http://provider.test/v1/chat/completions", "provider.test")
    assert seen.headers["proxy-authorization"] == "Basic bWU6cGFzcw=="
    assert len(near.seen) == 1


def test_through_a_tunnel_with_certificates_that_are_checked(tmp_path: Path, no_proxies: pytest.MonkeyPatch) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    asked: list[bytes] = []
    requests: list[bytes] = []

    def talk(connection: socket.socket) -> None:
        try:
            with context.wrap_socket(connection, server_side=True) as encrypted:
                requests.append(read_request(encrypted))
                encrypted.sendall(_head({"Content-Length": "2", "Content-Type": "application/json"}) + b"{}")
        except OSError:  # the other side did not trust the certificate, and says so or just leaves
            return

    with wire_server(talk) as far, wire_server(tunnel_to(far, asked)) as proxy:
        no_proxies.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy}")
        with _behind(tmp_path / "a", "https://provider.test/v1") as local:
            status, error = _error(local)
            assert (status, error["code"]) == (502, "provider_unreachable")
            assert "certificate" in error["message"]
            no_proxies.setenv("REQUESTS_CA_BUNDLE", str(CERTIFICATE))
            assert _ask(local)[::2] == (200, {})
            no_proxies.setenv("REQUESTS_CA_BUNDLE", "/no/such/file")
            assert "/no/such/file" in _error(local)[1]["message"]
    assert asked[-1].startswith(b"CONNECT provider.test:443 HTTP/1.1\r\n")
    assert requests[-1].lower().startswith(b"post /v1/chat/completions http/1.1\r\nhost: provider.test\r\n")


def test_a_proxy_that_refuses(tmp_path: Path, no_proxies: pytest.MonkeyPatch) -> None:
    with wire_server(_says(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")) as proxy:
        no_proxies.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy}")
        with _behind(tmp_path, "https://provider.test/v1") as local:
            assert "does not let us through" in _error(local)[1]["message"]


def _register(local: LocalService, body: dict[str, Any], **headers: str) -> tuple[int, Any]:
    status, received, answer = local.send("POST", REGISTER, json.dumps(body).encode(), {**JSON, **headers})
    assert status != 200 or received["content-length"] == "0"
    return status, answer


def test_a_model_is_registered_over_tcp_until_the_service_ends(tmp_path: Path) -> None:
    with web_server(_ok) as server, local_service(tmp_path) as local:
        body = {"TypeName": "deepseek", "ModelName": "deepseek-chat", "BaseUri": server.url}
        for keys in (str, str.lower, str.upper, lambda key: key[0].lower() + key[1:]):
            assert _register(local, {keys(key): value for key, value in body.items()}) == (200, b"")
        assert local.get("/openai/models")[2][-1] == "deepseek-chat"
        assert local.chat(question(model="DeepSeek-Chat"))[0] == 200
        assert json.loads(server.seen[0].body)["model"] == "deepseek-chat"
        assert server.seen[0].path == "/v1/chat/completions"
        assert read_external_models(load_config(Paths.from_environment())) == ()


def test_a_registration_with_the_token_or_over_the_socket_is_kept(tmp_path: Path) -> None:
    with local_service(tmp_path) as local:
        body = {"TypeName": "me", "ModelName": "mine", "BaseUri": "https://provider.test/v1", "apiKeyEnv": "MY_KEY"}
        assert _register(local, body, **{"X-Foundry-Token": TOKEN})[0] == 200
        kept = ExternalModel("mine", "https://provider.test/v1", "mine", "me", "MY_KEY")
        assert read_external_models(load_config(Paths.from_environment())) == (kept,)
        assert local.state.external.all() == [kept]
        assert _register(local, body)[0] == 200  # the same again, over TCP
        assert _register(local, {**body, "BaseUri": "https://other.test/v1"})[0] == 403  # nobody redirects it
        managing = {**JSON, "X-Foundry-Token": TOKEN}
        (listed,) = local.send("GET", "/foundry/manage/providers", None, managing)[2]["providers"]
        assert (listed["name"], listed["saved"], listed["apiKeyEnv"]) == ("mine", True, "MY_KEY")
        assert "MY_KEY" in listed["problem"]
        Paths.from_environment().config_file.unlink()
        assert local.send("POST", "/foundry/manage/providers", b"{}", managing)[0] == 200
        assert [model.name for model in local.state.external.all()] == ["mine"]  # as it was registered over TCP
        assert local.send("POST", "/foundry/manage/providers/remove/MINE", b"{}", managing)[0] == 200
        assert local.send("POST", "/foundry/manage/providers/remove/mine", b"{}", managing)[0] == 404
        assert local.state.external.all() == []


def test_a_registration_over_the_socket_is_kept(tmp_path: Path) -> None:
    body = json.dumps({"TypeName": "me", "ModelName": "mine", "BaseUri": "http://127.0.0.1:9000/"}).encode()
    head = f"POST {REGISTER} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    with local_service(tmp_path) as local, socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(local.socket))
        connection.sendall(head.encode() + b"\r\nConnection: close\r\n\r\n" + body)
        assert read_all(connection).startswith(b"HTTP/1.1 200 ")
    kept = ExternalModel("mine", "http://127.0.0.1:9000/v1", "mine", "me")
    assert read_external_models(load_config(Paths.from_environment())) == (kept,)


GOOD = {"TypeName": "t", "ModelName": "m", "BaseUri": "https://provider.test/v1"}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"BaseUri": None}, "BaseUri"),
        ({"ModelName": ""}, "ModelName"),
        ({"TypeName": 3}, "TypeName"),
        ({"ModelName": "two words"}, "ModelName"),
        ({"ModelName": "hf:owner/repo"}, "ModelName"),
        ({"ModelName": "x" * 300}, "ModelName"),
        ({"BaseUri": "ftp://provider.test"}, "BaseUri"),
        ({"BaseUri": "http://provider.test/v1"}, "BaseUri"),
        ({"BaseUri": "https://user:pass@provider.test/v1"}, "BaseUri"),
        ({"BaseUri": "https://provider.test/v1?key=1"}, "BaseUri"),
        ({"BaseUri": "https://provider.test:99999/v1"}, "BaseUri"),
        ({"BaseUri": "https://"}, "BaseUri"),
        ({"BaseUri": "https://provider.test/\r\nX: y"}, "BaseUri"),
        ({"apiKeyEnv": "sk-the-key-itself"}, "apiKeyEnv"),
        ({"apiKeyEnv": "A", "apiKeyFile": "/b"}, "apiKeyFile"),
        ({"apiKeyFile": ["x"]}, "apikeyfile"),
        ({"apiKey": "sk-the-key-itself"}, "apikey"),
        ({"ModelName": "FAKE-model"}, "ModelName"),
        ({"ModelName": MODEL}, "ModelName"),
    ],
)
def test_a_registration_that_cannot_be_used(local: LocalService, change: dict[str, Any], param: str) -> None:
    status, answer = _register(local, {**GOOD, **change})
    assert (status, answer["error"]["param"]) == (400, param)
    assert "the-key-itself" not in answer["error"]["message"]
    assert local.state.external.all() == []


def test_only_the_user_of_the_service_registers(tmp_path: Path) -> None:
    allowed = {"allowed_origins": ("http://page.test",)}
    with local_service(tmp_path / "a", **allowed) as local:
        assert _register(local, GOOD, Origin="http://page.test")[0] == 403  # not even a page that may chat
    with local_service(tmp_path / "b", allow_other_users=True) as local:
        assert _register(local, GOOD)[0] == 403
        assert _register(local, GOOD, **{"X-Foundry-Token": TOKEN})[0] == 200
    with local_service(tmp_path / "c", host="0.0.0.0", api_key="k") as local:
        assert _register(local, GOOD, Authorization="Bearer k")[0] == 403


def test_there_is_an_end_to_registrations(local: LocalService) -> None:
    for number in range(100):
        local.state.external.register(ExternalModel(f"m{number}", "https://provider.test", "m"))
    status, answer = _register(local, GOOD)
    assert (status, answer["error"]["code"]) == (429, "queue_full")
    for number in range(100):
        assert local.state.external.forget(f"M{number}")


def test_external_models_are_in_every_list(tmp_path: Path) -> None:
    with _behind(tmp_path, "https://provider.test/v1", provider="Tests") as local:
        assert local.get("/openai/models")[2][-1] == "cloud/big"
        listed = local.get("/v1/models")[2]["data"][-1]
        assert (listed["id"], listed["owned_by"], listed["object"]) == ("cloud/big", "Tests", "model")
        assert local.get("/v1/models/cloud%2FBIG")[2] == listed
        assert local.get("/v1/models/Cloud/Big")[2] == listed
        item = local.get("/foundry/list")[2][-1]
        assert (item["name"], item["alias"], item["uri"]) == ("cloud/big", "cloud/big", "https://provider.test/v1")
        assert (item["providerType"], item["cached"], item["promptTemplate"]) == ("OpenAI", False, {})
        assert item["runtime"] == {"deviceType": "CPU", "executionProvider": "CPUExecutionProvider"}
        assert local.get("/models/loaded")[2] == []


def test_there_is_nothing_to_load_of_an_external_model(tmp_path: Path) -> None:
    with _behind(tmp_path, "https://provider.test/v1") as local:
        assert local.get("/openai/load/cloud%2Fbig?ttl=600&ep=")[::2] == (200, b"")
        assert local.get("/models/load/cloud/big")[2] == {"status": "already_loaded"}
        assert local.get("/models/unload/cloud/big")[2] == {"status": "not_loaded"}
        assert local.get("/openai/unload/cloud/big?force=false")[0] == 200


@pytest.mark.parametrize("path", ["/tokenize", "/v1/messages", "/v1/chat/completions/tokenizer/encode/count"])
def test_other_routes_say_that_the_model_is_not_here(tmp_path: Path, path: str) -> None:
    body = {"model": "cloud/big", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}
    with _behind(tmp_path, "https://provider.test/v1") as local:
        status, _, answer = local.send("POST", path, json.dumps(body).encode(), JSON)
    assert (status, "Another server runs cloud/big" in answer["error"]["message"]) == (404, True)


SECRET = 'sk-of/the"owner'


def test_a_key_that_a_server_repeats_is_taken_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", SECRET)
    said = json.dumps({"error": {"message": f"Not {SECRET}", "raw": "1"}}).encode() + SECRET.encode()
    said += json.dumps(SECRET).replace("/", "\\/").encode()
    headers = {"Content-Type": "text/plain", "OpenAI-Organization": f"of {SECRET}", "OpenAI-Version": "1"}
    with _with_web(tmp_path / "a", lambda _: Answer(401, said, headers), key_variable="MY_KEY") as (local, _):
        status, received, body = _ask(local)
    assert (status, body.count(b"[key]")) == (401, 3)
    assert b"owner" not in body
    assert ("openai-organization" in received, received["openai-version"]) == (False, "1")
    stream = b'data: {"x": 1}\n\ndata: {"error": ' + json.dumps(SECRET).encode() + b"}\n\n"
    answer = Answer(200, stream, {"Content-Type": "text/event-stream"})
    with _with_web(tmp_path / "b", lambda _: answer, key_variable="MY_KEY") as (local, _):
        assert _ask(local, stream=True)[2] == b'data: {"x": 1}\n\ndata: {"error": "[key]"}\n\n'


def test_a_word_that_is_no_secret_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "ollama")
    with _with_web(tmp_path, lambda _: Answer(404, b"ollama has no such model"), key_variable="MY_KEY") as (local, _):
        assert _ask(local)[2] == b"ollama has no such model"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("text/html", "application/octet-stream"),
        ("application/javascript", "application/octet-stream"),
        ("application/json; charset=utf-8", "application/json; charset=utf-8"),
        ("Text/Plain", "Text/Plain"),
        ("text/plain;\x01", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_kinds_of_answers(given: str, expected: str) -> None:
    assert answer_headers({b"content-type": given.encode()}) == {"content-type": expected}


def test_headers_that_are_not_passed_on() -> None:
    headers = {b"retry-after": b"7", b"openai-a": b"x\x02", b"x-foundry-a": b"1", b"set-cookie": b"a=b", b"x-request-id": b"r"}
    expected = {"retry-after": "7", "x-provider-request-id": "r", "content-type": "application/json"}
    assert answer_headers({**headers, b"content-type": b"application/json"}) == expected
