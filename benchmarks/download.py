"""Downloading from a blob service against `curl`, in alternation within one run; prints one JSON document.

usage: download.py [--azurite PATH] [--runs 5] [--megabytes 600] [--streams 4]

Azurite (npm package `azurite`) serves a model of two large and some small files. `curl` fetches the blobs one after the
other, and so does the transfer alone, in a process of its own, both with real SAS signatures; then `foundry model download`
fetches them as a whole command, from the same container as a mirror. `ratio` is the median of the throughput of the transfer
over that of `curl`; the transfer counts from its first request to the last file that has its name. `command_ratio` counts
all of the command: the start of the interpreter, index and configuration of the model, the question whether it will run,
the description; `command_without_transfer_seconds` is the command for a model that is there already.
"""

from __future__ import annotations

import argparse
import base64
import datetime
import email.utils
import hashlib
import hmac
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from foundry_cli.http import HttpClient
from foundry_cli.mirror_index import MirrorModel, write_index
from foundry_cli.remote import FileAddress, RemoteFile
from foundry_cli.store.transfer import Progress, transfer
from foundry_cli.types import ModelInfo

ACCOUNT = "devstoreaccount1"
# The published key of the storage emulators, no secret.
KEY = base64.b64decode("Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==")
API_VERSION = "2020-12-06"
CONTAINER = "models"
MODEL = "benchmark-generic-cpu"
FOUNDRY = str(Path(sys.executable).with_name("foundry"))
MIB = 1 << 20


def sign(lines: list[str]) -> str:
    """The signature of Azure Storage."""
    return base64.b64encode(hmac.new(KEY, "\n".join(lines).encode(), hashlib.sha256).digest()).decode()


def shared_access(seconds: int = 3600) -> str:
    """A query that opens the container for a while (service SAS)."""
    end = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    resource = f"/blob/{ACCOUNT}/{CONTAINER}"
    signature = sign(["racwdl", "", end, resource, "", "", "", API_VERSION, "c", "", "", "", "", "", "", ""])
    return urllib.parse.urlencode({"sv": API_VERSION, "se": end, "sr": "c", "sp": "racwdl", "sig": signature})


def make_container(base: str) -> None:
    """Create the container, authorized with the shared key."""
    headers = {"x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": API_VERSION}
    headers["x-ms-blob-public-access"] = "container"  # for the mirror
    named = [f"{name}:{value}" for name, value in sorted(headers.items())]
    canonical = f"/{ACCOUNT}/{ACCOUNT}/{CONTAINER}\nrestype:container"
    headers["Authorization"] = f"SharedKey {ACCOUNT}:{sign(['PUT', *[''] * 11, *named, canonical])}"
    requests.put(f"{base}/{CONTAINER}?restype=container", headers=headers, timeout=30).raise_for_status()


def azurite_command(given: str | None) -> list[str]:
    """How Azurite is started on this machine."""
    local = Path("node_modules/.bin/azurite-blob")
    found = given or shutil.which("azurite-blob") or (str(local) if local.exists() else None)
    return [found] if found else ["npx", "--yes", "--package", "azurite", "azurite-blob"]


@contextmanager
def azurite(command: list[str], directory: Path) -> Iterator[str]:
    """A running blob service; gives the address of the account."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    options = [
        "--skipApiVersionCheck",
        "--disableProductStyleUrl",
        "--disableTelemetry",
        "--silent",
        "--location",
        str(directory),
    ]
    process = subprocess.Popen([*command, *options, "--blobHost", "127.0.0.1", "--blobPort", str(port)])
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/{ACCOUNT}"
    finally:
        process.terminate()
        process.wait()


def upload(base: str, megabytes: int, directory: Path) -> list[RemoteFile]:
    """Put a model of that size there; its files."""
    query = shared_access()
    sizes = {"v1/model.onnx.data": megabytes * MIB * 2 // 3, "v1/model.onnx": megabytes * MIB // 3}
    sizes |= {"v1/genai_config.json": 1500, "v1/tokenizer_config.json": 7000, "v1/tokenizer.json": 7 * MIB + 5}
    files = []
    for name, size in sizes.items():
        source = directory / "source"
        block = os.urandom(MIB)
        digest = hashlib.sha256()
        with source.open("wb") as stream:
            for start in range(0, size, MIB):
                piece = (start.to_bytes(8, "big") + block[8:])[: size - start]
                stream.write(piece)
                digest.update(piece)
        headers = {"x-ms-blob-type": "BlockBlob", "x-ms-version": API_VERSION}
        with source.open("rb") as stream:
            requests.put(f"{base}/{CONTAINER}/{name}?{query}", data=stream, headers=headers, timeout=300).raise_for_status()
        source.unlink()
        files.append(RemoteFile(name, size, digest.hexdigest()))
    listed = tuple(RemoteFile(file.path.removeprefix("v1/"), file.size, file.sha256) for file in files)
    index = write_index([MirrorModel(ModelInfo(MODEL, 1, MODEL, publisher="Benchmark"), "v1", listed)])
    headers = {"x-ms-blob-type": "BlockBlob", "x-ms-version": API_VERSION}
    requests.put(f"{base}/{CONTAINER}/index.json?{query}", data=index, headers=headers, timeout=30).raise_for_status()
    return files


class BlobModel:
    """The files in the container."""

    def __init__(self, base: str, files: list[RemoteFile]) -> None:
        self.files = files
        self._base = base
        self._query = shared_access()

    def address(self, file: RemoteFile, stale: FileAddress | None = None) -> FileAddress:
        """Where `file` is."""
        return FileAddress(f"{self._base}/{CONTAINER}/{file.path}?{self._query}")


def child(base: str, listing: str, root: str, streams: int) -> None:
    """The transfer alone, in a process of its own: seconds and CPU seconds."""
    files = [RemoteFile(*entry) for entry in json.loads(listing)]
    client = HttpClient(is_offline=True)
    began, cpu = time.perf_counter(), time.process_time()

    def report(_: Progress) -> None:
        """Nobody looks at it."""

    transfer(BlobModel(base, files), Path(root), client, report, streams=streams)
    print(json.dumps({"seconds": time.perf_counter() - began, "cpu": time.process_time() - cpu}))


def run_transfer(base: str, files: list[RemoteFile], root: Path, streams: int) -> dict[str, float]:
    """One transfer."""
    root.mkdir()
    listing = json.dumps([[file.path, file.size, file.sha256] for file in files])
    command = [sys.executable, __file__, "--child", base, listing, str(root), str(streams)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()})
    shutil.rmtree(root)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def run_command(home: Path) -> tuple[float, float]:
    """Seconds of `foundry model download`, and of the same once more, when there is nothing left to do."""
    download = [FOUNDRY, "model", "download", MODEL]
    seconds = foundry(home, download), foundry(home, download)
    foundry(home, [FOUNDRY, "cache", "remove", MODEL, "--yes"])
    return seconds


def foundry(home: Path, command: list[str]) -> float:
    """Seconds of one command."""
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "FOUNDRY_HOME": str(home)})
    return time.perf_counter() - began


def run_curl(base: str, files: list[RemoteFile], root: Path) -> float:
    """Seconds of one `curl` that fetches all files one after the other."""
    root.mkdir()
    query = shared_access()
    command = ["curl", "--silent", "--fail"]
    for number, file in enumerate(files):
        command += ["--output", str(root / str(number)), f"{base}/{CONTAINER}/{file.path}?{query}"]
    began = time.perf_counter()
    subprocess.run(command, check=True)
    elapsed = time.perf_counter() - began
    shutil.rmtree(root)
    return elapsed


def main() -> None:
    """Measure and print."""
    if sys.argv[1:2] == ["--child"]:
        base, listing, root, streams = sys.argv[2:]
        child(base, listing, root, int(streams))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--azurite", help="the azurite-blob executable")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--megabytes", type=int, default=600)
    parser.add_argument("--streams", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, azurite(azurite_command(options.azurite), Path(name) / "blobs") as base:
        directory = Path(name)
        make_container(base)
        files = upload(base, options.megabytes, directory)
        foundry(directory / "home", [FOUNDRY, "catalog", "add", f"{base}/{CONTAINER}", "--name", "azurite"])
        curl, own, commands = [], [], []
        for _ in range(options.runs + 1):  # the first of each warms the server up
            curl.append(run_curl(base, files, directory / "curl"))
            own.append(run_transfer(base, files, directory / "own", options.streams))
            commands.append(run_command(directory / "home"))
    print(json.dumps(summary(sum(file.size for file in files), curl[1:], own[1:], commands[1:]), indent=1))


def summary(
    size: int, curl: list[float], own: list[dict[str, float]], commands: list[tuple[float, float]]
) -> dict[str, object]:
    """The figures."""
    curl_seconds = statistics.median(curl)
    seconds = statistics.median(run["seconds"] for run in own)
    command, without_transfer = (statistics.median(times) for times in zip(*commands, strict=True))
    return {
        "bytes": size,
        "curl_megabytes_per_second": round(size / curl_seconds / 1e6, 1),
        "transfer_megabytes_per_second": round(size / seconds / 1e6, 1),
        "ratio": round(curl_seconds / seconds, 3),
        "command_ratio": round(curl_seconds / command, 3),
        "command_without_transfer_seconds": round(without_transfer, 2),
        "cpu_cores": round(statistics.median(run["cpu"] / run["seconds"] for run in own), 2),
        "cpu_seconds": round(statistics.median(run["cpu"] for run in own), 2),
        "runs": {
            "curl": [round(one, 2) for one in curl],
            "transfer": [round(run["seconds"], 2) for run in own],
            "command": [round(one, 2) for one, _ in commands],
        },
    }


if __name__ == "__main__":
    main()
