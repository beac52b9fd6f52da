"""Where there are no Unix sockets (Windows), everything goes over TCP, with the token of the instance record."""

from __future__ import annotations

from dataclasses import replace

import pytest

from foundry_cli.client.client import AnswerEnd, ServiceClient, TextDelta
from foundry_cli.errors import ForbiddenError
from foundry_cli.processes import detached
from tests.conftest import RunningService, add_model


def over_tcp(service: RunningService, **changes: str) -> ServiceClient:
    return ServiceClient(replace(service.client.record, socket="", **changes))


def test_everything_works_with_the_token(fresh_service: RunningService) -> None:
    directory = add_model(fresh_service.paths, "mine:1", ["hello"])
    client = over_tcp(fresh_service)
    assert client.is_alive()
    *deltas, end = client.chat("mine", [{"role": "user", "content": "hi"}])
    assert "".join(delta.text for delta in deltas if isinstance(delta, TextDelta)) == "hello"
    assert isinstance(end, AnswerEnd)
    client.remove("mine", force=True)
    assert not directory.exists()
    client.stop()


def test_without_the_token_nothing_is_managed(service: RunningService) -> None:
    client = over_tcp(service, token="wrong")
    assert client.is_alive()
    for manage in (client.stop, lambda: client.remove("echo")):
        with pytest.raises(ForbiddenError):
            manage()
    assert "echo:1" in [model["name"] for model in client.models()]


def test_how_a_process_is_detached() -> None:
    assert detached("linux") == detached("darwin") == {"start_new_session": True}
    flags = detached("win32")["creationflags"]
    no_window, new_group, detached_process = 0x08000000, 0x00000200, 0x00000008
    assert flags == no_window | new_group | detached_process
