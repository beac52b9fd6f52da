"""Downloading from a blob service against `curl`, in alternation within one run; prints one JSON document.

usage: download.py [--azurite PATH] [--runs 5] [--megabytes 600] [--streams 4]

Azurite (npm package `azurite`) serves a model of two large and some small files under real SAS signatures. `curl` fetches
the blobs one after the other. `ratio` is the median of transfer throughput over that of `curl`; the transfer counts from
its first request to the last file that has its name; `process_ratio` counts the start of the interpreter, too.
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
from foundry_cli.remote import FileAddress, RemoteFile
from foundry_cli.store.transfer import Progress, transfer

ACCOUNT = "devstoreaccount1"
# The published key of the storage emulators, no secret.
KEY = base64.b64decode("Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==")
API_VERSION = "2020-12-06"
CONTAINER = "models"
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
    """One transfer; `process` is the wall-clock time of its process."""
    root.mkdir()
    listing = json.dumps([[file.path, file.size, file.sha256] for file in files])
    began = time.perf_counter()
    command = [sys.executable, __file__, "--child", base, listing, str(root), str(streams)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.getcwd()})
    elapsed = time.perf_counter() - began
    shutil.rmtree(root)
    return {**json.loads(done.stdout), "process": elapsed}


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
        curl, own = [], []
        for _ in range(options.runs + 1):  # the first of each warms the server up
            curl.append(run_curl(base, files, directory / "curl"))
            own.append(run_transfer(base, files, directory / "own", options.streams))
    print(json.dumps(summary(sum(file.size for file in files), curl[1:], own[1:]), indent=1))


def summary(size: int, curl: list[float], own: list[dict[str, float]]) -> dict[str, object]:
    """The figures."""
    curl_seconds = statistics.median(curl)
    seconds = statistics.median(run["seconds"] for run in own)
    return {
        "bytes": size,
        "curl_megabytes_per_second": round(size / curl_seconds / 1e6, 1),
        "transfer_megabytes_per_second": round(size / seconds / 1e6, 1),
        "ratio": round(curl_seconds / seconds, 3),
        "process_ratio": round(curl_seconds / statistics.median(run["process"] for run in own), 3),
        "cpu_cores": round(statistics.median(run["cpu"] / run["seconds"] for run in own), 2),
        "cpu_seconds": round(statistics.median(run["cpu"] for run in own), 2),
        "runs": {"curl": [round(one, 2) for one in curl], "transfer": [round(run["seconds"], 2) for run in own]},
    }


if __name__ == "__main__":
    main()
