"""Headers of another server's answer that a client gets: nothing that speaks in this service's name or for another page."""

from __future__ import annotations

from collections.abc import Mapping

_PASSED_BACK = frozenset({b"content-encoding", b"retry-after", b"retry-after-ms", b"x-should-retry"})
_PASSED_BACK_PREFIXES = (b"openai-", b"x-ratelimit-")
_MEDIA_TYPES = (b"application/json", b"text/event-stream", b"text/plain")
_OTHER_MEDIA_TYPE = b"application/octet-stream"  # no browser shows it, whatever a server says of it
_RENAMED = {b"x-request-id": b"x-provider-request-id"}


def answer_headers(headers: Mapping[bytes, bytes], secret: bytes = b"") -> dict[str, str]:
    """Those of `headers`, with names in lower case, that are passed on; none with `secret` or a control character."""
    passed = {_RENAMED.get(name, name): value for name, value in headers.items() if _is_passed(name)}
    passed[b"content-type"] = _media_type(headers.get(b"content-type", b""))
    return {
        name.decode("latin-1"): value.decode("latin-1")
        for name, value in passed.items()
        if not _has_control(value) and not (secret and secret in value)
    }


def _is_passed(name: bytes) -> bool:
    return name in _PASSED_BACK or name in _RENAMED or name.startswith(_PASSED_BACK_PREFIXES)


def _media_type(value: bytes) -> bytes:
    is_known = value.split(b";")[0].strip().lower() in _MEDIA_TYPES and not _has_control(value)
    return value if is_known else _OTHER_MEDIA_TYPE


def _has_control(value: bytes) -> bool:
    return any(byte < 0x20 or 0x7F <= byte < 0xA0 for byte in value)
