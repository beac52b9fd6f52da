"""A transfer that is ended from outside: row D20 of the fault matrix."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from foundry_cli.chunks import CHUNK_BYTES
from foundry_cli.errors import DownloadCancelledError
from foundry_cli.http import HttpClient
from foundry_cli.remote import FileAddress, RemoteFile
from foundry_cli.store.transfer import Progress, missing_bytes, transfer
from tests.fakes.origin import FOREVER, Behaviour, Origin, OriginModel

pytestmark = pytest.mark.slow

CONTENT = random.Random(11).randbytes(16 * CHUNK_BYTES)
IN_FLIGHT = 4 * 2 * CHUNK_BYTES  # a chunk and a window for each stream


def ignore(_: Progress) -> None:
    """Nobody looks at the progress."""


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "transfer"]


@pytest.mark.parametrize("seed", [0, 1, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (3, 4, 5))])
def test_d20_a_cancelled_transfer_leaves_no_thread_and_is_continued(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    with Origin({"a": CONTENT, "b": b"small"}, Behaviour(bytes_per_second=8_000_000)) as origin:
        model = OriginModel(origin)
        cancels = 0
        for _ in range(3):
            client = HttpClient(is_offline=True)
            limit = origin.sent + dice.randrange(5 * CHUNK_BYTES)

            def cancel(progress: Progress, client: HttpClient = client, limit: int = limit) -> None:
                if origin.sent >= limit:
                    client.cancelled.set()

            try:
                transfer(model, tmp_path, client, cancel)
            except DownloadCancelledError:
                cancels += 1
            assert threads() == []
            assert not (tmp_path / "a").exists() or (tmp_path / "a").read_bytes() == CONTENT
        origin.behave("a", bytes_per_second=0)
        transfer(model, tmp_path, HttpClient(is_offline=True), ignore)
        assert origin.sent <= len(CONTENT) + 5 + cancels * IN_FLIGHT
    assert (tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize("fault", ["stalls", "silent"])
def test_d20_a_server_that_says_nothing_does_not_hold_up_the_end(tmp_path: Path, fault: str) -> None:
    client = HttpClient(is_offline=True, read_seconds=3600.0)
    with Origin({"a": CONTENT}, Behaviour(after=CHUNK_BYTES + 1)) as origin:
        origin.behave("a", **{fault: FOREVER})

        def cancel(progress: Progress) -> None:
            if len(origin.requests) == 4 and (fault == "silent" or progress.done >= 4 * CHUNK_BYTES):
                client.cancelled.set()

        with pytest.raises(DownloadCancelledError):
            transfer(OriginModel(origin), tmp_path, client, cancel)
        if fault == "stalls":
            assert threads() == []
            assert missing_bytes(OriginModel(origin).files, tmp_path) == 12 * CHUNK_BYTES
    for thread in threads():  # that waited for the first byte of an answer
        thread.join()


def test_d20_a_client_that_is_cancelled_already_asks_nothing(tmp_path: Path) -> None:
    client = HttpClient(is_offline=True)
    client.cancelled.set()
    with Origin({"a": CONTENT}) as origin, pytest.raises(DownloadCancelledError):
        transfer(OriginModel(origin), tmp_path, client, ignore)
    assert origin.requests == []


def test_an_interrupt_of_the_calling_thread_ends_all_others(tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.done > CHUNK_BYTES:
            raise KeyboardInterrupt

    with Origin({"a": CONTENT}, Behaviour(bytes_per_second=4_000_000)) as origin:
        with pytest.raises(KeyboardInterrupt):
            transfer(OriginModel(origin), tmp_path, HttpClient(is_offline=True), interrupt)
        assert threads() == []
        assert missing_bytes(OriginModel(origin).files, tmp_path) <= len(CONTENT)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_defect_in_one_thread_ends_the_transfer(tmp_path: Path) -> None:
    class Defective(OriginModel):
        def address(self, file: RemoteFile, stale: FileAddress | None = None) -> FileAddress:
            raise LookupError

    with Origin({"a": CONTENT}) as origin, pytest.raises(RuntimeError, match="ended too early"):
        transfer(Defective(origin), tmp_path, HttpClient(is_offline=True), ignore)
    assert threads() == []
