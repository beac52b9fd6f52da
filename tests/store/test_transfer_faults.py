"""What servers do wrong: rows D7, D8, D10 to D16 of the fault matrix."""

from __future__ import annotations

import hashlib
import random
import threading
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest

from foundry_cli.chunks import CHUNK_BYTES
from foundry_cli.errors import FoundryError, IntegrityError, OfflineError, SourceError, SourceUnreachableError
from foundry_cli.http import HttpClient, RetryPolicy
from foundry_cli.remote import FileAddress, RemoteFile
from foundry_cli.store.journal import JournalReader
from foundry_cli.store.transfer import Progress, transfer
from foundry_cli.store.transfer.fetcher import Patience
from tests.fakes.origin import FOREVER, Behaviour, Origin, OriginModel

pytestmark = pytest.mark.slow

CONTENT = random.Random(5).randbytes(9 * CHUNK_BYTES + 54_321)
QUICK = RetryPolicy(first_wait=0.01, longest_wait=0.02, longest_retry_after=0.03)


def ignore(_: Progress) -> None:
    """Nobody looks at the progress."""


@pytest.fixture
def client() -> HttpClient:
    return HttpClient(is_offline=True, retry=QUICK, read_seconds=5.0)


@pytest.fixture
def impatient() -> HttpClient:
    return HttpClient(is_offline=True, retry=QUICK, read_seconds=0.3)


def fails(origin: Origin, root: Path, client: HttpClient, kind: type[FoundryError], **options: bool) -> FoundryError:
    """The transfer of the file `a` fails with exactly this kind of error, and the file does not get its name."""
    with pytest.raises(kind) as caught:
        transfer(OriginModel(origin, **options), root, client, ignore)
    assert type(caught.value) is kind
    assert not (root / "a").exists()
    assert [thread for thread in threading.enumerate() if thread.name == "transfer"] == []
    return caught.value


WRONG_RANGES = ["wrong_start", "wrong_total", "unsatisfiable", "without_range", "multipart", "gzips", "longer", "shorter"]


@pytest.mark.parametrize("fault", [*WRONG_RANGES, "ignores_range", "truncates", "resets", "endless"])
@pytest.mark.parametrize("hashes", [True, False])
def test_d7_d10_d13_a_fault_that_passes_ends_in_the_right_bytes(
    tmp_path: Path, client: HttpClient, fault: str, hashes: bool
) -> None:
    with Origin({"a": CONTENT}) as origin:
        origin.behave("a", **{fault: 2})
        transfer(OriginModel(origin, hashes=hashes), tmp_path, client, ignore)
        assert all(request.headers["Accept-Encoding"] == "identity" for request in origin.requests)
    assert (tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize("fault", [*WRONG_RANGES, "endless"])
def test_d7_d10_d13_an_answer_that_is_always_wrong_is_named_and_none_of_its_bytes_is_kept(
    tmp_path: Path, client: HttpClient, fault: str
) -> None:
    with Origin({"a": CONTENT[: 2 * CHUNK_BYTES]}) as origin:
        origin.behave("a", **{fault: FOREVER})
        error = fails(origin, tmp_path, client, SourceError)
        assert origin.base in error.message
        assert len(origin.requests) <= 12
    journal = JournalReader(tmp_path)
    journal.poll()
    assert journal.done_bytes() <= (CHUNK_BYTES if fault == "endless" else 0)
    assert CONTENT.startswith((tmp_path / "a.partial").read_bytes()[:CHUNK_BYTES])


def test_d7_a_server_without_ranges_sends_the_file_once(tmp_path: Path, client: HttpClient) -> None:
    with Origin({"a": CONTENT}, Behaviour(ignores_range=FOREVER, piece=4096)) as origin:
        transfer(OriginModel(origin), tmp_path, client, ignore)
        # Streams that asked for other parts leave when they see the answer; what was on its way to them is lost.
        assert origin.sent <= len(CONTENT) + 3 * 2 * CHUNK_BYTES
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_d7_a_server_without_ranges_that_breaks_off_is_asked_again_and_what_is_there_is_kept(
    tmp_path: Path, client: HttpClient
) -> None:
    with Origin({"a": CONTENT}, Behaviour(ignores_range=FOREVER, truncates=6, after=5 * CHUNK_BYTES)) as origin:
        transfer(OriginModel(origin), tmp_path, client, ignore)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_d7_a_server_that_never_gets_beyond_a_point_is_given_up(tmp_path: Path, client: HttpClient) -> None:
    with Origin({"a": CONTENT}, Behaviour(ignores_range=FOREVER, truncates=FOREVER, after=5 * CHUNK_BYTES)) as origin:
        fails(origin, tmp_path, client, SourceUnreachableError)


@pytest.mark.parametrize("behaviour", [Behaviour(), Behaviour(etag="", last_modified="Tue, 01 Jul 2025 10:00:00 GMT")])
def test_d8_bytes_that_change_in_the_middle_are_never_mixed(tmp_path: Path, client: HttpClient, behaviour: Behaviour) -> None:
    new = CONTENT[::-1]
    with Origin({"a": CONTENT}, behaviour) as origin:
        origin.behave("a", bytes_per_second=8_000_000, truncates=FOREVER, after=1_500_000)
        model = OriginModel(origin, hashes=False)

        def change(progress: Progress) -> None:
            if progress.done > 4 * CHUNK_BYTES and origin.files["a"].content is CONTENT:
                origin.change("a", new)
                if behaviour.last_modified:
                    origin.behave("a", last_modified="Tue, 01 Jul 2025 11:00:00 GMT")

        transfer(model, tmp_path, client, change)
        assert origin.files["a"].content is new
        assert any("If-Range" in request.headers for request in origin.requests)
    assert (tmp_path / "a").read_bytes() == new


def test_d8_new_bytes_are_not_published_under_the_hash_of_the_old(tmp_path: Path, client: HttpClient) -> None:
    with Origin({"a": CONTENT}) as origin:
        model = OriginModel(origin)
        origin.change("a", CONTENT[::-1])
        with pytest.raises(IntegrityError):
            transfer(model, tmp_path, client, ignore)
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "a.partial").exists()


def test_d8_a_file_that_changes_with_every_request_is_given_up(tmp_path: Path, client: HttpClient) -> None:
    with Origin({"a": CONTENT}, Behaviour(new_etags=FOREVER)) as origin:
        assert "keeps changing a" in fails(origin, tmp_path, client, SourceError, hashes=False).message


def test_d8_several_names_of_the_same_bytes_do_not_matter_where_a_hash_decides(tmp_path: Path, client: HttpClient) -> None:
    with Origin({"a": CONTENT}, Behaviour(new_etags=FOREVER, truncates=FOREVER, after=3 * CHUNK_BYTES)) as origin:
        model = OriginModel(origin)

        def cancel(progress: Progress) -> None:
            if progress.done > 5 * CHUNK_BYTES:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            transfer(model, tmp_path, client, cancel)
        resumed: list[int] = []
        transfer(model, tmp_path, client, lambda progress: resumed.append(progress.resumed))
        assert resumed[0] > 4 * CHUNK_BYTES  # another run does not begin again because of a name either
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_d8_parts_of_two_versions_are_never_published_although_names_do_not_matter(tmp_path: Path, client: HttpClient) -> None:
    names = Behaviour(new_etags=FOREVER, truncates=FOREVER, after=3 * CHUNK_BYTES, bytes_per_second=8_000_000)
    with Origin({"a": CONTENT}, names) as origin:
        model = OriginModel(origin)

        def change(progress: Progress) -> None:
            if progress.done > 5 * CHUNK_BYTES:
                origin.change("a", CONTENT[::-1])

        with pytest.raises(IntegrityError):
            transfer(model, tmp_path, client, change)
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("fault", ["truncates", "resets"])
def test_d10_a_connection_that_always_breaks_costs_no_byte_twice(tmp_path: Path, client: HttpClient, fault: str) -> None:
    with Origin({"a": CONTENT}, Behaviour(after=700_001)) as origin:
        origin.behave("a", **{fault: FOREVER})
        transfer(OriginModel(origin), tmp_path, client, ignore)
        if fault == "truncates":  # bytes that a reset overtakes are lost
            assert origin.sent == len(CONTENT)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_d10_a_connection_that_breaks_before_the_first_byte_is_given_up(tmp_path: Path, client: HttpClient) -> None:
    with Origin({"a": CONTENT}, Behaviour(truncates=FOREVER, after=0)) as origin:
        assert "breaks off" in fails(origin, tmp_path, client, SourceUnreachableError).message
        assert len(origin.requests) <= 4 * QUICK.tries


@pytest.mark.parametrize("how", ["unmeasured", "chunked"])
def test_d10_a_body_without_length_that_ends_in_time_is_taken(tmp_path: Path, client: HttpClient, how: str) -> None:
    with Origin({"a": CONTENT}) as origin:
        origin.behave("a", **{how: True})
        transfer(OriginModel(origin), tmp_path, client, ignore)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_d11_of_a_wrong_bit_only_the_chunk_is_fetched_again_when_the_source_knows_its_digest(
    tmp_path: Path, client: HttpClient
) -> None:
    with Origin({"a": CONTENT}, Behaviour(flips=1, flip_at=8 * CHUNK_BYTES + 3)) as origin:
        transfer(OriginModel(origin, chunks=True), tmp_path, client, ignore)
        assert origin.sent == len(CONTENT) + CHUNK_BYTES
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_d11_otherwise_the_file_is_fetched_once_more(tmp_path: Path, client: HttpClient) -> None:
    with Origin({"a": CONTENT, "b": CONTENT}) as origin:
        origin.behave("a", flips=1, flip_at=8 * CHUNK_BYTES + 3)
        transfer(OriginModel(origin), tmp_path, client, ignore)
        assert (origin.sent_of("a"), origin.sent_of("b")) == (2 * len(CONTENT), len(CONTENT))
    assert (tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize("chunks", [True, False])
def test_d11_bytes_that_are_wrong_twice_are_an_error_and_other_files_stay(
    tmp_path: Path, client: HttpClient, chunks: bool
) -> None:
    with Origin({"a": CONTENT, "b": b"small"}) as origin:
        origin.behave("a", flips=FOREVER, flip_at=len(CONTENT) - 9)
        error = fails(origin, tmp_path, client, IntegrityError, chunks=chunks)
        assert "a has arrived 2 times" in error.message or "Chunk 9 of a" in error.message
        assert origin.sent_of("a") <= (len(CONTENT) + CHUNK_BYTES if chunks else 2 * len(CONTENT))
        assert (tmp_path / "b").read_bytes() == b"small"
        assert (tmp_path / "a.partial").exists() == chunks  # with digests the other chunks are known to be good
        origin.behave("a", flips=0)
        transfer(OriginModel(origin, chunks=chunks), tmp_path, client, ignore)
    assert (tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504])
@pytest.mark.parametrize("text", [None, "0"])
def test_d12_a_server_that_is_busy_is_asked_again(tmp_path: Path, client: HttpClient, status: int, text: str | None) -> None:
    with Origin({"a": CONTENT[:99]}, Behaviour(status=status, statuses=3, retry_after=text)) as origin:
        transfer(OriginModel(origin), tmp_path, client, ignore)
        assert len(origin.requests) == 4
    assert (tmp_path / "a").read_bytes() == CONTENT[:99]


@pytest.mark.parametrize(
    "text", ["1000000000", "9" * 400, formatdate(4e9, usegmt=True), formatdate(0, usegmt=True), "soon", "-5", "Tue, 99 Foo"]
)
def test_d12_waits_have_a_limit_whatever_the_server_says(tmp_path: Path, client: HttpClient, text: str) -> None:
    notes: set[str] = set()
    with Origin({"a": CONTENT[:99]}, Behaviour(status=503, statuses=FOREVER, retry_after=text)) as origin:
        with pytest.raises(SourceUnreachableError, match="status 503"):
            transfer(OriginModel(origin), tmp_path, client, lambda progress: notes.add(progress.note))
        assert len(origin.requests) == QUICK.tries


def test_d12_the_progress_says_why_it_waits_and_a_wait_can_be_cancelled(tmp_path: Path) -> None:
    patient = HttpClient(is_offline=True, retry=RetryPolicy(longest_retry_after=1e6))
    notes: list[str] = []

    def cancel(progress: Progress) -> None:
        if progress.note:
            notes.append(progress.note)
            patient.cancelled.set()

    with Origin({"a": CONTENT[:99]}, Behaviour(status=429, statuses=FOREVER, retry_after="500000")) as origin:
        with pytest.raises(FoundryError) as caught:
            transfer(OriginModel(origin), tmp_path, patient, cancel)
        assert caught.value.code == "download_cancelled"
        assert notes[0].startswith("waiting 50000")
        assert notes[0].endswith(f"{origin.base} answers with status 429")


def test_d12_while_other_streams_get_on_one_that_is_refused_does_not_give_up(tmp_path: Path, client: HttpClient) -> None:
    with Origin({"a": CONTENT, "b": CONTENT[:99]}) as origin:
        origin.behave("a", bytes_per_second=5_000_000, piece=10_000)
        origin.behave("b", status=503, statuses=15)
        transfer(OriginModel(origin), tmp_path, client, ignore)
        assert len(origin.requests_of("b")) == 16
    assert (tmp_path / "b").read_bytes() == CONTENT[:99]


@pytest.mark.parametrize("status", [404, 410])
def test_a_file_that_is_gone_is_said_at_once(tmp_path: Path, client: HttpClient, status: int) -> None:
    with Origin({"a": CONTENT[:99]}, Behaviour(status=status, statuses=FOREVER)) as origin:
        assert "does not have a" in fails(origin, tmp_path, client, SourceError).message
        assert len(origin.requests) == 1


def test_d14_redirects_are_followed_without_taking_credentials_along(tmp_path: Path, client: HttpClient) -> None:
    with Origin({"a": CONTENT}) as elsewhere, Origin({"a": CONTENT, "moved": b""}) as origin:
        model = OriginModel(origin)
        model.files = model.files[:1]
        secret = {"Authorization": "Bearer hush", "X-Token": "hush"}
        model.address = lambda file, stale=None: FileAddress(origin.url(file.path), secret)  # type: ignore[method-assign]
        origin.behave("a", redirect="/moved")
        origin.behave("moved", redirect=elsewhere.url("a"))
        transfer(model, tmp_path, client, ignore)
        assert {request.headers["Authorization"] for request in origin.requests} == {"Bearer hush"}
        assert all("hush" not in str(request.headers) for request in elsewhere.requests)
        assert all("Range" in request.headers for request in elsewhere.requests)
    assert (tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize(
    "target", ["/a", "file:///etc/passwd", "ftp://127.0.0.1/a", "http://user:pw@127.0.0.1/a", "http://[::1/"]
)
def test_d14_redirects_in_a_circle_or_to_other_things_are_refused(tmp_path: Path, client: HttpClient, target: str) -> None:
    with Origin({"a": CONTENT[:99]}, Behaviour(redirect=target)) as origin:
        assert "redirects" in fails(origin, tmp_path, client, SourceError).message
        assert len(origin.requests) <= 6


def test_d14_a_refusal_behind_a_redirect_is_a_reason_to_ask_for_another_one(tmp_path: Path, client: HttpClient) -> None:
    with Origin({"a": CONTENT}) as elsewhere, Origin({"a": CONTENT}, Behaviour(redirect=elsewhere.url("a"))) as origin:
        elsewhere.behave("a", status=403, statuses=2)
        transfer(OriginModel(origin), tmp_path, client, ignore, streams=1)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_d15_a_source_that_is_away_when_an_address_expires_is_asked_again(tmp_path: Path, client: HttpClient) -> None:
    with Origin({"a": CONTENT}, Behaviour(signature="two")) as origin:
        model = OriginModel(origin, signatures=["one", "two"])
        renew, failures = model.address, [SourceUnreachableError("away")] * 3

        def address(file: RemoteFile, stale: FileAddress | None = None) -> FileAddress:
            if stale and failures:
                raise failures.pop()
            return renew(file, stale)

        model.address = address  # type: ignore[method-assign]
        transfer(model, tmp_path, client, ignore)
    assert failures == []
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_d15_an_address_that_expires_is_renewed_in_the_middle_of_a_file(tmp_path: Path, client: HttpClient) -> None:
    with Origin({"a": CONTENT}, Behaviour(signature="one", truncates=FOREVER, after=1_500_000)) as origin:
        model = OriginModel(origin, signatures=["one", "two"])

        def expire(progress: Progress) -> None:
            if progress.done > 3 * CHUNK_BYTES and origin.files["a"].behaviour.signature == "one":
                origin.behave("a", signature="two")

        origin.behave("a", bytes_per_second=6_000_000)
        transfer(model, tmp_path, client, expire)
        assert model.renewals == 1
        assert origin.sent == len(CONTENT)
    assert (tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize("signatures", [["old"], ["1", "2", "3", "4", "5", "6", "7", "8"]])
def test_d15_a_server_that_refuses_every_address_is_named_without_the_secret(
    tmp_path: Path, client: HttpClient, signatures: list[str]
) -> None:
    with Origin({"a": CONTENT[:99]}, Behaviour(signature="right")) as origin:
        model = OriginModel(origin, signatures=signatures)
        with pytest.raises(SourceError, match="refuses a") as caught:
            transfer(model, tmp_path, client, ignore)
        assert model.renewals <= 3
        assert "sig" not in caught.value.message
        assert origin.sent == 0
    assert (tmp_path / "a.partial").read_bytes() == b""


def test_d16_a_stream_that_stalls_is_taken_up_again(tmp_path: Path, impatient: HttpClient) -> None:
    with Origin({"a": CONTENT}, Behaviour(stalls=3, after=1_234_567)) as origin:
        transfer(OriginModel(origin), tmp_path, impatient, ignore)
    assert (tmp_path / "a").read_bytes() == CONTENT


@pytest.mark.parametrize("fault", ["stalls", "silent"])
def test_d16_a_server_that_says_nothing_is_given_up(tmp_path: Path, fault: str) -> None:
    impatient = HttpClient(is_offline=True, retry=replace(QUICK, tries=2), read_seconds=0.2)
    with Origin({"a": CONTENT[:99]}, Behaviour(after=0)) as origin:
        origin.behave("a", **{fault: FOREVER})
        error = fails(origin, tmp_path, impatient, SourceUnreachableError)
        assert error.message == f"{origin.base} cannot be reached: it does not answer in time."


def test_d16_a_server_that_drips_is_given_up(tmp_path: Path, client: HttpClient) -> None:
    with Origin({"a": CONTENT[:9999]}, Behaviour(bytes_per_second=300, piece=10)) as origin:
        with pytest.raises(SourceUnreachableError, match=r"has sent only \d+ bytes"):
            transfer(OriginModel(origin), tmp_path, client, ignore, patience=Patience(10_000, 0.05))
        assert len(origin.requests) == QUICK.tries


def test_d16_a_connection_that_takes_seconds_for_a_chunk_is_slow_and_no_more(tmp_path: Path, client: HttpClient) -> None:
    contents = {"a": CONTENT[: CHUNK_BYTES + 1000], "b": b"{}"}  # the small one is there, and durable, long before a chunk is
    with Origin(contents) as origin:
        origin.behave("a", bytes_per_second=CHUNK_BYTES // 3)
        transfer(OriginModel(origin), tmp_path, client, ignore)
        assert origin.sent == sum(map(len, contents.values()))
    assert all((tmp_path / path).read_bytes() == content for path, content in contents.items())


def test_d16_one_slow_connection_is_replaced_by_a_fast_one(tmp_path: Path, client: HttpClient) -> None:
    with Origin({"a": CONTENT}, Behaviour(bytes_per_second=300, piece=10)) as origin:

        def mend(progress: Progress) -> None:
            if progress.done > 0:
                origin.behave("a", bytes_per_second=0, piece=65536)

        transfer(OriginModel(origin), tmp_path, client, mend, patience=Patience(10_000, 0.2))
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_d16_nobody_listens_tls_fails_or_the_network_is_off(tmp_path: Path, client: HttpClient) -> None:
    with Origin({"a": CONTENT[:99]}) as origin:
        model = OriginModel(origin)
        base = origin.base
        for url, kind in ((base.replace("http", "https"), SourceUnreachableError), ("https://example.invalid", OfflineError)):
            model.address = lambda file, stale=None, url=url: FileAddress(f"{url}/a?sig=hush")  # type: ignore[method-assign]
            with pytest.raises(kind) as caught:
                transfer(model, tmp_path, client, ignore)
            assert "hush" not in caught.value.message
    model.address = lambda file, stale=None: FileAddress(f"{base}/a")  # type: ignore[method-assign]
    with pytest.raises(SourceUnreachableError, match="refused"):
        transfer(model, tmp_path, client, ignore)


def test_the_source_may_fail_to_give_an_address(tmp_path: Path, client: HttpClient) -> None:
    class Nowhere:
        files = (RemoteFile("a", 5, hashlib.sha256(b"hello").hexdigest()),)

        def address(self, file: RemoteFile, stale: FileAddress | None = None) -> FileAddress:
            raise SourceError("The registry does not know the model.")

    with pytest.raises(SourceError, match="registry"):
        transfer(Nowhere(), tmp_path, client, ignore)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(40))
def test_faults_at_random_end_in_the_right_bytes_or_a_clear_error(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    faults = [*WRONG_RANGES, "ignores_range", "truncates", "resets", "endless", "flips", "stalls", "silent", "statuses"]
    contents = {f"f{number}": dice.randbytes(dice.choice([0, 1, 999, CHUNK_BYTES, 9_000_000])) for number in range(5)}
    with Origin(contents) as origin:
        model = OriginModel(origin, hashes=dice.random() < 0.7, chunks=dice.random() < 0.3)
        for _ in range(60):
            for path, content in contents.items():
                chosen = {fault: dice.choice([1, 1, 2, 5]) for fault in dice.sample(faults, dice.randrange(4))}
                if not model.files[0].sha256:
                    chosen.pop("flips", None)  # nobody could notice
                place = {"after": dice.randrange(2_000_000), "flip_at": dice.randrange(max(1, len(content)))}
                origin.behave(path, **{**dict.fromkeys(faults, 0), "status": 503, **chosen, **place})
            try:
                transfer(model, tmp_path, HttpClient(is_offline=True, retry=QUICK, read_seconds=0.2), ignore)
                break
            except (SourceError, SourceUnreachableError, IntegrityError):
                for path, content in contents.items():
                    assert not (tmp_path / path).exists() or (tmp_path / path).read_bytes() == content
        else:
            pytest.fail("it never got through")
    assert all((tmp_path / path).read_bytes() == content for path, content in contents.items())


@pytest.mark.parametrize("hashes", [True, False])
def test_an_answer_may_be_shorter_than_what_was_asked_for(tmp_path: Path, client: HttpClient, hashes: bool) -> None:
    with Origin({"a": CONTENT}, Behaviour(most=1_500_000, unknown_size=True)) as origin:
        transfer(OriginModel(origin, hashes=hashes), tmp_path, client, ignore)
        assert origin.sent == len(CONTENT)
    assert (tmp_path / "a").read_bytes() == CONTENT


def test_when_long_answers_do_not_come_shorter_ones_are_asked_for(tmp_path: Path, impatient: HttpClient) -> None:
    content = CONTENT * 5
    with Origin({"a": content}, Behaviour(keeps_back=5 * CHUNK_BYTES)) as origin:
        transfer(OriginModel(origin), tmp_path, impatient, ignore)
        assert origin.sent == len(content)
    assert (tmp_path / "a").read_bytes() == content


def test_more_wrong_files_than_may_be_open_are_all_replaced(tmp_path: Path, client: HttpClient) -> None:
    contents = {f"{number}": f"right {number:4}".encode() for number in range(230)}
    for path, content in contents.items():
        (tmp_path / path).write_bytes(bytes(len(content)))
    with Origin(contents) as origin:
        transfer(OriginModel(origin), tmp_path, client, ignore)
    assert {path: (tmp_path / path).read_bytes() for path in contents} == contents


def test_no_connection_is_kept_that_waits_for_nothing(tmp_path: Path, client: HttpClient) -> None:
    with Origin({"a": CONTENT, "b": b"{}"}, Behaviour(bytes_per_second=20_000_000)) as origin:
        client.read("GET", origin.url("b"))
        open_ones: list[int] = []
        transfer(OriginModel(origin), tmp_path, client, lambda _: open_ones.append(origin.open_connections), streams=1)
    assert max(open_ones[1:]) == 1  # the first report comes before all else


def test_who_does_not_read_the_reports_is_not_a_disk(tmp_path: Path, client: HttpClient) -> None:
    def report(progress: Progress) -> None:
        raise BrokenPipeError

    with Origin({"a": CONTENT}) as origin, pytest.raises(BrokenPipeError):
        transfer(OriginModel(origin), tmp_path, client, report)
