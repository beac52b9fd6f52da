"""The bytes of tokens that are no whole characters: a decoder has no text for them, the vocabulary has.

There are two ways to write bytes in a vocabulary: GPT-2's alphabet, which has a printable character for each byte, and
pieces such as `<0xE2>` of SentencePiece.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
_OTHERS = [byte for byte in range(256) if byte not in _PRINTABLE]
_ALPHABET = {chr(byte): byte for byte in _PRINTABLE} | {chr(256 + place): byte for place, byte in enumerate(_OTHERS)}


def token_bytes(directory: Path, token: int) -> bytes | None:
    """The bytes of a token of the model in `directory`; None when they are whole characters, or not known."""
    return _partial_tokens(directory).get(token)


@lru_cache(maxsize=1)  # a worker has one model; the file is read when somebody wants to know
def _partial_tokens(directory: Path) -> dict[int, bytes]:
    """All tokens that are no whole characters; none when the vocabulary is of another kind."""
    try:
        document = json.loads((directory / "tokenizer.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    to_bytes = _reading(document) if isinstance(document, dict) else None
    if to_bytes is None:
        return {}
    added = [entry.get("id") for entry in _objects(document.get("added_tokens"))]
    found = ((token, to_bytes(piece)) for piece, token in _pieces(document["model"].get("vocab")))
    return {token: data for token, data in found if data and _is_partial(data) and token not in added}


def _reading(document: dict[str, Any]) -> Callable[[str], bytes | None] | None:
    """How the pieces of a vocabulary are read, by the steps of its decoder."""
    model, decoder = document.get("model"), document.get("decoder")
    if not isinstance(model, dict) or not isinstance(decoder, dict):
        return None
    kinds = [step.get("type") for step in (decoder, *_objects(decoder.get("decoders")))]
    if "ByteLevel" in kinds:
        return _of_alphabet
    return _of_byte_piece if "ByteFallback" in kinds or model.get("byte_fallback") is True else None


def _objects(values: object) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _of_alphabet(piece: str) -> bytes | None:
    values = [_ALPHABET.get(character) for character in piece]
    return None if None in values else bytes(value for value in values if value is not None)


def _of_byte_piece(piece: str) -> bytes | None:
    found = _BYTE_PIECE.fullmatch(piece)
    return bytes([int(found[1], 16)]) if found else None


def _pieces(vocabulary: object) -> Iterator[tuple[str, int]]:
    """Pieces with their tokens: from an object, or from a list of pieces with their scores."""
    if isinstance(vocabulary, dict):
        yield from ((piece, token) for piece, token in vocabulary.items() if isinstance(token, int))
    elif isinstance(vocabulary, list):
        for token, entry in enumerate(vocabulary):
            if isinstance(entry, list) and entry and isinstance(entry[0], str):
                yield entry[0], token


def _is_partial(data: bytes) -> bool:
    return _REPLACEMENT in data.decode("utf-8", "replace")
