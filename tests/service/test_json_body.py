"""Request bodies that may be hostile."""

from __future__ import annotations

import json
from typing import Any

import pytest

from foundry_cli.errors import InvalidRequestError
from foundry_cli.service.json_body import DEEPEST, parse_object
from tests.service.local import LocalService, question

HOSTILE = {
    "empty": (b"", "is empty"),
    "blank": (b"  ", "not valid JSON"),
    "cut": (b'{"a": 1', "not valid JSON"),
    "more than one": (b"{} {}", "not valid JSON"),
    "array": (b"[]", "not a JSON object"),
    "null": (b"null", "not a JSON object"),
    "text": (b'"x"', "not a JSON object"),
    "byte order mark": (b"\xef\xbb\xbf{}", "not valid JSON"),
    "UTF-16": ('{"a": 1}'.encode("utf-16"), "not valid JSON"),
    "invalid UTF-8": (b'{"a": "\xff"}', "not valid JSON"),
    "surrogate as bytes": (b'{"a": "\xed\xa0\x80"}', "not valid JSON"),
    "NaN": (b'{"a": NaN}', "NaN is not a JSON number"),
    "Infinity": (b'{"a": -Infinity}', "not a JSON number"),
    "1e999": (b'{"a": 1e999}', "the number 1e999 is out of range"),
    "digits": (b'{"a": ' + b"9" * 5000 + b"}", "a number of 5000 digits is out of range"),
    "digits below Python's limit": (b'{"a": -' + b"9" * 4000 + b"}", "out of range"),
    "surrogate": (b'{"a": "\\ud800"}', "not valid Unicode"),
    "surrogate in a key": (b'{"\\udfff": 1}', "not valid Unicode"),
    "NUL": (b'{"a": "x\\u0000y"}', "NUL"),
    "NUL in a key": (b'{"\\u0000": 1}', "NUL"),
    "control character": (b'{"a": "\x01"}', "not valid JSON"),
    "key twice": (b'{"a": {"b": 1, "c": 2, "b": 3}}', "the key 'b' is there twice"),
    "arrays": (b'{"a": ' + b"[" * 100_000, "deeper than 64"),
    "closed arrays": (b'{"a": ' + b"[" * 65 + b"]" * 65 + b"}", "deeper than 64"),
    "objects": (b'{"a": ' * 100_000 + b"1" + b"}" * 100_000, "deeper than 64"),
    "single quotes": (b"{'a': 1}", "not valid JSON"),
    "comment": (b'{"a": 1} // x', "not valid JSON"),
}


@pytest.mark.parametrize(("body", "message"), HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_bodies(body: bytes, message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message) as caught:
        parse_object(body)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 200
    assert "sys." not in caught.value.message


def test_hostile_bodies_over_http(local: LocalService) -> None:
    for name, (body, _) in HOSTILE.items():
        status, _, answer = local.chat(body)
        assert (status, answer["error"]["type"]) == (400, "invalid_request_error"), name
    assert local.chat(question())[0] == 200


@pytest.mark.parametrize(
    "document",
    [
        {"a": "\N{GRINNING FACE}\u2028 \x7f", "b": [1, -1.5, 1e300, True, None], "": {}},
        json.loads("[" * (DEEPEST - 1) + "]" * (DEEPEST - 1)),
    ],
)
def test_harmless_bodies(document: Any) -> None:
    assert parse_object(json.dumps({"a": document}).encode()) == {"a": document}


@pytest.mark.slow
def test_a_large_body_is_read_beside_the_event_loop(local: LocalService) -> None:
    body = question(metadata={f"key {number}": [{}] * 10 for number in range(50_000)})
    assert local.chat(body)[0] == 200
    assert local.chat({**body, "temperature": 9})[2]["error"]["param"] == "temperature"
