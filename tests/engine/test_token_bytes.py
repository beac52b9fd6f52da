"""Bytes of tokens that are no whole characters, and which tokens are told with a piece of the answer."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from foundry_cli.engine.process import EngineProcess
from foundry_cli.engine.request import EngineEvent, GenerationRequest, TextChunk, TokenText
from foundry_cli.engine.token_bytes import token_bytes
from foundry_cli.engine.told_tokens import split_told
from tests.engine.workers import engine
from tests.models.scripted import write_scripted_model

EURO = "\N{EURO SIGN}".encode()
BYTE_LEVEL = {"type": "Sequence", "decoders": [{"type": "Fuse"}, {"type": "ByteLevel"}]}
FALLBACK = {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}]}


def written(directory: Path, decoder: Any, vocabulary: Any, **fields: Any) -> Path:
    document = {"model": {"type": "BPE", "vocab": vocabulary}, "decoder": decoder, **fields}
    (directory / "tokenizer.json").write_text(json.dumps(document), encoding="utf-8")
    return directory


def test_the_alphabet_of_gpt2(tmp_path: Path) -> None:
    added = [{"id": 5, "content": "\N{LATIN SMALL LETTER A WITH CIRCUMFLEX}"}]
    vocabulary = {"\u0120\u00e2\u0124": 0, "\u00ac": 1, "\u00e2\u0124\u00ac": 2, "a": 3, "\u20ac": 4, "\u00e2": 5}
    model = written(tmp_path, BYTE_LEVEL, vocabulary, added_tokens=added)
    assert [token_bytes(model, token) for token in range(7)] == [b" \xe2\x82", b"\xac", None, None, None, None, None]


def test_byte_tokens(tmp_path: Path) -> None:
    for number, vocabulary in enumerate(({"<0xE2>": 0, "<0x41>": 1, "\u2581a": 2}, [["<0xE2>", 0.0], ["<0x41>", 0], [], 5])):
        directory = tmp_path / str(number)
        directory.mkdir()
        model = written(directory, FALLBACK, vocabulary)
        assert [token_bytes(model, token) for token in range(4)] == [b"\xe2", None, None, None]


@pytest.mark.parametrize(
    "decoder", [None, {"type": "WordPiece"}, {"type": "Sequence", "decoders": None}, {"type": []}, {"decoders": [5]}]
)
def test_a_vocabulary_of_another_kind(tmp_path: Path, decoder: Any) -> None:
    assert token_bytes(written(tmp_path, decoder, {"\u00e2": 0}), 0) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model": 5, "decoder": {"type": "ByteLevel"}}', "[" * 10_000])
def test_a_damaged_vocabulary(tmp_path: Path, text: str) -> None:
    (tmp_path / "tokenizer.json").write_text(text)
    assert token_bytes(tmp_path, 0) is None


def told(*data: bytes | None) -> list[TokenText]:
    return [TokenText((each or b"").decode("utf-8", "replace"), each, -1.0) for each in data]


@pytest.mark.parametrize(
    ("text", "tokens", "expected", "later"),
    [
        ("Hi", [b"Hi"], [b"Hi"], []),
        ("Hi", [b"\n\n", b"Hi"], [b"Hi"], []),
        ("Hi", [None, b"\n", b"H", b"i", None], [b"H", b"i"], [None]),
        ("Hi", [b"\n H", b"i"], [b"\n H", b"i"], []),
        ("a", [b"a", b"a", b"a"], [b"a"], [b"a", b"a"]),  # the others may be the beginning of a stop sequence
        ("\N{EURO SIGN}", [EURO[:1], EURO[1:]], [EURO[:1], EURO[1:]], []),
        ("\N{EURO SIGN}", [EURO[:2], EURO[2:] + EURO[:1]], [EURO[:2], EURO[2:] + EURO[:1]], []),
        (" Hi", [b"Hi"], [b"Hi"], []),  # the text depends on the neighbours
        ("\N{EURO SIGN}", [None, None], [None, None], []),  # the bytes are not known
    ],
)
def test_which_tokens_are_told(
    text: str, tokens: list[bytes | None], expected: list[bytes | None], later: list[bytes | None]
) -> None:
    found, kept = split_told(text, told(*tokens))
    assert ([token.data for token in found], [token.data for token in kept]) == (expected, later)


def ask(model: Path, **fields: Any) -> tuple[str, list[TokenText]]:
    """The text of an answer, and its tokens."""

    async def run() -> list[EngineEvent]:
        async with engine(model) as process:
            assert isinstance(process, EngineProcess)
            request = GenerationRequest(({"role": "user", "content": "Hi"},), max_tokens=99, logprobs=1, **fields)
            return [event async for event in process.generate(request)]

    chunks = [event for event in asyncio.run(run()) if isinstance(event, TextChunk)]
    return "".join(chunk.text for chunk in chunks), [token for chunk in chunks for token in chunk.logprobs]


def test_tokens_of_a_real_model_are_its_text(tmp_path: Path) -> None:
    answer = "5 \N{EURO SIGN} \N{GRINNING FACE}!"
    text, tokens = ask(write_scripted_model(tmp_path / "model", [answer]))
    assert text == answer
    assert b"".join(token.data or b"" for token in tokens) == answer.encode()
    assert all(token.top[0].data == token.data for token in tokens)


THINKING = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}{# <think></think> #}"
)


@pytest.mark.parametrize("kind", ["special_tokens", "added_tokens"])
def test_tokens_of_thoughts_and_of_the_format_are_left_out(tmp_path: Path, kind: str) -> None:
    reply = [b"<think>", b"\n", b"Hm", b"\n", b"</think>", b"\n", b"\n", b"think", b" Hello"]
    tags: dict[str, Any] = {kind: ("<think>", "</think>")}
    model = write_scripted_model(tmp_path / "model", [reply], chat_template=THINKING, **tags)
    text, tokens = ask(model)
    assert (text, [token.text for token in tokens]) == ("think Hello", ["think", " Hello"])
