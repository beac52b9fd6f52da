"""Reading the text of a JSON object a character at a time."""

from __future__ import annotations

from enum import Enum, Flag, auto


class Step(Flag):
    """What a character was for the object."""

    NONE = 0  # a part of it that is no value
    VALUE = auto()  # in the value of `key`
    MEMBER = auto()  # the value of `key` is complete before it or with it
    CLOSED = auto()  # the end of the object
    BROKEN = auto()  # this is no JSON; what follows cannot be read


class NestedScanner:
    """Finds the end of a string, an array or an object. What is between the brackets is not checked."""

    def __init__(self) -> None:
        self._depth = 0
        self._is_string = False
        self._is_escaped = False

    def read(self, character: str) -> bool:
        """Whether `character` is the last one; the first one is the opening quote or bracket."""
        if self._is_string:
            if self._is_escaped:
                self._is_escaped = False
            elif character == "\\":
                self._is_escaped = True
            elif character == '"':
                self._is_string = False
        elif character == '"':
            self._is_string = True
        elif character in "[{":
            self._depth += 1
        elif character in "]}":
            self._depth -= 1
        return self._depth <= 0 and not self._is_string


class _Place(Enum):
    BEFORE = auto()  # the opening brace
    KEY = auto()
    COLON = auto()
    VALUE = auto()  # its first character
    NESTED = auto()  # in a string, array or object
    SCALAR = auto()  # in a number or name
    COMMA = auto()


class ObjectScanner:
    """Reads one object from its opening brace on. `key` and `value` are those of the member that was read last."""

    def __init__(self) -> None:
        self.key = ""  # as text of JSON, with quotes
        self.kind = ""  # the first character of the value
        self._value: list[str] = []
        self._place = _Place.BEFORE
        self._nested: NestedScanner | None = None

    @property
    def value(self) -> str:
        """Its text, as far as it came."""
        return "".join(self._value)

    def read(self, character: str) -> Step:
        """What one more character is."""
        if self._place is _Place.NESTED:
            return self._read_nested(character)
        if self._place is _Place.KEY and self._nested:
            return self._read_key(self._nested, character)
        if self._place is _Place.SCALAR:
            return self._read_scalar(character)
        return Step.NONE if character.isspace() else self._read_between(character)

    def _read_between(self, character: str) -> Step:
        if self._place is _Place.VALUE:
            return self._begin_value(character)
        if self._place is _Place.KEY and character == '"':
            self._nested, self.key = NestedScanner(), ""
            return self._read_key(self._nested, character)
        if self._place in (_Place.KEY, _Place.COMMA) and character == "}":
            return Step.CLOSED
        wanted, following = {
            _Place.BEFORE: ("{", _Place.KEY),
            _Place.COLON: (":", _Place.VALUE),
            _Place.COMMA: (",", _Place.KEY),
        }.get(self._place, ("", self._place))
        if character != wanted:
            return Step.BROKEN
        self._place = following
        return Step.NONE

    def _read_key(self, nested: NestedScanner, character: str) -> Step:
        self.key += character
        if nested.read(character):
            self._nested, self._place = None, _Place.COLON
        return Step.NONE

    def _begin_value(self, character: str) -> Step:
        self.kind, self._value = character, []
        if character in '"[{':
            self._nested, self._place = NestedScanner(), _Place.NESTED
            return self._read_nested(character)
        if character in ",:]}":
            return Step.BROKEN
        self._value, self._place = [character], _Place.SCALAR
        return Step.VALUE

    def _read_nested(self, character: str) -> Step:
        assert self._nested is not None
        self._value.append(character)
        if not self._nested.read(character):
            return Step.VALUE
        self._nested, self._place = None, _Place.COMMA
        return Step.VALUE | Step.MEMBER

    def _read_scalar(self, character: str) -> Step:
        if character not in ",}" and not character.isspace():
            self._value.append(character)
            return Step.VALUE
        self._place = _Place.COMMA
        return Step.MEMBER | self.read(character)
