"""Messages to prompt tokens: the template of the model, and what users may not put into it.

A user's text that spells a control token (`<|im_end|>`) must not become that token, or a user, or a page that a tool has
read, could speak as someone else. Such a text is cut inside the token's name, and the parts are tokenized apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from foundry_cli.engine.chat_template import ChatTemplate, Message, PromptTemplate
from foundry_cli.engine.model_files import ModelFiles
from foundry_cli.engine.prompt_cache import common_prefix
from foundry_cli.engine.runtime import Runtime
from foundry_cli.errors import ContextLengthError, EngineError

_CUT = "\ufdd0"  # a code point that Unicode keeps free for such uses
_QUESTIONS = ("A", "1 and")  # nothing in common: neither their first tokens nor their lengths
_UNTRUSTED_ROLES = ("user", "tool", "function")


class PromptBuilder:
    """Makes the prompts for one model."""

    def __init__(self, runtime: Runtime) -> None:
        """Raises `ModelInvalidError` when the template is damaged."""
        self._runtime = runtime
        self._template = _template(runtime.files)
        names = sorted(runtime.files.control_tokens, key=len, reverse=True)
        self._control = re.compile("|".join(map(re.escape, names))) if names else None

    def build(self, messages: Sequence[Message]) -> list[int]:
        """The tokens of the prompt. Raises `ModelInvalidError`, `InvalidRequestError`, `ContextLengthError`."""
        self._check_size(sum(len(message["content"]) for message in messages))
        tokens = self._tokens([self._harmless(message) for message in messages])
        if not tokens:
            raise EngineError("The prompt is empty after the chat template was applied.")
        return tokens

    def build_prefix(self, messages: Sequence[Message]) -> list[int]:
        """The tokens that the prompts for all next questions behind `messages` have in common. Raises as `build`."""
        first, second = (self.build([*messages, {"role": "user", "content": text}]) for text in _QUESTIONS)
        return first[: common_prefix(first, second)]

    def _tokens(self, messages: Sequence[Message]) -> list[int]:
        text = self._template.render(messages) if self._template else self._runtime.apply_own_template(messages)
        tokens: list[int] = []
        for part in text.split(_CUT):
            tokens += self._without_first(self._runtime.encode(part)) if tokens else self._runtime.encode(part)
        return tokens

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

    def _without_first(self, tokens: list[int]) -> list[int]:
        """Without the token that some tokenizers put before everything."""
        bos = self._runtime.files.bos_token_id
        return tokens[1:] if bos is not None and tokens[:1] == [bos] else tokens


def _template(files: ModelFiles) -> ChatTemplate | PromptTemplate | None:
    if files.chat_template is not None:
        return ChatTemplate(files.chat_template, files.special_tokens)
    return PromptTemplate(files.prompt_template) if files.prompt_template else None
