"""Grammars: which tokens may come next, so that an answer is what a JSON schema, an expression or a grammar says.

llguidance computes the masks; this is the only module that imports it, and only when a request has a grammar.
JSON is written without blanks between its parts: a weak model that may write blanks writes nothing else, for ever.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from foundry_cli.engine.enforceable_schema import exact, loosened
from foundry_cli.engine.grammar_limits import NAMES, check_limits, check_size
from foundry_cli.engine.grammar_tokenizer import read_plain_tokenizer
from foundry_cli.engine.request import Grammar
from foundry_cli.errors import EngineError, FoundryError, InvalidRequestError, UnenforceableSchemaError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

_ANY_OBJECT = '{"type": "object"}'
_KEPT_GRAMMARS = 16  # compiled; the same few come again and again
_KEPT_VERDICTS = 512  # on schemas of tools: the same come with every turn of a conversation, and with every answer
_TRIED_TOKENS = 16  # of an answer: most of what becomes too complex does so at once
_TOO_COMPLEX = ("lexer error", "Parser Error: Current row", "Parser Error: Too many", "too many")
_LONGEST_REASON = 300  # characters
_HINT = "Leave the keyword out of the schema, or say the same with others."
_STRICT_HINT = "Leave the keyword out of the schema, say the same with others, or leave out 'strict'."


class GrammarFactory:
    """The grammars of one model. Made at no cost; its tokenizer is read when the first grammar is compiled.

    `directory` holds the model's tokenizer.json, `eos_token_ids` end an answer: both are in `ModelFiles`.
    """

    def __init__(self, directory: Path, eos_token_ids: Collection[int]) -> None:
        self._directory = directory
        self._eos_token_ids = sorted(eos_token_ids)
        self._tokenizer: LLTokenizer | None = None
        self._compiled = lru_cache(_KEPT_GRAMMARS)(self._compile)
        self._found = lru_cache(_KEPT_VERDICTS)(self._find_enforceable)

    def compile(self, grammar: Grammar, param: str = "response_format") -> GrammarState:
        """`grammar`, for which the field `param` asks, at its beginning. Limits are for `enforceable`.

        Raises `InvalidRequestError` that says what of it is wrong; `UnenforceableSchemaError` for a JSON schema. It may take
        some tenths of a second, without Python's lock.
        """
        try:
            matcher = self._compiled(grammar)
        except ValueError as error:
            raise _refusal(grammar, param, str(error)) from error
        too_complex = _refusal(grammar, param, f"the {NAMES[grammar.kind]} is too complex to be followed.")
        return GrammarState(matcher.deep_copy(), frozenset(self._eos_token_ids), too_complex)

    def enforceable(self, grammar: Grammar, param: str = "response_format") -> Grammar:
        """`grammar`, as a client sent it, as it can be compiled: a schema in other words, or loosened if it is not strict.

        Raises what is wrong with it, beyond the limits included.
        """
        found = self._found(grammar)
        if isinstance(found, str):
            raise _refusal(grammar, param, found)
        return found

    def _find_enforceable(self, grammar: Grammar) -> Grammar | str:
        """The first form of `grammar` that can be compiled, or what is wrong with the last."""
        try:
            check_limits(grammar)
        except ValueError as error:
            return str(error)
        fault = ""
        for form in _forms(grammar):
            try:
                check_limits(form)  # what is said in other words may be longer
                self._compile(form)
            except ValueError as error:
                fault = str(error)
            else:
                return form
        return fault

    def _compile(self, grammar: Grammar) -> LLMatcher:
        """Raises `ValueError`."""
        from llguidance import LLMatcher, LLParserLimits

        name = NAMES[grammar.kind]
        check_size(grammar)
        tokenizer = self._tokenizer or self._read_tokenizer()
        try:
            matcher = LLMatcher(tokenizer, _definition(grammar), log_level=0, limits=LLParserLimits(verbose_errors=False))
        except ValueError as error:
            raise ValueError(f"the {name} cannot be used: {_reason(str(error))}") from error
        if reason := _fault_of_beginning(matcher):
            raise ValueError(f"the {name} cannot be used: {_reason(reason)}")
        return matcher

    def _read_tokenizer(self) -> LLTokenizer:
        from llguidance import LLTokenizer

        try:
            text = read_plain_tokenizer(self._directory.absolute() / "tokenizer.json")
            tokenizer = LLTokenizer(text, eos_token=self._eos_token_ids, slices=LLTokenizer.json_slices())
        except ValueError as error:
            raise ValueError(f"the tokenizer of this model does not allow it: {_reason(str(error))}") from error
        self._tokenizer = tokenizer
        return tokenizer


class GrammarState:
    """How far one answer has come in its grammar."""

    def __init__(self, matcher: LLMatcher, eos_token_ids: frozenset[int], too_complex: FoundryError) -> None:
        self._matcher = matcher
        self._eos_token_ids = eos_token_ids
        self._too_complex = too_complex

    @property
    def is_finished(self) -> bool:
        """Whether nothing can follow but the end of the answer."""
        return self._matcher.is_stopped()

    def mask(self, logits: NDArray[np.float32]) -> None:
        """Set the logits of all tokens that may not come next to minus infinity.

        Raises `EngineError`, and `InvalidRequestError` when the grammar has become too complex.
        """
        allowed = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8), bitorder="little")
        self._check()
        known = min(len(allowed), len(logits))
        logits[:known][allowed[:known] == 0] = -np.inf
        logits[known:] = -np.inf  # beyond the tokenizer: the model's vocabulary is often rounded up

    def accept(self, token: int) -> None:
        """Go on by `token`, one that `mask` left. Raises as that does."""
        if self.is_finished and token in self._eos_token_ids:
            return
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if not self._matcher.is_error():
            return
        reason = self._matcher.get_error()
        if reason.startswith(_TOO_COMPLEX):
            raise self._too_complex
        raise EngineError(
            f"The grammar of the answer cannot be followed: {_reason(reason)}",
            hint="Use a simpler schema, with fewer alternatives and shorter patterns.",
        )


def _refusal(grammar: Grammar, param: str, reason: str) -> FoundryError:
    message = f"{param}: {reason}"
    if grammar.kind != "json_schema":
        return InvalidRequestError(message, param=param)
    return UnenforceableSchemaError(message, hint=_STRICT_HINT if grammar.strict else _HINT, param=param)


def _fault_of_beginning(matcher: LLMatcher) -> str | None:
    """What goes wrong with the first tokens of some answer; None when nothing does.

    It tells of what nothing can satisfy and of what is too complex, while nothing has been generated yet.
    """
    tried = matcher.deep_copy()
    for _ in range(_TRIED_TOKENS):
        mask = np.unpackbits(np.frombuffer(tried.compute_bitmask(), dtype=np.uint8), bitorder="little")
        allowed = np.flatnonzero(mask)
        if tried.is_error() or tried.is_stopped() or not len(allowed):
            break
        tried.consume_token(int(allowed[len(allowed) // 2]))
    return tried.get_error() if tried.is_error() else None


def _forms(grammar: Grammar) -> Iterator[Grammar]:
    """`grammar`; of a schema also one that says the same in other words and, if it is not strict, one that says less."""
    yield grammar
    if grammar.kind != "json_schema":
        return
    try:
        document = json.loads(grammar.text)
        other = exact(document, _is_compilable)
        if other != document:
            yield _with_schema(grammar, other)
        if not grammar.strict and (loose := loosened(other, _is_compilable)) != other:
            yield _with_schema(grammar, loose)
    except (ValueError, RecursionError):  # the fault of the first form is told
        return


def _with_schema(grammar: Grammar, schema: Any) -> Grammar:
    fields = schema if isinstance(schema, dict) else {"allOf": [schema]}
    return replace(grammar, text=json.dumps(fields, allow_nan=False))


def _is_compilable(schema: dict[str, Any]) -> bool:
    from llguidance import LLMatcher

    return not LLMatcher.validate_grammar(_definition(Grammar("json_schema", json.dumps(schema))))


def _definition(grammar: Grammar) -> str:
    """`grammar` in the form that llguidance compiles. Raises `ValueError`."""
    from llguidance import LLMatcher

    if grammar.kind == "regex":
        return LLMatcher.grammar_from_regex(grammar.text)
    if grammar.kind == "lark":
        return LLMatcher.grammar_from_lark(grammar.text)
    text = _ANY_OBJECT if grammar.kind == "json_object" else grammar.text
    return LLMatcher.grammar_from_json_schema(text, overrides={"whitespace_flexible": False, "lenient": False})


def _reason(text: str) -> str:
    """The first line of what llguidance says; the others draw the place."""
    line = text.strip().split("\n")[0][:_LONGEST_REASON].rstrip(".: ")
    return "nothing satisfies it." if line.startswith("NoExtension") else f"{line or 'no reason is known'}."
