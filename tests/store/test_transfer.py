from __future__ import annotations

import hashlib
import itertools
import random
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from foundry_cli.chunks import CHUNK_BYTES, chunk_digest
from foundry_cli.errors import SourceError
from foundry_cli.http import HttpClient
from foundry_cli.remote import RemoteFile
from foundry_cli.store.journal import JOURNAL, Journal, JournalReader, Part
from foundry_cli.store.manifest import StoredFile
from foundry_cli.store.transfer import Progress, missing_bytes, transfer
from tests.fakes.origin import Behaviour, Origin, OriginModel, chunk_digests

CONTENT = random.Random(3).randbytes(12 * CHUNK_BYTES + 12_345)
SMALL = b"{}"


def ignore(_: Progress) -> None:
    """Nobody looks at the progress."""


@pytest.fixture
def client() -> HttpClient:
    return HttpClient(is_offline=True)


def stored(path: str, content: bytes) -> StoredFile:
    return StoredFile(path, len(content), hashlib.sha256(content).hexdigest(), chunk_digests(content))


def read_journal(root: Path) -> JournalReader:
    reader = JournalReader(root)
    reader.poll()
    return reader


def put_partial(root: Path, path: str, content: bytes, have: set[int], validator: str = "", origin: str = "") -> None:
    """A partial file with the chunks `have`, and the journal that says so; zeros elsewhere."""
    data = bytearray(len(content))
    journal = Journal(root, origin)
    journal.begin(path, len(content), "", validator)
    for index, digest in enumerate(chunk_digests(content)):
        if index in have:
            place = slice(index * CHUNK_BYTES, (index + 1) * CHUNK_BYTES)
            data[place] = content[place]
            journal.add_chunk(path, index, digest)
    journal.close()
    (root / f"{path}.partial").write_bytes(data)


def test_all_files_arrive_with_their_digests_and_nothing_else_is_left(tmp_path: Path, client: HttpClient) -> None:
    contents = {"v1/model.onnx": CONTENT, "genai_config.json": SMALL, "v1/deep/er/tokenizer.json": b"x" * 70_000}
    progress: list[Progress] = []
    with Origin(contents) as origin:
        files = transfer(OriginModel(origin), tmp_path, client, progress.append)
        assert origin.sent == sum(map(len, contents.values()))
    assert files == tuple(stored(path, content) for path, content in contents.items())
    assert all((tmp_path / path).read_bytes() == content for path, content in contents.items())
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()} == {*contents, JOURNAL}
    assert (progress[0].done, progress[-1].done, progress[-1].file) == (0, len(CONTENT) + 70_002, "")
    assert all(before.done <= after.done + 4 * CHUNK_BYTES for before, after in itertools.pairwise(progress))


def test_a_second_transfer_fetches_nothing(tmp_path: Path, client: HttpClient) -> None:
    with Origin({"a": CONTENT, "b": SMALL}) as origin:
        first = transfer(OriginModel(origin), tmp_path, client, ignore)
        assert missing_bytes(OriginModel(origin).files, tmp_path) == 0
        origin.requests.clear()
        progress: list[Progress] = []
        assert transfer(OriginModel(origin), tmp_path, client, progress.append) == first
        assert origin.requests == []
        assert progress[0].resumed == len(CONTENT) + 2


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES])
@pytest.mark.parametrize("hashes", [True, False])
def test_sizes_at_the_edges_of_chunks_are_normal(tmp_path: Path, client: HttpClient, size: int, hashes: bool) -> None:
    with Origin({"a": CONTENT[:size]}) as origin:
        assert transfer(OriginModel(origin, hashes=hashes), tmp_path, client, ignore) == (stored("a", CONTENT[:size]),)
        assert origin.sent == size
    assert (tmp_path / "a").read_bytes() == CONTENT[:size]


@pytest.mark.parametrize(
    ("size", "have"),
    [
        (5 * CHUNK_BYTES, set(range(5))),  # nothing remains
        (5 * CHUNK_BYTES + 1, set(range(5))),  # one byte
        (5 * CHUNK_BYTES, set(range(4))),  # exactly one chunk
        (5 * CHUNK_BYTES + 9, {1, 3, 5}),
    ],
)
def test_a_partial_file_is_continued_and_its_hash_is_still_checked(
    tmp_path: Path, client: HttpClient, size: int, have: set[int]
) -> None:
    content = CONTENT[:size]
    put_partial(tmp_path, "a", content, have)
    there = sum(len(content[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]) for index in have)
    with Origin({"a": content}) as origin:
        assert missing_bytes(OriginModel(origin).files, tmp_path) == size - there
        progress: list[Progress] = []
        assert transfer(OriginModel(origin), tmp_path, client, progress.append) == (stored("a", content),)
        assert (origin.sent, progress[0].resumed) == (size - there, there)
    assert (tmp_path / "a").read_bytes() == content


def test_a_chunk_that_a_power_cut_has_torn_is_fetched_again(tmp_path: Path, client: HttpClient) -> None:
    put_partial(tmp_path, "a", CONTENT, set(range(10)))
    with (tmp_path / "a.partial").open("r+b") as stream:
        stream.seek(4 * CHUNK_BYTES + 77)
        stream.write(bytes(1000))
    with Origin({"a": CONTENT}) as origin:
        transfer(OriginModel(origin), tmp_path, client, ignore)
        assert origin.sent == len(CONTENT) - 9 * CHUNK_BYTES
    assert (tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.slow
def test_a_chunk_that_takes_long_is_continued_in_its_middle(tmp_path: Path, client: HttpClient) -> None:
    with Origin({"a": CONTENT}, Behaviour(bytes_per_second=200_000)) as origin:
        model = OriginModel(origin)

        def cancel(_: Progress) -> None:
            if len(read_journal(tmp_path).files["a"].parts) >= 2:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            transfer(model, tmp_path, client, cancel)
        kept = read_journal(tmp_path).done_bytes()
        assert missing_bytes(model.files, tmp_path) == len(CONTENT) - kept
        earlier = len(origin.requests)
        origin.behave("a", bytes_per_second=0)
        progress: list[Progress] = []
        assert transfer(model, tmp_path, client, progress.append) == (stored("a", CONTENT),)
        ranges = [request.headers["Range"][len("bytes=") :].split("-") for request in origin.requests[earlier:]]
        asked = sum(int(last) - int(first) + 1 for first, last in ranges)
        assert (progress[0].resumed, asked) == (kept, len(CONTENT) - kept)
    assert (tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize("damage", ["bytes", "length"])
def test_the_beginning_of_a_chunk_is_believed_only_if_its_digest_is_right(
    tmp_path: Path, client: HttpClient, damage: str
) -> None:
    put_partial(tmp_path, "a", CONTENT, {0, 1, 2})
    journal = Journal(tmp_path)
    for index in (4, 12):
        start = CONTENT[index * CHUNK_BYTES :][:9_999]
        journal.add_part("a", index, Part(len(start), chunk_digest(start)))
        with (tmp_path / "a.partial").open("r+b") as stream:
            stream.seek(index * CHUNK_BYTES)
            stream.write(start)
    journal.close()
    with (tmp_path / "a.partial").open("r+b") as stream:
        if damage == "bytes":
            stream.seek(4 * CHUNK_BYTES + 77)
            stream.write(b"damaged")
        else:
            stream.truncate(12 * CHUNK_BYTES + 5)
    with Origin({"a": CONTENT}) as origin:
        transfer(OriginModel(origin), tmp_path, client, ignore)
        assert origin.sent == len(CONTENT) - 3 * CHUNK_BYTES - 9_999
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_server_without_ranges_sends_a_file_whose_chunk_was_begun(tmp_path: Path, client: HttpClient) -> None:
    put_partial(tmp_path, "a", CONTENT, {0})
    journal = Journal(tmp_path)
    journal.add_part("a", 5, Part(9_999, chunk_digest(bytes(9_999))))
    journal.close()
    with Origin({"a": CONTENT}, Behaviour(ignores_range=1 << 60)) as origin:
        progress: list[Progress] = []
        transfer(OriginModel(origin), tmp_path, client, progress.append)
        assert progress[-1].done == progress[-1].total == len(CONTENT)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_partial_file_that_is_shorter_than_its_journal_says_is_filled(tmp_path: Path, client: HttpClient) -> None:
    put_partial(tmp_path, "a", CONTENT, set(range(13)))
    with (tmp_path / "a.partial").open("r+b") as stream:
        stream.truncate(3 * CHUNK_BYTES + 5)
    with Origin({"a": CONTENT}) as origin:
        transfer(OriginModel(origin), tmp_path, client, ignore)
        assert origin.sent == len(CONTENT) - 3 * CHUNK_BYTES
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_partial_without_hash_is_continued_only_for_the_same_version(tmp_path: Path, client: HttpClient) -> None:
    with Origin({"a": CONTENT}) as origin:
        put_partial(tmp_path, "a", CONTENT, {0, 1}, validator='"another"')
        transfer(OriginModel(origin, hashes=False), tmp_path, client, ignore)
        assert origin.sent >= len(CONTENT)
        (tmp_path / "a").unlink()
        sent = origin.sent
        etag = f'"{hashlib.sha256(CONTENT).hexdigest()[:16]}"'
        put_partial(tmp_path, "a", CONTENT, {0, 1}, validator=etag)
        transfer(OriginModel(origin, hashes=False), tmp_path, client, ignore)
        assert origin.sent - sent == len(CONTENT) - 2 * CHUNK_BYTES
    assert (tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize("chunks", [False, True])
def test_another_server_of_the_same_bytes_goes_on_with_a_partial(tmp_path: Path, client: HttpClient, chunks: bool) -> None:
    put_partial(tmp_path, "a", CONTENT, set(range(10)), validator='"node-a"')
    with Origin({"a": CONTENT}, Behaviour(etag='"node-b"')) as origin:
        transfer(OriginModel(origin, hashes=not chunks, chunks=chunks), tmp_path, client, ignore)
        assert origin.sent <= len(CONTENT) - 9 * CHUNK_BYTES
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_partial_that_nothing_can_prove_is_begun_again(tmp_path: Path, client: HttpClient) -> None:
    put_partial(tmp_path, "a", CONTENT, {0, 1})
    with Origin({"a": CONTENT}, Behaviour(etag="")) as origin:
        transfer(OriginModel(origin, hashes=False), tmp_path, client, ignore)
        assert origin.sent == len(CONTENT)


def test_a_file_with_its_final_name_but_no_journal_is_taken_if_its_hash_is_right(tmp_path: Path, client: HttpClient) -> None:
    (tmp_path / "a").write_bytes(CONTENT)
    with Origin({"a": CONTENT}) as origin:
        assert missing_bytes(OriginModel(origin).files, tmp_path) == 0
        assert transfer(OriginModel(origin), tmp_path, client, ignore) == (stored("a", CONTENT),)
        assert origin.requests == []
        assert transfer(OriginModel(origin), tmp_path, client, ignore) == (stored("a", CONTENT),)


def test_a_partial_beside_a_file_that_is_right_is_removed(tmp_path: Path, client: HttpClient) -> None:
    with Origin({"a": CONTENT}) as origin:
        transfer(OriginModel(origin), tmp_path, client, ignore)
        (tmp_path / "a.partial").write_bytes(b"of another version")
        transfer(OriginModel(origin), tmp_path, client, ignore)
    assert not (tmp_path / "a.partial").exists()


@pytest.mark.parametrize("hashes", [True, False])
def test_a_file_with_its_final_name_that_is_wrong_or_unproven_is_replaced(
    tmp_path: Path, client: HttpClient, hashes: bool
) -> None:
    (tmp_path / "a").write_bytes(CONTENT[::-1])  # as the original leaves a partial: of the full length
    with Origin({"a": CONTENT}) as origin:
        transfer(OriginModel(origin, hashes=hashes), tmp_path, client, ignore)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_a_file_whose_name_came_just_before_the_end_of_the_process_is_not_fetched_again(
    tmp_path: Path, client: HttpClient
) -> None:
    put_partial(tmp_path, "a", CONTENT, set(range(13)))
    (tmp_path / "a.partial").rename(tmp_path / "a")
    with Origin({"a": CONTENT}) as origin:
        assert transfer(OriginModel(origin, hashes=False), tmp_path, client, ignore) == (stored("a", CONTENT),)
        assert origin.requests == []


def test_a_new_version_at_the_source_replaces_the_file(tmp_path: Path, client: HttpClient) -> None:
    new = CONTENT[:-1] + b"?"
    with Origin({"a": CONTENT}) as origin:
        transfer(OriginModel(origin), tmp_path, client, ignore)
        origin.change("a", new)
        assert transfer(OriginModel(origin), tmp_path, client, ignore) == (stored("a", new),)
    assert (tmp_path / "a").read_bytes() == new


def test_what_another_origin_left_stays_only_if_its_hash_is_right(tmp_path: Path, client: HttpClient) -> None:
    """As when a download of one revision is interrupted, and then another one is asked for."""
    with Origin({"small": b"of the first", "large": CONTENT}) as origin:
        model = OriginModel(origin)
        model.files = [replace(file, sha256=None) if file.path == "small" else file for file in model.files]
        transfer(model, tmp_path, client, ignore, origin="hf:o/r@1")
        assert missing_bytes(model.files, tmp_path, "hf:o/r@1") == 0
        origin.change("small", b"of the other")
        assert missing_bytes(model.files, tmp_path, "hf:o/r@2") == len(b"of the other")
        origin.requests.clear()
        transfer(model, tmp_path, client, ignore, origin="hf:o/r@2")
        assert {request.path for request in origin.requests} == {"small"}
        assert missing_bytes(model.files, tmp_path, "hf:o/r@2") == 0
    assert (tmp_path / "small").read_bytes() == b"of the other"


def test_a_partial_of_another_origin_is_not_continued_although_the_server_names_the_same_version(
    tmp_path: Path, client: HttpClient
) -> None:
    with Origin({"a": CONTENT}, Behaviour(etag='"one"')) as origin:
        put_partial(tmp_path, "a", CONTENT[::-1], {0, 1}, validator='"one"', origin="hf:o/r@1")
        transfer(OriginModel(origin, hashes=False), tmp_path, client, ignore, origin="hf:o/r@2")
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_many_files_do_not_need_as_many_descriptors(tmp_path: Path, client: HttpClient) -> None:
    contents = {f"part-{number:03}": bytes([number % 251]) * number for number in range(230)}
    with Origin(contents) as origin:
        files = transfer(OriginModel(origin), tmp_path, client, ignore)
        assert origin.connections < len(contents) / 10  # one for each stream, and for what a busy machine breaks off
    assert [file.sha256 for file in files] == [hashlib.sha256(content).hexdigest() for content in contents.values()]


@pytest.mark.parametrize(
    "names",
    [
        ["../a"],
        ["/a"],
        ["a", "A"],
        ["download.tmp"],
        ["download.journal"],
        ["a", "a.partial"],
        ["a", "a/b"],
        ["foundry.manifest.json"],
    ],
)
def test_names_that_would_collide_or_leave_the_folder_are_refused(tmp_path: Path, client: HttpClient, names: list[str]) -> None:
    with Origin({}) as origin:
        model = OriginModel(origin)
        model.files = [RemoteFile(name, 3) for name in names]
        with pytest.raises(SourceError):
            transfer(model, tmp_path, client, ignore)
        assert origin.requests == []


def test_no_thread_and_no_connection_stays(tmp_path: Path) -> None:
    with Origin({"a": CONTENT}) as origin:
        transfer(OriginModel(origin), tmp_path, HttpClient(is_offline=True), ignore)
        assert [thread for thread in threading.enumerate() if thread.name == "transfer"] == []
