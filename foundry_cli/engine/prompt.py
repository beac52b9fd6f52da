"""Messages to prompt tokens: the template of the model, and what users may not put into it.

A user's text that spells a control token (`<|im_end|>`) must not become that token, or a user, or a page that a tool has
read, could speak as someone else. Such a text is cut inside the token's name, and the parts are tokenized apart.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from foundry_cli.engine.chat_template import ChatTemplate, Message, PromptTemplate
from foundry_cli.engine.model_files import ModelFiles
from foundry_cli.engine.prompt_cache import common_prefix
from foundry_cli.engine.reply_format import ReplyFormat
from foundry_cli.engine.reply_formats import find_reply_format
from foundry_cli.engine.request import GenerationRequest
from foundry_cli.engine.runtime import Runtime
from foundry_cli.engine.template_dialect import JinjaDialect, PlainDialect, PromptOptions, TemplateDialect
from foundry_cli.engine.tool_text import tools_told
from foundry_cli.errors import ContextLengthError, InvalidRequestError

_CUT = "\ufdd0"  # a code point that Unicode keeps free for such uses
_QUESTIONS = ("A", "1 and")  # nothing in common: neither their first tokens nor their lengths
_UNTRUSTED_ROLES = ("user", "tool")
_END_CHARACTERS = 200


@dataclass(frozen=True)
class Prompt:
    """A prompt in tokens, and how its text ends: there a template may have begun the answer."""

    tokens: list[int]
    end: str = ""


class PromptBuilder:
    """Makes the prompts for one model."""

    def __init__(self, runtime: Runtime) -> None:
        """Raises `ModelInvalidError` when the template is damaged."""
        self._runtime = runtime
        files = runtime.files
        sources = [source for source in (files.chat_template, files.tool_template) if source is not None]
        self.format: ReplyFormat = find_reply_format("\n".join(sources) if sources else None, files.added_tokens)
        self._dialect = _dialect(runtime)
        names = sorted(files.control_tokens, key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, names))) if names else None

    def build(self, request: GenerationRequest) -> Prompt:
        """The prompt of `request`. Raises `ModelInvalidError`, `InvalidRequestError`, `ContextLengthError`."""
        prompt = self._written(request) if request.prompt is None else self._given(request.prompt)
        if not prompt.tokens:
            message = "messages: the prompt is empty after the chat template was applied."
            raise InvalidRequestError(message, hint="Templates may leave messages of some roles out.", param="messages")
        return prompt

    def build_prefix(self, request: GenerationRequest) -> Prompt:
        """What the prompts for all next questions behind the messages have in common. Raises as `build`."""
        questions = [(*request.messages, {"role": "user", "content": text}) for text in _QUESTIONS]
        first, second = (self.build(replace(request, messages=messages)).tokens for messages in questions)
        return Prompt(first[: common_prefix(first, second)])

    def _given(self, prompt: str | tuple[int, ...]) -> Prompt:
        """A prompt that is continued as it is. Raises `InvalidRequestError` for tokens that the model does not have."""
        if isinstance(prompt, str):
            self._check_size(len(prompt))
            return Prompt(self._runtime.encode(prompt))
        self.check_tokens(prompt)
        return Prompt(list(prompt))

    def check_tokens(self, tokens: Sequence[int], field: str = "prompt") -> None:
        """Raises `InvalidRequestError` for tokens in `field` of the request that the model does not have."""
        size = self._runtime.files.vocabulary_size
        wrong = next((token for token in tokens if not 0 <= token < size), None)
        if wrong is not None:
            raise InvalidRequestError(f"{field}: the model has no token {wrong}; it has {size}.", param=field)

    def _written(self, request: GenerationRequest) -> Prompt:
        """By the template."""
        self._check_size(_size(request))
        text = self._render(request, [self._harmless(message) for message in request.messages])
        first, *others = text.split(_CUT)
        tokens = self._runtime.encode(first)
        for part in others:
            tokens += self._continued(part)
        return Prompt(tokens, text[-_END_CHARACTERS:])

    def _render(self, request: GenerationRequest, messages: Sequence[Message]) -> str:
        tools = request.tools
        if tools and (instructions := self.format.instructions(tools)) is not None:
            messages, tools = tools_told(messages, instructions), None
        options = PromptOptions(request.reasoning_effort, request.usual_effort, request.template_names)
        return self._dialect.render(messages, tools, options)

    def _check_size(self, characters: int) -> None:
        """Refuse what cannot fit, however it is tokenized: that alone would take seconds for megabytes."""
        files = self._runtime.files
        if characters > files.context_length * files.longest_token:
            raise ContextLengthError(
                f"This model's maximum context length is {files.context_length} tokens. The messages have "
                f"{characters} characters, which are at least {characters // files.longest_token} tokens.",
                hint="Shorten the messages.",
                param="messages",
            )

    def _harmless(self, message: Message) -> Message:
        content = message["content"].replace(_CUT, "")
        if self._control is not None and message["role"] in _UNTRUSTED_ROLES:
            while match := self._control.search(content):  # again: a name may hold another one
                name = match[0]
                content = content.replace(name, name[0] + _CUT + name[1:])
        return {**message, "content": content}

    def _continued(self, part: str) -> list[int]:
        """The tokens of a text that follows another one.

        Some tokenizers put a blank before every text; behind a line break, which no token of theirs joins with others, they
        do not.
        """
        if self._lead and (whole := self._runtime.encode("\n" + part))[: len(self._lead)] == self._lead:
            return whole[len(self._lead) :]
        return self._without_first(self._runtime.encode(part))

    @cached_property
    def _lead(self) -> list[int]:
        """The tokens of a line break, if a text behind it has other tokens than it has alone; else nothing."""
        lead, behind, alone = map(self._runtime.encode, ("\n", "\nword", "word"))
        is_other = behind[: len(lead)] == lead and behind[len(lead) :] != self._without_first(alone)
        return lead if is_other else []

    def _without_first(self, tokens: list[int]) -> list[int]:
        """Without the token that some tokenizers put before everything."""
        bos = self._runtime.files.bos_token_id
        return tokens[1:] if bos is not None and tokens[:1] == [bos] else tokens


def _dialect(runtime: Runtime) -> TemplateDialect:
    files = runtime.files
    if files.chat_template is not None:
        return jinja_dialect(files, files.chat_template)
    if files.prompt_template:
        return PlainDialect(PromptTemplate(files.prompt_template).render)
    return PlainDialect(runtime.apply_own_template)


def jinja_dialect(files: ModelFiles, source: str) -> JinjaDialect:
    """How prompts are written with the template `source` of the model. Raises `ModelInvalidError` when one is damaged."""
    tool_source = files.tool_template
    with_tools = JinjaDialect(ChatTemplate(tool_source, files.special_tokens), tool_source) if tool_source is not None else None
    return JinjaDialect(ChatTemplate(source, files.special_tokens), source, with_tools)


def _size(request: GenerationRequest) -> int:
    """Characters of everything that the template writes; at least, because it escapes and adds."""
    tools = request.tools.tools if request.tools else ()
    calls = [call["function"] for message in request.messages for call in message.get("tool_calls") or ()]
    written = json.dumps([*calls, *(tool.parameters for tool in tools)], ensure_ascii=False)
    return sum(len(message["content"]) for message in request.messages) + (len(written) if calls or tools else 0)
