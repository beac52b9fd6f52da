"""The grammar of a whole reply: a thought, then calls, an answer, or text in which calls may begin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from foundry_cli.engine.reply_formats.call_syntax import CallSyntax
from foundry_cli.engine.reply_formats.lark import (
    ANYTHING,
    answer_of,
    either,
    escaped,
    literal,
    repeated,
    rules,
    sequence,
    written,
)
from foundry_cli.engine.reply_formats.thought import Beginning, ThoughtTags
from foundry_cli.engine.reply_formats.tool_schemas import arguments_schema, lark_json, moved
from foundry_cli.engine.request import Grammar, Tool, ToolUse

Rules = dict[str, str | None]  # name of a rule and what it stands for

_IDENTITY = "/[a-zA-Z0-9]{9}/"
_GAP = r"/[ \n]{0,2}/"  # what models write behind a thought


@dataclass(frozen=True)
class ReplyGrammar:
    """Writes the grammars of one family, for a reply that begins so."""

    syntax: CallSyntax
    tags: ThoughtTags | None
    beginning: Beginning
    control_tokens: Mapping[str, int]

    def write(self, use: ToolUse | None, answer: Grammar | None) -> Grammar | None:
        """As `ReplyFormat.grammar` has it."""
        if use is None:
            if answer is None or not self._may_think():
                return answer
            return self._grammar({"content": answer_of(answer)})
        tools = [tool for tool in use.tools if use.named in (None, tool.name)]
        if use.is_required or use.named is not None:
            return self._grammar({"content": "calls", **self._calls(tools, use.is_parallel)})
        if answer is not None:
            calls = self._calls_beside_answer(tools, use.is_parallel)
            return self._grammar({"content": "calls | answer", "answer": answer_of(answer), **calls})
        return self._grammar(self._text_with_calls(tools, use.is_parallel), is_free=True)

    def _may_think(self) -> bool:
        return self.tags is not None and self.beginning is not Beginning.CLOSED

    def _grammar(self, content: Rules, is_free: bool = False) -> Grammar:
        """`is_free`: the reply may end anywhere, within the thought too."""
        alternatives = ["thought content" if self._may_think() else "content"]
        unclosed = self._unclosed() if is_free else None
        if unclosed:
            alternatives.append("unclosed")
        start = {"start": " | ".join(alternatives), "unclosed": unclosed}
        return Grammar("lark", rules({**start, **self._thought(is_free), **content}))

    def _thought(self, is_free: bool) -> Rules:
        """The thought, to its end; perhaps none."""
        if self.tags is None or self.beginning is Beginning.CLOSED:
            return {}
        is_open = self.beginning is Beginning.OPEN
        gap = "" if is_free else _GAP
        if self._has_token_tags():
            opening, closing = (written(tag, self.control_tokens) for tag in (self.tags.opening, self.tags.closing))
            thought = sequence("" if is_open else opening, ANYTHING, closing, gap)
            return {"thought": thought if is_open else f"({thought})?"}
        closing = f"{ANYTHING} {literal(self.tags.closing)}"
        whole = closing if is_open else rf"/\s*/ {literal(self.tags.opening)} {closing}"
        thought = sequence("closed_thought", gap)
        return {"thought": thought if is_open else f"({thought})?", "closed_thought[lazy]": "THOUGHT", "THOUGHT": whole}

    def _unclosed(self) -> str | None:
        """A thought that is not closed."""
        if self.tags is None or self.beginning is Beginning.CLOSED:
            return None
        if self.beginning is Beginning.OPEN:
            return ANYTHING
        if self._has_token_tags():
            return f"{written(self.tags.opening, self.control_tokens)} {ANYTHING}"
        return rf"/\s*{escaped(self.tags.opening)}(?s:.*)/"

    def _has_token_tags(self) -> bool:
        return self.tags is not None and {self.tags.opening, self.tags.closing} <= set(self.control_tokens)

    def _text(self) -> str:
        """Text that is no thought, as a terminal."""
        if self.tags is None or self.beginning is Beginning.CLOSED or self._has_token_tags():
            return ANYTHING
        return rf"{ANYTHING} & ~/\s*{escaped(self.tags.opening)}(?s:.*)/"

    def _written(self, text: str) -> str:
        return written(text, self.control_tokens) if text else ""

    def _call(self, tools: Sequence[Tool]) -> Rules:
        """The rule `call`: a call of one of the tools."""
        calls: Rules = dict(self.syntax.rules)
        identity, mark = self._written(self.syntax.identity), self._written(self.syntax.mark)
        behind_name = sequence(f"({identity} {_IDENTITY})?" if identity else "", mark)
        for number, tool in enumerate(tools):
            before, after = self._written(self.syntax.before(tool)), self._written(self.syntax.after)
            calls[f"call_{number}"] = sequence(before, behind_name, f"arguments_{number}", after)
            calls[f"arguments_{number}"] = self.syntax.arguments(tool)
        return {"call": " | ".join(f"call_{number}" for number in range(len(tools))), **calls}

    def _behind_opening(self, is_parallel: bool) -> str:
        """All calls of a section."""
        return sequence(repeated("call", self._written(self.syntax.joint), is_parallel), self._written(self.syntax.closing))

    def _calls(self, tools: Sequence[Tool], is_parallel: bool) -> Rules:
        """The rule `calls`: calls and nothing else."""
        return {"calls": sequence(self._written(self.syntax.opening), self._behind_opening(is_parallel)), **self._call(tools)}

    def _calls_beside_answer(self, tools: Sequence[Tool], is_parallel: bool) -> Rules:
        """The same beside an answer that may begin as they do: a grammar follows both only if both are JSON schemas."""
        if not self.syntax.sign or not self.syntax.key:
            return self._calls(tools, is_parallel)
        calls = [lark_json(_call_schema(tool, self.syntax.key), is_spaced=True) for tool in tools]
        return {"calls": repeated("call", self._written(self.syntax.joint), is_parallel), "call": " | ".join(calls)}

    def _text_with_calls(self, tools: Sequence[Tool], is_parallel: bool) -> Rules:
        """Text, in which an opening, or the sign of a call, is followed by the rest of it."""
        parts = self._signed(tools, is_parallel) if self.syntax.sign else self._opened(tools, is_parallel)
        return {"content": "calls* TEXT" if is_parallel else "calls | TEXT", "TEXT": self._text(), **parts}

    def _opened(self, tools: Sequence[Tool], is_parallel: bool) -> Rules:
        rest, opening = self._behind_opening(is_parallel), self.syntax.opening
        if any(opening.startswith(name) for name in self.control_tokens):
            return {"calls": sequence("TEXT", self._written(opening), rest), **self._call(tools)}
        head = {"head[lazy]": "HEAD", "HEAD": f"TEXT {literal(opening)}"}
        return {"calls": sequence("head", rest), **head, **self._call(tools)}

    def _signed(self, tools: Sequence[Tool], is_parallel: bool) -> Rules:
        assert self.syntax.sign is not None
        named: Rules = {}
        text = r"(TEXT /\n/)? " if self.syntax.is_by_line else ""
        blank = '" "?' if self.syntax.key else ""
        for number, tool in enumerate(tools):
            named[f"first_{number}"] = sequence(
                f"head_{number}", blank, f"arguments_{number}", self._written(self.syntax.after)
            )
            named[f"head_{number}[lazy]"] = f"HEAD_{number}"
            named[f"HEAD_{number}"] = f"{text}/{self.syntax.sign(tool.name)}/"
        first = either([f"first_{number}" for number in range(len(tools))])
        more = f"({self._written(self.syntax.joint)} call)*" if is_parallel else ""
        return {"calls": sequence(first, more, self._written(self.syntax.closing)), **named, **self._call(tools)}


def _call_schema(tool: Tool, key: str) -> dict[str, object]:
    arguments = moved(arguments_schema(tool), f"/properties/{key}")
    fields = {"name": {"const": tool.name}, key: arguments}
    return {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
