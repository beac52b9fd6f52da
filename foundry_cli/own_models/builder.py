"""GenAI's model builder, which makes an ONNX model of a checkpoint, in a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from foundry_cli.errors import FoundryError, InvalidRequestError
from foundry_cli.own_models.phase import Say
from foundry_cli.paths import make_private_directory
from foundry_cli.store.manifest import read_object

BUILDER_COMMAND = (sys.executable, "-m", "foundry_cli.engine.model_builder")
PRECISIONS = {
    "cpu": ("int4", "int8", "fp32"),
    "cuda": ("int4", "int8", "fp16", "bf16", "fp32"),
    "dml": ("int4", "fp16"),
    "webgpu": ("int4", "int8"),
    "trtrtx": ("fp16", "bf16"),
}
"""What the builder can make: device to precisions."""

_PROVIDERS = {"trtrtx": "NvTensorRtRtx"}
_PACKAGES = ("torch", "transformers", "onnx", "onnx_ir")
_PIECE = 1 << 16  # bytes
_LARGEST_CONFIG = 1 << 20  # bytes
_LONGEST_LINE = 500  # characters of a message
_PHASES: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"Loading (?:weights|checkpoint).*?(\d+)%"), "Reading the checkpoint"),
    (re.compile(r"Reading (?:decoder )?layer (\d+)"), "Converting the layers"),
    (re.compile(r"Reading (?:embedding|final norm|LM head)"), "Converting the layers"),
    (re.compile(r"Saving .*?(\d+)%"), "Writing the weights"),
    (re.compile(r"Saving (?:GenAI config|processing files)"), "Writing configuration and tokenizer"),
)


def check_extra(find: Callable[[str], object | None] = find_spec) -> None:
    """Raise `FoundryError` when the packages of the extra `build` are not installed."""
    missing = [name for name in _PACKAGES if find(name) is None]
    if missing:
        raise FoundryError(
            f"Converting needs packages that are not installed: {', '.join(missing)}.",
            hint="Install the extra 'build' of this program: pip install '.[build]' in its sources.",
        )


def check_precision(precision: str, device: str) -> None:
    """Raise `InvalidRequestError` for a pair that the builder cannot make."""
    if precision not in PRECISIONS[device]:
        raise InvalidRequestError(
            f"The builder makes no {precision} models for {device}.",
            hint=f"For {device} there is {', '.join(PRECISIONS[device])}.",
            param="precision",
        )


class ModelBuilder:
    """Runs the builder. `log` gets everything that it says; `command` may be another one, for tests."""

    def __init__(self, log: Path, command: Sequence[str] = BUILDER_COMMAND) -> None:
        self._log = log
        self._command = command

    def build(self, checkpoint: Path, output: Path, precision: str, device: str, say: Say, *, embeds: bool = False) -> None:
        """Make a model folder `output` of the directory `checkpoint`; when interrupted, the builder is ended.

        `embeds`: a model that gives the hidden states, and no logits.
        Raises `FoundryError` with the builder's last words.
        """
        arguments = ["-i", str(checkpoint), "-o", str(output), "-p", precision, "-e", _PROVIDERS.get(device, device)]
        scratch = output.with_name("scratch")
        # Neither is the default of every version: programs in the checkpoint do not run, and no token is asked for.
        arguments += ["-c", str(scratch), "--extra_options", "hf_remote=false", "hf_token=false"]
        arguments += ["exclude_lm_head=true"] if embeds else []
        layers = read_object((checkpoint / "config.json").resolve(), _LARGEST_CONFIG).get("num_hidden_layers")
        last = ""
        with self._open_log() as log, self._start(arguments, output.parent) as process:
            try:
                for line in _lines(process, log):
                    last = line if not line[0].isspace() else last
                    _tell(line, layers, say)
            except BaseException:
                process.kill()
                raise
        if process.returncode or not output.is_dir():
            raise FoundryError(f"The conversion failed: {self._reason(process.returncode, last)}", hint=self._hint())

    def _open_log(self) -> IO[bytes]:
        try:
            make_private_directory(self._log.parent)
            return open(os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb", buffering=0)
        except OSError as error:
            raise FoundryError(f"The log file {self._log} cannot be written: {error.strerror}.") from error

    def _start(self, arguments: list[str], directory: Path) -> subprocess.Popen[bytes]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_TOKEN")}
        quiet = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "ORT_DISABLE_TELEMETRY": "1"}
        try:
            return subprocess.Popen(
                [*self._command, "--parent", str(os.getpid()), "--", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env={**kept, **quiet, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", "PYTHONSAFEPATH": "1"},
            )
        except OSError as error:
            raise FoundryError(f"The model builder cannot be started: {error.strerror}.") from error

    def _reason(self, code: int, last: str) -> str:
        if code == -getattr(signal, "SIGKILL", 9):
            return "the model builder was killed, perhaps because memory ran out."
        if "trust_remote_code" in last:
            return "the checkpoint can only be read by programs of its own, which are never run."
        words = last[:_LONGEST_LINE].strip() or f"the model builder ended with exit code {code}"
        return words if words.endswith(".") else f"{words}."

    def _hint(self) -> str:
        return f"All that the model builder said is in {self._log}."


def _lines(process: subprocess.Popen[bytes], log: IO[bytes]) -> Iterator[str]:
    """The lines of the process, also those that a progress bar overwrites; everything goes to `log`."""
    assert process.stdout is not None
    rest = b""
    while data := os.read(process.stdout.fileno(), _PIECE):
        log.write(data)
        *lines, rest = re.split(rb"[\r\n]+", rest + data)
        yield from (line.decode("utf-8", "replace") for line in lines if line.strip())
    if rest.strip():
        yield rest.decode("utf-8", "replace")


def _tell(line: str, layers: object, say: Say) -> None:
    for pattern, phase in _PHASES:
        if match := pattern.match(line):
            number = match[1] if pattern.groups else ""
            if number and phase == "Converting the layers":
                say(phase, f"{int(number) + 1} of {layers}" if isinstance(layers, int) else number)
            else:
                say(phase, f"{number} %" if number else "")
            return
