"""Requests made ready to wait for their turn: the prompt in tokens, the grammar compiled, a reader for the reply.

Grammars are compiled in a thread of their own, without Python's lock: a large one holds up nobody who is being answered.
"""

from __future__ import annotations

import threading
import time
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
from foundry_cli.errors import UnenforceableSchemaError

PATIENCE_SECONDS = 20.0
"""For the grammar of one request; usual ones take some milliseconds."""

Tell = Callable[[int], None]


@dataclass(frozen=True)
class _Compiling:
    """A request whose grammar is being compiled."""

    request: GenerationRequest
    prompt: Prompt
    arrived: float
    grammar: Future[GrammarState | None]


class Preparation:
    """Makes sequences of requests. `tell` is called, in another thread, with a request that can be taken now.

    A grammar whose compilation has not ended after `patience` seconds never may, and nothing can stop it but the end of the
    process: `tell_overdue` is called then.
    """

    def __init__(
        self,
        runtime: Runtime,
        tell: Tell,
        tell_overdue: Tell,
        *,
        patience: float = PATIENCE_SECONDS,
        grammars: GrammarFactory | None = None,
    ) -> None:
        """Raises `ModelInvalidError` when the template is damaged."""
        self.prompts = PromptBuilder(runtime)
        self._runtime = runtime
        self._tell = tell
        self._tell_overdue = tell_overdue
        self._patience = patience
        self._compiling_now: int | None = None
        self._grammars = grammars or GrammarFactory(runtime.files.directory, runtime.files.eos_token_ids)
        self._thread = ThreadPoolExecutor(1, "grammars")
        self._compiling: dict[int, _Compiling] = {}

    def begin(self, identity: int, request: GenerationRequest, arrived: float) -> Sequence | None:
        """The sequence for `request`; None when it is to be taken later. Raises whatever is wrong with the request."""
        prompt = self.prompts.build_prefix(request) if request.max_tokens == 0 else self.prompts.build(request)
        self.prompts.check_tokens([token for token, _ in request.sampling.logit_bias], "logit_bias")
        check_length(len(prompt.tokens), request, self._runtime.files.context_length)
        if request.grammar is None and request.tools is None:
            return self._sequence(identity, request, prompt, arrived, None)
        grammar = self._thread.submit(self._compile, identity, request, prompt)
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

    def is_overdue(self, identity: int) -> bool:
        """Whether the grammar of `identity`, of which `tell_overdue` was told, is still being compiled."""
        return self._compiling_now == identity

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

    def _compile(self, identity: int, request: GenerationRequest, prompt: Prompt) -> GrammarState | None:
        """The grammar of the whole reply; None when everything is allowed."""
        self._compiling_now = identity
        timer = threading.Timer(self._patience, self._tell_overdue, (identity,))
        timer.daemon = True
        timer.start()
        try:
            return self._grammar(request, prompt)
        finally:
            timer.cancel()
            self._compiling_now = None

    def _grammar(self, request: GenerationRequest, prompt: Prompt) -> GrammarState | None:
        answer = request.grammar
        if answer is not None:
            answer = self._grammars.enforceable(answer)  # alone: what is wrong with it shall not be told of the whole reply
        if request.prompt is not None:
            return self._compiled(answer, "response_format")
        tools = enforced(request.tools, self._enforcer_of_tools()) if request.tools else None
        grammar = self.prompts.format.grammar(prompt.end, tools, answer, self._runtime.files.added_tokens)
        return self._compiled(grammar, "tools" if tools else "response_format")

    def _enforcer_of_tools(self) -> Callable[[Grammar], Grammar]:
        """Makes the schemas of tools enforceable one after the other, as long as that does not take too long in all."""
        end = time.monotonic() + self._patience / 4

        def enforceable(schema: Grammar) -> Grammar:
            if time.monotonic() > end:
                raise UnenforceableSchemaError("tools: their schemas together take too long to compile.", param="tools")
            return self._grammars.enforceable(schema, "tools")

        return enforceable

    def _compiled(self, grammar: Grammar | None, param: str) -> GrammarState | None:
        return None if grammar is None else self._grammars.compile(grammar, param)
