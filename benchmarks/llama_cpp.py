"""llama.cpp as a peer: compiled from the sources in the package `llama-cpp-python`, on a model of the same shape.

usage: llama_cpp.py MODEL_DIR [--server server|python] [--slots 8] [--jobs 1] [--build-only]

Everything is below ~/.cache/foundry-bench: an environment with `llama-cpp-python[server]` and `gguf`, the sources, what was
compiled of them (once; at the lowest priority, a quarter of an hour or more with one job; a build that was interrupted goes
on), and GGUF files by the shape of the model. There are two servers: `server` is llama.cpp's own, which batches its clients;
`python` is that of llama-cpp-python, which answers one after the other. As a command this starts one and says where, until
Ctrl-C.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from measuring import Endpoint, note

from foundry_cli.hardware.processors import usable_cores

PACKAGE = "llama-cpp-python"
ROOT = Path("~/.cache/foundry-bench").expanduser()
SERVERS = ("server", "python")
_TARGETS = {"server": ("llama-server", "llama-server*"), "python": ("llama", "libllama.*")}  # to make, and the file
_ENVIRONMENT = ROOT / "llama-cpp"
_PYTHON = _ENVIRONMENT / "bin" / "python"
_BUILD = ROOT / "llama-cpp-build"
_BINARIES = _BUILD / "bin"
_CONTEXT = 4096  # tokens of a slot
_START_SECONDS = 120
_CMAKE_OPTIONS = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "ON",  # the Python package loads the same library
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",  # would be downloaded
    "LLAMA_OPENSSL": "OFF",
}


def add_option(parser: argparse.ArgumentParser) -> None:
    """`--llama-cpp`, for benchmarks that know this peer."""
    parser.add_argument(
        "--llama-cpp",
        nargs="?",
        choices=SERVERS,
        const="server",
        help="compare with llama.cpp's server, or with llama-cpp-python's",
    )


# --- building --------------------------------------------------------------------------------------------------------


def build(server: str, jobs: int = 1) -> None:
    """Make the environment and `server`, as far as they are not there. Ends the program when that is impossible."""
    if not _PYTHON.exists():
        _do([sys.executable, "-m", "venv", str(_ENVIRONMENT)], "making a virtual environment")
    if not _has_modules("gguf", "cmake", "ninja"):
        _do([str(_PYTHON), "-m", "pip", "install", "--quiet", "gguf", "cmake", "ninja"], "installing gguf, cmake and ninja")
    target, made = _TARGETS[server]
    if not any(_BINARIES.glob(made)):
        _compile(_sources(), target, jobs)
    if server == "python":
        _install_python_server()


def _install_python_server() -> None:
    if not _has_modules("llama_cpp", "fastapi", "sse_starlette"):
        # The package would compile the same sources again; it gets the libraries that are there.
        switches = {"CMAKE_ARGS": "-DLLAMA_BUILD=OFF -DLLAVA_BUILD=OFF"}
        command = [str(_PYTHON), "-m", "pip", "install", "--quiet", f"{PACKAGE}[server] @ {_archive().as_uri()}"]
        _do(command, f"installing {PACKAGE}", switches)
    _link_libraries()


def _link_libraries() -> None:
    command = [str(_PYTHON), "-c", "import sysconfig; print(sysconfig.get_path('platlib'))"]
    place = Path(subprocess.check_output(command, text=True).strip()) / "llama_cpp" / "lib"
    if not place.exists():
        place.symlink_to(_BINARIES, target_is_directory=True)


def _has_modules(*names: str) -> bool:
    code = f"import importlib.util as u, sys; sys.exit(not all(u.find_spec(n) for n in {names!r}))"
    return subprocess.run([str(_PYTHON), "-c", code], cwd=ROOT).returncode == 0


def _archive() -> Path:
    """The package's sources as the registry has them."""
    directory = ROOT / "sdist"
    pattern = "llama_cpp_python-*.tar.gz"
    if not any(directory.glob(pattern)):
        command = [str(_PYTHON), "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", PACKAGE, PACKAGE]
        _do([*command, "--dest", str(directory)], f"downloading the sources of {PACKAGE}")
    return max(directory.glob(pattern), key=lambda path: path.stat().st_mtime)


def _sources() -> Path:
    archive = _archive()
    directory = ROOT / archive.name.removesuffix(".tar.gz")
    if not directory.exists():
        note(f"llama.cpp: unpacking {archive.name}")
        with tarfile.open(archive) as tar:
            tar.extractall(ROOT, filter="data")
    return directory / "vendor" / "llama.cpp"


def _compile(sources: Path, target: str, jobs: int) -> None:
    compilers = [name for name in (os.environ.get("CXX", ""), "c++", "g++", "clang++") if name and shutil.which(name)]
    if not compilers:
        raise SystemExit("llama.cpp: there is no C++ compiler here (c++, g++, clang++), and the package has no binary wheel.")
    tools = _ENVIRONMENT / "bin"
    options = [f"-D{name}={value}" for name, value in _CMAKE_OPTIONS.items()]
    configure = [str(tools / "cmake"), "-S", str(sources), "-B", str(_BUILD), "-G", "Ninja"]
    _do([*configure, f"-DCMAKE_MAKE_PROGRAM={tools / 'ninja'}", *options], "configuring")
    command = ["nice", "-n", "19", str(tools / "cmake"), "--build", str(_BUILD), "--target", target, "-j", str(jobs)]
    _do(command, f"compiling with {jobs} job(s), log in {ROOT / 'build.log'}")


def _do(command: Sequence[str], what: str, environment: dict[str, str] | None = None) -> None:
    """Run a step; its output goes to a log, whose end is shown when it fails."""
    note(f"llama.cpp: {what}")
    ROOT.mkdir(parents=True, exist_ok=True)
    log = ROOT / "build.log"
    with log.open("wb") as stream:
        variables = {**os.environ, **(environment or {})}
        code = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, env=variables, cwd=ROOT).returncode
    if code:
        end = "\n".join(log.read_text("utf-8", "replace").splitlines()[-15:])
        raise SystemExit(f"llama.cpp: {what} failed with status {code}.\n{end}")


def gguf_file(model: Path) -> Path:
    """A GGUF file with the shape and the tokenizer of `model`, and random weights in Q4_0."""
    digest = hashlib.sha256()
    script = Path(__file__).with_name("gguf_model.py")
    for path in (model / "genai_config.json", model / "tokenizer.json", script):
        digest.update(path.read_bytes())
    target = ROOT / f"{model.name}-{digest.hexdigest()[:12]}.gguf"
    if not target.exists():
        part = target.with_suffix(".part")
        _do([str(_PYTHON), str(script), str(model.resolve()), str(part)], f"writing {target.name}")
        part.rename(target)
    return target


# --- running ---------------------------------------------------------------------------------------------------------


@contextmanager
def llama_server(model: Path, server: str, slots: int) -> Iterator[Endpoint]:
    """The server `server`, one of SERVERS, on a model of the shape of `model`, for as many clients as `slots`."""
    build(server)
    file = gguf_file(model)
    port = _free_port()
    command = {"server": _own_server, "python": _python_server}[server](file, port, slots)
    log = ROOT / f"{server}.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, cwd=ROOT)
    try:
        _wait_ready(process, port, log)
        yield Endpoint("llama.cpp" if server == "server" else PACKAGE, port, "gpt-3.5-turbo")
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _own_server(file: Path, port: int, slots: int) -> list[str]:
    threads = str(usable_cores())
    command = [str(_BINARIES / "llama-server"), "--model", str(file), "--host", "127.0.0.1", "--port", str(port)]
    return [
        *command,
        "--threads",
        threads,
        "--threads-batch",
        threads,
        "--parallel",
        str(slots),
        "--ctx-size",
        str(slots * _CONTEXT),
    ]


def _python_server(file: Path, port: int, slots: int) -> list[str]:
    threads = str(usable_cores())
    command = [str(_PYTHON), "-m", "llama_cpp.server", "--model", str(file), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--n_threads", threads, "--n_threads_batch", threads, "--n_ctx", str(_CONTEXT)]
    return [*command, "--interrupt_requests", "false"]  # by default a new request ends the one that runs


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_ready(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    opener = build_opener(ProxyHandler({}))
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with opener.open(f"http://127.0.0.1:{port}/v1/models", timeout=5) as response:
                if response.status == 200 and _is_loaded(opener, port):
                    return
        except (URLError, OSError):
            pass
        time.sleep(0.1)
    end = "\n".join(log.read_text("utf-8", "replace").splitlines()[-15:])
    raise SystemExit(f"llama.cpp: the server did not start.\n{end}")


def _is_loaded(opener: object, port: int) -> bool:
    """llama.cpp's own server answers before the model is there; the other one has no such route."""
    try:
        with opener.open(f"http://127.0.0.1:{port}/health", timeout=5) as response:  # type: ignore[attr-defined]
            return bool(response.status == 200)
    except URLError as error:
        return getattr(error, "code", 0) == 404


def main() -> None:
    """Build, and run a server for other programs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--server", choices=SERVERS, default="server")
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--build-only", action="store_true")
    arguments = parser.parse_args()
    build(arguments.server, arguments.jobs)
    if arguments.build_only:
        print(gguf_file(arguments.model))
        return
    with llama_server(arguments.model, arguments.server, arguments.slots) as endpoint:
        print(f"http://127.0.0.1:{endpoint.port}", flush=True)
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
