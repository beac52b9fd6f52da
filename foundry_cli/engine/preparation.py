"""Requests made ready to wait for their turn: the prompt in tokens, the grammar compiled, a reader for the reply.

Grammars are compiled in a thread of their own, without Python's lock: a large one holds up nobody who is being answered.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from foundry_cli.engine.grammar import GrammarFactory, GrammarState
from foundry_cli.engine.prompt import Prompt, PromptBuilder
from foundry_cli.engine.reply_formats.tool_schemas import enforced
from foundry_cli.engine.reply_reader import ReplyReader
from foundry_cli.engine.request import GenerationRequest, Grammar
from foundry_cli.engine.runtime import Runtime
from foundry_cli.engine.sequence import Sequence, check_length


@dataclass(frozen=True)
class _Compiling:
    """A request whose grammar is being compiled."""

    request: GenerationRequest
    prompt: Prompt
    arrived: float
    grammar: Future[GrammarState | None]


class Preparation:
    """Makes sequences of requests. `tell` is called, in another thread, with a request that can be taken now."""

    def __init__(self, runtime: Runtime, tell: Callable[[int], None]) -> None:
        """Raises `ModelInvalidError` when the template is damaged."""
        self.prompts = PromptBuilder(runtime)
        self._runtime = runtime
        self._tell = tell
        self._grammars = GrammarFactory(runtime.files.directory, runtime.files.eos_token_ids)
        self._thread = ThreadPoolExecutor(1, "grammars")
        self._compiling: dict[int, _Compiling] = {}

    def begin(self, identity: int, request: GenerationRequest, arrived: float) -> Sequence | None:
        """The sequence for `request`; None when it is to be taken later. Raises whatever is wrong with the request."""
        prompt = self.prompts.build_prefix(request) if request.max_tokens == 0 else self.prompts.build(request)
        check_length(len(prompt.tokens), request.max_tokens, self._runtime.files.context_length, request.source)
        if request.grammar is None and request.tools is None:
            return self._sequence(identity, request, prompt, arrived, None)
        grammar = self._thread.submit(self._compile, request, prompt)
        self._compiling[identity] = _Compiling(request, prompt, arrived, grammar)
        grammar.add_done_callback(lambda _: self._tell(identity))
        return None

    def take(self, identity: int) -> Sequence | None:
        """The sequence that is ready now; None if it was given up. Raises what is wrong with the grammar."""
        ready = self._compiling.pop(identity, None)
        if ready is None:
            return None
        return self._sequence(identity, ready.request, ready.prompt, ready.arrived, ready.grammar.result())

    def give_up(self, identity: int) -> bool:
        """Forget a request that is not ready; False when it is not here."""
        given_up = self._compiling.pop(identity, None)
        return given_up is not None and (given_up.grammar.cancel() or True)

    def _sequence(
        self, identity: int, request: GenerationRequest, prompt: Prompt, arrived: float, grammar: GrammarState | None
    ) -> Sequence:
        reader = self._reader(request, prompt)
        return Sequence.create(identity, request, prompt.tokens, self._runtime, arrived, grammar, reader)

    def _reader(self, request: GenerationRequest, prompt: Prompt) -> ReplyReader:
        """A prompt without messages is only continued, so all of the reply is text."""
        if request.prompt is not None:
            return ReplyReader(self._runtime.decode, request.stop)
        form, control_tokens = self.prompts.format, self._runtime.files.control_tokens
        markers = {token: text for text, token in control_tokens.items() if text in form.visible_tokens}
        parser = form.new_parser(prompt.end, request.tools)
        return ReplyReader(self._runtime.decode, request.stop, parser, markers)

    def _compile(self, request: GenerationRequest, prompt: Prompt) -> GrammarState | None:
        """The grammar of the whole reply; None when everything is allowed."""
        if request.prompt is not None:
            return self._compiled(request.grammar, "response_format")
        tools = enforced(request.tools, lambda schema: self._grammars.compile(schema, "tools")) if request.tools else None
        grammar = self.prompts.format.grammar(prompt.end, tools, request.grammar, self._runtime.files.added_tokens)
        if request.grammar is not None and grammar != request.grammar:
            self._grammars.compile(request.grammar)  # tells of what is wrong with it alone
        return self._compiled(grammar, "tools" if tools else "response_format")

    def _compiled(self, grammar: Grammar | None, param: str) -> GrammarState | None:
        return None if grammar is None else self._grammars.compile(grammar, param)
