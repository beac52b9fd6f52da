"""Microsoft's emulator of Azure Blob Storage (npm package `azurite`) as a child process: real signatures, real ranges."""

from __future__ import annotations

import base64
import email.utils
import hashlib
import hmac
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

import requests

ACCOUNT = "devstoreaccount1"
_KEY = base64.b64decode("Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==")  # public
_VERSION = "2020-12-06"
_LISTENS = re.compile(r"listens on http://127\.0\.0\.1:(\d+)")
MISSING = "azurite-blob is not installed: npm install --prefix ~/.cache/foundry-tests azurite"


def find_azurite() -> str | None:
    """The program: what FOUNDRY_TEST_AZURITE names, else from PATH, else where `.ci/run` installs it."""
    usual = Path.home() / ".cache" / "foundry-tests" / "node_modules" / ".bin" / "azurite-blob"
    return _CHOSEN or shutil.which("azurite-blob") or (str(usual) if usual.exists() else None)


# at import: a fixture of all tests removes the project's variables from the environment
_CHOSEN = os.environ.get("FOUNDRY_TEST_AZURITE")


class Azurite:
    """A running emulator."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/{ACCOUNT}"
        self._session = requests.Session()
        self._session.trust_env = False

    def make_container(self, name: str) -> None:
        """An empty container; the name has three lower-case letters or more."""
        self._signed("PUT", f"{self.url}/{name}?restype=container")

    def upload(self, container: str, name: str, content: bytes | Path) -> None:
        """A blob with `content`, or with that of a file."""
        url = f"{self.url}/{container}/{quote(name, safe='/')}"
        if isinstance(content, Path):
            with content.open("rb") as stream:
                self._signed("PUT", url, stream, os.fstat(stream.fileno()).st_size)
        else:
            self._signed("PUT", url, content, len(content))

    def container_url(self, container: str, *, seconds: float = 3600, permissions: str = "rl") -> str:
        """The address of a container with a signature that is valid for that long from now; a negative time: expired."""
        expiry = (datetime.now(timezone.utc) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
        resource = f"/blob/{ACCOUNT}/{container}"
        text = "\n".join([permissions, "", expiry, resource, "", "", "", _VERSION, "c", *[""] * 7])
        query = {"sv": _VERSION, "se": expiry, "sr": "c", "sp": permissions, "sig": _sign(text)}
        return f"{self.url}/{container}?{urlencode(query)}"

    def close(self) -> None:
        """Close the connections of this object."""
        self._session.close()

    def _signed(self, method: str, url: str, body: object = None, length: int = 0) -> None:
        headers = {"x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": _VERSION}
        if body is not None:
            headers["x-ms-blob-type"] = "BlockBlob"
        named = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
        parts = urlsplit(url)
        resource = f"/{ACCOUNT}{parts.path}" + "".join(f"\n{key}:{value}" for key, value in sorted(parse_qsl(parts.query)))
        text = "\n".join([method, "", "", str(length) if length else "", *[""] * 8]) + "\n" + named + resource
        headers["Authorization"] = f"SharedKey {ACCOUNT}:{_sign(text)}"
        response = self._session.request(method, url, headers=headers, data=body)  # type: ignore[arg-type]
        assert response.status_code == 201, (response.status_code, unquote(parts.path), response.text[:500])


def _sign(text: str) -> str:
    return base64.b64encode(hmac.new(_KEY, text.encode(), hashlib.sha256).digest()).decode()


@contextmanager
def azurite(location: Path | None = None) -> Iterator[Azurite]:
    """The emulator, in memory or with its data in `location`, for as long as the block lasts.

    Raises `FileNotFoundError` when it is not installed: ask `find_azurite` first.
    """
    program = find_azurite()
    if program is None:
        raise FileNotFoundError(MISSING)
    place = ["--location", str(location)] if location else ["--inMemoryPersistence"]
    options = ["--blobPort", "0", "--skipApiVersionCheck", "--disableProductStyleUrl", "--disableTelemetry", *place]
    # without its access log the pipe holds a few lines and never fills up
    with subprocess.Popen([program, *options, "--silent"], stdout=subprocess.PIPE, text=True) as process:
        emulator = None
        try:
            emulator = Azurite(_port(process))
            yield emulator
        finally:
            if emulator:
                emulator.close()
            process.terminate()
            process.communicate()  # it writes when it ends


def _port(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if match := _LISTENS.search(line):
            return int(match.group(1))
    raise RuntimeError(f"azurite-blob does not start: {''.join(lines)}")
