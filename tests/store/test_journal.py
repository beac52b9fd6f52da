from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from foundry_cli.chunks import CHUNK_BYTES
from foundry_cli.http import HttpClient
from foundry_cli.store.journal import JOURNAL, FileRecord, Journal, JournalReader
from foundry_cli.store.transfer import transfer
from tests.fakes.origin import Behaviour, Origin, OriginModel, chunk_digests

CONTENT = random.Random(21).randbytes(3 * CHUNK_BYTES + 5)
DIGESTS = chunk_digests(CONTENT)
WHOLE = hashlib.sha256(CONTENT).hexdigest()


def write(root: Path) -> None:
    journal = Journal(root, "hf:o/r@1")
    journal.begin("v1/a", len(CONTENT), WHOLE, "")
    journal.set_validator("v1/a", '"tag"')
    for index, digest in enumerate(DIGESTS):
        journal.add_chunk("v1/a", index, digest)
    journal.remove_chunk("v1/a", 2)
    journal.begin("b", 1, "", "")
    journal.publish("b", WHOLE)
    journal.sync()
    journal.close()


def read(root: Path) -> dict[str, FileRecord]:
    reader = JournalReader(root)
    reader.poll()
    return reader.files


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(tmp_path)
    chunks = {0: DIGESTS[0], 1: DIGESTS[1], 3: DIGESTS[3]}
    record = FileRecord(len(CONTENT), WHOLE, '"tag"', "hf:o/r@1", chunks)
    assert read(tmp_path) == {"v1/a": record, "b": FileRecord(1, "", "", "hf:o/r@1", published=WHOLE)}
    assert sum(file.done_bytes for file in read(tmp_path).values()) == 2 * CHUNK_BYTES + 5 + 1


def test_no_journal_is_an_empty_one(tmp_path: Path) -> None:
    assert read(tmp_path) == read(tmp_path / "nowhere") == {}


def test_beginning_a_file_again_voids_what_was_known_of_it(tmp_path: Path) -> None:
    write(tmp_path)
    journal = Journal(tmp_path)
    journal.begin("v1/a", 7, "", "")
    journal.close()
    assert read(tmp_path)["v1/a"] == FileRecord(7, "", "")


def test_a_reader_follows_a_journal_that_grows_and_is_replaced(tmp_path: Path) -> None:
    reader = JournalReader(tmp_path)
    reader.poll()
    journal = Journal(tmp_path)
    journal.begin("a", len(CONTENT), "", "")
    for index, digest in enumerate(DIGESTS):
        reader.poll()
        assert reader.done_bytes() == index * CHUNK_BYTES
        journal.add_chunk("a", index, digest)
    journal.close()
    (tmp_path / JOURNAL).rename(tmp_path / "old")
    reader.poll()
    assert reader.done_bytes() == 0


@pytest.mark.parametrize("cut", range(1, 105, 7))
def test_a_torn_end_costs_one_record_and_what_follows_is_read(tmp_path: Path, cut: int) -> None:
    write(tmp_path)
    path = tmp_path / JOURNAL
    whole = path.read_bytes()
    path.write_bytes(whole[:-cut])
    journal = Journal(tmp_path)
    journal.begin("c", 9, "", "tag")
    journal.close()
    found = read(tmp_path)
    assert found["c"] == FileRecord(9, "", "tag")
    assert found["v1/a"].chunks.keys() == {0, 1, 3}


def damaged(dice: random.Random, data: bytes) -> bytes:
    """`data` with bytes changed, removed, repeated or inserted."""
    out = bytearray(data)
    for _ in range(dice.randrange(1, 6)):
        start = dice.randrange(len(out) + 1)
        stop = min(len(out), start + dice.randrange(200))
        out[start:stop] = dice.choice([b"", dice.randbytes(dice.randrange(90)), bytes(out[start:stop]) * 2, b"\n", b"\0" * 50])
    return bytes(out)


@pytest.mark.parametrize("seeds", [range(200), pytest.param(range(200, 900), marks=pytest.mark.slow)], ids=["few", "many"])
def test_garbage_is_never_an_error_and_never_a_record_that_was_not_written(tmp_path: Path, seeds: range) -> None:
    write(tmp_path)
    path = tmp_path / JOURNAL
    whole = path.read_bytes()
    for seed in seeds:
        path.write_bytes(damaged(random.Random(seed), whole))
        for name, record in read(tmp_path).items():
            assert name in ("v1/a", "b")
            assert all(DIGESTS[index] == digest for index, digest in record.chunks.items())


@pytest.mark.parametrize(
    "record",
    [
        b"[]", b"7", b"null", b'["file"]', b'["file","a"]', b'["file","a",-1,"",""]', b'["file","a",true,"",""]',
        b'["file","a",3,"x",""]', b'["file",3,3,"",""]', b'["chunk","b",0]', b'["chunk","b",5,"' + b"0" * 64 + b'"]',
        b'["chunk","b",0,7]', b'["published","b",7]', b'["bad","b",[]]', b'["validator","b",7]', b'["?","b",7]', b"[" * 9000,
    ],
)  # fmt: skip
def test_records_of_another_form_are_passed_over(tmp_path: Path, record: bytes) -> None:
    import zlib

    write(tmp_path)
    before = read(tmp_path)
    with (tmp_path / JOURNAL).open("ab") as stream:
        stream.write(b"%08x %s\n" % (zlib.crc32(record), record))
    assert read(tmp_path) == before


def test_a_damaged_journal_never_makes_a_wrong_file(tmp_path: Path) -> None:
    with Origin({"v1/a": CONTENT}, Behaviour(truncates=1, after=2 * CHUNK_BYTES + 9, status=404)) as origin:
        for seed in range(20):
            dice = random.Random(seed)
            root = tmp_path / str(seed)
            (root / "v1").mkdir(parents=True)
            write(root)
            (root / JOURNAL).write_bytes(damaged(dice, (root / JOURNAL).read_bytes()))
            partial = bytearray(CONTENT)
            for _ in range(dice.randrange(3)):
                start = dice.randrange(len(partial))
                partial[start : start + 9] = b"spoiled.."
            (root / dice.choice(["v1/a.partial", "v1/a"])).write_bytes(partial)
            transfer(OriginModel(origin), root, HttpClient(is_offline=True), lambda progress: None)
            assert (root / "v1/a").read_bytes() == CONTENT
