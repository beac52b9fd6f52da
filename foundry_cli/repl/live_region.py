"""Text at the end of the screen that grows and can be taken back."""

from __future__ import annotations

from collections.abc import Callable

from rich.cells import cell_len

Size = Callable[[], tuple[int, int]]
"""Columns and rows of the terminal."""

_TAB = "    "


class LiveRegion:
    """Wraps growing text at word ends, and knows how many rows of the screen it has filled.

    Methods return what must be written to the terminal. Rows end with a line feed, one column before the margin, so the
    count is right whatever width the terminal gives to an emoji. It holds until the window has another size: terminals
    differ in what they make of rows that became too long.
    """

    def __init__(self, size: Size, *, is_dumb: bool = False) -> None:
        self._size = size
        self._is_dumb = is_dumb  # without escape sequences: what has been written is overwritten, and nothing taken back
        self._is_disturbed = False
        self.restart()

    def restart(self) -> None:
        """Begin at the cursor: what has been written is there to stay."""
        self._window = self._size()
        self._is_lost = False  # it is not known any more where the first row stands
        self._is_adrift = False  # nor where the cursor is, until the next row
        self._rows = 0  # above the cursor's
        self._row = ""  # what stands in the cursor's row
        self._column = 0

    @property
    def is_at_line_start(self) -> bool:
        """Whether the cursor is in the first column."""
        return not self._row

    def disturb(self) -> None:
        """The window has been resized, or something else written to it. May be called from a signal handler."""
        self._is_disturbed = True

    def add(self, text: str) -> str:
        """Show more text."""
        self._look()
        return "".join(map(self._add_character, text.replace("\t", _TAB)))

    def take_back(self) -> str | None:
        """Remove the text from the screen and restart; None when a part has left the screen or the window has changed."""
        self._look()
        if self._is_lost or self._rows >= self._window[1]:
            return None
        up = f"\x1b[{self._rows}A" if self._rows else ""
        self.restart()
        return f"\r{up}\x1b[J"

    def _look(self) -> None:
        if not self._is_disturbed and self._size() == self._window:
            return
        self._is_disturbed = False
        self._window = self._size()
        self._is_lost = bool(self._rows or self._row)
        self._is_adrift = bool(self._row)

    def _add_character(self, character: str) -> str:
        if character == "\n" or (self._is_adrift and character == " "):
            return self._break_row("")
        width = cell_len(character)
        out = ""
        if self._column + width >= self._window[0] and self._row and not self._is_adrift:
            if character == " ":
                return self._break_row("")
            head, blank, word = self._row.rpartition(" ")
            out = f"{self._without(head, word)}{self._break_row(word)}" if head and blank else self._break_row("")
        self._row += character
        self._column += width
        return out + character

    def _without(self, head: str, word: str) -> str:
        """The cursor's row again, without the word at its end."""
        return f"\r{head}{' ' * (cell_len(word) + 1)}" if self._is_dumb else f"\r\x1b[K{head}"

    def _break_row(self, word: str) -> str:
        self._is_adrift = False
        self._rows += 1
        self._row, self._column = word, cell_len(word)
        return f"\n{word}"
