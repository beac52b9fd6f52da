"""Conversations on disk: what comes back is what was kept, whatever lies in the folder."""

from __future__ import annotations

import json
import os
import random
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from xxhash import xxh3_64

from foundry_cli.engine.cache_rows import CacheRows
from foundry_cli.engine.conversation_store import ConversationStore, Found, store_key
from foundry_cli.engine.slot_pool import PoolMemory, SlotPool
from tests.engine.test_cache_rows import fill, graph_of, holds

pytestmark = [pytest.mark.timeout(30), pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")]

GRAPH = graph_of(8, 8)
TOKENS = random.Random(1).choices(range(1, 1 << 31), k=200)
BUDGET = 1 << 30
SIZE = 200 * GRAPH.bytes_per_token + 4 * 200 + 100  # at least, with the head


def new_rows() -> CacheRows:
    return CacheRows(GRAPH, 4, 400)


def keep(directory: Path, tokens: list[int] = TOKENS, *, budget: int = BUDGET) -> Path | None:
    """Write one conversation; its file."""
    rows = new_rows()
    fill(rows, 1, len(tokens), seed=len(tokens))
    before = set(directory.iterdir())
    ConversationStore(directory, budget).save(tokens, rows, 1)
    return next((path for path in directory.iterdir() if path not in before), None)


def kept(directory: Path) -> Path:
    path = keep(directory)
    assert path
    return path


def find(directory: Path, tokens: list[int] = TOKENS) -> tuple[ConversationStore, Found | None]:
    store = ConversationStore(directory, BUDGET)
    return store, store.find(tokens)


def is_known(store: ConversationStore, tokens: list[int]) -> bool:
    found = store.find(tokens)
    return found is not None and found.common == len(tokens)


def is_restored(directory: Path, tokens: list[int] = TOKENS, count: int | None = None) -> bool:
    """Whether the right keys and values come back, and nothing is written elsewhere."""
    store, found = find(directory, tokens[:count])
    if found is None or found.common != len(tokens[:count]):
        return False
    rows, wanted = new_rows(), new_rows()
    bystander, expected = fill(rows, 3, 400, seed=99), fill(wanted, 1, len(tokens), seed=len(tokens))
    if not store.load(found, rows, 2):
        assert not found.path.exists()
        return False
    assert holds(rows, 3, bystander)
    assert holds(rows, 2, expected, found.common), "wrong keys and values"
    return True


def test_a_round_trip(tmp_path: Path) -> None:
    path = kept(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert is_restored(tmp_path)
    assert is_restored(tmp_path, count=120)


def test_a_round_trip_over_two_processes(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from tests.engine.test_conversation_store import keep; keep(Path(sys.argv[1]))"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, cwd=root, timeout=30)
    assert is_restored(tmp_path)


@pytest.mark.parametrize(("stored", "length"), [(63, 0), (64, 1), (65, 1)])
def test_short_conversations_are_not_worth_a_file(tmp_path: Path, stored: int, length: int) -> None:
    keep(tmp_path, TOKENS[:stored])
    assert len(os.listdir(tmp_path)) == length


def test_the_longest_common_beginning_is_found(tmp_path: Path) -> None:
    for other in ([*TOKENS[:70], *[1] * 50], [*TOKENS[:100], *[2] * 20], [*TOKENS[:90], *[3] * 90]):
        keep(tmp_path, other)
    _, found = find(tmp_path)
    assert found
    assert (found.stored, found.common) == (120, 100)
    assert not is_known(ConversationStore(tmp_path, BUDGET), [5, 6])


def test_a_longer_conversation_takes_the_place_of_its_beginning(tmp_path: Path) -> None:
    rows = new_rows()
    fill(rows, 1, 200, seed=200)
    store = ConversationStore(tmp_path, BUDGET)
    for length in (100, 150, 200):
        store.save(TOKENS[:length], rows, 1)
    store.save([*TOKENS[:100], *[9] * 50], rows, 1)
    assert len(os.listdir(tmp_path)) == 2
    assert is_restored(tmp_path)


def test_what_was_used_longest_ago_goes_when_there_are_too_many_bytes(tmp_path: Path) -> None:
    rows = new_rows()
    store = ConversationStore(tmp_path, 3 * SIZE)
    chats = [[number, *TOKENS[1:]] for number in range(4)]
    for number, chat in enumerate(chats):
        if number == 3:
            found = store.find(chats[0])
            assert found
            store.load(found, rows, 2)
        store.save(chat, rows, 1, age=100.0 * (3 - number))
    assert [is_known(store, chat) for chat in chats] == [True, False, True, True]
    assert [is_known(ConversationStore(tmp_path, BUDGET), chat) for chat in chats] == [True, False, True, True]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 3 * SIZE


def test_what_is_larger_than_the_budget_costs_the_others_nothing(tmp_path: Path) -> None:
    keep(tmp_path, TOKENS[:100])
    keep(tmp_path, [7, *TOKENS[1:]], budget=SIZE - 1000)
    assert is_restored(tmp_path, TOKENS[:100])
    assert keep(tmp_path, [8, *TOKENS], budget=0) is None


# Damage


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "one byte": lambda data: data[:1],
    "cut in the head": lambda data: data[:20],
    "cut in the tokens": lambda data: data[: data.index(b"\n") + 100],
    "cut in the values": lambda data: data[: len(data) // 2],
    "cut at the end": lambda data: data[:-1],
    "without its checksum": lambda data: data[:-8],
    "longer": lambda data: data + b"x",
    "zeros": lambda data: bytes(len(data)),
    "one bit": lambda data: data[:5000] + bytes([data[5000] ^ 1]) + data[5001:],
    "no JSON": lambda data: b"hello" + data,
    "no object": lambda data: b"[1]\n" + data,
    "a list without end": lambda data: b"[" * 1020 + b"\n" + data,
    "no text": lambda data: b"\xff\xfe{}\n" + data,
    "no line": lambda data: b"x" * 100_000,
    "another version": lambda data: data.replace(b'"version": 1', b'"version": 2'),
    "another format": lambda data: data.replace(b"foundry-keys", b"foundry-cats"),
    "no count": lambda data: data.replace(b"200}", b"[2]}"),
    "a negative count": lambda data: data.replace(b"200}", b"-20}"),
    "a fraction": lambda data: data.replace(b"200}", b"2e2}"),
    "a huge count": lambda data: data.replace(b"200}", b"16777216}"),
    "a monstrous count": lambda data: data.replace(b"200}", b"9" * 900 + b"}"),
    "another count": lambda data: data.replace(b"200}", b"199}"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_files_are_nothing(tmp_path: Path, damage: str) -> None:
    path = kept(tmp_path)
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert not is_restored(tmp_path)
    keep(tmp_path)
    assert is_restored(tmp_path), "it is written anew"


@pytest.mark.parametrize("damage", DAMAGES)
def test_files_that_are_damaged_while_they_are_known(tmp_path: Path, damage: str) -> None:
    path = kept(tmp_path)
    store, found = find(tmp_path)
    assert found
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    assert not store.load(found, new_rows(), 1)
    again = store.find(TOKENS)
    assert again is None or again.common == 0


def test_a_file_that_is_exchanged_for_another_good_one(tmp_path: Path) -> None:
    path = kept(tmp_path)
    store, found = find(tmp_path)
    assert found
    other = tmp_path / "other"
    other.mkdir()
    os.replace(keep(other, [5, *TOKENS[1:]]) or "", path)
    assert not store.load(found, new_rows(), 1)


def test_a_file_with_a_huge_count_and_the_right_checksum(tmp_path: Path) -> None:
    """As large as it says, but without its keys and values, which would not fit into memory."""
    head = json.dumps({"format": "foundry-keys-and-values", "version": 1, "tokens": 1 << 22}).encode() + b"\n"
    tokens = np.ones(1 << 22, dtype=np.int32)
    data = head + tokens.tobytes()
    (tmp_path / "x.kv").write_bytes(data + xxh3_64(data).digest())
    store, found = find(tmp_path, [1] * 300)
    assert found
    assert not store.load(found, CacheRows(graph_of(*[256] * 64, heads=64), 1, 400), 0)


@pytest.mark.parametrize("target", ["a good file", "/dev/zero", "nothing", "a folder"])
def test_links_are_not_followed(tmp_path: Path, target: str) -> None:
    folder, outside = tmp_path / "folder", tmp_path / "outside"
    folder.mkdir()
    outside.mkdir()
    good = kept(outside)
    link = folder / good.name
    link.symlink_to({"a good file": good, "/dev/zero": Path("/dev/zero"), "nothing": tmp_path / "no"}.get(target, outside))
    assert not is_restored(folder)
    assert keep(folder) is None, "the name is there already"
    assert is_restored(folder)
    assert not link.is_symlink()
    assert is_restored(outside)


def obstacles(directory: Path, name: str) -> Iterator[Callable[[], object]]:
    """What can lie at a path instead of a file."""
    yield lambda: os.mkfifo(directory / name)
    yield lambda: (directory / name).mkdir()
    yield lambda: (directory / name / "inside").mkdir(parents=True)
    yield lambda: (directory / name).symlink_to("/dev/full")


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("suffix", [".kv", ".partial"])
def test_other_things_in_the_place_of_a_file(tmp_path: Path, number: int, suffix: str) -> None:
    path = kept(tmp_path)
    path.unlink()
    list(obstacles(tmp_path, path.stem + suffix))[number]()
    keep(tmp_path)
    assert is_restored(tmp_path) == (number in (0, 3))
    keep(tmp_path, [6, *TOKENS])
    assert is_restored(tmp_path, [6, *TOKENS])


@contextmanager
def small_files(size: int) -> Iterator[None]:
    """A disk on which no file can be larger than this."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 100, SIZE // 2, SIZE - 100])
def test_a_full_disk_costs_only_the_copy(tmp_path: Path, size: int) -> None:
    keep(tmp_path, TOKENS[:100])
    with small_files(size):
        assert keep(tmp_path) is None
    assert is_restored(tmp_path, TOKENS[:100])
    assert len(os.listdir(tmp_path)) == 1


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = kept(folder)
    store, found = find(folder)
    assert found
    path.unlink()
    folder.rmdir()
    assert not store.load(found, new_rows(), 1)
    store.save(TOKENS, new_rows(), 1)
    assert store.find(TOKENS) is None
    assert ConversationStore(folder, BUDGET).find(TOKENS) is None


def test_random_damage(tmp_path: Path) -> None:
    """Whatever the bytes are: what is restored is right."""
    path = kept(tmp_path)
    good = path.read_bytes()
    for seed in range(100):
        chance = random.Random(seed)
        data = bytearray(good)
        for _ in range(chance.choice([1, 3])):
            start = chance.randrange(chance.choice([100, len(data)]))
            data[start : start + chance.choice([1, 8])] = chance.randbytes(chance.choice([0, 1, 8]))
        path.write_bytes(data)
        assert data == good or not is_restored(tmp_path)


# Keys


def test_the_key_is_that_of_the_model_and_of_its_template(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"weights")
    key = store_key(tmp_path, "template")
    assert key == store_key(tmp_path, "template")
    assert len({key, store_key(tmp_path, None), store_key(tmp_path, "other"), store_key(tmp_path, "half \ud83d pair")}) == 4
    (tmp_path / "model.onnx").write_bytes(b"other weights")
    assert store_key(tmp_path, "template") != key


def test_the_key_of_a_model_with_a_manifest_does_not_depend_on_its_place(tmp_path: Path) -> None:
    for name, digest in (("a", "1"), ("b", "1"), ("c", "2")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "foundry.manifest.json").write_text(digest)
    first, same, other = (store_key(tmp_path / name, "template") for name in "abc")
    assert first == same != other


# In the pool


def new_pool(directory: Path, rows: CacheRows | None = None, *, budget: int = BUDGET) -> tuple[SlotPool, CacheRows]:
    rows = rows or CacheRows(GRAPH, 8, 400)
    memory = PoolMemory(rows, lambda first, ids, held, is_long=False: np.zeros((1, 1, 1), dtype=np.float32), 1, 10_000, 400)
    return SlotPool(memory, ConversationStore(directory, budget)), rows


def answer_once(pool: SlotPool, rows: CacheRows, prompt: list[int]) -> int:
    """Read a prompt; how many of its tokens were there already."""
    lease = pool.acquire(prompt, 10)
    assert lease
    fill(rows, lease.context.row, 400, seed=200)  # type: ignore[attr-defined]
    lease.context.append(prompt[lease.cached_tokens :])
    pool.release(lease.context, len(prompt))
    return lease.cached_tokens


def test_a_pool_goes_on_from_the_disk(tmp_path: Path) -> None:
    pool, rows = new_pool(tmp_path)
    assert answer_once(pool, rows, TOKENS) == 0
    while pool.save_next():
        pass
    (path,) = tmp_path.iterdir()
    written = path.stat().st_mtime_ns
    while pool.save_next():
        pass
    assert path.stat().st_mtime_ns == written, "once is enough"
    pool, rows = new_pool(tmp_path)
    lease = pool.acquire([*TOKENS, 5, 6, 7], 10)
    assert lease
    assert lease.cached_tokens == 200
    assert lease.context.tokens == TOKENS
    assert holds(rows, lease.context.row, fill(new_rows(), 1, 400, seed=200), 200)  # type: ignore[attr-defined]
    assert answer_once(new_pool(tmp_path)[0], new_rows(), TOKENS) == 198


def test_a_pool_reads_again_what_is_damaged(tmp_path: Path) -> None:
    pool, rows = new_pool(tmp_path)
    answer_once(pool, rows, TOKENS)
    while pool.save_next():
        pass
    pool, rows = new_pool(tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert answer_once(pool, rows, TOKENS[:150]) == 0
    assert answer_once(pool, rows, TOKENS) == 150
