"""Compiles the kernels of `foundry_cli/engine/native` while the package is built; without a compiler it is built without them.

They are for Linux on x86-64; the package works without them, then ONNX Runtime computes everything. The compiler is `CC`, or
else cc, gcc or clang.
"""

from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_FOLDER = "foundry_cli/engine/native"
_LIBRARY = f"{_FOLDER}/kernels.so"
_FLAGS = ("-std=gnu11", "-O3", "-fPIC", "-shared", "-pthread", "-fvisibility=hidden")


class NativeBuildHook(BuildHookInterface[Any]):
    """Adds the library to the wheel; for an editable installation it is put beside its sources."""

    PLUGIN_NAME = "native"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """See hatchling's documentation of build hooks."""
        if self.target_name != "wheel" or sys.platform != "linux" or platform.machine() != "x86_64":
            return
        root = Path(self.root)
        if version == "editable":
            (root / _LIBRARY).unlink(missing_ok=True)  # of earlier sources
            _compile(root, root / _LIBRARY)
            return
        self._directory = tempfile.TemporaryDirectory()
        library = Path(self._directory.name) / "kernels.so"
        if _compile(root, library):
            build_data["force_include"][str(library)] = _LIBRARY
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def _compile(root: Path, library: Path) -> bool:
    compiler = os.environ.get("CC") or next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        print("foundry: no C compiler was found, ONNX Runtime's own kernels will be used.", file=sys.stderr)
        return False
    partial = library.with_suffix(".partial")
    sources = map(str, sorted((root / _FOLDER).glob("*.c")))
    try:
        command = [*shlex.split(compiler), *_FLAGS, "-o", str(partial), *sources]
        subprocess.run(command, check=True, capture_output=True, text=True, errors="replace")
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", None) or error
        print(f"foundry: the kernels were not built, ONNX Runtime's own will be used: {reason}", file=sys.stderr)
        return False
    partial.replace(library)
    return True
