"""Running a script of `scripts` in the environment of a client."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.contracts.environments import node_folder, python_environment

_SCRIPTS = Path(__file__).parent / "scripts"
_SECONDS = 120


def run_python(script: str, requirements: tuple[str, ...], *arguments: str, env: dict[str, str] | None = None) -> Any:
    """What `script` found, run by the Python that has `requirements`."""
    return _run([str(python_environment(*requirements)), str(_SCRIPTS / script), *arguments], env)


def run_node(script: str, packages: tuple[str, ...], *arguments: str, env: dict[str, str] | None = None) -> Any:
    """What `script` found, run by Node beside `packages`: modules are looked for beside the script."""
    copy = shutil.copy(_SCRIPTS / script, node_folder(*packages))
    return _run([_node(), str(copy), *arguments], env)


def _node() -> str:
    node = shutil.which("node")
    assert node is not None, "Node is not installed"
    return node


def _run(command: list[str], env: dict[str, str] | None) -> Any:
    """The last line of the output as JSON; before it stands what the client and its children printed."""
    environment = {**(os.environ if env is None else env), "NO_PROXY": "127.0.0.1,localhost"}
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, timeout=_SECONDS)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-6000:]}"
    return json.loads(done.stdout.splitlines()[-1])
