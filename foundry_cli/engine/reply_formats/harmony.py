"""gpt-oss: every reply is a sequence of messages, each with a channel and perhaps the tool it goes to."""

from __future__ import annotations

from collections.abc import Mapping

from foundry_cli.engine.reply_format import ReplyFormat, ReplyParser
from foundry_cli.engine.reply_formats.harmony_parser import (
    CALL,
    CHANNEL,
    CONSTRAIN,
    END,
    FUNCTIONS,
    MESSAGE,
    RETURN,
    START,
    HarmonyParser,
)
from foundry_cli.engine.reply_formats.lark import ANYTHING, answer_of, literal, rules, sequence, written
from foundry_cli.engine.reply_formats.thought import ThoughtTags
from foundry_cli.engine.reply_formats.tool_schemas import arguments_schema, lark_json
from foundry_cli.engine.request import Grammar, Tool, ToolUse

NAME = "harmony"


def recognizes(template: str, _knows_tools: bool) -> bool:
    """Whether a template is of this family."""
    return CHANNEL in template and MESSAGE in template


def reply_format(_template: str, _tags: ThoughtTags | None) -> ReplyFormat:
    """The format for this template; thoughts have a form of their own."""
    return Harmony()


class Harmony:
    """A `ReplyFormat`."""

    @property
    def name(self) -> str:
        """Of the family."""
        return NAME

    @property
    def visible_tokens(self) -> frozenset[str]:
        """The markers of messages."""
        return frozenset({START, CHANNEL, CONSTRAIN, MESSAGE, END, CALL, RETURN})

    def new_parser(self, prompt_end: str, tools: ToolUse | None) -> ReplyParser:
        """As `ReplyFormat` has it; no reply is all text."""
        return HarmonyParser(prompt_end, tools)

    def grammar(
        self, prompt_end: str, tools: ToolUse | None, answer: Grammar | None, control_tokens: Mapping[str, int]
    ) -> Grammar | None:
        """As `ReplyFormat` has it: messages of thoughts and of text, then a call or the answer.

        A call ends the reply, so there is one only. The prompt is taken to end where a message begins.
        """
        if tools is None and answer is None:
            return None
        tokens = {name: token for name, token in control_tokens.items() if name in self.visible_tokens}
        return Grammar("lark", rules({**_frame(tools, answer, tokens), **(_calls(tools, tokens) if tools else {})}))

    def instructions(self, _tools: ToolUse) -> None:
        """The template knows tools."""
        return


def _frame(tools: ToolUse | None, answer: Grammar | None, tokens: Mapping[str, int]) -> dict[str, str | None]:
    """The messages before the last one, and the last one if it is the answer."""
    is_called = tools is not None and (tools.is_required or tools.named is not None)
    is_free = not is_called and answer is None
    endings = ["call"] * (tools is not None) + ["final"] * (not is_called) + ["thought"] * is_free
    message, after = written(MESSAGE, tokens), written(f"{END}{START}assistant", tokens)
    end = sequence(written(CHANNEL, tokens), literal("final"), "type?", message, ANYTHING if answer is None else "answer")
    return {
        "start": f"(thought {after})* ({' | '.join(endings)})",
        "thought": sequence(written(CHANNEL, tokens), '("analysis" | "commentary")', message, ANYTHING),
        "final": None if is_called else end,
        "answer": None if answer is None or is_called else answer_of(answer),
        "type": f'(" "? {written(CONSTRAIN, tokens)} | " ") "json"',
    }


def _calls(tools: ToolUse, tokens: Mapping[str, int]) -> dict[str, str | None]:
    called = [tool for tool in tools.tools if tools.named in (None, tool.name)]
    named: dict[str, str | None] = {"call": " | ".join(f"call_{number}" for number in range(len(called)))}
    for number, tool in enumerate(called):
        named[f"call_{number}"] = _call(tool, tokens)
    return named


def _call(tool: Tool, tokens: Mapping[str, int]) -> str:
    """The tool may stand behind the channel or before it."""
    recipient, channel = literal(f" to={FUNCTIONS}{tool.name}"), written(CHANNEL, tokens)
    either = f'({channel} ("commentary" | "analysis") {recipient} | {recipient} {channel} "commentary")'
    return sequence(either, "type?", '" "?', written(MESSAGE, tokens), lark_json(arguments_schema(tool)))
