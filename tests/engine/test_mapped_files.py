"""Memory of mapped files that is given back, and what is left alone."""

from __future__ import annotations

import mmap
import sys
from pathlib import Path

import pytest

from foundry_cli.engine.mapped_files import forget_mapped

PAGES = 64
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is given back")


def mapped(path: Path) -> mmap.mmap:
    """A private mapping of a new file, all of it read."""
    path.write_bytes(b"x" * PAGES * mmap.PAGESIZE)
    with path.open("rb") as stream:
        memory = mmap.mmap(stream.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    assert memory[:].count(b"x") == PAGES * mmap.PAGESIZE
    return memory


def resident(name: str) -> int:
    """KiB of the mapping of the file with that name."""
    lines = iter(Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines())
    next(line for line in lines if line.endswith(name))
    return int(next(line for line in lines if line.startswith("Rss:")).split()[1])


@pytest.mark.parametrize("folder", ["plain", "with a blank", "two\nlines", "f\N{LATIN SMALL LETTER O WITH DIAERESIS}lder"])
def test_pages_of_files_in_the_directory_are_given_back(tmp_path: Path, folder: str) -> None:
    directory = tmp_path / folder
    directory.mkdir()
    with mapped(directory / "weights") as memory, mapped(tmp_path / "others") as other:
        forget_mapped(directory)
        assert resident("/weights") == 0
        assert resident("/others") == PAGES * mmap.PAGESIZE // 1024
        assert memory[:3] == other[:3] == b"xxx"


def test_a_directory_that_is_reached_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with mapped(tmp_path / "real" / "weights"):
        forget_mapped(tmp_path / "link")
        assert resident("/weights") == 0


def test_what_was_written_stays(tmp_path: Path) -> None:
    with mapped(tmp_path / "weights") as memory:
        memory[5] = ord("y")
        forget_mapped(tmp_path)
        assert memory[:7] == b"xxxxxyx"
