"""Who may call: the rules of the guard over every route."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from foundry_cli.errors import ConfigError
from foundry_cli.service.app import create_app
from foundry_cli.service.guard import MANAGEMENT_PREFIX, Access
from foundry_cli.service.peer import peer_is_same_user, socket_owner
from tests.service.local import JSON, TOKEN, LocalService, local_service, question, read_all

ROUTES = """
DELETE open /v1/responses/{identity}
GET managing /foundry/manage/providers
GET open /docs
GET open /foundry/list
GET open /health
GET open /models/load/{name:path}
GET open /models/loaded
GET open /models/unload/{name:path}
GET open /openai/getgpudevice
GET open /openai/load/{name:path}
GET open /openai/loadedmodels
GET open /openai/models
GET open /openai/setgpudevice/{device_id}
GET open /openai/status
GET open /openai/unload/{name:path}
GET open /openai/unloadall
GET open /openapi.json
GET open /status
GET open /v1/models
GET open /v1/models/{name:path}
GET open /v1/responses
GET open /v1/responses/{identity}
GET open /v1/responses/{identity}/input_items
HEAD open /openapi.json
POST managing /foundry/manage/cache
POST managing /foundry/manage/prefill
POST managing /foundry/manage/providers
POST managing /foundry/manage/providers/remove/{name:path}
POST managing /foundry/manage/remove/{name:path}
POST managing /foundry/manage/restore
POST managing /foundry/manage/stop
POST open /detokenize
POST open /openai/download
POST open /openai/register
POST open /tokenize
POST open /v1/chat/completions
POST open /v1/chat/completions/tokenizer/encode/count
POST open /v1/completions
POST open /v1/embeddings
POST open /v1/messages
POST open /v1/messages/count_tokens
POST open /v1/responses
POST open /v1/responses/input_tokens
POST open /v1/responses/{identity}/cancel
"""
"""Every route there is. Whoever adds one decides here whether it manages: deletes, stops or configures."""


def _routes(local: LocalService) -> list[tuple[str, str]]:
    app = create_app(local.state, Access("127.0.0.1", local.port, TOKEN))
    return [(method, route.path) for route in _flat(app.routes) for method in getattr(route, "methods", None) or ["?"]]


def _flat(routes: Iterable[Any]) -> Iterator[Any]:
    for route in routes:
        router = getattr(route, "original_router", None)  # FastAPI keeps included routers whole since 0.160
        yield from _flat(router.routes) if router else [route]


def test_route_inventory(local: LocalService) -> None:
    kinds = {True: "managing", False: "open"}
    found = [f"{method} {kinds[path.startswith(MANAGEMENT_PREFIX)]} {path}" for method, path in _routes(local)]
    assert sorted(found) == ROUTES.strip().splitlines()


WRONG_HOSTS = [
    "", "evil.example", "127.0.0.1.evil", "localhost.evil", "evil.localhost", "0.0.0.0", "[::]", "127.1", "2130706433",
    "0x7f.1", "127.0.0.1.", "localhost.", "127.0.0.1:1", "localhost:99999", "user@127.0.0.1", "127.0.0.1/", "127.0.0.1?x",
    "127.0.0.1#x", "127.0.0.1 evil", "::1", "[::1]:1", "127.0.0.1,evil", "http://127.0.0.1",
]  # fmt: skip
WRONG_ORIGINS = [
    "", "null", "file://", "https://evil.example", "http://127.0.0.1", "https://127.0.0.1", "http://localhost:9999",
    "chrome-extension://abcdefghijklmnop", "http://allowed.example.evil", "http://evil-allowed.example",
    "https://allowed.example", "http://allowed.example:8080", "http://allowed.example/", "HTTP://ALLOWED.EXAMPLE", "*",
]  # fmt: skip
METHODS = ["GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE", "FOO"]


def _paths(local: LocalService) -> list[str]:
    paths = {path.replace("{name:path}", "fake-model:3") for _, path in _routes(local)}
    return [*sorted(paths), "/", "//health", "/foundry/manage", "/Foundry/Manage/stop", "/no/such/route"]


def _ask(
    connection: http.client.HTTPConnection, method: str, path: str, headers: list[tuple[str, str]]
) -> http.client.HTTPResponse:
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in headers:
        connection.putheader(name, value)
    connection.endheaders()
    response = connection.getresponse()
    response.read()
    return response


def _untouched(local: LocalService) -> bool:
    return not local.stops and not local.engines and (local.state.inventory.cache / "Tests" / "fake" / "v3").is_dir()


@pytest.mark.slow
def test_no_route_answers_to_another_host(local: LocalService) -> None:
    connection = local.connect()
    for path in _paths(local):
        for method in METHODS:
            for host in WRONG_HOSTS:
                response = _ask(connection, method, path, [("Host", host), *JSON.items(), ("x-foundry-token", TOKEN)])
                assert response.status == 403, (method, path, host)
    connection.close()
    assert _untouched(local)


@pytest.mark.slow
def test_no_route_answers_to_a_web_page(tmp_path: Path) -> None:
    with local_service(tmp_path, allowed_origins=("http://allowed.example",)) as local:
        host = ("Host", f"localhost:{local.port}")
        strangers = [[("Origin", origin)] for origin in WRONG_ORIGINS]
        strangers += [[("Sec-Fetch-Site", site)] for site in ("cross-site", "same-site", "odd", "")]
        strangers += [[("Origin", "http://allowed.example"), ("Origin", "http://evil.example")]]
        strangers += [[("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "cross-site")]]
        connection = local.connect()
        for path in _paths(local):
            for method in METHODS:
                for stranger in strangers:
                    response = _ask(connection, method, path, [host, *stranger, *JSON.items()])
                    assert response.status == 403, (method, path, stranger)
                    assert not [name for name in response.headers if name.startswith("access-control")]
        connection.close()
        assert _untouched(local)


@pytest.mark.parametrize("host", ["127.0.0.1", "LOCALHOST:{port}", "[::1]:{port}", "127.0.0.1:{port}"])
def test_own_names_are_served(local: LocalService, host: str) -> None:
    assert local.get("/health", Host=host.format(port=local.port))[0] == 200


def test_a_request_without_host(local: LocalService) -> None:
    assert local.raw(b"GET /health HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 403")
    assert local.raw(b"GET /health HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400")


@pytest.mark.parametrize("configured", ["http://allowed.example", "http://Allowed.Example:80"])
def test_an_allowed_origin(tmp_path: Path, configured: str) -> None:
    with local_service(tmp_path, allowed_origins=(configured, "https://[::1]:8443")) as local:
        for origin in ("http://allowed.example", "https://[::1]:8443"):
            status, headers, _ = local.get("/v1/models", Origin=origin)
            assert (status, headers["access-control-allow-origin"], headers["vary"]) == (200, origin, "origin")
            assert "access-control-allow-credentials" not in headers
            status, headers, _ = local.get("/v1/chat/completions", "OPTIONS", Origin=origin)
            assert (status, headers["access-control-allow-headers"]) == (204, "authorization, content-type, *")
            assert headers["access-control-allow-methods"] == "GET, POST, DELETE"
            assert local.get(f"{MANAGEMENT_PREFIX}/stop", Origin=origin)[0] == 403
            large = {**JSON, "content-length": str(1 << 30), "origin": origin}
            status, headers, _ = local.send("POST", "/v1/chat/completions", b"{}", large)
            assert (status, headers["access-control-allow-origin"]) == (413, origin)
        assert _untouched(local)


def test_a_preflight_needs_no_key_and_its_request_does(tmp_path: Path) -> None:
    origins = ("http://allowed.example",)
    with local_service(tmp_path, host="127.0.0.2", api_key="secret", allowed_origins=origins) as local:
        origin = {"Host": f"127.0.0.2:{local.port}", "Origin": "http://allowed.example"}
        connection = http.client.HTTPConnection("127.0.0.2", local.port, timeout=20)
        assert _ask(connection, "OPTIONS", "/v1/models", [*origin.items()]).status == 204
        refused = _ask(connection, "GET", "/v1/models", [*origin.items()])
        assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, "http://allowed.example")
        connection.close()


@pytest.mark.parametrize(
    "origin", ["http://host:99999999999", "http://]junk", "http://*.example", "http://a@b", "host", "null"]
)
def test_a_malformed_origin_in_the_configuration(origin: str) -> None:
    with pytest.raises(ConfigError, match="allowedOrigins"):
        Access("127.0.0.1", 1, TOKEN, allowed_origins=(origin,)).origin_values()


def test_managing_over_tcp_needs_the_token(local: LocalService) -> None:
    for path in (f"{MANAGEMENT_PREFIX}/stop", f"{MANAGEMENT_PREFIX}/remove/no-model", "/foundry%2Fmanage/stop"):
        for token in ({}, {"x-foundry-token": ""}, {"x-foundry-token": "wrong"}, {"x-foundry-token": TOKEN + "x"}):
            assert local.send("POST", path, b"{}", {**JSON, **token})[0] == 403
    assert _untouched(local)
    assert local.send("POST", f"{MANAGEMENT_PREFIX}/remove/no-model", b"{}", {**JSON, "x-foundry-token": TOKEN})[0] == 404


def test_managing_on_the_unix_socket(local: LocalService) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(local.socket))
        connection.sendall(
            b"POST /foundry/manage/remove/no-model HTTP/1.1\r\nHost: anything\r\nContent-Type: application/json\r\n"
            b"Content-Length: 2\r\nConnection: close\r\n\r\n{}"
        )
        assert b" 404 " in read_all(connection).splitlines()[0]


@pytest.mark.parametrize(
    "media_type", [None, "", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json"]
)
def test_a_body_that_is_not_declared_as_json(local: LocalService, media_type: str | None) -> None:
    headers = {} if media_type is None else {"content-type": media_type}
    status, _, answer = local.send("POST", "/v1/chat/completions", b"{}", headers)
    assert (status, answer["error"]["code"]) == (415, "wrong_media_type")


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/v1/images/edits", "/v1/files", "/v1/uploads"])
def test_forms_are_for_addresses_that_are_not_there(local: LocalService, path: str) -> None:
    form = {"content-type": "multipart/form-data; boundary=x"}
    status, _, answer = local.send("POST", path, b"--x--", form)
    assert (status, path in answer["error"]["message"]) == (404, True)
    assert local.send("POST", path, b"--x--", {**form, "Origin": "http://page.test"})[0] == 403


def test_a_compressed_body(local: LocalService) -> None:
    body = json.dumps(question()).encode()
    assert local.chat(body, **{"content-encoding": "identity"})[0] == 200
    status, _, answer = local.chat(gzip.compress(body), **{"content-encoding": "gzip"})
    assert (status, "'gzip'" in answer["error"]["message"]) == (415, True)


@pytest.mark.parametrize("data", [None, b""])
def test_a_response_is_cancelled_without_a_body(local: LocalService, data: bytes | None) -> None:
    path = "/v1/responses/resp_none/cancel"
    assert local.send("POST", path, data, {})[0] == 404
    assert local.send("POST", path, b"{}", {})[0] == 415
    assert local.send("POST", path, data, {"content-type": "text/plain"})[0] == 415
    assert local.send("POST", "/v1/responses", data, {})[0] == 415
    for header in ({"Origin": "http://page.test"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert local.send("POST", path, data, header)[0] == 403


def test_json_with_a_character_set(local: LocalService) -> None:
    assert local.chat(question(), **{"content-type": "Application/JSON; charset=utf-8"})[0] == 200


def test_a_key_beyond_loopback(tmp_path: Path) -> None:
    with local_service(tmp_path, host="127.0.0.2", api_key="secret") as local:
        connection = http.client.HTTPConnection("127.0.0.2", local.port, timeout=20)
        host = ("Host", f"127.0.0.2:{local.port}")
        for key in ("", "secret", "Basic secret", "Bearer", "Bearer wrong", "Bearer secretx", "Bearer " + "x" * 9000):
            refused = _ask(connection, "GET", "/health", [host, *([("Authorization", key)] if key else [])])
            assert refused.status == 401
        for key in ("Bearer secret", "bearer secret"):
            assert _ask(connection, "GET", "/health", [host, ("Authorization", key)]).status == 200
        connection.close()


def test_any_key_on_loopback(tmp_path: Path) -> None:
    with local_service(tmp_path, api_key="secret") as local:
        assert local.get("/health")[0] == local.get("/health", Authorization="Bearer other")[0] == 200


def test_another_user_is_refused_and_asked_for_once_per_connection(tmp_path: Path) -> None:
    asked: list[object] = []

    def is_same_user(peer: object, server: object) -> bool:
        asked.append((peer, server))
        return False

    with local_service(tmp_path, is_same_user=is_same_user) as local:
        connection = local.connect()
        for _ in range(3):
            assert _ask(connection, "GET", "/openai/unloadall", [("Host", "localhost")]).status == 403
        assert asked == [(connection.sock.getsockname(), ("127.0.0.1", local.port))]
        connection.close()
    with local_service(tmp_path / "other", is_same_user=is_same_user, allow_other_users=True) as local:
        assert local.get("/health")[0] == 200


TABLE = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 11 1 0000000000000000
   1: 0100007F:9C40 0200007F:1F90 01 00000000:00000000 00:00000000 00000000  1001        0 12 1 0000000000000000
   2: 0100007F:9C40 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1002        0 13 1 0000000000000000
   3: 0100007F:9C41 0100007F:1F90 06 00000000:00000000 03:00001770 00000000     0        0 0 3 0000000000000000
   4: 0000000000000000FFFF00000100007F:9C42 0000000000000000FFFF00000100007F:1F90 01 0:0 0:0 0  1003        0 14 1 0
"""


@pytest.mark.skipif(socket.htonl(1) == 1, reason="the table is one of a little-endian machine")
def test_the_owner_of_a_connection() -> None:
    server = ("127.0.0.1", 8080)
    assert socket_owner(TABLE, ("127.0.0.1", 40000), server) == 1002
    assert socket_owner(TABLE, ("127.0.0.1", 40001), server) is None  # closed by its process: shown as user 0
    assert socket_owner(TABLE, ("127.0.0.1", 40002), server) == 1003
    assert socket_owner(TABLE, ("127.0.0.1", 40003), server) is None
    assert socket_owner(TABLE, ("nonsense", 40000), server) is None


def test_the_owner_of_a_real_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, peer = listener.accept()
        assert peer_is_same_user(peer, accepted.getsockname())
        client.close()  # an orphan now, which the kernel shows as one of root
        assert not peer_is_same_user(peer, accepted.getsockname())
        accepted.close()
