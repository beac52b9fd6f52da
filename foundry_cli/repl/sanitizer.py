"""Makes foreign text harmless for a terminal: what would act on it, instead of being shown, is taken out."""

from __future__ import annotations

import re
import unicodedata
from enum import Enum, auto

_HIDDEN = "\u202a-\u202e\u2066-\u2069"  # bidirectional embeddings, overrides and isolates: text that reads otherwise than it is
_UNSAFE = re.compile(f"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029{_HIDDEN}\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")  # as Python reads such bytes from a command line or a terminal
_LONGEST_PARAMETERS = 64  # characters of a control sequence, or it is none
_LONGEST_STRING = 4096  # characters of a control string (title, clipboard), or it is none
_LINE_ENDS = "\n\x85\u2028\u2029"
_C1_BEGINNINGS = {"\x9b": "[", "\x90": "P", "\x98": "X", "\x9d": "]", "\x9e": "^", "\x9f": "_"}


class _State(Enum):
    TEXT = auto()
    ESCAPE = auto()
    PARAMETERS = auto()  # after ESC [
    STRING = auto()  # after ESC ] and the like


class Sanitizer:
    """Removes control characters and escape sequences from a stream of text; a sequence may be cut at any place.

    An unfinished control string ends with its line, so that no more than that can be lost.
    """

    def __init__(self) -> None:
        self._state = _State.TEXT
        self._length = 0
        self._is_after_return = False

    def feed(self, text: str) -> str:
        """The harmless part of the next piece."""
        is_plain = self._state is _State.TEXT and not self._is_after_return
        if is_plain and not _UNSAFE.search(text):
            return text
        return "".join(map(self._take, text))

    def _take(self, character: str) -> str:
        if self._state is _State.TEXT:
            return self._text(character)
        if self._state is _State.ESCAPE:
            return self._escape(character)
        self._length += 1
        if self._state is _State.PARAMETERS:
            return self._parameter(character)
        return self._string(character)

    def _text(self, character: str) -> str:
        was_after_return, self._is_after_return = self._is_after_return, character == "\r"
        if character in _LINE_ENDS:
            return "" if was_after_return and character == "\n" else "\n"
        if character == "\r":
            return "\n"
        if not _UNSAFE.match(character):
            return character
        if character == "\x1b":
            self._state = _State.ESCAPE
        elif character in _C1_BEGINNINGS:
            self._escape(_C1_BEGINNINGS[character])
        return "\ufffd" if "\ud800" <= character <= "\udfff" else ""

    def _escape(self, character: str) -> str:
        self._length = 0
        if character == "[":
            self._state = _State.PARAMETERS
        elif character in "]PX^_":
            self._state = _State.STRING
        elif not " " <= character <= "/":  # those are followed by one more
            self._state = _State.TEXT
            return "" if "0" <= character <= "~" else self._text(character)
        return ""

    def _parameter(self, character: str) -> str:
        if " " <= character <= "?" and self._length <= _LONGEST_PARAMETERS:
            return ""
        self._state = _State.TEXT
        return "" if "@" <= character <= "~" else self._text(character)

    def _string(self, character: str) -> str:
        if character == "\x1b":  # ESC \ ends it, any other sequence breaks it off
            self._state = _State.ESCAPE
        elif character in "\x07\x9c":
            self._state = _State.TEXT
        elif character in _LINE_ENDS or character == "\r" or self._length > _LONGEST_STRING:
            self._state = _State.TEXT
            return self._text(character)
        return ""


def sanitize(text: str) -> str:
    """A whole text, made harmless."""
    return Sanitizer().feed(text)


def clean_prompt(text: str) -> str:
    """A typed, pasted or piped text as models take it: without NUL, and with a mark for each byte that is no UTF-8."""
    return _SURROGATE.sub("\ufffd", text.replace("\0", ""))


def encodable(text: str, encoding: str) -> str:
    """`text` as `encoding` can write it: emoji are left out, other characters become question marks."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(_in_encoding(character, encoding) for character in text)
    return text


def _in_encoding(character: str, encoding: str) -> str:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        return "" if unicodedata.category(character) in ("So", "Sk", "Mn", "Me", "Cf") else "?"
    return character
