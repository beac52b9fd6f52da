"""Which conversations are kept when there is not space for all: the least recently used go first, whoever is written first."""

from __future__ import annotations

import errno
import logging
import sys
from pathlib import Path

import pytest

from foundry_cli.engine.cache_rows import CacheRows, Writer
from foundry_cli.engine.conversation_store import ConversationStore
from foundry_cli.engine.slot_pool import SlotPool
from tests.engine.test_conversation_store import BUDGET, GRAPH, SIZE, TOKENS, answer_once, is_known, new_pool

pytestmark = [pytest.mark.timeout(30), pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")]

CHATS = [[number, *TOKENS[1:]] for number in range(6)]


class SmallDisk(CacheRows):
    """Rows that find no space in a folder with so many bytes."""

    def __init__(self, folder: Path, limit: int) -> None:
        super().__init__(GRAPH, 8, 400)
        self.folder, self.limit = folder, limit
        self.attempts = 0

    def write(self, row: int, count: int, stream: Writer) -> None:
        self.attempts += 1
        if sum(path.stat().st_size for path in self.folder.glob("*.kv")) + self.size(count) > self.limit:
            raise OSError(errno.ENOSPC, "No space left on device")
        super().write(row, count, stream)


class HugeRows(SmallDisk):
    """Rows for which no disk is large enough."""

    def size(self, count: int) -> int:
        return 1 << 60


def use_all(pool: SlotPool, rows: CacheRows) -> None:
    for chat in CHATS:
        answer_once(pool, rows, chat)


def save_all(pool: SlotPool) -> None:
    for _ in range(100):
        if not pool.save_next():
            return
    raise AssertionError("it never ends")


def known(folder: Path) -> list[int]:
    """Which of the chats are on disk."""
    store = ConversationStore(folder, BUDGET)
    return [number for number, chat in enumerate(CHATS) if is_known(store, chat)]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_most_recently_used_stay_within_the_budget(tmp_path: Path, count: int) -> None:
    pool, rows = new_pool(tmp_path, budget=count * SIZE + 100)
    use_all(pool, rows)
    save_all(pool)
    assert known(tmp_path) == list(range(6 - count, 6))


def test_what_would_go_at_once_is_not_written(tmp_path: Path) -> None:
    rows = SmallDisk(tmp_path, 1 << 40)
    pool, _ = new_pool(tmp_path, rows, budget=2 * SIZE + 100)
    use_all(pool, rows)
    save_all(pool)
    assert rows.attempts == 2


def test_later_use_counts_whenever_it_was_written(tmp_path: Path) -> None:
    pool, rows = new_pool(tmp_path)
    use_all(pool, rows)
    save_all(pool)
    times = [path.stat().st_mtime_ns for path in sorted(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)]
    assert len(set(times)) == 6
    answer_once(pool, rows, CHATS[0])
    pool, rows = new_pool(tmp_path, budget=2 * SIZE + 100)
    answer_once(pool, rows, [9, *TOKENS[1:]])
    save_all(pool)
    assert known(tmp_path) == [5]


def test_on_a_full_disk_the_least_recently_used_give_way(tmp_path: Path) -> None:
    rows = SmallDisk(tmp_path, 2 * SIZE + 100)
    pool, _ = new_pool(tmp_path, rows)
    for chat in CHATS[:3]:
        answer_once(pool, rows, chat)
    save_all(pool)
    assert known(tmp_path) == [1, 2]
    for chat in CHATS[3:]:
        answer_once(pool, rows, chat)
    save_all(pool)
    assert known(tmp_path) == [4, 5]


def test_nothing_goes_when_that_would_not_be_enough(tmp_path: Path) -> None:
    pool, rows = new_pool(tmp_path)
    use_all(pool, rows)
    save_all(pool)
    full = HugeRows(tmp_path, 0)
    assert ConversationStore(tmp_path, 1 << 62).save([9, *TOKENS], full, 1) is False
    assert known(tmp_path) == list(range(6))


def test_what_could_not_be_written_is_tried_again_after_the_next_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = SmallDisk(tmp_path, 0)
    pool, _ = new_pool(tmp_path, rows)
    with caplog.at_level(logging.WARNING, "foundry.engine"):
        for chat in CHATS[:2]:
            answer_once(pool, rows, chat)
            save_all(pool)
            save_all(pool)
        assert rows.attempts == 3
        rows.limit = 1 << 40
        answer_once(pool, rows, CHATS[2])
        save_all(pool)
        assert known(tmp_path) == [0, 1, 2]
        assert len(list(tmp_path.iterdir())) == 3
        (line,) = [record.getMessage() for record in caplog.records]
    assert line == "conversations cannot be kept on disk: No space left on device"


def test_files_that_others_removed_are_not_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pool, rows = new_pool(tmp_path)
    answer_once(pool, rows, TOKENS[:150])
    save_all(pool)
    pool, rows = new_pool(tmp_path)
    answer_once(pool, rows, TOKENS[:80])
    for path in tmp_path.iterdir():  # the service does so, for the budget of all models together
        path.unlink()
    with caplog.at_level(logging.WARNING, "foundry.engine"):
        assert answer_once(pool, rows, TOKENS) == 80
    assert caplog.records == []
