"""`foundry model …` with models of Hugging Face: what a name means, and what is shown."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub
import pytest

from foundry_cli.chunks import chunk_digest
from foundry_cli.cli.errors import ExitCode
from foundry_cli.cli.resolution import find_model_to_show
from foundry_cli.paths import Paths
from foundry_cli.store.cache import INCOMPLETE_MARKER
from foundry_cli.store.journal import Journal
from foundry_cli.store.layout import model_root
from foundry_cli.types import ModelInfo
from tests.cli.in_process import Command
from tests.conftest import Output
from tests.fakes.hugging_face import FakeHub, FakeRepository, fake_hub
from tests.models.scripted import write_scripted_model

pytestmark = pytest.mark.slow

Hub = Callable[..., FakeRepository]
FIRST, SECOND = "1" * 40, "2" * 40
ODD = "\x1b[31mred\x1b]0;title\x07\r\n\x9b2J\ud800"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """An empty hub, which the commands are told of."""
    with fake_hub({}) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        monkeypatch.setenv("HF_TOKEN", "")
        yield running
    huggingface_hub.close_session()


@pytest.fixture
def command(settled: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Commands in this process, and functions that look for the same home."""
    monkeypatch.setenv("FOUNDRY_HOME", str(tmp_path / "home"))
    return settled


@pytest.fixture
def model(tmp_path: Path) -> Callable[..., FakeRepository]:
    """Makes repositories with a model that says a sentence."""

    def make(reply: str, folder: str = "", **options: object) -> FakeRepository:
        directory = write_scripted_model(tmp_path / "models" / reply, [reply])
        files = {path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
        files.pop("inference_model.json")
        return FakeRepository({f"{folder}{path}": data for path, data in files.items()}, **options)  # type: ignore[arg-type]

    return make


def _download(command: Command, name: str) -> Output:
    output = command("model", "download", name)
    assert output.code == 0, output.stderr
    return output


def _state(command: Command) -> dict[str, str]:
    """The addresses of the cached models of Hugging Face by id."""
    listed = json.loads(command("model", "list", "--cached", "-o", "json").stdout)["models"]
    return {model["id"]: model["uri"] for model in listed if not model["bundled"]}


def test_models_of_the_same_name_by_two_owners_are_two_models(command: Command, hub: FakeHub, model: Hub) -> None:
    hub.repositories |= {"alice/shared-name": model("I am Alice."), "bob/shared-name": model("I am Bob.")}
    _download(command, "hf:alice/shared-name")
    output = _download(command, "hf:bob/shared-name")
    assert output.stdout.endswith("Model bob--shared-name:1 was downloaded.\n")
    assert len(_state(command)) == 2
    assert "found in the local cache" in _download(command, "hf:alice/shared-name").stdout
    assert command("model", "run", "hf:bob/shared-name", "--prompt", "hi").stdout == "I am Bob.\n"
    assert command("model", "run", "alice--shared-name", "--prompt", "hi").stdout == "I am Alice.\n"


@pytest.mark.parametrize("name", ["eve/foundry-guide-generic-cpu", "foundry/guide-generic-cpu"])
def test_no_repository_is_taken_for_the_model_of_the_program(command: Command, hub: FakeHub, model: Hub, name: str) -> None:
    hub.repositories[name] = model("I am Eve.")
    assert "was downloaded" in _download(command, f"hf:{name}").stdout
    assert json.loads(command("model", "info", "foundry-guide", "-o", "json").stdout)["model"]["bundled"]


def test_two_folders_of_a_repository_are_two_models(command: Command, hub: FakeHub, model: Hub) -> None:
    repository = model("Four.", "int4/")
    repository.files.update(model("Eight.", "int8/").files)
    hub.repositories["a/b"] = repository
    _download(command, "hf:a/b:int4")
    assert "was downloaded" in _download(command, "hf:a/b:int8").stdout
    output = command("model", "download", "hf:a/b")
    assert output.code == ExitCode.USAGE
    assert "holds 2 models: int4, int8" in output.stderr


@pytest.fixture
def revised(hub: FakeHub, model: Hub) -> FakeHub:
    """A repository with two revisions, v1 being the main one at first."""
    second = model("Second, and longer.", commit=SECOND)
    hub.repositories["alice/rev"] = model("First.", commit=FIRST, revisions=("main", "v1"), others={"v2": second})
    return hub


def test_another_revision_of_a_cached_model_is_refused_with_the_way_out(command: Command, revised: FakeHub) -> None:
    _download(command, "hf:alice/rev@v1")
    for arguments in (("download",), ("download", "--force"), ("run", "--prompt", "hi")):
        output = command("model", arguments[0], "hf:alice/rev@v2", *arguments[1:])
        assert (output.code, output.stdout) == (ExitCode.FAILED, "")
        assert output.stderr == (
            "Exception: alice--rev:1 is in the cache at the revision 111111111111, hf:alice/rev@v2 is 222222222222. "
            "'foundry cache remove alice--rev:1' makes room for it.\n"
        )
    assert _state(command) == {"alice--rev:1": f"hf:alice/rev@{FIRST}"}
    assert command("cache", "remove", "alice--rev:1", "--yes").code == 0
    _download(command, "hf:alice/rev@v2")
    assert _state(command) == {"alice--rev:1": f"hf:alice/rev@{SECOND}"}


def test_the_cached_revision_is_found_by_all_of_its_names_and_without_any(command: Command, revised: FakeHub) -> None:
    _download(command, "hf:alice/rev@v1")
    assert "found in the local cache" in _download(command, "hf:alice/rev@v1").stdout
    revised.hub.seen.clear()
    for name in ("hf:alice/rev", "hf:Alice/REV", f"hf:alice/rev@{FIRST}"):
        assert "found in the local cache" in _download(command, name).stdout
    assert revised.hub.seen == []  # these say enough


def test_a_branch_that_is_called_like_a_part_of_the_commit_is_another_revision(command: Command, revised: FakeHub) -> None:
    repository = revised.repositories["alice/rev"]
    repository.others["11"] = repository.others.pop("v2")
    _download(command, "hf:alice/rev@v1")
    assert command("model", "download", "hf:alice/rev@11").code == ExitCode.FAILED


def test_what_is_shown_is_the_revision_that_was_asked_for(command: Command, revised: FakeHub) -> None:
    _download(command, "hf:alice/rev@v1")
    shown = find_model_to_show("hf:alice/rev@v2", None)
    assert (shown.uri, shown.is_cached) == (f"hf:alice/rev@{SECOND}", False)
    shown = find_model_to_show("hf:alice/rev", None)
    assert (shown.uri, shown.is_cached) == (f"hf:alice/rev@{FIRST}", True)


def test_a_damaged_model_is_completed_at_its_own_revision(command: Command, revised: FakeHub, tmp_path: Path) -> None:
    _download(command, "hf:alice/rev")
    (tokenizer,) = (tmp_path / "home").rglob("tokenizer.json")
    tokenizer.unlink()
    first = revised.repositories["alice/rev"]
    second = first.others.pop("v2")
    revised.repositories["alice/rev"] = second  # is the main branch now
    second.others["v1"] = first
    assert "was downloaded" in _download(command, "hf:alice/rev").stdout
    assert _state(command) == {"alice--rev:1": f"hf:alice/rev@{FIRST}"}


@pytest.mark.parametrize("commit", [FIRST, SECOND])
def test_what_an_interrupted_download_left_is_kept_only_for_the_same_revision(
    command: Command, revised: FakeHub, tmp_path: Path, commit: str
) -> None:
    root = model_root(Paths(tmp_path / "home").default_cache, ModelInfo("alice--rev", 1, "alice--rev", publisher="alice"))
    root.mkdir(parents=True)
    (root / "note.txt").write_bytes(b"left by an earlier one")
    (root / INCOMPLETE_MARKER).touch()
    journal = Journal(root, f"hf:alice/rev@{commit}")
    journal.begin("note.txt", 22, "", "")
    journal.add_chunk("note.txt", 0, chunk_digest(b"left by an earlier one"))
    journal.publish("note.txt", hashlib.sha256(b"left by an earlier one").hexdigest())
    journal.close()
    revised.repositories["alice/rev"].others["v2"].files["note.txt"] = b"of the second revision"  # too small for a hash
    _download(command, "hf:alice/rev@v2")
    was_asked_for = any(seen.path.endswith("/note.txt") for seen in revised.hub.seen)
    assert was_asked_for == (commit == FIRST)
    assert (root / "note.txt").read_bytes() == (b"of the second revision" if was_asked_for else b"left by an earlier one")


def test_an_own_model_with_that_id_is_not_taken_for_it(command: Command, hub: FakeHub, model: Hub, tmp_path: Path) -> None:
    hub.repositories["a/b"] = model("Yes.")
    write_scripted_model(tmp_path / "own", ["No."])
    assert command("model", "add", str(tmp_path / "own"), "--name", "a--b").code == 0
    output = command("model", "download", "hf:a/b")
    assert output.code == ExitCode.FAILED
    assert "a--b:1 is the id of another model" in output.stderr
    assert "foundry cache remove a--b:1" in output.stderr


def test_texts_of_the_hub_cannot_write_to_the_terminal(command: Command, hub: FakeHub, model: Hub) -> None:
    card = {"cardData": {"license": ODD * 50}}
    odd = model("Odd.", extra=card, downloads=7)
    odd.files.update(model("Other.", f"{ODD}/").files)
    hub.repositories |= {"a/odd": odd, f"a/{ODD}": model("Name."), "a/several": model("One.", "one/")}
    hub.repositories["a/several"].files.update(model("Two.", "two/").files | model("Odd.", f"{ODD}/").files)
    outputs = [
        command("model", "search", "a", "--source", "hf"),
        command("model", "info", "hf:a/odd", "--license"),
        command("model", "download", "hf:a/several"),
        command("model", "download", "hf:a/odd"),
        command("model", "list", "--cached"),
    ]
    assert "hf:a/odd" in outputs[0].stdout
    assert "red" in outputs[1].stdout
    for output in outputs:
        assert all(line.isprintable() for line in (output.stdout + output.stderr).replace("\r", "\n").split("\n"))
        assert "Traceback" not in output.stderr


@pytest.mark.parametrize("endpoint", ["http://[", "http://h:99999"])
def test_an_endpoint_that_is_no_address_is_named(command: Command, endpoint: str) -> None:
    for arguments in (("download", "hf:a/b"), ("search", "a", "--source", "hf")):
        output = command("model", *arguments, env={"HF_ENDPOINT": endpoint})
        assert output.code == ExitCode.FAILED
        assert output.stderr.startswith("Exception: HF_ENDPOINT is not the address of a web server.")
        assert output.stderr.count("\n") == 1


def test_info_shows_the_revision_that_was_asked_for(command: Command, revised: FakeHub) -> None:
    _download(command, "hf:alice/rev@v1")
    shown = [
        json.loads(command("model", "info", f"hf:alice/rev{at}", "-o", "json").stdout)["model"] for at in ("@v2", "@v1", "")
    ]
    assert [(model["uri"][-40:], model["cached"]) for model in shown] == [(SECOND, False), (FIRST, True), (FIRST, True)]


def test_what_is_here_is_taken_when_the_hub_cannot_be_reached(
    command: Command, hub: FakeHub, model: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.repositories |= {"alice/one": model("I am one.", "cpu/int4/"), "alice/two": model("I am two.")}
    _download(command, "hf:alice/one")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    huggingface_hub.close_session()
    output = command("model", "info", "hf:alice/one@main:cpu/int4")
    assert output.code == 0, output.stderr
    assert "alice--one--cpu--int4:1" in output.stdout
    assert "cannot be reached" in output.stderr
    assert "alice--one--cpu--int4:1 is here, at the revision " in output.stderr
    assert command("model", "info", "hf:alice/one:cpu").code == 0
    for other in ("hf:alice/one:cpu/int8", "hf:alice/two@main", "hf:alice/one@1234567"):
        assert command("model", "info", other).code == ExitCode.DOWNLOAD_FAILED
