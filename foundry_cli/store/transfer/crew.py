"""The transfer of a model's files: what is missing is fetched in parallel byte ranges, proven by hash, and only then named.

Threads: some fetchers, a writer, a hasher and a publisher (a file each) around one `Workload` (`segments.py`); the calling
thread reports progress and watches for the end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from foundry_cli.errors import DownloadCancelledError, FoundryError, SourceError
from foundry_cli.http import HttpClient
from foundry_cli.remote import RemoteFile, RemoteModel
from foundry_cli.store.journal import JOURNAL, Journal, JournalReader
from foundry_cli.store.manifest import StoredFile, check_paths
from foundry_cli.store.plain_file import disk_error, is_plain
from foundry_cli.store.transfer.attempt import PARTIAL_SUFFIX, Attempt, partial_path, plan_file
from foundry_cli.store.transfer.direct_writer import MACHINE_BOUND, DirectWriter
from foundry_cli.store.transfer.fetcher import Addresses, Fetcher, Patience
from foundry_cli.store.transfer.hasher import Hasher
from foundry_cli.store.transfer.publisher import Publisher
from foundry_cli.store.transfer.segments import Workload

_PATIENCE = Patience()
_GRACE_SECONDS = 1.0
_TICK_SECONDS = 0.1  # between two reports


@dataclass(frozen=True)
class Progress:
    """How far a transfer is. Bytes; `file` is the path in work, `note` what it waits for."""

    done: int
    total: int
    file: str
    resumed: int  # bytes that were there when this transfer began
    note: str = ""


Report = Callable[[Progress], None]


def transfer(
    remote: RemoteModel,
    root: Path,
    client: HttpClient,
    report: Report,
    *,
    origin: str = "",
    streams: int = 4,
    patience: Patience = _PATIENCE,
    machine_bound: float = MACHINE_BOUND,
) -> tuple[StoredFile, ...]:
    """Fetch what is missing of all files into `root`, whose `DownloadLock` the caller holds; the files, with their digests.

    `origin` is the address of the model: what is in `root` from another one is used only if its hash proves it. From
    `machine_bound` bytes per second on whole chunks are written past the page cache.
    Raises `SourceUnreachableError`, `SourceError`, `IntegrityError`, `DiskFullError`, `DownloadCancelledError`, `CacheError`.
    """
    files = list(remote.files)
    check_names(files)
    client.rest()  # a server may count connections, and this thread has no more to ask
    try:
        journal = Journal(root, origin)
    except OSError as error:
        raise disk_error(error, root, sum(file.size for file in files)) from error
    try:
        work = Workload(files, root, journal, streams)
        writer = DirectWriter(work, machine_bound)
        fetchers = _fetchers(work, writer, remote, client, streams, patience)
        _Crew(work, root, fetchers, [writer.run, Hasher(work).run, Publisher(work, journal).run]).work(client.cancelled, report)
        _remove_partials(files, root)
        journal.sync()
    except BrokenPipeError:
        raise  # of who reads the reports
    except OSError as error:
        raise disk_error(error, root, missing_bytes(files, root, origin)) from error
    finally:
        journal.close()
    return tuple(work.stored[file.path] for file in files)


def _remove_partials(files: Sequence[RemoteFile], root: Path) -> None:
    """What an earlier transfer of another version left beside a file that was there already."""
    for partial in (partial_path(root, file.path) for file in files):
        if is_plain(partial):
            partial.unlink()


def missing_bytes(files: Sequence[RemoteFile], root: Path, origin: str = "") -> int:
    """What `transfer` would still fetch, without looking at the content of what is there. Raises `CacheError`."""
    journal = JournalReader(root)
    journal.poll()
    try:
        planned = [plan_file(root, file, journal.files.get(file.path), origin) for file in files]
    except OSError as error:
        raise disk_error(error, root) from error
    return sum(plan.file.size - plan.done_bytes for plan in planned if isinstance(plan, Attempt))


def check_names(files: Sequence[RemoteFile]) -> None:
    """Refuse names that are not plain, or that collide with each other or with ours. Raises `SourceError`."""
    check_paths(file.path for file in files)
    names = {file.path.casefold() for file in files}
    for file in files:
        name = file.path.casefold()
        parents = {str(parent) for parent in PurePosixPath(name).parents}
        if file.size < 0 or name == JOURNAL or name + PARTIAL_SUFFIX in names or parents & names:
            raise SourceError(f"The model has a file with the name {file.path!r}, which is not allowed.")


def _fetchers(
    work: Workload, writer: DirectWriter, remote: RemoteModel, client: HttpClient, streams: int, patience: Patience
) -> list[Fetcher]:
    addresses = Addresses(remote)
    fetchers = [Fetcher(number, work, writer, addresses, client, patience) for number in range(streams)]
    for fetcher in fetchers:
        fetcher.fellows = fetchers
    return fetchers


class _Crew:
    """The threads of one transfer, and their end."""

    def __init__(self, work: Workload, root: Path, fetchers: Sequence[Fetcher], others: Sequence[Callable[[], None]]) -> None:
        self._work = work
        self._root = root
        self._fetchers = fetchers
        self._threads = [
            threading.Thread(target=self._run, args=(run,), name="transfer", daemon=True)
            for run in (*(fetcher.run for fetcher in fetchers), *others)
        ]
        self._resumed = work.done_bytes

    def work(self, cancelled: threading.Event, report: Report) -> None:
        """Do all of it. Raises the first error of a thread."""
        report(self._progress())
        for thread in self._threads:
            thread.start()
        try:
            while not self._work.ended.wait(_TICK_SECONDS):
                if cancelled.is_set():
                    self._work.stop(DownloadCancelledError("The download was cancelled."))
                self._work.measure(sum(fetcher.received for fetcher in self._fetchers))
                report(self._progress())
        finally:
            self._work.stop(None)
            self._join()
            self._work.close()
        if self._work.error:
            raise self._work.error
        if not self._work.is_complete:
            raise RuntimeError("a thread of the transfer has ended too early")
        report(self._progress(is_over=True))

    def _run(self, run: Callable[[], None]) -> None:
        try:
            run()
        except FoundryError as error:
            self._work.stop(error)
        except OSError as error:
            self._work.stop(disk_error(error, self._root, self._work.total_bytes - self._work.done_bytes))
        finally:
            self._work.stop(None)  # a thread ends only when the work has ended, or because of a defect

    def _join(self) -> None:
        """Wait for all threads, but not long for the answer to a request: such a thread finds that the work has ended."""
        deadline = time.monotonic() + _GRACE_SECONDS
        waiting = dict(zip(self._threads, self._fetchers, strict=False))
        for thread in self._threads:
            fetcher = waiting.get(thread)
            while thread.is_alive() and not (fetcher and fetcher.is_away and time.monotonic() > deadline):
                if fetcher:
                    fetcher.interrupt()
                thread.join(0.02)

    def _progress(self, *, is_over: bool = False) -> Progress:
        done = self._work.done_bytes + sum(fetcher.in_hand for fetcher in self._fetchers)
        note = next((fetcher.note for fetcher in self._fetchers if fetcher.note), "")
        file = "" if is_over else self._work.current_file
        return Progress(min(done, self._work.total_bytes), self._work.total_bytes, file, self._resumed, note)
