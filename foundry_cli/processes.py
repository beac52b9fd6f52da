"""Processes that outlive the one that starts them."""

from __future__ import annotations

from typing import Any


def detached(platform: str) -> dict[str, Any]:
    """How a process leaves its starter's session, console and signals behind on `platform` (a value of `sys.platform`)."""
    if platform == "win32":
        # CREATE_NO_WINDOW, CREATE_NEW_PROCESS_GROUP, DETACHED_PROCESS: named by `subprocess` on Windows only
        return {"creationflags": 0x08000000 | 0x00000200 | 0x00000008}
    return {"start_new_session": True}
