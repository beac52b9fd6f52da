from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from foundry_cli.chunks import CHUNK_BYTES
from foundry_cli.errors import CacheError, DownloadCancelledError
from foundry_cli.store.download_lock import DownloadLock
from foundry_cli.store.journal import JOURNAL, Journal

HOLDER = """
import sys, threading
from pathlib import Path
from foundry_cli.store.download_lock import DownloadLock
lock = DownloadLock(Path(sys.argv[1]))
assert lock.acquire(threading.Event(), lambda done: None)
print("held", flush=True)
if sys.stdin.readline().strip() == "complete":
    lock.complete()
"""


def ignore(_: int) -> None:
    """Nobody looks at the progress of the other."""


def acquire(root: Path) -> DownloadLock:
    lock = DownloadLock(root)
    assert lock.acquire(threading.Event(), ignore)
    return lock


def test_the_lock_makes_the_folder_and_hides_it_until_it_is_complete(tmp_path: Path) -> None:
    root = tmp_path / "publisher" / "model-1"
    lock = acquire(root)
    Journal(root).close()
    assert {path.name for path in root.iterdir()} == {"download.tmp", JOURNAL}
    (tmp_path / "plain").touch()
    mode = (tmp_path / "plain").stat().st_mode
    assert {path.stat().st_mode for path in root.iterdir()} == {mode}  # others with whom the cache is shared may go on
    lock.complete()
    assert list(root.iterdir()) == []


def test_a_released_lock_keeps_the_partial_and_can_be_taken_again(tmp_path: Path) -> None:
    lock = acquire(tmp_path / "model")
    (tmp_path / "model" / "a.partial").write_bytes(b"x")
    lock.release()
    lock.release()
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"download.tmp", "a.partial"}
    acquire(tmp_path / "model").release()


def test_whoever_waits_learns_how_far_the_other_is_and_can_give_up(tmp_path: Path) -> None:
    holder = acquire(tmp_path)
    journal = Journal(tmp_path)
    journal.begin("a", 3 * CHUNK_BYTES, "", "")
    journal.add_chunk("a", 1, "0" * 16)
    seen: list[int] = []
    cancelled = threading.Event()

    def waiting(done: int) -> None:
        seen.append(done)
        if len(seen) == 1:
            journal.add_chunk("a", 2, "0" * 16)
        else:
            cancelled.set()

    with pytest.raises(DownloadCancelledError):
        DownloadLock(tmp_path).acquire(cancelled, waiting)
    assert seen == [CHUNK_BYTES, 2 * CHUNK_BYTES]
    journal.close()
    holder.release()


@pytest.mark.parametrize("end", ["complete", "release", "kill"])
def test_whoever_waits_goes_on_when_the_other_has_ended_or_died(tmp_path: Path, end: str) -> None:
    root = tmp_path / "model"
    command = [sys.executable, "-c", HOLDER, str(root)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"

        def waiting(done: int) -> None:
            if end == "kill":
                holder.kill()
            elif holder.stdin and not holder.stdin.closed:
                holder.stdin.write(f"{end}\n")
                holder.stdin.close()

        lock = DownloadLock(root)
        assert lock.acquire(threading.Event(), waiting) == (end != "complete")
        assert (root / "download.tmp").exists() == (end != "complete")
        lock.release()


def test_a_marker_that_was_removed_by_hand_is_made_again(tmp_path: Path) -> None:
    holder = acquire(tmp_path)
    os.unlink(tmp_path / "download.tmp")
    other = acquire(tmp_path)  # nobody can know of the first one any more
    assert (tmp_path / "download.tmp").exists()
    other.release()
    holder.release()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="file"):
        DownloadLock(tmp_path / "file" / "model").acquire(threading.Event(), ignore)
