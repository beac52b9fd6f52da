"""The original as a peer: the core of its SDK with its web service switched on, on the same model.

usage: original.py MODEL_DIR [--install-only]

The package `foundry-local-sdk`, with the core and the ONNX Runtime that it requires, gets an environment of its own below
~/.cache/foundry-bench: nearly a gigabyte. The version is the last of 1.x, since the web service of 2.x does not see models
of one's own. The core finds the model in a cache that lasts as long as the server, and has its own number of threads. As a
command this starts the server and says where, until Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlsplit

from measuring import MODEL, Endpoint, note

VERSION = "1.2.4"
_PACKAGE = f"foundry-local-sdk=={VERSION}"  # requires the same version of the core, and one of ONNX Runtime
_ENVIRONMENT = Path("~/.cache/foundry-bench").expanduser() / f"original-{VERSION}"
_PYTHON = _ENVIRONMENT / "bin" / "python"
_INSTALLED = _ENVIRONMENT / "installed"  # written when everything is there


def add_original_option(parser: argparse.ArgumentParser) -> None:
    """`--original`, for benchmarks that know this peer."""
    parser.add_argument("--original", action="store_true", help=f"compare with the original's core {VERSION}")


def install() -> None:
    """Make the environment, as far as it is not there. Ends the program when that is impossible."""
    if _INSTALLED.exists():
        return
    note(f"original: installing {_PACKAGE}")
    for command in ([sys.executable, "-m", "venv", _ENVIRONMENT], [_PYTHON, "-m", "pip", "install", "--quiet", _PACKAGE]):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
        if done.returncode:
            end = "\n".join(done.stdout.splitlines()[-15:])
            raise SystemExit(f"original: the installation failed with status {done.returncode}.\n{end}")
    _INSTALLED.touch()


def _fill_cache(home: Path, model: Path) -> None:
    """The model where the core looks for it."""
    cache = home / "cache" / "models"
    name, _, version = MODEL.partition(":")
    directory = cache / "Bench" / f"{name}-{version}" / "v1"
    shutil.copytree(model, directory)
    (directory / "inference_model.json").write_text(json.dumps({"Name": MODEL, "PromptTemplate": None}))
    # Without a catalogue it loads no model, not even one that is there. It falls back to this one when there is no network.
    catalogue = {"version": 1, "savedAt": datetime.now(timezone.utc).isoformat(), "models": [], "detectedRegion": "eastus"}
    (cache / "foundry.modelinfo.json").write_text(json.dumps(catalogue))


@contextmanager
def original_server(model: Path) -> Iterator[Endpoint]:
    """The original's web service with `model` loaded."""
    install()
    with tempfile.TemporaryDirectory(prefix="foundry-bench-", ignore_cleanup_errors=True) as directory:
        home = Path(directory)
        _fill_cache(home, model)
        script = Path(__file__).with_name("original_core.py")
        log = home / "server.log"
        with log.open("wb") as errors:
            process = subprocess.Popen(
                [_PYTHON, script, home, MODEL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        try:
            yield Endpoint("original", _port(process, log))
        finally:
            try:
                process.communicate(timeout=10)  # closes its standard input, which ends it
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()


def _port(process: subprocess.Popen[str], log: Path) -> int:
    """Where the server listens; it says so when the model is loaded."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("http://") and (port := urlsplit(line.strip()).port):
            return port
    end = "\n".join(log.read_text("utf-8", "replace").splitlines()[-15:])
    raise SystemExit(f"original: the server did not start.\n{end}")


def main() -> None:
    """Install, and run a server for other programs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--install-only", action="store_true")
    arguments = parser.parse_args()
    install()
    if arguments.install_only:
        return
    with original_server(arguments.model) as endpoint:
        print(f"http://127.0.0.1:{endpoint.port}", flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
