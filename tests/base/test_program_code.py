"""Which code this is."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from foundry_cli import program_code


def _digest_of(file: Path) -> Callable[[], str]:
    """`code_digest` of the program whose copy of that module `file` is."""
    spec = importlib.util.spec_from_file_location("copy_of_program_code", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    digest: Callable[[], str] = module.code_digest
    return digest


def test_the_digest_is_of_names_and_contents(tmp_path: Path) -> None:
    file = tmp_path / "program_code.py"
    shutil.copy(program_code.__file__, file)
    (tmp_path / "native").mkdir()
    library = tmp_path / "native" / "kernels.so"
    library.write_bytes(b"first")
    digest = _digest_of(file)
    first = digest()
    os.utime(library, (1, 1))
    (tmp_path / "notes.txt").write_text("not code")
    (tmp_path / "__pycache__").mkdir(exist_ok=True)
    (tmp_path / "__pycache__" / "other.py").write_text("compiled")
    assert digest() == first
    library.write_bytes(b"other")
    second = digest()
    library.rename(library.with_name("renamed.so"))
    third = digest()
    (tmp_path / "dangling.py").symlink_to("nowhere")
    assert digest() == third
    assert len({first, second, third}) == 3
