"""How long work tells what it is doing."""

from __future__ import annotations

from collections.abc import Callable

Say = Callable[[str, str], None]
"""Is told the phase of the work, and how far it is ("3 of 28"; "" when that is not known)."""
