"""The beginning of a repair: what is good of damaged files becomes a partial download."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from foundry_cli.chunks import chunk_count
from foundry_cli.errors import CacheError
from foundry_cli.store.journal import JOURNAL, NEW_JOURNAL, FileRecord, Journal, JournalReader
from foundry_cli.store.manifest import Manifest, StoredFile, read_chunks
from foundry_cli.store.plain_file import disk_error, is_plain, open_plain, sync_directory
from foundry_cli.store.transfer.attempt import partial_path
from foundry_cli.store.verify import FileCheck


def begin_repair(root: Path, manifest: Manifest, checks: Sequence[FileCheck]) -> None:
    """Make a transfer fetch only the bad chunks that `checks` found. The caller holds the lock.

    The transfer accepts only the bytes of the manifest, whatever the source says. Raises `CacheError`, `DiskFullError`.
    """
    digests = read_chunks(root)
    found = {check.path: check for check in checks}
    try:
        _check_plain(root / JOURNAL)
        earlier = JournalReader(root)  # of a repair that was interrupted
        earlier.poll()
        if is_plain(root / NEW_JOURNAL):
            os.unlink(root / NEW_JOURNAL)
        damaged = []
        journal = Journal(root, manifest.model.uri, NEW_JOURNAL)
        try:
            for file in manifest.files:
                known = digests.get(file.path, ())
                chunks = dict(enumerate(known)) if len(known) == chunk_count(file.size) else {}
                check = found.get(file.path, FileCheck(file.path))
                if check.problem and (begun := _begun_chunks(root, file, earlier.files.get(file.path))) is not None:
                    chunks = begun
                elif check.problem:
                    damaged.append((file, check))
                _record(journal, file, chunks, is_good=not check.problem)
            journal.sync()
        finally:
            journal.close()
        # In this order: whenever it ends, the next transfer finds what is good of a file, under which name ever it lies.
        os.replace(root / NEW_JOURNAL, root / JOURNAL)
        sync_directory(root)
        for file, _ in damaged:
            _make_partial(root, file)
        _forget_bad_chunks(root, manifest, damaged)
    except OSError as error:
        raise disk_error(error, root) from error


def _forget_bad_chunks(root: Path, manifest: Manifest, damaged: Sequence[tuple[StoredFile, FileCheck]]) -> None:
    """They would be found to be bad anyway; so it is known at once how much there is to fetch."""
    journal = Journal(root, manifest.model.uri)
    try:
        for file, check in damaged:
            for index in check.bad_chunks:
                journal.remove_chunk(file.path, index)
    finally:
        journal.close()


def _begun_chunks(root: Path, file: StoredFile, earlier: FileRecord | None) -> dict[int, str] | None:
    """The chunks that are in the partial file that an earlier repair has made; None when it has not."""
    if not os.path.lexists(root / file.path) and earlier and not earlier.published:
        return earlier.chunks if (earlier.size, earlier.sha256) == (file.size, file.sha256) else {}
    return None


def _record(journal: Journal, file: StoredFile, chunks: dict[int, str], *, is_good: bool) -> None:
    journal.begin(file.path, file.size, file.sha256, "")
    for index, digest in chunks.items():
        journal.add_chunk(file.path, index, digest)
    if is_good:
        journal.publish(file.path, file.sha256)


def _make_partial(root: Path, file: StoredFile) -> None:
    """Give the damaged file the partial's name and the right length. A file that has a second name is left alone."""
    final, partial = root / file.path, partial_path(root, file.path)
    if not is_plain(final):
        return
    _check_plain(partial)
    os.replace(final, partial)
    descriptor = open_plain(partial, os.O_RDWR)
    try:
        if os.fstat(descriptor).st_size > file.size:
            os.ftruncate(descriptor, file.size)
    finally:
        os.close(descriptor)


def _check_plain(path: Path) -> None:
    if os.path.lexists(path) and not is_plain(path):
        raise CacheError(f"{path} is a link or not a plain file.", hint="Move it away.")
