"""Transfers whose chunks are written past the page cache, because they come as fast as the machine can take them."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import sys
import threading
import time
from collections import deque
from functools import partial
from pathlib import Path

import pytest

from foundry_cli.chunks import CHUNK_BYTES
from foundry_cli.errors import DownloadCancelledError, IntegrityError
from foundry_cli.http import HttpClient, RetryPolicy
from foundry_cli.remote import RemoteFile
from foundry_cli.store.journal import Journal
from foundry_cli.store.transfer import Progress, missing_bytes
from foundry_cli.store.transfer import transfer as transfer_
from foundry_cli.store.transfer.attempt import HERE, Attempt
from foundry_cli.store.transfer.direct_writer import DirectWriter, WholeChunk
from foundry_cli.store.transfer.fetcher import Cursor
from foundry_cli.store.transfer.segments import AttemptOver, Segment, Workload
from tests.fakes.origin import Behaviour, Origin, OriginModel, chunk_digests
from tests.store.test_transfer import ignore, put_partial, stored

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only there is such a way")

CONTENT = random.Random(4).randbytes(12 * CHUNK_BYTES + 12_345)
transfer = partial(transfer_, machine_bound=0)


@pytest.fixture
def client() -> HttpClient:
    return HttpClient(is_offline=True)


@pytest.mark.parametrize("streams", [1, 4])
@pytest.mark.parametrize("hashes", [True, False])
def test_all_files_arrive_with_their_digests(tmp_path: Path, client: HttpClient, streams: int, hashes: bool) -> None:
    contents = {"v1/model.onnx": CONTENT, "b": CONTENT[: 3 * CHUNK_BYTES], "c": b"{}", "d": b"", "e": CONTENT[:CHUNK_BYTES]}
    with Origin(contents) as origin:
        files = transfer(OriginModel(origin, hashes=hashes), tmp_path, client, ignore, streams=streams)
        assert origin.sent == sum(map(len, contents.values()))
    assert files == tuple(stored(path, content) for path, content in contents.items())
    assert all((tmp_path / path).read_bytes() == content for path, content in contents.items())


@pytest.mark.parametrize("have", [{0, 1, 2}, {1, 3, 5, 12}, {11}, set(range(12))])
def test_a_partial_file_is_continued(tmp_path: Path, client: HttpClient, have: set[int]) -> None:
    put_partial(tmp_path, "a", CONTENT, have)
    with Origin({"a": CONTENT}) as origin:
        assert transfer(OriginModel(origin), tmp_path, client, ignore) == (stored("a", CONTENT),)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_connections_that_break_off_within_chunks(tmp_path: Path) -> None:
    client = HttpClient(is_offline=True, retry=RetryPolicy(first_wait=0.001))
    with Origin({"a": CONTENT}, Behaviour(truncates=5, after=700_000)) as origin:
        assert transfer(OriginModel(origin), tmp_path, client, ignore) == (stored("a", CONTENT),)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_what_was_cancelled_goes_on_from_there(tmp_path: Path, client: HttpClient) -> None:
    def cancel(progress: Progress) -> None:
        if progress.done > 5 * CHUNK_BYTES:
            client.cancelled.set()

    with Origin({"a": CONTENT}, Behaviour(bytes_per_second=30_000_000)) as origin:
        with pytest.raises(DownloadCancelledError):
            transfer(OriginModel(origin), tmp_path, client, cancel)
        left = missing_bytes(OriginModel(origin).files, tmp_path)
        assert 0 < left < len(CONTENT)
        sent = origin.sent
        transfer(OriginModel(origin), tmp_path, HttpClient(is_offline=True), ignore)
        assert origin.sent - sent == left
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_bytes_that_are_wrong_are_refused(tmp_path: Path, client: HttpClient) -> None:
    with Origin({"a": CONTENT}) as origin:
        model = OriginModel(origin)
        (file,) = model.files
        model.files = [RemoteFile(file.path, file.size, hashlib.sha256(b"other").hexdigest())]
        with pytest.raises(IntegrityError):
            transfer(model, tmp_path, client, ignore)
    assert not (tmp_path / "a").exists()


class Bench:
    """One file whose chunks are brought by hand, with a writer that runs or not."""

    def __init__(self, root: Path, content: bytes, machine_bound: float = 0) -> None:
        self.content = content
        file = RemoteFile("a", len(content), hashlib.sha256(content).hexdigest())
        self.work = Workload([file], root, Journal(root, ""), 1)
        self.writer = DirectWriter(self.work, machine_bound)
        segment = self.work.next_segment(0)
        assert segment
        self.segment: Segment = segment
        self.attempt: Attempt = segment.attempt
        self.cursor = Cursor(self.work, self.writer, segment)
        self.errors: list[Exception] = []
        self.thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        try:
            self.writer.run()
        except OSError as error:
            self.errors.append(error)
            self.work.stop(None)

    def bring(self, first: int, last: int, piece: int = 100_000) -> None:
        """The bytes of these chunks, in pieces."""
        for chunk in range(first, last):
            end = min((chunk + 1) * CHUNK_BYTES, len(self.content))
            for start in range(chunk * CHUNK_BYTES, end, piece):
                self.cursor.accept(self.content[start : min(start + piece, end)])

    def written(self) -> bytes:
        return self.attempt.path.read_bytes()


def test_chunks_are_written_in_their_order_and_hashed_while_they_come(tmp_path: Path) -> None:
    bench = Bench(tmp_path, CONTENT)
    bench.thread.start()
    bench.bring(0, 13)
    assert bytes(bench.attempt.states) == bytes([HERE] * 13)  # the last one, which is not whole, waits for the others
    assert tuple(bench.attempt.digests) == chunk_digests(CONTENT)
    assert bench.attempt.hashed == 13
    assert bench.attempt.hash.hexdigest() == hashlib.sha256(CONTENT).hexdigest()
    assert bench.written() == CONTENT
    bench.work.stop(None)
    bench.thread.join()


def test_a_piece_that_ends_a_chunk_counts_as_well(tmp_path: Path) -> None:
    bench = Bench(tmp_path, CONTENT, machine_bound=1e18)
    assert bench.cursor.accept(CONTENT[:CHUNK_BYTES]) == CHUNK_BYTES
    assert bench.cursor.accept(CONTENT[CHUNK_BYTES : CHUNK_BYTES + 1000]) == 1000
    assert bench.cursor.received == CHUNK_BYTES + 1000


def test_a_stream_does_not_bring_more_than_can_wait_and_ends_with_the_work(tmp_path: Path) -> None:
    bench = Bench(tmp_path, CONTENT)  # nobody writes
    bench.bring(0, 2)
    assert bench.attempt.states.count(HERE) == 0

    def bring() -> None:
        with pytest.raises(AttemptOver):
            bench.bring(2, 3)
        ended.set()

    ended = threading.Event()
    threading.Thread(target=bring, daemon=True).start()
    assert not ended.wait(0.05)
    bench.work.stop(None)
    assert ended.wait(20)
    bench.writer.wait(bench.segment)  # at once: the work has ended


def test_where_it_cannot_be_written_this_way_it_is_written_the_usual_one(tmp_path: Path) -> None:
    bench = Bench(tmp_path, CONTENT)
    assert bench.attempt.open_direct()
    os.close(bench.attempt.direct_descriptor)
    bench.attempt.direct_descriptor = os.open(tmp_path / "a.partial", os.O_RDONLY)  # refuses to be written to
    bench.thread.start()
    bench.bring(0, 13)
    assert bench.written() == CONTENT
    assert not bench.attempt.open_direct()
    bench.work.stop(None)


def test_a_disk_that_fails_ends_the_work(tmp_path: Path) -> None:
    bench = Bench(tmp_path, CONTENT)
    assert bench.attempt.open_direct()
    for name in ("descriptor", "direct_descriptor"):
        os.close(getattr(bench.attempt, name))
        setattr(bench.attempt, name, os.open("/dev/full", os.O_WRONLY))
    bench.thread.start()
    with pytest.raises((AttemptOver, OSError)) as caught:  # the second where the stream has come to write by itself
        bench.bring(0, 13)
    bench.work.stop(None)
    bench.thread.join()
    errors = [*bench.errors, caught.value]
    assert any(isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.ESPIPE) for error in errors)


def test_a_hash_that_saw_other_bytes_is_not_gone_on_with(tmp_path: Path) -> None:
    bench = Bench(tmp_path, CONTENT)
    bench.bring(0, 2)
    first, second = bench.writer._waiting
    assert isinstance(first, WholeChunk)
    work, attempt = bench.work, bench.attempt
    work.add(attempt, 0, first.digest)  # by somebody who did not hash it
    work.add(attempt, 1, second.digest, second.file_hash)
    assert attempt.hashed == 0
    attempt.hash.update(CONTENT[:CHUNK_BYTES])
    attempt.hashed = 1
    attempt.states[1] = 0
    work.add(attempt, 1, second.digest, second.file_hash)
    assert attempt.hashed == 1  # it went on from another object than that of the attempt


def test_what_comes_slowly_is_written_the_usual_way(tmp_path: Path) -> None:
    bench = Bench(tmp_path, CONTENT, machine_bound=1e18)
    bench.bring(0, 13)  # nobody writes but the stream
    assert bench.written() == CONTENT


def test_it_is_used_once_enough_has_come_quickly(tmp_path: Path) -> None:
    bench = Bench(tmp_path, CONTENT, machine_bound=1)
    bench.bring(0, 10)
    assert bench.attempt.states.count(HERE) == 8


def test_when_the_whole_file_comes_again_what_waits_is_written_first(tmp_path: Path) -> None:
    bench = Bench(tmp_path, CONTENT)
    bench.bring(0, 1)  # waits to be written
    widened = threading.Event()

    def widen() -> None:
        bench.cursor.widen()
        widened.set()

    threading.Thread(target=widen, daemon=True).start()
    assert not widened.wait(0.05)
    bench.thread.start()
    assert widened.wait(20)
    assert bench.cursor.accept(b"other bytes") == 0
    assert bench.written() == CONTENT[:CHUNK_BYTES]
    bench.work.stop(None)


def test_a_stream_that_the_disk_holds_up_goes_on_in_the_usual_way(tmp_path: Path) -> None:
    bench = Bench(tmp_path, CONTENT, machine_bound=1e6)
    bench.bring(0, 9)
    assert bench.attempt.states.count(HERE) == 8  # the last one waits to be written
    bench.segment.begun = deque([time.monotonic() - 60] * 8)
    assert bench.writer.buffer(bench.segment, 9) is None
    bench.work.stop(None)
