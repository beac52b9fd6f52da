"""The byte-level tokenizer of a scripted model: one token per byte, one per longer piece, and the added tokens.

Ids: 0-255 are the bytes, in order; then the longer pieces of the replies, the special tokens, and the other added
tokens. There are no merges, so a prompt is encoded byte by byte. One exception is the runtime's: GenAI 0.18 looks a
whole pre-token up in the vocabulary before it merges anything, so a text that, between two added tokens or digits, is
exactly one piece becomes that piece.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

END_OF_TEXT = "<|endoftext|>"
END_OF_TURN = "<|im_end|>"
MARKERS = ("<|im_start|>assistant\n", "<|im_start|>assistant", "<|assistant|>\n", "<|assistant|>")
SPECIAL_TOKENS = (END_OF_TEXT, END_OF_TURN, "<|im_start|>", "<|system|>", "<|user|>", "<|tool|>", "<|end|>")
# The runtime's own regular expressions are few; this one splits a text at its digits only, and the bytes do the rest.
_DIGITS_PATTERN = r"\p{N}"
# GenAI 0.11 drops what such a pattern does not match, so there it is the one of Qwen2, which matches everything.
_QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
IS_OLD_RUNTIME = version("onnxruntime-genai").startswith("0.11.")
_PRE_TOKEN_PATTERN = _QWEN2_PATTERN if IS_OLD_RUNTIME else _DIGITS_PATTERN


def _byte_alphabet() -> list[str]:
    """GPT-2's printable character of every byte."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    spare = iter(range(0x100, 0x200))
    return [chr(byte if byte in printable else next(spare)) for byte in range(256)]


_ALPHABET = _byte_alphabet()


@dataclass(frozen=True)
class Vocabulary:
    """Token ids of a scripted model."""

    special: dict[str, int]
    added: dict[str, int]
    pieces: dict[bytes, int]
    markers: range

    @property
    def size(self) -> int:
        return 256 + len(self.special) + len(self.added) + len(self.pieces)

    def token(self, piece: bytes) -> int:
        """The token of a piece of a reply: an added token when the piece is its text, a byte, or an entry."""
        if len(piece) == 1:
            return piece[0]
        if piece in self.pieces:
            return self.pieces[piece]
        text = piece.decode()
        return self.special[text] if text in self.special else self.added[text]


def make_vocabulary(
    pieces: Iterable[bytes], markers: Sequence[str], special_tokens: Sequence[str], added_tokens: Sequence[str]
) -> Vocabulary:
    """Number the tokens; the markers come first among the special ones, so that their ids are one range."""
    special = list(dict.fromkeys([*markers, *SPECIAL_TOKENS, *special_tokens]))
    added = [text for text in dict.fromkeys(added_tokens) if text not in special]
    known = {text.encode() for text in [*special, *added]}
    longer = sorted({piece for piece in pieces if len(piece) > 1} - known)
    first_special = 256 + len(longer)  # older runtimes want the entries of the vocabulary to be numbered without a gap
    first_added = first_special + len(special)
    return Vocabulary(
        special={text: first_special + i for i, text in enumerate(special)},
        added={text: first_added + i for i, text in enumerate(added)},
        pieces={piece: 256 + i for i, piece in enumerate(longer)},
        markers=range(first_special, first_special + len(set(markers))),
    )


def write_tokenizer(directory: Path, vocabulary: Vocabulary, chat_template: str | None, context_length: int) -> None:
    """Write tokenizer.json and tokenizer_config.json."""
    config: dict[str, object] = {
        "add_prefix_space": False,
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": END_OF_TURN,
        "model_max_length": context_length,
        "pad_token": END_OF_TEXT,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
    if chat_template is not None:
        config["chat_template"] = chat_template
    _write_json(directory / "tokenizer_config.json", config)
    _write_json(directory / "tokenizer.json", _tokenizer(vocabulary))


def _tokenizer(vocabulary: Vocabulary) -> dict[str, object]:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    split = {"type": "Split", "pattern": {"Regex": _PRE_TOKEN_PATTERN}, "behavior": "Isolated", "invert": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            *(_added_token(text, token, special=True) for text, token in vocabulary.special.items()),
            *(_added_token(text, token, special=False) for text, token in vocabulary.added.items()),
        ],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, byte_level]},
        "post_processor": None,
        "decoder": byte_level,
        "model": _bpe(vocabulary.pieces),
    }


def _added_token(text: str, token: int, *, special: bool) -> dict[str, object]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": token, "content": text, **flags, "special": special}


def _bpe(pieces: dict[bytes, int]) -> dict[str, object]:
    entries = {bytes([byte]): byte for byte in range(256)} | pieces
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {"".join(_ALPHABET[byte] for byte in piece): token for piece, token in entries.items()},
        "merges": [],
    }


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
