"""Answers shown as Markdown while they arrive: the screen at the end, however the answer was cut into pieces."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from rich.theme import Theme

from foundry_cli.repl.blocks import BlockSplitter, Kind
from foundry_cli.repl.live_region import LiveRegion
from foundry_cli.repl.markdown import MarkdownAnswer
from foundry_cli.repl.style import ANSWER_STYLE
from tests.repl.screen import Screen

ANSWER = """\
Here is a **short** text with `code` and *more*, long enough for two rows of the screen.

## 1. Heading
- one item that is so long that it has to continue in the next row
  - nested
    and continued
2. second

   belongs to the second

```python
def f(x):
    \"\"\"a
    b\"\"\"
    return x  # a comment that is longer than the screen is wide, much longer
```
| a | b |
|---|---|
| 1 | `2` |

> quoted
> text

***
[text](http://example.org/path) and <http://example.org>, <b>html</b>, &amp; \\(x_1\\)
"""

SHOWN = """\
🤖 Here is a short text with code and
more, long enough for two rows of the
screen.

1. Heading
• one item that is so long that it has
  to continue in the next row
  • nested
    and continued
2. second

   belongs to the second

python ─────────────────────────────────
def f(x):
    \"\"\"a
    b\"\"\"
    return x  # a comment that is longer
 than the screen is wide, much longer
────────────────────────────────────────

 a  b
 ────
 1  2

▌ quoted
▌ text

────────────────────────────────────────
text (http://example.org/path) and
http://example.org, <b>html</b>, &amp;
\\(x_1\\)
"""


def make_console(width: int, height: int) -> Console:
    theme = Theme(ANSWER_STYLE)
    return Console(
        file=io.StringIO(), force_terminal=True, color_system="standard", width=width, height=height, theme=theme,
        highlight=False, emoji=False, legacy_windows=False,
    )  # fmt: skip


def show(pieces: list[str], width: int = 40, height: int = 24) -> str:
    answer = MarkdownAnswer(make_console(width, height), "🤖 ")
    screen = Screen(width, height)
    screen.feed(answer.begin())
    for piece in pieces:
        screen.feed(answer.add(piece))
    screen.feed(answer.finish())
    return screen.text


def without_blank_lines(text: str) -> list[str]:
    return [line for line in text.split("\n") if line]


def test_blocks_are_rendered() -> None:
    assert without_blank_lines(show([ANSWER])) == without_blank_lines(SHOWN)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_pieces_make_no_difference(size: int) -> None:
    assert show([ANSWER[i : i + size] for i in range(0, len(ANSWER), size)]) == show([ANSWER])


@pytest.mark.parametrize("width", [16, 17, 25, 40, 80, 120])
@pytest.mark.parametrize("height", [1, 2, 5, 24])
def test_no_word_is_lost_at_any_size(width: int, height: int) -> None:
    shown = show(list(ANSWER), width, height)
    letters = "".join(shown.split())
    words = ("short", "Heading", "continued", "belongs", "comment", "quoted", "http://example.org/path", "<b>html</b>", "&amp;")
    for word in words:
        assert word in letters, word


def test_a_block_taller_than_the_screen_stays_as_it_came() -> None:
    shown = show(["word **bold** " * 30, "\n\nnext **bold**"], 40, 5)
    assert shown.count("**bold**") == 30
    assert shown.rstrip().endswith("next bold")


def test_a_tall_list_stays_as_it_came_only_until_its_end() -> None:
    items = "\n".join(["- first " + "word " * 60, "- second", "- third"])
    shown = show([f"{items}\n\n- **fourth**\n"], 40, 5)
    assert "- second\n- third\n" in shown
    assert shown.rstrip().endswith("• fourth")


def test_a_resized_window_is_not_touched() -> None:
    console = make_console(40, 24)
    answer = MarkdownAnswer(console, "🤖 ")
    written = answer.begin() + answer.add("some **bold** text\nand more")
    console.width = 30
    written += answer.add("\n\nnext **bold**") + answer.finish()
    assert "\x1b[1A" not in written.partition("next")[0]
    assert "**bold** text" in written
    assert "\x1b[1mbold" in written.partition("next")[2]


def test_an_answer_without_text_has_an_end() -> None:
    assert show([]) == "🤖\n"
    assert show(["one\n"]) == "🤖 one\n"
    assert show(["one\n\n"]) == "🤖 one\n\n"


def test_entities_do_not_become_control_characters() -> None:
    assert show(["&#27;]0;x&#7; &#x202e;"]) == "🤖 &#27;]0;x&#7; &#x202e;\n"


UNFINISHED = ["```", "```python\nprint(", "- ", "#", "|", ">", "~~~\n", "**", "* * *", "[x](", "1)", "\t", "    code"]


@pytest.mark.parametrize("text", UNFINISHED)
def test_unfinished_markdown_is_shown(text: str) -> None:
    assert show(list(text))


def test_code_of_an_unknown_language_is_shown() -> None:
    assert "x = 1" in show(["```nosuchlanguage\nx = 1\n```"])


def test_splitter() -> None:
    splitter = BlockSplitter()
    blocks = [block for line in ANSWER.split("\n") for block in splitter.add(line)] + splitter.finish()
    kinds = [block.kind for block in blocks if block.kind is not Kind.BLANK]
    code = [Kind.FENCE, *[Kind.CODE] * 4, Kind.FENCE_END]
    lists = [Kind.ITEM] * 3
    assert kinds == [
        Kind.PARAGRAPH, Kind.HEADING, *lists, Kind.PARAGRAPH, *code, Kind.TABLE, Kind.QUOTE, Kind.RULE, Kind.PARAGRAPH
    ]  # fmt: skip


def test_a_fence_ends_only_with_its_like() -> None:
    splitter = BlockSplitter()
    lines = ["~~~~ text", "```", "~~~", "    x", "~~~~ x", "~~~~~", "- - -"]
    kinds = [block.kind for line in lines for block in splitter.add(line)]
    assert kinds == [Kind.FENCE, *[Kind.CODE] * 4, Kind.FENCE_END, Kind.RULE]


def test_indented_lines_are_code_outside_of_lists() -> None:
    splitter = BlockSplitter()
    blocks = [block for line in ["    x", "- a", "", "    text", "b", "", "    y"] for block in splitter.add(line)]
    kinds = [block.kind for block in [*blocks, *splitter.finish()] if block.kind is not Kind.BLANK]
    assert kinds == [Kind.CODE, Kind.ITEM, Kind.PARAGRAPH, Kind.PARAGRAPH, Kind.CODE]


def test_live_region_wraps_between_words() -> None:
    live = LiveRegion(lambda: (10, 5))
    screen = Screen(10, 5)
    for character in "one two three\nfour 世界世界世":
        screen.feed(live.add(character))
    assert screen.text == "one two\nthree\nfour\n世界世界\n世"
    screen.feed(live.take_back() or "")
    assert screen.text == ""
    screen.feed(live.add("x" * 25))
    assert [len(line) for line in screen.lines] == [9, 9, 7]
    screen.feed(live.add("\n" * 5))
    assert live.take_back() is None


def test_a_narrower_window_takes_its_own_rows() -> None:
    size = (20, 10)
    live = LiveRegion(lambda: size)
    assert live.add("one two three four five si").endswith("one two three four\nfive si")
    size = (10, 10)
    screen = Screen(*size)  # from the cursor on: where that is in the window, depends on the terminal
    screen.feed(live.add("x seven eight nine"))
    assert screen.text == "x\nseven\neight\nnine"
    assert live.take_back() is None


def test_rows_above_something_else_are_not_taken_back() -> None:
    live = LiveRegion(lambda: (20, 10))
    live.add("one two three four five si")
    live.disturb()
    assert live.add("x seven") == "x\nseven"
    assert live.take_back() is None
    live.restart()
    live.add("eight")
    assert live.take_back() == "\r\x1b[J"
