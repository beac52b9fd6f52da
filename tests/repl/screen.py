"""A terminal of a few lines of code, for what the chat writes: what a person would see, with the part scrolled away."""

from __future__ import annotations

import re

_TOKENS = re.compile(r"\x1b\[([0-9;?]*)([A-Za-z])|([\x00-\x1f\x7f-\x9f])|([^\x00-\x1f\x7f-\x9f])", re.DOTALL)


class Screen:
    """Understands line feed, carriage return, cursor up, and the erasure of line and screen; anything else is an error."""

    def __init__(self, width: int, height: int) -> None:
        self.width = width
        self.height = height
        self.lines = [""]
        self.row = 0
        self.column = 0

    def feed(self, text: str) -> None:
        """Take what was written."""
        for parameters, final, control, character in _TOKENS.findall(text):
            if final:
                self._sequence(parameters, final)
            elif control:
                self._control(control)
            else:
                self._put(character)

    @property
    def text(self) -> str:
        """All lines, without blanks at their ends."""
        return "\n".join(line.rstrip() for line in self.lines)

    def _sequence(self, parameters: str, final: str) -> None:
        if final == "A":
            top = max(0, len(self.lines) - self.height)
            self.row -= int(parameters)
            assert self.row >= top, "the cursor would stop at the top of the screen"
        elif final == "J" and not parameters:
            self.lines[self.row] = self.lines[self.row][: self.column]
            del self.lines[self.row + 1 :]
        elif final == "K" and not parameters:
            self.lines[self.row] = self.lines[self.row][: self.column]
        else:
            assert final == "m", f"unexpected sequence {parameters}{final}"

    def _control(self, control: str) -> None:
        assert control in "\n\r", f"unexpected control character {control!r}"
        self.column = 0  # the terminal's driver adds the carriage return
        if control == "\n":
            self.row += 1
            if self.row == len(self.lines):
                self.lines.append("")

    def _put(self, character: str) -> None:
        if self.column >= self.width:
            self._control("\n")
        line = self.lines[self.row].ljust(self.column)
        self.lines[self.row] = line[: self.column] + character + line[self.column + 1 :]
        self.column += 1
