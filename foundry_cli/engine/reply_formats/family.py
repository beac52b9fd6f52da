"""A family of models whose replies are an optional thought, text, and sections of calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from foundry_cli.engine.reply_format import ReplyParser
from foundry_cli.engine.reply_formats.call_finder import CallFinder
from foundry_cli.engine.reply_formats.call_syntax import CallSyntax
from foundry_cli.engine.reply_formats.openings import Openings
from foundry_cli.engine.reply_formats.reply_grammar import ReplyGrammar
from foundry_cli.engine.reply_formats.section import SectionFactory
from foundry_cli.engine.reply_formats.tagged_answer import TaggedAnswer
from foundry_cli.engine.reply_formats.thought import AnswerParser, Beginning, PlainAnswer, ThoughtParser, ThoughtTags
from foundry_cli.engine.request import Grammar, ToolUse


def _nothing(_tools: ToolUse) -> None:
    return None


@dataclass(frozen=True)
class Family:
    """A `ReplyFormat`; what differs by family are its fields."""

    name: str
    tags: ThoughtTags | None  # None: its models do not think
    openings: Openings
    section: SectionFactory
    syntax: CallSyntax
    further_markers: frozenset[str] = frozenset()
    answer_tags: tuple[str, str] | None = None  # that models write around an answer behind a thought
    instructions: Callable[[ToolUse], str | None] = _nothing

    @property
    def visible_tokens(self) -> frozenset[str]:
        """The markers of thoughts and calls."""
        tags = () if self.tags is None else (self.tags.opening, self.tags.closing)
        return frozenset((*tags, *self.openings.markers, *self.further_markers))

    def new_parser(self, prompt_end: str, tools: ToolUse | None) -> ReplyParser | None:
        """As `ReplyFormat` has it."""
        finder = None if tools is None else CallFinder(self.openings, self.section, tools)
        if self.tags is None:
            return finder
        answer: AnswerParser = finder or PlainAnswer()
        if self.answer_tags is not None:
            answer = TaggedAnswer(*self.answer_tags, answer)
        return ThoughtParser(self.tags, self._beginning(prompt_end), answer)

    def grammar(
        self, prompt_end: str, tools: ToolUse | None, answer: Grammar | None, control_tokens: Mapping[str, int]
    ) -> Grammar | None:
        """As `ReplyFormat` has it."""
        markers = {name: token for name, token in control_tokens.items() if name in self.visible_tokens}
        return ReplyGrammar(self.syntax, self.tags, self._beginning(prompt_end), markers).write(tools, answer)

    def _beginning(self, prompt_end: str) -> Beginning:
        return Beginning.CLOSED if self.tags is None else self.tags.beginning(prompt_end)
