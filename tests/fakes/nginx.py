"""A real nginx that serves one directory, as a web server for mirrors."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/bin")

_CONFIGURATION = """
daemon off;
pid {prefix}/nginx.pid;
error_log {prefix}/error.log;
events {{ worker_connections 64; }}
http {{
  access_log {prefix}/access.log;
  {temporary}
  server {{
    listen 127.0.0.1:{port};
    root {directory};
    {rules}
  }}
}}
"""
_TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


@contextmanager
def nginx(directory: Path, prefix: Path, *, password: str | None = None) -> Iterator[str]:
    """Serve `directory` for as long as the block lasts; gives the address. `password` is asked for, of the user `reader`.

    When it is started by root, its worker is another user, as usual: what that one may not read is refused. `prefix` is for
    its own files.
    """
    assert NGINX is not None
    rules = ""
    if password is not None:
        (prefix / "passwords").write_text(f"reader:{{PLAIN}}{password}\n")
        (prefix / "passwords").chmod(0o644)
        rules = f"auth_basic mirror; auth_basic_user_file {prefix}/passwords;"
    temporary = " ".join(f"{name}_temp_path {prefix}/{name};" for name in _TEMPORARY)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        text = _CONFIGURATION.format(prefix=prefix, temporary=temporary, port=port, directory=directory, rules=rules)
        (prefix / "nginx.conf").write_text(text)
        # nginx takes over a socket that listens already, so that nobody else can have the port and no request comes too early
        process = subprocess.Popen(
            [NGINX, "-p", str(prefix), "-c", str(prefix / "nginx.conf"), "-e", str(prefix / "error.log")],
            pass_fds=(listener.fileno(),),
            env={**os.environ, "NGINX": f"{listener.fileno()};"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def public_directory() -> Iterator[Path]:
    """A directory that every user can reach, unlike those of pytest: as root nginx serves as another user."""
    with tempfile.TemporaryDirectory(prefix="foundry-mirror-") as name:
        os.chmod(name, 0o755)
        (Path(name) / "nginx").mkdir()
        (Path(name) / "nginx").chmod(0o755)
        yield Path(name)
