"""Secrets never leave the machine in a report."""

from __future__ import annotations

import pytest

from foundry_cli.diagnostics import redact


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Bearer eyJhbGciOi.J9-x", "eyJhbGciOi"),
        ("key sk-abcdefgh12345 end", "abcdefgh12345"),
        ("token hf_ABCDEFGHIJK", "ABCDEFGHIJK"),
        ("https://x.blob/c?sv=1&sig=abc%2Fdef&se=2", "abc%2Fdef"),
        ("proxy http://user:pass@host:1/", "user:pass"),
    ],
)
def test_things_shaped_like_secrets_are_removed(text: str, secret: str) -> None:
    redacted = redact(text)
    assert secret not in redacted
    assert "[removed]" in redacted


def test_values_of_secret_variables_are_removed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SERVICE_TOKEN", "plainvalue")
    monkeypatch.setenv("SOME_COLOR", "turquoise")
    assert redact("plainvalue and turquoise") == "[removed] and turquoise"


def test_the_home_directory_is_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert redact("/home/somebody/.foundry/logs") == "~/.foundry/logs"
