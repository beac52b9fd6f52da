"""`foundry model download`, and `run` of a model that is not here yet: with and without a service, stopped and gone on."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from foundry_cli.chunks import CHUNK_BYTES
from foundry_cli.cli.errors import ExitCode
from foundry_cli.config import load_config
from foundry_cli.paths import Paths
from foundry_cli.store.manifest import read_manifest
from tests.cli.in_process import Command
from tests.conftest import FOUNDRY, RunningService, add_model, clean_environment
from tests.fakes.gate import Gate
from tests.fakes.mirror import served, write_mirror
from tests.fakes.web import Answer, Seen, WebServer, static_files


@pytest.fixture
def foundry(settled: Command) -> Command:
    """The command line, without a process for each command."""
    return settled


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[WebServer]:
    """A mirror with two variants of one alias and another model."""
    directory = write_mirror(tmp_path, {"hello-generic-cpu:1": "Hello from afar.", "other-generic-cpu:2": "Other."}, 3_000_000)
    with served(directory) as server:
        yield server


@pytest.fixture
def known(foundry: Command, mirror: WebServer) -> WebServer:
    """The mirror, added to the catalogs."""
    assert foundry("catalog", "add", mirror.url, "--name", "office").code == 0
    return mirror


def _root(tmp_path: Path, name: str = "hello-generic-cpu-1") -> Path:
    return Paths(tmp_path / "home").default_cache / "Tests" / name


def test_a_model_is_listed_downloaded_and_run(foundry: Command, known: WebServer, tmp_path: Path) -> None:
    listed = json.loads(foundry("model", "list", "--source", "office", "-o", "json").stdout)["models"]
    assert [(model["id"], model["cached"], model["runsHere"]) for model in listed] == [
        ("hello-generic-cpu:1", False, True),
        ("other-generic-cpu:2", False, True),
    ]
    output = foundry("model", "download", "hello-generic-cpu")
    assert output.code == 0, output.stderr
    lines = output.stdout.splitlines()
    assert lines[0] == "Downloading hello-generic-cpu:1..."
    assert lines[-2].startswith("100.00 % [Time remaining: about 0s]")
    assert lines[-1] == "Model hello-generic-cpu:1 was downloaded."
    manifest = read_manifest(_root(tmp_path))
    assert manifest is not None
    assert {file.path for file in manifest.files} == {path.name for path in _root(tmp_path).iterdir()} - {
        "foundry.manifest.json",
        "foundry.chunks.json",
    }
    assert (manifest.model.source, manifest.model.uri) == ("office", "local://hello-generic-cpu")
    answer = foundry("model", "run", "hello-generic-cpu", "--prompt", "hi")
    assert answer.stdout == "Hello from afar.\n"


def test_what_is_here_is_not_fetched_again(foundry: Command, known: WebServer) -> None:
    foundry("model", "download", "hello-generic-cpu")
    before = len(known.seen)
    output = foundry("model", "download", "HELLO-generic-cpu:1")
    assert output.stdout == "Model hello-generic-cpu:1 was found in the local cache.\n"
    assert len(known.seen) == before


def test_another_catalog_helps_out_when_the_first_cannot_be_reached(foundry: Command, known: WebServer, tmp_path: Path) -> None:
    with served(tmp_path / "mirror") as other:
        assert foundry("catalog", "add", other.url, "--name", "home").code == 0
    # the first of the two that has the model is away from now on; the order is that of the settings
    paths = Paths(tmp_path / "home")
    config = load_config(paths, environment=False)
    replace(config, mirrors=tuple(reversed(config.mirrors))).save(paths)
    output = foundry("model", "download", "hello-generic-cpu")
    assert (output.code, output.stdout.splitlines()[-1]) == (0, "Model hello-generic-cpu:1 was downloaded.")
    assert f"{other.url} cannot be reached" in output.stderr
    assert "The catalog office has hello-generic-cpu:1, too." in output.stderr
    manifest = read_manifest(_root(tmp_path))
    assert manifest is not None
    assert manifest.model.source == "office"


def test_run_downloads_and_keeps_standard_output_clean(foundry: Command, known: WebServer) -> None:
    output = foundry("model", "run", "other-generic-cpu", "--prompt", "hi")
    assert output.stdout == "Other.\n"
    assert "Downloading other-generic-cpu:2..." in output.stderr


def test_force_checks_and_mends_only_what_is_damaged(foundry: Command, known: WebServer, tmp_path: Path) -> None:
    foundry("model", "download", "hello-generic-cpu")
    ballast = _root(tmp_path) / "ballast.bin"
    good = ballast.read_bytes()
    ballast.write_bytes(good[:1_500_000] + b"x" + good[1_500_001:])
    known.seen.clear()
    output = foundry("model", "download", "hello-generic-cpu", "--force")
    assert output.stdout.endswith("Mended ballast.bin.\n"), output.stderr
    assert ballast.read_bytes() == good
    ranges = [request.headers["range"] for request in known.seen if request.path.endswith("ballast.bin")]
    assert ranges == ["bytes=1048576-2097151"]


def test_a_name_that_nobody_knows_has_its_exit_code(foundry: Command, known: WebServer) -> None:
    output = foundry("model", "download", "helo-generic-cpu")
    assert output.code == ExitCode.NOT_FOUND
    assert "'hello-generic-cpu'" in output.stderr


def test_a_server_that_is_gone_is_named(foundry: Command, tmp_path: Path) -> None:
    with served(write_mirror(tmp_path, {"hello-generic-cpu:1": "Hello."})) as server:
        foundry("catalog", "add", server.url)
    output = foundry("model", "download", "hello-generic-cpu")
    assert output.code == ExitCode.DOWNLOAD_FAILED
    assert f"{server.url} cannot be reached: connection refused." in output.stderr
    assert output.stderr.count("\n") == 1
    assert foundry("model", "list").stdout.count("hello-generic-cpu:1") == 1  # the list is on disk


def test_wrong_bytes_never_become_a_model(foundry: Command, tmp_path: Path) -> None:
    mirror = write_mirror(tmp_path, {"hello-generic-cpu:1": "Hello."})
    right = static_files(mirror)

    def respond(request: Seen) -> Answer:
        answer = right(request)
        if request.path.endswith("model.onnx"):
            return Answer(answer.status, bytes([answer.body[0] ^ 1]) + answer.body[1:], answer.headers)
        return answer

    with served(mirror, respond) as server:
        foundry("catalog", "add", server.url)
        output = foundry("model", "download", "hello-generic-cpu")
    assert output.code == ExitCode.DOWNLOAD_FAILED
    assert "model.onnx" in output.stderr
    assert not (_root(tmp_path) / "model.onnx").exists()
    assert foundry("cache", "list", "-o", "json").stdout.count('"state": "complete"') == 1  # the bundled one
    assert foundry("model", "load", "hello-generic-cpu").code != 0


def test_a_licence_that_must_be_accepted_is_shown_and_asked_for(foundry: Command, tmp_path: Path) -> None:
    mirror = write_mirror(
        tmp_path, {"hello-generic-cpu:1": "Hello."}, requiresAcceptance=True, license="own", licenseDescription="Be kind."
    )
    with served(mirror) as server:
        foundry("catalog", "add", server.url)
        refused = foundry("model", "download", "hello-generic-cpu")
        assert refused.code == 1
        assert "Be kind." in refused.stdout
        assert "--accept-license" in refused.stderr
        assert not _root(tmp_path).exists()
        accepted = foundry("model", "download", "hello-generic-cpu", "--accept-license")
        assert accepted.code == 0
        assert "License: own" in accepted.stdout


def test_what_needs_another_device_is_refused_and_force_overrides(foundry: Command, tmp_path: Path) -> None:
    runtime = {"deviceType": "NPU", "executionProvider": "QNNExecutionProvider"}
    mirror = write_mirror(tmp_path, {"hello-qnn-npu:1": "Hello."}, runtime=runtime)
    with served(mirror) as server:
        foundry("catalog", "add", server.url)
        assert "hello-qnn-npu" not in foundry("model", "list").stdout
        shown = foundry("model", "list", "--all-devices").stdout
        assert "hello-qnn-npu:1  (hello-qnn-npu:1 needs an NPU by Qualcomm" in shown
        refused = foundry("model", "download", "hello-qnn-npu")
        assert refused.code == 1
        assert "NPU" in refused.stderr
        assert "--force" in refused.stderr
        assert foundry("model", "download", "hello-qnn-npu", "--force").code == 0


def test_what_needs_more_memory_than_there_is_is_refused_with_the_numbers(foundry: Command, tmp_path: Path) -> None:
    mirror = write_mirror(tmp_path, {"hello-generic-cpu:1": "Hello."})
    config = tmp_path / "source" / "Tests" / "hello-generic-cpu-1" / "genai_config.json"
    document = json.loads(config.read_text())
    document["model"]["decoder"] |= {"num_hidden_layers": 100_000, "num_key_value_heads": 1000, "head_size": 1000}
    data = json.dumps(document).encode()
    (mirror / "Tests" / "hello-generic-cpu-1" / "genai_config.json").write_bytes(data)
    index = json.loads((mirror / "index.json").read_text())
    (entry,) = [file for file in index["models"][0]["files"] if file["path"] == "genai_config.json"]
    entry["size"] = len(data)
    (mirror / "index.json").write_text(json.dumps(index))
    with served(mirror) as server:
        foundry("catalog", "add", server.url)
        output = foundry("model", "download", "hello-generic-cpu")
    assert output.code == 1
    assert "of memory (0.00 GB of weights, " in output.stderr
    assert "this machine has" in output.stderr


def test_ctrl_c_keeps_what_has_arrived_and_the_next_command_goes_on(foundry: Command, tmp_path: Path) -> None:
    mirror = write_mirror(tmp_path, {"hello-generic-cpu:1": "Hello."}, 40_000_000)
    plain = static_files(mirror)
    served_bytes: list[int] = []
    gate = Gate()

    def respond(request: Seen) -> Answer:
        answer = plain(request)
        if request.path.endswith("ballast.bin"):
            gate.pass_one()
            served_bytes.append(len(answer.body))
        return answer

    with served(mirror, respond) as server:
        foundry("catalog", "add", server.url)
        command = [str(FOUNDRY), "model", "download", "hello-generic-cpu"]
        process = subprocess.Popen(
            command, env=clean_environment(tmp_path / "home"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        gate.open_for(1)  # the first segment passes, the second one waits
        gate.wait_for_waiting(1)
        journal = _root(tmp_path) / "download.journal"
        while not journal.exists() or journal.stat().st_size < 1000:
            assert process.poll() is None
        for _ in range(3):  # of somebody in a hurry
            process.send_signal(signal.SIGINT)
        gate.open_for(1000)
        _, stderr = process.communicate(timeout=30)
        assert process.returncode == ExitCode.INTERRUPTED
        assert "What has arrived is kept" in stderr
        assert "Traceback" not in stderr
        listed = json.loads(foundry("cache", "list", "-o", "json").stdout)["models"]
        (partial,) = [model for model in listed if model["state"] == "partial"]
        assert 0 < partial["doneBytes"] < 40_000_000
        output = foundry("model", "download", "hello-generic-cpu")
        assert output.code == 0, output.stderr
        assert "Continuing at " in output.stdout
    assert (_root(tmp_path) / "ballast.bin").stat().st_size == 40_000_000
    assert not (_root(tmp_path) / "download.tmp").exists()


def test_without_a_network_what_is_here_works_at_once(foundry: Command, tmp_path: Path) -> None:
    add_model(Paths(tmp_path / "home"), "mine:1", ["Here."])
    assert "mine:1" in foundry("model", "list", env={"FOUNDRY_OFFLINE": "1"}).stdout
    output = foundry("model", "run", "mine", "--prompt", "hi", env={"FOUNDRY_OFFLINE": "1"})
    assert output.stdout == "Here.\n"
    missing = foundry("model", "download", "hf:owner/repository", env={"FOUNDRY_OFFLINE": "1"})
    assert missing.code == ExitCode.DOWNLOAD_FAILED
    assert "network is switched off" in missing.stderr


def test_a_running_service_sees_a_new_catalog_and_keeps_its_models(
    foundry: Command, fresh_service: RunningService, tmp_path: Path
) -> None:
    fresh_service.client.load("foundry-guide")
    with served(write_mirror(tmp_path, {"hello-generic-cpu:1": "Hello."})) as server:
        assert foundry("catalog", "add", server.url, home=fresh_service.paths.home).code == 0
        assert "hello-generic-cpu:1" in [model["name"] for model in fresh_service.client.models()]
        assert fresh_service.client.loaded_models() == ["foundry-guide-generic-cpu:1"]


def test_a_damaged_model_of_nobody_is_named_and_one_of_a_catalog_is_completed(
    foundry: Command, known: WebServer, tmp_path: Path
) -> None:
    foundry("model", "download", "hello-generic-cpu")
    (_root(tmp_path) / "tokenizer.json").unlink()
    listed = foundry("model", "list", "--source", "office").stdout
    assert "(damaged: tokenizer.json is missing)" in listed
    loaded = foundry("model", "load", "hello-generic-cpu")
    assert loaded.code == 1
    assert "tokenizer.json is missing" in loaded.stderr
    assert "cache repair" in loaded.stderr
    assert foundry("model", "run", "hello-generic-cpu", "--prompt", "hi").stdout == "Hello from afar.\n"


def test_a_model_does_not_take_the_folder_of_another(foundry: Command, known: WebServer, tmp_path: Path) -> None:
    foundry("model", "download", "hello-generic-cpu")
    manifest = _root(tmp_path) / "foundry.manifest.json"
    document = json.loads(manifest.read_text())
    document["model"]["id"] = "somebody-else:7"
    manifest.write_text(json.dumps(document))
    output = foundry("model", "download", "hello-generic-cpu:1")
    assert output.code == 1
    assert "holds the model somebody-else:7" in output.stderr


@contextmanager
def _repair_at_work(foundry: Command, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Gate]]:
    """A repair of one file that waits for the server at the gate."""
    mirror = write_mirror(tmp_path, {"hello-generic-cpu:1": "Hello."})
    plain, gate = static_files(mirror), Gate()
    is_slow = False

    def respond(request: Seen) -> Answer:
        if is_slow and request.path.endswith("tokenizer.json"):
            gate.pass_one()
        return plain(request)

    with served(mirror, respond) as server:
        foundry("catalog", "add", server.url)
        foundry("model", "download", "hello-generic-cpu")
        damaged = _root(tmp_path) / "tokenizer.json"
        good = damaged.read_bytes()
        damaged.write_bytes(good[:20] + b"xxxx" + good[24:])
        is_slow = True
        command = [str(FOUNDRY), "cache", "repair", "hello-generic-cpu"]
        process = subprocess.Popen(command, env=clean_environment(tmp_path / "home"), stderr=subprocess.PIPE, text=True)
        gate.wait_for_waiting(1)
        yield process, gate
        assert foundry("model", "download", "hello-generic-cpu").code == 0
    assert damaged.read_bytes() == good
    assert foundry("cache", "verify").code == 0


def test_a_repair_shows_what_it_does_and_is_stopped_in_an_orderly_way(foundry: Command, tmp_path: Path) -> None:
    with _repair_at_work(foundry, tmp_path) as (process, gate):
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        gate.open_for(1000)
        assert process.returncode == 130
        assert errors.startswith("Checking the files\n")
        assert "Stopped. What has arrived is kept; the same command goes on from there." in errors


def test_a_repair_that_is_killed_is_no_model_until_it_is_finished(foundry: Command, tmp_path: Path) -> None:
    with _repair_at_work(foundry, tmp_path) as (process, gate):
        process.kill()
        process.communicate()
        gate.open_for(1000)
        states = {model["id"]: model["state"] for model in json.loads(foundry("cache", "list", "-o", "json").stdout)["models"]}
        assert states["hello-generic-cpu:1"] == "partial"
    assert not [path.name for path in _root(tmp_path).iterdir() if path.name.endswith((".partial", ".tmp", ".journal"))]


def test_a_size_beyond_the_disk_is_refused_before_anything_is_counted(foundry: Command, tmp_path: Path) -> None:
    mirror = write_mirror(tmp_path, {"hello-generic-cpu:1": "Hello."})
    index = json.loads((mirror / "index.json").read_text())
    (entry,) = [file for file in index["models"][0]["files"] if file["path"] == "model.onnx"]
    entry["size"] = 1 << 42
    (mirror / "index.json").write_text(json.dumps(index))
    with served(mirror) as server:
        foundry("catalog", "add", server.url)
        output = foundry("model", "download", "hello-generic-cpu")
    assert output.code == ExitCode.DOWNLOAD_FAILED
    assert "the whole disk has" in output.stderr


def test_the_password_of_a_mirror_is_not_shown(foundry: Command, tmp_path: Path) -> None:
    with served(write_mirror(tmp_path, {"hello-generic-cpu:1": "Hello."})) as server:
        secret = server.url.replace("http://", "http://me:s3cret-word@")
        assert foundry("catalog", "add", secret).code == 0
        assert foundry("model", "download", "hello-generic-cpu").code == 0
        assert server.seen[-1].headers["authorization"].startswith("Basic ")
        outputs = [
            foundry("service", "set", "--show"),
            foundry("service", "set", "--show", "-o", "json"),
            foundry("catalog", "list"),
            foundry("catalog", "refresh"),
            foundry("catalog", "add", "ftp://me:s3cret-word@127.0.0.1/"),
            foundry("model", "list", env={"FOUNDRY_CATALOG_URL": "http://me:s3cret-word@models.example/"}),
        ]
    assert all("s3cret-word" not in output.stdout + output.stderr for output in outputs)


@pytest.mark.parametrize("is_served", [False, True])
def test_a_copy_that_was_stopped_is_continued_and_leaves_nothing(foundry: Command, tmp_path: Path, is_served: bool) -> None:
    mirror = write_mirror(tmp_path, {"hello-generic-cpu:1": "Hello."}, 40_000_000)
    largest = max((mirror / "Tests" / "hello-generic-cpu-1").iterdir(), key=lambda path: path.stat().st_size)
    root = _root(tmp_path)
    root.mkdir(parents=True)
    (root / "download.tmp").touch()
    partial = root / f"{largest.name}.copying"
    partial.write_bytes(largest.read_bytes()[: 3 * CHUNK_BYTES])
    with served(mirror) as server:
        assert foundry("catalog", "add", server.url if is_served else str(mirror), "--name", "office").code == 0
        output = foundry("model", "download", "hello-generic-cpu")
    assert output.code == 0, output.stderr
    assert ("Continuing at" in output.stdout) != is_served
    assert not partial.exists()
    assert (root / largest.name).read_bytes() == largest.read_bytes()
