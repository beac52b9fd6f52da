"""`foundry provider …`, and external models in the other commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from foundry_cli.client.supervisor import start_service
from foundry_cli.paths import Paths
from tests.cli.in_process import Command
from tests.fakes.web import Answer, Seen, web_server

URL = "https://provider.test/v1"


@pytest.fixture
def foundry(settled: Command) -> Command:
    """The command line, without a process for each command."""
    return settled


def _providers(foundry: Command) -> list[dict[str, Any]]:
    return list(json.loads(foundry("provider", "list", "-o", "json").stdout)["providers"])


def test_a_provider_is_added_listed_and_removed(foundry: Command, tmp_path: Path) -> None:
    assert _providers(foundry) == []
    added = foundry("provider", "add", "big", "--url", "https://provider.test/v1/", "--model", "org/big-2")
    assert (added.code, added.stdout) == (0, "Model big was added; requests for it go to https://provider.test.\n")
    known = {
        "name": "big", "url": URL, "model": "org/big-2", "provider": None, "apiKeyEnv": None, "apiKeyFile": None,
        "insecure": False, "saved": True, "problem": None,
    }  # fmt: skip
    assert _providers(foundry) == [known]
    again = foundry("provider", "add", "BIG", "--url", "http://127.0.0.1:9000")  # replaces it
    assert again.code == 0
    assert [(each["name"], each["url"], each["model"]) for each in _providers(foundry)] == [
        ("BIG", "http://127.0.0.1:9000/v1", "BIG")
    ]
    text = foundry("provider", "ls").stdout.splitlines()
    assert text[0].split() == ["Model", "Key", "Name", "There", "Location"]
    assert text[1].split() == ["BIG", "-", "BIG", "http://127.0.0.1:9000/v1"]
    assert foundry("provider", "remove", "big").stdout == "Model big was removed.\n"
    assert _providers(foundry) == []
    missing = foundry("provider", "rm", "big")
    assert (missing.code, missing.stdout) == (4, "")
    assert "There is no external model 'big'." in missing.stderr


def test_what_was_added_and_removed_as_json(foundry: Command) -> None:
    added = json.loads(foundry("provider", "add", "big", "--url", URL, "-o", "json").stdout)["provider"]
    assert [{**added, "saved": True}] == _providers(foundry)
    assert json.loads(foundry("provider", "remove", "big", "-o", "json").stdout) == {"removed": "big"}


def test_only_the_place_of_a_key_is_kept(foundry: Command, tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("sk-secret")
    key_file.chmod(0o600)
    env = {"BIG_KEY": "sk-secret"}
    by_variable = foundry("provider", "add", "a", "--url", URL, "--api-key-env", "BIG_KEY", env=env)
    by_file = foundry("provider", "add", "b", "--url", URL, "--api-key-file", str(key_file))
    assert (by_variable.code, by_variable.stderr, by_file.code, by_file.stderr) == (0, "", 0, "")
    places = [(each["apiKeyEnv"], each["apiKeyFile"]) for each in _providers(foundry)]
    assert places == [("BIG_KEY", None), (None, str(key_file))]
    assert "sk-secret" not in (tmp_path / "home" / "foundry.config.json").read_text()
    assert "BIG_KEY" in foundry("provider", "list").stdout  # and that it is not set here
    later = foundry("provider", "add", "c", "--url", URL, "--api-key-env", "BIG_KEY")
    assert (later.code, "BIG_KEY" in later.stderr) == (0, True)


def test_a_key_file_that_others_can_read_is_refused(foundry: Command, tmp_path: Path) -> None:
    key_file = tmp_path / "key"
    key_file.write_text("sk-secret")
    key_file.chmod(0o644)
    refused = foundry("provider", "add", "b", "--url", URL, "--api-key-file", str(key_file))
    assert refused.code == 1
    assert f"chmod 600 {key_file}" in refused.stderr
    assert _providers(foundry) == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["x", "--url", "http://provider.test/v1"], "--insecure"),
        (["x", "--url", "provider.test"], "not a plain http(s) address"),
        (["x", "--url", "https://u:p@provider.test"], "not a plain http(s) address"),
        (["two words", "--url", URL], "cannot be the name of a model"),
        (["foundry-guide", "--url", URL], "is the name of the model foundry-guide-generic-cpu:1"),
        (["x", "--url", URL, "--api-key-env", "A", "--api-key-file", "b"], "either in a variable or in a file"),
        (["x", "--url", URL, "--api-key-env", "sk-not-a-variable"], "not the key"),
    ],
)
def test_what_is_refused(foundry: Command, arguments: list[str], reason: str) -> None:
    refused = foundry("provider", "add", *arguments)
    assert refused.code == 2
    assert reason in refused.stderr
    assert "sk-not" not in refused.stderr


def test_plain_http_to_another_machine_must_be_asked_for(foundry: Command) -> None:
    assert foundry("provider", "add", "x", "--url", "http://provider.test/v1", "--insecure").code == 0
    assert _providers(foundry)[0]["insecure"] is True


def test_commands_for_models_of_this_machine_say_whose_an_external_one_is(foundry: Command) -> None:
    assert foundry("provider", "add", "big", "--url", URL).code == 0
    for command in ("download", "test", "bench"):
        output = foundry("model", command, "big")
        assert (output.code, output.stdout) == (2, "")
        assert f"The model big is run by another server, {URL}" in output.stderr
    assert foundry("model", "load", "big").stdout == (
        "Model big is run by another server, so there is nothing of it to load.\n"
    )
    assert json.loads(foundry("model", "load", "big", "-o", "json").stdout) == {"model": {"id": "big", "loaded": False}}
    shown = foundry("model", "info", "big").stdout
    assert f"no, at {URL}" in shown
    assert "CPUExecutionProvider" not in shown


def test_external_models_are_marked_in_the_list(foundry: Command) -> None:
    foundry("provider", "add", "big", "--url", URL)
    listed = json.loads(foundry("model", "list", "--source", "external", "-o", "json").stdout)["models"]
    assert [(each["id"], each["source"], each["cached"], each["runsHere"]) for each in listed] == [
        ("big", "external", False, True)
    ]
    (line,) = [line for line in foundry("model", "list").stdout.splitlines() if line.startswith("big ")]
    assert line.split() == ["big", "-", "chat,", "tools", "-", "-", "big", "(external,", "at", f"{URL})"]
    assert "big" not in foundry("model", "list", "--cached").stdout
    info = json.loads(foundry("model", "info", "BIG", "-o", "json").stdout)["model"]
    assert (info["id"], info["uri"], info["cached"]) == ("big", URL, False)


def test_settings_that_cannot_be_used_name_the_entry(foundry: Command, tmp_path: Path) -> None:
    file = tmp_path / "home" / "foundry.config.json"
    for section, reason in (
        ({"a": 1}, "is not a list of objects"),
        ([{"name": "a", "url": 3}], "url of an entry"),
        ([{"name": "a", "url": "gopher://x"}], "cannot be used"),
    ):
        file.write_text(json.dumps({"externalModels": section}))
        refused = foundry("provider", "list")
        assert refused.code == 1
        assert reason in refused.stderr


def _answer(request: Seen) -> Answer:
    chunks = [{"choices": [{"index": 0, "delta": {"content": text}}]} for text in ("From ", "far away.")]
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    events = [*chunks, {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}, {"choices": [], "usage": usage}]
    body = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events) + b"data: [DONE]\n\n"
    return Answer(200, body, {"Content-Type": "text/event-stream"})


def test_a_running_service_takes_changes_over_and_asks_the_other_server(foundry: Command, tmp_path: Path) -> None:
    client, _ = start_service(Paths(tmp_path / "home"))
    with web_server(_answer) as server:
        assert foundry("provider", "add", "big", "--url", server.url, "--model", "big-2").code == 0
        assert [(each["name"], each["saved"]) for each in client.providers()] == [("big", True)]
        answer = foundry("model", "run", "big", "--prompt", "Where are you?")
        assert (answer.code, answer.stdout) == (0, "From far away.\n")
        assert json.loads(server.seen[0].body)["model"] == "big-2"
        assert foundry("model", "load", "big").code == 0
        assert foundry("provider", "remove", "big").code == 0
        assert client.providers() == []
    late = foundry("provider", "add", "late", "--url", URL, "--api-key-env", "LATE_KEY", env={"LATE_KEY": "sk"})
    assert "LATE_KEY" in late.stderr  # the service was started without it
    assert "sk" not in late.stderr.split()
