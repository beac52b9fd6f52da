"""Facts for a report about a problem, and the logs as a zip file, without secrets."""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import stat
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from foundry_cli import __version__
from foundry_cli.config import load_config
from foundry_cli.errors import FoundryError
from foundry_cli.hardware.processors import limits_of_process
from foundry_cli.home import way_out
from foundry_cli.instance import read_instance
from foundry_cli.log import LOG_NAME
from foundry_cli.paths import Paths, user_home

_MOST_LOG_BYTES = 10 * 1024 * 1024  # of each file, its end
_LOG_PATTERN = re.compile(r"\A(foundry\.log(\.\d)?|console\.log)\Z")
_SECRET_NAME = re.compile(r"TOKEN|KEY|SECRET|PASSWORD|PASSWD|CREDENTIAL|AUTH|PROXY", re.IGNORECASE)
_FIRST_ZIP_TIME, _LAST_ZIP_TIME = (1980, 1, 1, 0, 0, 0), (2107, 12, 31, 23, 59, 58)
_SHORTEST_SECRET = 6  # characters; shorter values are everyday words
_SECRET_SHAPES = re.compile(
    r"(?i)(bearer\s+)[\w.~+/=-]+|\b(?:sk|hf|ghp|pat)[-_][\w-]{8,}|([?&](?:sig|token|key|code)=)[^&\s\"']+|(://)[^/\s:@]+:[^/\s@]+@"
)


def facts(paths: Paths) -> dict[str, Any]:
    """What a report should say about machine, program and service."""
    import psutil

    config = load_config(paths)
    record = read_instance(paths.instance_file)
    memory = psutil.virtual_memory()
    return {
        "Version": __version__,
        "Python": platform.python_version(),
        "System": platform.platform(),
        "Processor": f"{platform.machine()}, {psutil.cpu_count(logical=False) or '?'} cores",
        "Memory": f"{memory.total >> 20} MiB, {memory.available >> 20} MiB free",
        "Threads": limits_of_process(record.pid if record else None).text(),
        "Runtime": package_versions("onnxruntime-genai", "onnxruntime"),
        "Engine": config.engine,
        "Home": str(paths.home),
        "Cache": str(config.cache_path(paths)),
        "Log": str(paths.logs / LOG_NAME),
        "Log level": config.log_level,
        "Service": record.base_url if record else "not running",
        "Service PID": record.pid if record else None,
    }


def package_versions(*packages: str) -> str:
    """Names and versions of installed packages; of one that is not, that it is missing."""
    from importlib.metadata import PackageNotFoundError, version

    found = []
    for package in packages:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            found.append(f"{package} is missing")
    return ", ".join(found)


def log_lines(paths: Paths) -> Iterator[str]:
    """The current log, line by line, without secrets; none when there is no log yet. Raises `FoundryError`."""
    path = paths.logs / LOG_NAME
    try:
        text = redact(_read_end(path))
    except FileNotFoundError:
        return
    except OSError as error:
        raise FoundryError(f"{path} cannot be read: {error.strerror}.", hint=way_out(error, path, paths)) from error
    yield from text.splitlines()


def zip_logs(paths: Paths, target: Path | None) -> Path:
    """Write the zip and return its path. Raises `FoundryError`; an existing file is never replaced."""
    target = target or Path(time.strftime("foundry-logs-%Y%m%d-%H%M%S.zip"))
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise FoundryError(f"{target} exists already.", hint="Name another file.") from error
    except OSError as error:
        raise FoundryError(f"{target} cannot be written: {error.strerror}.") from error
    try:
        with os.fdopen(descriptor, "wb") as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, text in _documents(paths):
                archive.writestr(_entry(name), text)
    except BaseException as error:
        target.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise FoundryError(f"{target} cannot be written: {error.strerror}.") from error
        raise
    return target.absolute()


def _entry(name: str) -> zipfile.ZipInfo:
    """A file of the zip, for its owner only, with the time of now as far as the format goes."""
    now = time.localtime()[:6]
    entry = zipfile.ZipInfo(name, max(_FIRST_ZIP_TIME, min(now, _LAST_ZIP_TIME)))
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o600 << 16
    return entry


def _documents(paths: Paths) -> Iterator[tuple[str, str]]:
    """Only what is named here goes into the zip."""
    yield "diagnostics.json", redact(json.dumps(facts(paths), indent=2))
    names, left_out = _names_of_logs(paths)
    for name in names:
        try:
            text = _read_end(paths.logs / name)
        except OSError as error:
            left_out.append(f"{name}: {error.strerror}")
        else:
            yield f"logs/{name}", redact(text)
    if left_out:
        yield "left-out.txt", redact("\n".join(left_out) + "\n")


def _names_of_logs(paths: Paths) -> tuple[list[str], list[str]]:
    """Names of the files that are logs, and of what else is in their directory."""
    try:
        names = sorted(os.listdir(paths.logs))
    except FileNotFoundError:
        names = []
    except OSError as error:
        return [], [f"logs: {error.strerror}"]
    return [name for name in names if _LOG_PATTERN.match(name)], [name for name in names if not _LOG_PATTERN.match(name)]


def _read_end(path: Path) -> str:
    """The end of a log file. Raises `OSError`, also for anything that is not a plain file of ours."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    with os.fdopen(descriptor, "rb") as stream:
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a plain file", str(path))
        stream.seek(max(0, status.st_size - _MOST_LOG_BYTES))
        return stream.read(_MOST_LOG_BYTES).decode("utf-8", "replace")


def redact(text: str) -> str:
    """`text` without values of secret-looking variables, things shaped like secrets, and the user's name in paths."""
    for name, value in os.environ.items():
        if _SECRET_NAME.search(name) and len(value) >= _SHORTEST_SECRET:
            text = text.replace(value, "[removed]")
    text = _SECRET_SHAPES.sub(lambda match: "".join(part or "" for part in match.groups()) + "[removed]", text)
    try:
        home = str(user_home())
    except (RuntimeError, KeyError):  # this user has none
        return text
    return text.replace(home, "~") if home not in ("/", "") else text
