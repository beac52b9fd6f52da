"""Colours of the chat: the terminal's own, so that they suit light and dark ones."""

from __future__ import annotations

PROMPT_STYLE = {"prompt": "bold ansigreen"}

ANSWER_STYLE = {
    "markdown.h1": "bold underline",
    "markdown.h2": "bold underline",
    "markdown.h3": "bold",
    "markdown.h4": "bold",
    "markdown.h5": "italic",
    "markdown.h6": "italic",
    "markdown.code": "cyan",
    "markdown.block_quote": "italic",
    "markdown.item.bullet": "cyan",
    "note": "dim",
    "error": "red",
}
CODE_THEME = "ansi_dark"
