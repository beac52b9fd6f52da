"""Keeping a key from callers: some servers repeat the request in what they say of an error."""

from __future__ import annotations

import json
from dataclasses import dataclass

_SHORTEST = 8  # characters; `none` and `local` are keys of servers that want none, and words of other texts
_MARK = b"[key]"


@dataclass(frozen=True)
class Redaction:
    """Takes `key` out of what a server says."""

    key: str | None

    @property
    def secret(self) -> bytes:
        """What must not come out; nothing when there is no secret."""
        return self.key.encode() if self.key and len(self.key) >= _SHORTEST else b""

    def cleaned(self, text: bytes) -> bytes:
        """`text` without the key, as it is or as it stands in JSON."""
        if not self.secret:
            return text
        escaped = json.dumps(self.secret.decode())[1:-1]
        for form in (escaped.replace("/", "\\/").encode(), escaped.encode(), self.secret):
            text = text.replace(form, _MARK)
        return text

    def cleaned_lines(self, lines: bytes) -> bytes:
        """Whole lines of a stream; those that tell of no error are let be."""
        return self.cleaned(lines) if self.secret and b"error" in lines else lines
