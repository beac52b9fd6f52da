"""Grammars: which tokens may come next, so that an answer is what a JSON schema, an expression or a grammar says.

llguidance computes the masks; this is the only module that imports it, and only when a request has a grammar.
JSON is written without blanks between its parts: a weak model that may write blanks writes nothing else, for ever.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from foundry_cli.engine.request import Grammar
from foundry_cli.errors import EngineError, InvalidRequestError, UnenforceableSchemaError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

LARGEST_GRAMMAR = 512 * 1024
"""Bytes of text, for the schemas of many tools; with llguidance's own limits this bounds the time to compile it."""

_ANY_OBJECT = '{"type": "object"}'
_KEPT_GRAMMARS = 16  # compiled; the same few come again and again
_LONGEST_REASON = 300  # characters
_HINTS = {"json_schema": "Leave the keyword out of the schema, or say the same with others."}
_NAMES = {"json_object": "grammar", "json_schema": "schema", "regex": "regular expression", "lark": "grammar"}


class GrammarFactory:
    """The grammars of one model. Made at no cost; its tokenizer is read when the first grammar is compiled.

    `directory` holds the model's tokenizer.json, `eos_token_ids` end an answer: both are in `ModelFiles`.
    """

    def __init__(self, directory: Path, eos_token_ids: Collection[int]) -> None:
        self._directory = directory
        self._eos_token_ids = sorted(eos_token_ids)
        self._tokenizer: LLTokenizer | None = None
        self._compiled = lru_cache(_KEPT_GRAMMARS)(self._compile)

    def compile(self, grammar: Grammar, param: str = "response_format") -> GrammarState:
        """`grammar`, for which the field `param` asks, at its beginning.

        Raises `InvalidRequestError` that says what of it is wrong; `UnenforceableSchemaError` for a JSON schema. It may take
        some tenths of a second, without Python's lock.
        """
        try:
            matcher = self._compiled(grammar)
        except ValueError as error:
            kind = UnenforceableSchemaError if grammar.kind == "json_schema" else InvalidRequestError
            raise kind(f"{param}: {error}", hint=_HINTS.get(grammar.kind), param=param) from error
        return GrammarState(matcher.deep_copy(), frozenset(self._eos_token_ids))

    def _compile(self, grammar: Grammar) -> LLMatcher:
        """Raises `ValueError`."""
        from llguidance import LLMatcher, LLParserLimits

        name = _NAMES[grammar.kind]
        if len(grammar.text.encode("utf-8", "replace")) > LARGEST_GRAMMAR:
            raise ValueError(f"the {name} is larger than {LARGEST_GRAMMAR >> 10} KiB.")
        tokenizer = self._tokenizer or self._read_tokenizer()
        try:
            matcher = LLMatcher(tokenizer, _definition(grammar), log_level=0, limits=LLParserLimits(verbose_errors=False))
        except ValueError as error:
            raise ValueError(f"the {name} cannot be used: {_reason(str(error))}") from error
        matcher.compute_bitmask()  # tells of what nothing can satisfy, while nothing has been generated yet
        if matcher.is_error():
            raise ValueError(f"the {name} cannot be used: {_reason(matcher.get_error())}")
        return matcher

    def _read_tokenizer(self) -> LLTokenizer:
        from llguidance import LLTokenizer

        path = self._directory.absolute() / "tokenizer.json"
        try:
            tokenizer = LLTokenizer(str(path), eos_token=self._eos_token_ids, slices=LLTokenizer.json_slices())
        except ValueError as error:
            raise ValueError(f"the tokenizer of this model does not allow it: {_reason(str(error))}") from error
        self._tokenizer = tokenizer
        return tokenizer


class GrammarState:
    """How far one answer has come in its grammar."""

    def __init__(self, matcher: LLMatcher, eos_token_ids: frozenset[int]) -> None:
        self._matcher = matcher
        self._eos_token_ids = eos_token_ids

    @property
    def is_finished(self) -> bool:
        """Whether nothing can follow but the end of the answer."""
        return self._matcher.is_stopped()

    def mask(self, logits: NDArray[np.float32]) -> None:
        """Set the logits of all tokens that may not come next to minus infinity. Raises `EngineError`."""
        allowed = np.unpackbits(np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8), bitorder="little")
        self._check()
        known = min(len(allowed), len(logits))
        logits[:known][allowed[:known] == 0] = -np.inf
        logits[known:] = -np.inf  # beyond the tokenizer: the model's vocabulary is often rounded up

    def accept(self, token: int) -> None:
        """Go on by `token`, one that `mask` left. Raises `EngineError`."""
        if self.is_finished and token in self._eos_token_ids:
            return
        self._matcher.consume_token(token)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise EngineError(
                f"The grammar of the answer cannot be followed: {_reason(self._matcher.get_error())}",
                hint="Use a simpler schema, with fewer alternatives and shorter patterns.",
            )


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
