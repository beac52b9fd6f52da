"""The file with the verdicts of `foundry model test`."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from foundry_cli.errors import CacheError
from foundry_cli.paths import Paths
from foundry_cli.store.verdicts import FAILED, PASSED, Verdict, read_verdicts, store_verdict

DATE = "2026-01-02T03:04:05+00:00"


def test_verdicts_are_kept_by_id_in_any_case_and_can_be_forgotten(tmp_path: Path) -> None:
    paths = Paths(tmp_path / "home")
    assert read_verdicts(paths) == {}
    store_verdict(paths, "Foo:1", Verdict(PASSED, DATE))
    store_verdict(paths, "bar:2", Verdict(FAILED, DATE, ("Unicode",)))
    store_verdict(paths, "foo:1", Verdict(FAILED, DATE, ("streaming",)))
    assert read_verdicts(paths) == {
        "foo:1": Verdict(FAILED, DATE, ("streaming",)),
        "bar:2": Verdict(FAILED, DATE, ("Unicode",)),
    }
    store_verdict(paths, "FOO:1", None)
    assert set(read_verdicts(paths)) == {"bar:2"}


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b'{"a:1": {"verdict": "great"}, "b:1": 3, "c:1": {"failed": 1}}'])
def test_a_damaged_file_is_an_empty_one_and_is_replaced(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "verdicts.json").write_bytes(content)
    assert read_verdicts(Paths(tmp_path)) == {}
    store_verdict(Paths(tmp_path), "a:1", Verdict(PASSED, DATE))
    assert read_verdicts(Paths(tmp_path)) == {"a:1": Verdict(PASSED, DATE)}


def test_tests_that_end_at_the_same_time_all_count(tmp_path: Path) -> None:
    paths, start = Paths(tmp_path), threading.Barrier(8)

    def store(worker: int) -> None:
        start.wait()
        for number in range(4):
            store_verdict(paths, f"model-{worker}:{number}", Verdict(PASSED, DATE))

    threads = [threading.Thread(target=store, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(read_verdicts(paths)) == 32


def test_forgetting_what_is_not_there_writes_nothing(tmp_path: Path) -> None:
    store_verdict(Paths(tmp_path / "home"), "a:1", None)
    assert not (tmp_path / "home").exists()


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(CacheError):
        store_verdict(Paths(tmp_path / "home"), "a:1", Verdict(PASSED, DATE))
