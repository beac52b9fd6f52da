"""What is fetched again of a damaged model: row C5 of the fault matrix."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from foundry_cli.chunks import CHUNK_BYTES
from foundry_cli.errors import CacheError, IntegrityError
from foundry_cli.http import HttpClient
from foundry_cli.store.download_lock import DownloadLock
from foundry_cli.store.journal import JOURNAL, NEW_JOURNAL
from foundry_cli.store.manifest import CHUNKS, MANIFEST, Manifest
from foundry_cli.store.ownership import own_files
from foundry_cli.store.repair import begin_repair
from foundry_cli.store.transfer import missing_bytes, transfer
from foundry_cli.store.verify import verify
from tests.fakes.origin import Origin, OriginModel
from tests.store.dying import kill_everywhere, literal, program
from tests.store.test_verify import CONTENT, OTHER, ROT, flip, put_model, swap, truncate

FILES = {"v1/a": CONTENT, "v1/b": OTHER, "empty": b""}


def repair(root: Path, manifest: Manifest, model: OriginModel) -> None:
    """As the program does it."""
    lock = DownloadLock(root)
    assert lock.acquire(threading.Event(), lambda done: None)
    try:
        begin_repair(root, manifest, verify(root, manifest))
        files = transfer(model, root, HttpClient(is_offline=True), lambda progress: None)
        assert files == manifest.files
        lock.complete()
    finally:
        lock.release()


@pytest.mark.parametrize("rot", ROT)
@pytest.mark.parametrize("hashes", [True, False])
def test_c5_only_bad_chunks_are_fetched_again(tmp_path: Path, rot: Callable[[Path], None], hashes: bool) -> None:
    manifest = put_model(tmp_path)
    rot(tmp_path / "v1/a")
    with Origin(FILES) as origin:
        repair(tmp_path, manifest, OriginModel(origin, hashes=hashes))
        bad = sum(len(CONTENT[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]) for index in ROT[rot])
        assert origin.sent == (2 * len(CONTENT) if rot is swap else bad)
    assert {path: (tmp_path / path).read_bytes() for path in FILES} == FILES
    left = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {*FILES, MANIFEST, CHUNKS}


def test_without_digests_of_chunks_the_bad_file_is_fetched(tmp_path: Path) -> None:
    manifest = put_model(tmp_path)
    (tmp_path / CHUNKS).unlink()
    flip(tmp_path / "v1/a")
    with Origin(FILES) as origin:
        begin_repair(tmp_path, manifest, verify(tmp_path, manifest))
        transfer(OriginModel(origin), tmp_path, HttpClient(is_offline=True), lambda progress: None)
        assert origin.sent == origin.sent_of("v1/a") == len(CONTENT)
    assert (tmp_path / "v1/a").read_bytes() == CONTENT


def test_a_repair_that_was_interrupted_goes_on_where_it_was(tmp_path: Path) -> None:
    manifest = put_model(tmp_path)
    flip(tmp_path / "v1/a")
    begin_repair(tmp_path, manifest, verify(tmp_path, manifest))
    assert not (tmp_path / "v1/a").exists()
    with Origin(FILES) as origin:
        assert missing_bytes(OriginModel(origin).files, tmp_path) == CHUNK_BYTES
        repair(tmp_path, manifest, OriginModel(origin))
        assert origin.sent == CHUNK_BYTES
    assert (tmp_path / "v1/a").read_bytes() == CONTENT


@pytest.mark.slow
def test_a_repair_that_is_killed_at_its_beginning_loses_no_good_chunk(tmp_path: Path) -> None:
    manifests: dict[int, Manifest] = {}

    def prepare(change: int) -> str:
        root = tmp_path / str(change)
        root.mkdir()
        manifests[change] = put_model(root)
        flip(root / "v1/a")
        imports = "from foundry_cli.store.repair import begin_repair\nfrom foundry_cli.store.manifest import read_manifest\n"
        imports += "from foundry_cli.store.verify import verify"
        work = (
            f"root = {literal(root)}",
            "manifest = read_manifest(root)",
            "begin_repair(root, manifest, verify(root, manifest))",
        )
        return program(imports, *work)

    def check(change: int) -> None:
        root = tmp_path / str(change)
        with Origin(FILES) as origin:
            if (root / JOURNAL).exists():  # as `model download` does it then
                transfer(OriginModel(origin), root, HttpClient(is_offline=True), lambda progress: None)
            else:
                repair(root, manifests[change], OriginModel(origin))
            assert origin.sent == CHUNK_BYTES
        assert (root / "v1/a").read_bytes() == CONTENT

    assert kill_everywhere(prepare, check) >= 2


def test_a_repair_that_ended_before_its_journal_was_complete_changes_nothing(tmp_path: Path) -> None:
    manifest = put_model(tmp_path)
    flip(tmp_path / "v1/a")
    before = (tmp_path / "v1/a").read_bytes()
    (tmp_path / NEW_JOURNAL).write_bytes(b"half of a jou")
    assert not (tmp_path / JOURNAL).exists()
    assert NEW_JOURNAL in own_files(tmp_path)
    with Origin(FILES) as origin:
        repair(tmp_path, manifest, OriginModel(origin))
        assert origin.sent == CHUNK_BYTES
    assert before != (tmp_path / "v1/a").read_bytes() == CONTENT
    assert not (tmp_path / NEW_JOURNAL).exists()


def test_bytes_of_another_version_do_not_get_into_a_repaired_file(tmp_path: Path) -> None:
    manifest = put_model(tmp_path)
    flip(tmp_path / "v1/a")
    with Origin({**FILES, "v1/a": CONTENT[::-1]}) as origin:
        begin_repair(tmp_path, manifest, verify(tmp_path, manifest))
        with pytest.raises(IntegrityError):
            transfer(OriginModel(origin, hashes=False), tmp_path, HttpClient(is_offline=True), lambda progress: None)
    assert not (tmp_path / "v1/a").exists()


def test_a_damaged_file_with_a_second_name_is_replaced_and_the_other_name_keeps_its_bytes(tmp_path: Path) -> None:
    root = tmp_path / "model"
    root.mkdir()
    manifest = put_model(root)
    truncate(root / "v1/a")
    os.link(root / "v1/a", tmp_path / "mine")
    with Origin(FILES) as origin:
        begin_repair(root, manifest, verify(root, manifest))
        transfer(OriginModel(origin), root, HttpClient(is_offline=True), lambda progress: None)
    assert (root / "v1/a").read_bytes() == CONTENT
    assert (tmp_path / "mine").read_bytes() == CONTENT[: 3 * CHUNK_BYTES + 1]


@pytest.mark.parametrize("name", [JOURNAL, "v1/a.partial"])
def test_links_in_the_way_are_refused(tmp_path: Path, name: str) -> None:
    root, victim = tmp_path / "model", tmp_path / "precious"
    root.mkdir()
    victim.write_bytes(b"precious")
    manifest = put_model(root)
    flip(root / "v1/a")
    (root / name).symlink_to(victim)
    checks = verify(root, manifest)
    with pytest.raises(CacheError):
        begin_repair(root, manifest, checks)
    assert victim.read_bytes() == b"precious"
    assert (root / "v1/a").exists()
