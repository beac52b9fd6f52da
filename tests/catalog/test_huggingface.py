"""Hugging Face as a source, through the real `huggingface_hub` client and a stand-in of its server."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from foundry_cli.catalog.sources.huggingface import HuggingFaceReference, HuggingFaceSource, parse_reference
from foundry_cli.errors import (
    ConfigError,
    FoundryError,
    InvalidRequestError,
    ModelInvalidError,
    ModelNotFoundError,
    OfflineError,
    SourceError,
    SourceUnreachableError,
)
from foundry_cli.http import HttpClient, RetryPolicy
from foundry_cli.remote import RemoteModel
from foundry_cli.types import ModelInfo
from tests.fakes.hugging_face import COMMIT, FakeHub, FakeRepository, fake_hub
from tests.fakes.web import Answer, web_server
from tests.fakes.wire import proxy_that_refuses, wire_server

WEIGHTS = bytes(range(256)) * 8


def config(provider: str | None = None, **options: str) -> bytes:
    session = {"provider_options": [{provider: options}] if provider else []}
    return json.dumps({"model": {"context_length": 4096, "decoder": {"session_options": session}}}).encode()


def model(folder: str = "") -> dict[str, bytes]:
    prefix = f"{folder}/" if folder else ""
    return {f"{prefix}genai_config.json": config(), f"{prefix}model.onnx": WEIGHTS, f"{prefix}tokenizer.json": b"{}"}


REPOSITORIES = {
    "Tiny/One-onnx": FakeRepository(
        {
            **model(),
            "README.md": b"#",
            ".gitattributes": b"",
            "modeling.py": b"import os",
            "pytorch_model.bin": WEIGHTS[1:],
            "model.safetensors": WEIGHTS[2:],
            "inference_model.json": b'{"Name": "else:1"}',
            "qwen_qnn_ctx.bin": WEIGHTS[3:],
        },
        revisions=("main", "v2", "refs/pr/1"),
        downloads=50,
    ),
    "Tiny/Several-onnx": FakeRepository(
        {"LICENSE": b"Do as you like.", **model("cpu/int4"), **model("cpu/int8"), **model("cuda")}, downloads=40
    ),
    "Tiny/Nested-onnx": FakeRepository({**model(), **model("gpu"), "gpu/genai_config.json": config("cuda")}, downloads=30),
    "Tiny/Torch": FakeRepository({"config.json": b"{}", "model.safetensors": WEIGHTS}, downloads=99),
    "Tiny/Empty": FakeRepository({"genai_config.json": config()}, tags=()),
    "Tiny/Gated-onnx": FakeRepository(model(), gated="manual", token="key", license="llama3"),
    "Tiny/Private-onnx": FakeRepository(model(), token="key"),
}


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    import huggingface_hub

    with fake_hub(dict(REPOSITORIES)) as running:
        yield running
    huggingface_hub.close_session()


@pytest.fixture
def client() -> HttpClient:
    return HttpClient(is_offline=True, retry=RetryPolicy(tries=3, first_wait=0.001))


def resolve(hub: FakeHub, client: HttpClient, text: str, token: str = "") -> ModelInfo:
    reference = parse_reference(text)
    assert reference is not None
    return HuggingFaceSource(hub.url, token).resolve(reference, client)


def fetch(remote: RemoteModel, client: HttpClient, path: str) -> bytes:
    address = remote.address(next(file for file in remote.files if file.path == path))
    response, content = client.read("GET", address.url, headers=address.headers)
    assert response.status_code == 200
    return content


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf:owner/repo", HuggingFaceReference("owner/repo")),
        ("HF:owner/Repo.2_x-y", HuggingFaceReference("owner/Repo.2_x-y")),
        ("hf:owner/repo@v1.0", HuggingFaceReference("owner/repo", "v1.0")),
        ("hf:owner/repo@refs/pr/1:a/b/", HuggingFaceReference("owner/repo", "refs/pr/1", "a/b")),
        ("hf:owner/repo:.", HuggingFaceReference("owner/repo", None, "")),
        ("qwen2.5-0.5b", None),
        ("owner/repo", None),
    ],
)
def test_a_reference_is_parsed(text: str, expected: HuggingFaceReference | None) -> None:
    assert parse_reference(text) == expected


@pytest.mark.parametrize(
    "text", ["hf:gpt2", "hf:", "hf:a/b/c", "hf:a/b:../x", "hf:a/b:/x", "hf:a/b@", "hf:a b/c", "hf:a/b\n:c\x00"]
)
def test_a_malformed_reference_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        parse_reference(text)


def test_a_reference_as_text_means_the_same_again() -> None:
    for text in ("hf:a/b", "hf:a/b@v1", "hf:a/b:c/d", "hf:a/b@v1:."):
        assert str(parse_reference(text)) == text


def test_no_two_models_have_one_id(hub: FakeHub, client: HttpClient) -> None:
    hub.repositories |= {
        "a/b-c": FakeRepository(model()),
        "a-b/c": FakeRepository(model()),
        "a/b": FakeRepository({**model("c"), **model("d/e"), **model("d--e"), **model("d e"), **model("d-e")}),
    }
    names = ("a/b-c", "a-b/c", "a/b:c", "a/b:d/e", "a/b:d--e", "a/b:d e", "a/b:d-e")
    found = [resolve(hub, client, f"hf:{name}") for name in names]
    assert len({each.id for each in found}) == len({each.alias for each in found}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9][\w.-]*:1", each.id) for each in found)


def test_a_model_in_the_only_folder_needs_no_folder_in_its_address(hub: FakeHub, client: HttpClient) -> None:
    hub.repositories["Tiny/Folder"] = FakeRepository(model("cpu"))
    found = resolve(hub, client, "hf:Tiny/Folder")
    assert (found.id, found.uri) == ("Tiny--Folder--cpu:1", f"hf:Tiny/Folder@{COMMIT}")
    assert resolve(hub, client, "hf:Tiny/Folder:cpu") == found
    assert [file.path for file in HuggingFaceSource(hub.url, "").open(found, client).files] == list(model())


@pytest.mark.parametrize(
    ("text", "uri", "expected"),
    [
        ("hf:a/b", f"hf:A/B@{COMMIT}", True),
        (f"hf:a/b@{COMMIT.upper()}", f"hf:a/b@{COMMIT}", True),
        ("hf:a/b@c0ffee", f"hf:a/b@{COMMIT}", False),  # may be a branch of that name
        ("hf:a/b@v1", f"hf:a/b@{COMMIT}", False),
        ("hf:a/b", f"hf:c/b@{COMMIT}", False),
        ("hf:a/b", f"hf:a/b@{COMMIT}:cpu", False),
        ("hf:a/b:cpu", f"hf:a/b@{COMMIT}:cpu", True),
        ("hf:a/b:cpu", f"hf:a/b@{COMMIT}:.", False),
        ("hf:a/b", "azureml://registries/azureml/models/b/versions/1", False),
        ("hf:a/b", "hf:b", False),
    ],
)
def test_a_reference_means_one_repository_folder_and_commit(text: str, uri: str, expected: bool) -> None:
    reference = parse_reference(text)
    assert reference is not None
    assert reference.means(uri) is expected


def test_a_repository_with_one_model_is_described(hub: FakeHub, client: HttpClient) -> None:
    found = resolve(hub, client, "hf:Tiny/One-onnx")
    assert found.id == "Tiny--One-onnx:1"
    assert (found.alias, found.publisher, found.source, found.provider_type) == (
        "tiny--one-onnx",
        "Tiny",
        "huggingface",
        "HuggingFace",
    )
    assert (found.license, found.device, found.execution_provider) == ("mit", "CPU", "CPUExecutionProvider")
    assert (found.context_length, found.requires_acceptance) == (4096, False)
    assert found.uri == f"hf:Tiny/One-onnx@{COMMIT}"


def test_only_files_of_the_model_are_listed_with_sizes_and_digests_of_large_ones(hub: FakeHub, client: HttpClient) -> None:
    found = resolve(hub, client, "hf:Tiny/One-onnx")
    files = {file.path: file for file in HuggingFaceSource(hub.url, "").open(found, client).files}
    assert sorted(files) == ["README.md", "genai_config.json", "model.onnx", "qwen_qnn_ctx.bin", "tokenizer.json"]
    assert files["model.onnx"].sha256 == hashlib.sha256(WEIGHTS).hexdigest()
    assert (files["tokenizer.json"].size, files["tokenizer.json"].sha256) == (2, None)
    assert found.size_bytes == sum(file.size for file in files.values())


def test_large_files_come_from_another_server_which_never_sees_the_token(hub: FakeHub, client: HttpClient) -> None:
    source = HuggingFaceSource(hub.url, "key")
    remote = source.open(resolve(hub, client, "hf:Tiny/Gated-onnx", "key"), client)
    assert fetch(remote, client, "model.onnx") == WEIGHTS
    asked = [request for request in hub.hub.seen if "/resolve/" in request.path]
    assert asked
    assert all(request.headers["authorization"] == "Bearer key" for request in asked)
    assert all(f"/resolve/{COMMIT}/" in request.path for request in asked)
    assert hub.storage.seen
    assert not any("authorization" in request.headers for request in hub.storage.seen)


def test_the_folder_of_several_must_be_named(hub: FakeHub, client: HttpClient) -> None:
    with pytest.raises(InvalidRequestError, match="holds 3 models: cpu/int4, cpu/int8, cuda") as caught:
        resolve(hub, client, "hf:Tiny/Several-onnx")
    assert caught.value.hint == "Name one of them: foundry model download hf:Tiny/Several-onnx:cpu/int4"
    with pytest.raises(InvalidRequestError, match="holds 2 models"):
        resolve(hub, client, "hf:Tiny/Several-onnx:cpu")
    with pytest.raises(InvalidRequestError, match="no model in the folder npu"):
        resolve(hub, client, "hf:Tiny/Several-onnx:npu")


def test_a_named_folder_is_a_variant_of_its_own_and_takes_the_licence_along(hub: FakeHub, client: HttpClient) -> None:
    found = resolve(hub, client, "hf:Tiny/Several-onnx:cpu/int4")
    assert (found.id, found.alias) == ("Tiny--Several-onnx--cpu--int4:1", "tiny--several-onnx--cpu--int4")
    assert found.uri == f"hf:Tiny/Several-onnx@{COMMIT}:cpu/int4"
    remote = HuggingFaceSource(hub.url, "").open(found, client)
    assert sorted(file.path for file in remote.files) == ["LICENSE", "genai_config.json", "model.onnx", "tokenizer.json"]
    assert fetch(remote, client, "LICENSE") == b"Do as you like."
    assert fetch(remote, client, "model.onnx") == WEIGHTS


def test_a_model_inside_the_folder_of_another_is_left_out(hub: FakeHub, client: HttpClient) -> None:
    found = resolve(hub, client, "hf:Tiny/Nested-onnx:.")
    assert found.uri.endswith(":.")
    files = [file.path for file in HuggingFaceSource(hub.url, "").open(found, client).files]
    assert sorted(files) == ["genai_config.json", "model.onnx", "tokenizer.json"]


def test_device_and_provider_come_from_the_configuration(hub: FakeHub, client: HttpClient) -> None:
    found = resolve(hub, client, "hf:Tiny/Nested-onnx:gpu")
    assert (found.device, found.execution_provider) == ("GPU", "CUDAExecutionProvider")
    hub.repositories["Tiny/Npu"] = FakeRepository({**model(), "genai_config.json": config("OpenVINO", device_type="NPU")})
    found = resolve(hub, client, "hf:Tiny/Npu")
    assert (found.device, found.execution_provider) == ("NPU", "OpenVINOExecutionProvider")


@pytest.mark.parametrize("name", ["Tiny/Torch", "Tiny/Empty"])
def test_a_repository_without_onnx_is_refused_with_the_command_that_converts(
    hub: FakeHub, client: HttpClient, name: str
) -> None:
    with pytest.raises(ModelInvalidError) as caught:
        resolve(hub, client, f"hf:{name}")
    assert caught.value.hint == f"Convert it: foundry model convert hf:{name} --output DIR"


@pytest.mark.parametrize("token", ["", "wrong"])
def test_a_gated_repository_says_where_the_licence_is_accepted(hub: FakeHub, client: HttpClient, token: str) -> None:
    with pytest.raises(SourceError) as caught:
        resolve(hub, client, "hf:Tiny/Gated-onnx", token)
    assert f"{hub.url}/Tiny/Gated-onnx" in str(caught.value.hint)
    assert "HF_TOKEN" in str(caught.value.hint)


def test_a_gated_repository_is_marked_and_read_with_the_right_token(hub: FakeHub, client: HttpClient) -> None:
    found = resolve(hub, client, "hf:Tiny/Gated-onnx", "key")
    assert (found.requires_acceptance, found.license) == (True, "llama3")


def test_metadata_that_is_refused_for_want_of_a_licence_says_so(hub: FakeHub, client: HttpClient) -> None:
    hub.refusals.append(Answer(403, b"{}", {"X-Error-Code": "GatedRepo"}))
    with pytest.raises(SourceError, match="accepted its licence"):
        resolve(hub, client, "hf:Tiny/Gated-onnx", "key")


@pytest.mark.parametrize("token", ["", "wrong"])
def test_what_is_not_there_or_private_is_not_found(hub: FakeHub, client: HttpClient, token: str) -> None:
    for name in ("Tiny/Absent", "Tiny/Private-onnx"):
        with pytest.raises(ModelNotFoundError, match=name) as caught:
            resolve(hub, client, f"hf:{name}", token)
        assert "HF_TOKEN" in str(caught.value.hint)
    assert resolve(hub, client, "hf:Tiny/Private-onnx", "key").name == "Tiny--Private-onnx"


def test_a_revision_is_asked_for_and_an_unknown_one_refused(hub: FakeHub, client: HttpClient) -> None:
    assert resolve(hub, client, "hf:Tiny/One-onnx@refs/pr/1").uri == f"hf:Tiny/One-onnx@{COMMIT}"
    assert hub.hub.seen[0].path.startswith("/api/models/Tiny/One-onnx/revision/refs%2Fpr%2F1?")
    with pytest.raises(SourceError, match="no revision 'v3'"):
        resolve(hub, client, "hf:Tiny/One-onnx@v3")


def test_too_many_requests_are_made_again_later_but_not_for_ever(hub: FakeHub, client: HttpClient) -> None:
    busy = Answer(429, b"", {"Retry-After": "0"})
    hub.refusals += [busy, Answer(503, b"")]
    assert resolve(hub, client, "hf:Tiny/One-onnx").name == "Tiny--One-onnx"
    hub.refusals += [busy]
    assert HuggingFaceSource(hub.url, "").search("tiny-nothing", 1, client) == []
    hub.refusals += [busy] * 3
    with pytest.raises(SourceUnreachableError, match="status 429"):
        resolve(hub, client, "hf:Tiny/One-onnx")


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"<html>"),
        Answer(200, b"[]"),
        Answer(200, b"{}"),
        Answer(200, json.dumps({"id": "a/b", "sha": COMMIT, "siblings": [{"size": 1}]}).encode()),
        Answer(200, json.dumps({"id": "a/b", "sha": COMMIT, "siblings": [{"rfilename": "x", "size": "1"}]}).encode()),
        Answer(200, json.dumps({"id": "a/../../b", "sha": COMMIT, "siblings": []}).encode()),
        Answer(200, json.dumps({"id": "a/b", "sha": "main", "siblings": []}).encode()),
        Answer(
            200,
            json.dumps(
                {
                    "id": "a/b",
                    "sha": COMMIT,
                    "siblings": [{"rfilename": "x", "size": 1, "lfs": {"sha256": 5, "size": 1, "pointerSize": 1}}],
                }
            ).encode(),
        ),
        Answer(418, b"{}"),
    ],
)
def test_an_odd_answer_is_an_error_of_the_source(hub: FakeHub, client: HttpClient, answer: Answer) -> None:
    hub.refusals.append(answer)
    with pytest.raises(SourceError):
        resolve(hub, client, "hf:Tiny/One-onnx")


@pytest.mark.parametrize("size", [-1, (4 << 40) + 1, 10**30])
def test_a_size_that_no_file_has_is_an_error_of_the_source(hub: FakeHub, client: HttpClient, size: int) -> None:
    siblings = [{"rfilename": "genai_config.json", "size": 9}, {"rfilename": "model.onnx", "size": size}]
    hub.repositories["Tiny/Huge"] = FakeRepository(model(), extra={"siblings": siblings})
    with pytest.raises(SourceError, match=r"says that model\.onnx has a size that no file has"):
        resolve(hub, client, "hf:Tiny/Huge")


ODD = "\x1b[31mred\x1b]0;title\x07\r\n\x9b2J\ud800\u202e"


def is_plain(text: str, longest: int) -> bool:
    return text.isprintable() and len(text) <= longest


def test_texts_of_the_hub_are_one_printable_line_of_bounded_length(hub: FakeHub, client: HttpClient) -> None:
    card = {"license": f"{ODD}mit" * 40, "license_link": f"https://x/{ODD}" * 400}
    hub.repositories["Tiny/Odd"] = FakeRepository(
        {**model(), "genai_config.json": config(f"{ODD}provider" * 40)}, extra={"cardData": card}
    )
    found = resolve(hub, client, "hf:Tiny/Odd")
    assert found.license.startswith("[31mred")
    assert is_plain(found.license, 80)
    assert is_plain(found.license_description, 1000)
    assert is_plain(found.execution_provider, 200)
    hub.repositories["Tiny/Tagged"] = FakeRepository(model(), license=f"{ODD}own", extra={"cardData": {}})
    assert is_plain(resolve(hub, client, "hf:Tiny/Tagged").license, 80)


def test_files_with_names_that_cannot_be_shown_are_left_out(hub: FakeHub, client: HttpClient) -> None:
    hub.repositories["Tiny/Odd"] = FakeRepository(
        {**model(), **model(ODD), **model("x" * 201), f"{ODD}.png": b"p", "Screenshot 3.42\u202fPM.png": b"p"}
    )
    found = resolve(hub, client, "hf:Tiny/Odd")
    assert [file.path for file in HuggingFaceSource(hub.url, "").open(found, client).files] == list(model())


def test_an_error_names_some_folders_of_many(hub: FakeHub, client: HttpClient) -> None:
    files = {path: data for number in range(500) for path, data in model(f"folder-{number:03}").items()}
    hub.repositories["Tiny/Many"] = FakeRepository(files)
    for name, said in (("hf:Tiny/Many", "holds 500 models"), ("hf:Tiny/Many:other", "no model in the folder other")):
        with pytest.raises(InvalidRequestError, match=said) as caught:
            resolve(hub, client, name)
        text = f"{caught.value.message} {caught.value.hint}"
        assert "folder-009 and 490 more" in text
        assert len(text) < 500


def test_a_configuration_that_is_not_json_is_an_error_of_the_source(hub: FakeHub, client: HttpClient) -> None:
    hub.repositories["Tiny/Bad"] = FakeRepository({**model(), "genai_config.json": b"{"})
    with pytest.raises(SourceError, match="not JSON"):
        resolve(hub, client, "hf:Tiny/Bad")


def test_nothing_is_asked_when_the_network_is_switched_off(client: HttpClient) -> None:
    with pytest.raises(OfflineError):
        HuggingFaceSource("https://huggingface.co", "").resolve(HuggingFaceReference("a/b"), client)


def test_a_server_that_is_not_there_is_named(client: HttpClient) -> None:
    with pytest.raises(SourceUnreachableError, match=r"http://127\.0\.0\.1:9 cannot be reached: connection refused"):
        HuggingFaceSource("http://127.0.0.1:9", "").resolve(HuggingFaceReference("a/b"), client)
    with pytest.raises(SourceUnreachableError, match=r"http://127\.0\.0\.1:9 cannot be reached: connection refused"):
        HuggingFaceSource("http://127.0.0.1:9", "").search("a", 1, client)


@pytest.mark.slow
def test_a_server_that_does_not_answer_is_waited_for_no_longer_than_the_limit() -> None:
    once = HttpClient(is_offline=True, retry=RetryPolicy(tries=1))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        source = HuggingFaceSource(f"http://127.0.0.1:{silent.getsockname()[1]}", "")
        with pytest.raises(SourceUnreachableError, match="does not answer in time"):
            source.resolve(HuggingFaceReference("a/b"), once)
        with pytest.raises(SourceUnreachableError, match="does not answer in time"):
            source.search("a", 1, once)


def test_endpoint_and_token_come_from_the_environment_at_each_call(
    hub: FakeHub, client: HttpClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = HuggingFaceSource()
    monkeypatch.setenv("HF_ENDPOINT", f"{hub.url}/")
    monkeypatch.setenv("HF_TOKEN", "key")
    assert source.resolve(HuggingFaceReference("Tiny/Private-onnx"), client).name == "Tiny--Private-onnx"


@pytest.mark.parametrize(
    "endpoint",
    ["huggingface.co", "http://[", "http://h:99999", "http://h:x", "http://:80", "http://u@h", "http://h?x", "http://h\x1b"],
)
def test_an_endpoint_that_is_no_address_is_named(client: HttpClient, monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    with pytest.raises(ConfigError, match="HF_ENDPOINT is not the address of a web server"):
        HuggingFaceSource().resolve(HuggingFaceReference("Tiny/Private-onnx"), client)
    with pytest.raises(ConfigError, match="HF_ENDPOINT"):
        HuggingFaceSource().search("tiny", 1, client)


def test_loopback_is_reached_without_the_proxy(hub: FakeHub, client: HttpClient, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    huggingface_hub.close_session()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert resolve(hub, client, "hf:Tiny/One-onnx").name == "Tiny--One-onnx"


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_wants_a_name_is_told_apart_from_the_hub(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    import huggingface_hub

    huggingface_hub.close_session()
    seen: list[bytes] = []
    with wire_server(proxy_that_refuses(seen)) as port:
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", f"http://127.0.0.1:{port}")
        with pytest.raises(SourceError, match=f"The proxy on the way to {scheme}://hub.example wants to know who asks"):
            HuggingFaceSource(f"{scheme}://hub.example", "").search("tiny", 1, HttpClient())
    assert len(seen) == 1
    huggingface_hub.close_session()


@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_asked_again_and_that_is_said() -> None:
    said: list[str] = []
    retry = RetryPolicy(document_tries=2, first_wait=0.01)
    client = HttpClient(is_offline=True, retry=retry, on_wait=said.append)
    busy = Answer(503, b"", {"Retry-After": "3"})
    with web_server(lambda _: busy) as server, pytest.raises(SourceUnreachableError, match="answers with status 503"):
        HuggingFaceSource(server.url, "").search("tiny", 1, client)
    assert said == [f"{server.url} answers with status 503. Asking again in 3 s."]
    assert len(server.seen) == 2


def test_nothing_about_the_machine_is_told_and_nothing_else_is_asked(hub: FakeHub, tmp_path: Path) -> None:
    code = (
        "from foundry_cli.catalog.sources.huggingface import HuggingFaceReference, HuggingFaceSource\n"
        "from foundry_cli.http import HttpClient\n"
        "HuggingFaceSource(token='').resolve(HuggingFaceReference('Tiny/One-onnx'), HttpClient(is_offline=True))"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_") and "TELEMETRY" not in name}
    environment = {**kept, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path), "AGENT": "something"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    assert [request.path.partition("?")[0] for request in hub.hub.seen] == [
        "/api/models/Tiny/One-onnx",
        f"/Tiny/One-onnx/resolve/{COMMIT}/genai_config.json",
    ]
    assert hub.hub.seen[0].headers["user-agent"].startswith("foundry-cli/")
    assert "agent/" not in hub.hub.seen[0].headers["user-agent"]
    assert list(tmp_path.iterdir()) == []


def test_a_search_gives_only_what_can_be_run_most_downloaded_first(hub: FakeHub, client: HttpClient) -> None:
    results = HuggingFaceSource(hub.url, "").search("tiny", 10, client)
    assert [result.repository for result in results] == ["Tiny/One-onnx", "Tiny/Several-onnx", "Tiny/Nested-onnx"]
    assert results[0].references == ["hf:Tiny/One-onnx"]
    assert results[1].references[-1] == "hf:Tiny/Several-onnx:cuda"
    assert results[2].references[0] == "hf:Tiny/Nested-onnx:."
    assert (results[0].license, results[0].downloads, results[0].is_gated) == ("mit", 50, False)
    assert HuggingFaceSource(hub.url, "").search("nothing", 10, client) == []
    assert [result.repository for result in HuggingFaceSource(hub.url, "").search("tiny", 1, client)] == ["Tiny/One-onnx"]


def test_a_search_leaves_out_what_cannot_be_named(hub: FakeHub, client: HttpClient) -> None:
    hub.repositories |= {
        f"Tiny/{ODD}": FakeRepository(model(), downloads=70),
        "tiny-gpt2": FakeRepository(model(), downloads=69),
        "Tiny/Long" + "x" * 100: FakeRepository(model(), downloads=68),
        "Tiny/Counted": FakeRepository(model(), downloads=67, license=ODD, extra={"downloads": ODD, "tags": None}),
    }
    results = HuggingFaceSource(hub.url, "").search("tiny", 10, client)
    assert [result.repository for result in results][:2] == ["Tiny/Counted", "Tiny/One-onnx"]
    assert (is_plain(results[0].license, 80), results[0].downloads) == (True, 0)


def test_a_search_at_a_server_that_refuses_is_an_error(hub: FakeHub, client: HttpClient) -> None:
    hub.refusals.append(Answer(401, b"{}"))
    with pytest.raises(SourceError, match="status 401"):
        HuggingFaceSource(hub.url, "").search("tiny", 10, client)


def test_an_address_that_is_refused_is_not_given_again(hub: FakeHub, client: HttpClient) -> None:
    remote = HuggingFaceSource(hub.url, "").open(resolve(hub, client, "hf:Tiny/One-onnx"), client)
    address = remote.address(remote.files[0])
    with pytest.raises(SourceError, match="refuses"):
        remote.address(remote.files[0], stale=address)


def test_the_token_is_in_no_message_and_no_text_of_an_object(hub: FakeHub, client: HttpClient) -> None:
    remote = HuggingFaceSource(hub.url, "key").open(resolve(hub, client, "hf:Tiny/Gated-onnx", "key"), client)
    assert "key" not in repr(remote)
    hub.refusals.append(Answer(403, b"{}"))
    with pytest.raises(FoundryError) as caught:
        resolve(hub, client, "hf:Tiny/Gated-onnx", "very-secret")
    assert "very-secret" not in f"{caught.value.message} {caught.value.hint}"


def test_the_library_is_not_loaded_before_it_is_needed() -> None:
    code = "import sys, foundry_cli.catalog.sources.huggingface; sys.exit('huggingface_hub' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
