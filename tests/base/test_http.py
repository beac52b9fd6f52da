"""Outbound HTTP: redirects, credentials, proxies, retries, offline, and messages without secrets."""

from __future__ import annotations

import email.utils
import socket
import threading
import time

import pytest

from foundry_cli.errors import DownloadCancelledError, OfflineError, SourceError, SourceUnreachableError
from foundry_cli.http import HttpClient, RetryPolicy, host_of, is_loopback, retry_after_of
from tests.fakes.web import Answer, Seen, web_server
from tests.fakes.wire import proxy_that_refuses, wire_server

_EAGER = RetryPolicy(tries=4, first_wait=0.001, longest_wait=0.002, longest_retry_after=0.01)


def _client(**options: object) -> HttpClient:
    return HttpClient(retry=_EAGER, **options)  # type: ignore[arg-type]


def test_an_answer_is_read_as_a_whole() -> None:
    with web_server(lambda _: Answer(body=b'{"a": 1}')) as server:
        response, document = _client().read_json("GET", f"{server.url}/x")
    assert response.status_code == 200
    assert document == {"a": 1}
    assert server.seen[0].headers["accept-encoding"] == "identity"
    assert server.seen[0].headers["user-agent"].startswith("foundry-cli/")


def test_what_is_no_json_is_an_error_of_the_source() -> None:
    with web_server(lambda _: Answer(body=b"<html>")) as server, pytest.raises(SourceError, match="not JSON"):
        _client().read_json("GET", server.url)


def test_an_answer_over_the_limit_is_not_read_on() -> None:
    with web_server(lambda _: Answer(body=b"x" * 100_000)) as server, pytest.raises(SourceError, match="larger than"):
        _client().read("GET", server.url, largest=1000)


def test_a_failure_that_passes_is_tried_again() -> None:
    answers = [Answer(503), Answer(429, headers={"Retry-After": "0"}), Answer(500), Answer(body=b"done")]
    with web_server(lambda _: answers.pop(0)) as server:
        assert _client().read("GET", server.url)[1] == b"done"
    assert len(server.seen) == 4


def test_a_failure_that_stays_is_an_error_after_so_many_tries() -> None:
    with web_server(lambda _: Answer(503)) as server, pytest.raises(SourceUnreachableError, match="status 503"):
        _client().read("GET", server.url)
    assert len(server.seen) == _EAGER.tries


def test_a_refusal_is_given_back_at_once() -> None:
    with web_server(lambda _: Answer(404, b"no")) as server:
        response, body = _client().read("GET", server.url)
    assert (response.status_code, body, len(server.seen)) == (404, b"no", 1)


def test_an_answer_that_breaks_off_is_read_again() -> None:
    answers = [Answer(body=b"ab", headers={"Content-Length": "5", "Connection": "close"}), Answer(body=b"abcde")]
    with web_server(lambda _: answers.pop(0)) as server:
        assert _client().read("GET", server.url)[1] == b"abcde"


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [("0", 0, 0), ("7", 7, 7), ("1000000000", 1e9, 1e9), (" 3 ", 3, 3)],
)
def test_retry_after_in_seconds(text: str, low: float, high: float) -> None:
    seconds = retry_after_of({"Retry-After": text})
    assert seconds is not None
    assert low <= seconds <= high


def test_retry_after_as_a_date_garbage_and_nothing() -> None:
    soon = email.utils.formatdate(time.time() + 100, usegmt=True)
    assert 90 < (retry_after_of({"Retry-After": soon}) or 0) <= 100
    assert retry_after_of({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    for garbage in ("soon", "-5", "1e9", "", "٣", "9" * 500):
        seconds = retry_after_of({"Retry-After": garbage})
        assert seconds is None or seconds > 0
    assert retry_after_of({}) is None


def test_waits_are_capped_and_grow() -> None:
    policy = RetryPolicy()
    assert policy.wait(1, 1e9) <= policy.longest_retry_after + policy.first_wait
    assert policy.wait(1, -5.0) <= policy.first_wait
    assert policy.wait(50) <= policy.longest_wait
    assert policy.wait(3) >= policy.wait(1) / 2


def test_a_relative_redirect_is_followed_with_its_headers() -> None:
    def respond(request: Seen) -> Answer:
        return Answer(302, headers={"Location": "/there?x=1"}) if request.path == "/here" else Answer(body=b"found")

    with web_server(respond) as server:
        headers = {"Authorization": "Bearer secret", "Range": "bytes=0-4"}
        with _client().open("GET", f"{server.url}/here", headers=headers) as response:
            assert response.content == b"found"
    assert [request.path for request in server.seen] == ["/here", "/there?x=1"]
    assert server.seen[1].headers["authorization"] == "Bearer secret"  # the same origin
    assert server.seen[1].headers["range"] == "bytes=0-4"


def test_credentials_do_not_leave_their_origin() -> None:
    with (
        web_server(lambda _: Answer(body=b"blob")) as other,
        web_server(lambda _: Answer(307, headers={"Location": f"{other.url}/blob"})) as first,
    ):
        headers = {"Authorization": "Bearer secret", "X-Custom": "1", "Range": "bytes=0-3", "If-Range": '"v1"'}
        with _client().open("GET", first.url, headers=headers) as response:
            assert response.content == b"blob"
    arrived = other.seen[0].headers
    assert "authorization" not in arrived
    assert "x-custom" not in arrived
    assert (arrived["range"], arrived["if-range"]) == ("bytes=0-3", '"v1"')


def test_netrc_is_not_read(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    from pathlib import Path

    netrc = Path(str(tmp_path)) / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password hidden\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with web_server(lambda _: Answer()) as server:
        _client().open("GET", server.url).close()
    assert "authorization" not in server.seen[0].headers


def test_a_loop_of_redirects_ends() -> None:
    redirect = Answer(302, headers={"Location": "/again"})
    with web_server(lambda _: redirect) as server, pytest.raises(SourceError, match="more than 5 times"):
        _client().open("GET", server.url)
    assert len(server.seen) == 6


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "http://user:pw@127.0.0.1/", "http://[bad/"])
def test_redirects_to_other_things_than_web_servers_are_refused(target: str) -> None:
    redirect = Answer(302, headers={"Location": target})
    with web_server(lambda _: redirect) as server, pytest.raises(SourceError, match="redirects to"):
        _client().open("GET", server.url)
    assert len(server.seen) == 1


def test_a_closed_port_is_named_with_its_cause_and_without_the_query() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(SourceUnreachableError) as caught:
        _client().read("GET", f"http://127.0.0.1:{port}/blob?sig=secret")
    assert caught.value.message == f"http://127.0.0.1:{port} cannot be reached: connection refused."


def test_an_unknown_host_is_named() -> None:
    with pytest.raises(SourceUnreachableError, match=r"http://no-such-host\.invalid cannot be reached: its name"):
        _client().open("GET", "http://no-such-host.invalid/")


def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = HttpClient(retry=RetryPolicy(tries=1), read_seconds=0.05)
        with pytest.raises(SourceUnreachableError, match="does not answer in time"):
            client.read("GET", f"http://127.0.0.1:{silent.getsockname()[1]}/")


def test_offline_reaches_this_machine_only() -> None:
    with web_server(lambda _: Answer(body=b"here")) as server:
        assert _client(is_offline=True).read("GET", server.url)[1] == b"here"
    with pytest.raises(OfflineError, match="network is switched off"):
        _client(is_offline=True).read("GET", "https://example.com/x?sig=1")


def test_a_proxy_is_used_for_other_machines_and_never_for_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    with web_server(lambda _: Answer(body=b"from proxy")) as proxy, web_server(lambda _: Answer(body=b"direct")) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url.replace("http://", "http://me:pass-word@"))
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        assert _client().read("GET", "http://models.example/index.json")[1] == b"from proxy"
        assert _client().read("GET", f"{server.url}/x")[1] == b"direct"
        assert proxy.seen[0].path == "http://models.example/index.json"
        assert "proxy-authorization" in proxy.seen[0].headers
        assert len(proxy.seen) == 1


def test_no_proxy_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    with web_server(lambda _: Answer(body=b"from proxy")) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        monkeypatch.setenv("NO_PROXY", "no-such-host.invalid")
        with pytest.raises(SourceUnreachableError, match="its name cannot be resolved"):
            _client().open("GET", "http://no-such-host.invalid/")
    assert not proxy.seen


def test_a_dead_proxy_is_said_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://me:pass-word@127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    with pytest.raises(SourceUnreachableError) as caught:
        _client().open("GET", "https://models.example/")
    assert "pass-word" not in f"{caught.value.message}{caught.value.hint}"
    assert "https://models.example cannot be reached" in caught.value.message


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_name_is_told_apart_from_the_server_and_asked_once(
    monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    seen: list[bytes] = []
    with wire_server(proxy_that_refuses(seen)) as port:
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"http://127.0.0.1:{port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        with pytest.raises(SourceError, match=rf"The proxy on the way to {scheme}://models.example wants to know who asks"):
            _client().read("GET", f"{scheme}://models.example/index.json?sig=1")
    assert len(seen) == 1


def test_a_wait_ends_when_the_work_is_cancelled() -> None:
    cancelled = threading.Event()
    client = HttpClient(retry=RetryPolicy(first_wait=600, longest_wait=600), cancelled=cancelled)

    def respond(_: Seen) -> Answer:
        threading.Timer(0.05, cancelled.set).start()
        return Answer(503)

    with web_server(respond) as server, pytest.raises(DownloadCancelledError):
        client.read("GET", server.url)
    with pytest.raises(DownloadCancelledError):
        client.open("GET", "http://127.0.0.1:1/")


def test_what_is_said_of_an_address_holds_no_secrets() -> None:
    assert host_of("https://user:pw@host:444/path?sig=x") == "https://host:444"
    assert host_of("https://host:port/") == "the server"
    assert all(is_loopback(f"http://{host}/") for host in ("127.8.9.1", "[::1]:80", "localhost"))
    assert not is_loopback("http://127.evil.example/")
