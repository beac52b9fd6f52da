"""Things that must agree before a release: version and changelog, and what the wheel holds and weighs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BUNDLED = ROOT / "foundry_cli" / "catalog" / "bundled"
LARGEST_BUNDLE = 12 * 1000 * 1000  # bytes


def problems() -> list[str]:
    """One line per disagreement."""
    found = []
    init = (ROOT / "foundry_cli" / "__init__.py").read_text(encoding="utf-8")
    version = re.search(r'__version__ = "([^"]+)"', init)
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[([^\]]+)\]", changelog, re.MULTILINE)
    if not version or not headings or headings[0] not in ("Unreleased", version[1]):
        found.append(f"CHANGELOG.md begins with {headings[:1]}, the version is {version and version[1]}")
    size = sum(path.stat().st_size for path in BUNDLED.rglob("*") if path.is_file())
    if size > LARGEST_BUNDLE:
        found.append(f"the bundled model weighs {size} bytes, more than {LARGEST_BUNDLE}")
    links = [path for path in BUNDLED.rglob("*") if path.is_symlink()]
    found += [f"{path} is a link" for path in links]
    return found


def main() -> None:
    """Print the problems and exit with 1 when there are some."""
    found = problems()
    print("\n".join(found))
    sys.exit(1 if found else 0)


main()
