"""Whether a model behaves as clients expect: the checks of `foundry model test`, over anything that answers like a service."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from enum import Enum
from typing import Any, Protocol, TypeVar

from foundry_cli.errors import ContextLengthError, FoundryError, ServiceUnreachableError, UnsupportedFieldError
from foundry_cli.own_models.checking import ModelFacts
from foundry_cli.store.verdicts import FAILED, PASSED, UNDECIDED, Verdict

Message = dict[str, str]
S = TypeVar("S")


@dataclass(frozen=True)
class Answer:
    """One answer of the model."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    pieces: tuple[str, ...] = ()  # as it was streamed
    tool_calls: tuple[dict[str, Any], ...] = ()  # as OpenAI has them


class Chat(Protocol):
    """A conversation partner."""

    def complete(self, messages: list[Message], **options: Any) -> Answer:
        """The whole answer; `options` as in OpenAI's interface. Raises `FoundryError`."""

    def stream(self, messages: list[Message], **options: Any) -> Answer:
        """The same, streamed."""


class Status(str, Enum):
    """How a check ended."""

    passed = "passed"
    failed = "failed"
    not_shown = "not shown"  # neither: what the model did says nothing about it
    skipped = "skipped"  # neither: the model, or this version of the program, does not have what is checked


@dataclass(frozen=True)
class Result:
    """The end of one check, with a reason in words."""

    name: str
    status: Status
    detail: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Subject:
    """What the checks look at."""

    chat: Chat
    facts: ModelFacts
    supports_tool_calling: bool = False


class CheckFailedError(Exception):
    """A check found that the model does not behave; the message says how."""


class CheckNotShownError(Exception):
    """A check could not see what it looks for; the message says why."""


class CheckSkippedError(Exception):
    """A check does not apply; the message says why."""


Check = Callable[[Subject], str]
"""Returns what was seen, in a few words. Raises one of the three errors above, or what the service reports."""


def run_checks(subject: Subject, clock: Callable[[], float] = time.monotonic) -> Iterator[Result]:
    """Every check of a model that writes text, in turn. Raises `ServiceUnreachableError` when the service goes away."""
    return run_each(CHECKS, subject, clock)


def run_each(
    checks: Mapping[str, Callable[[S], str]], subject: S, clock: Callable[[], float] = time.monotonic
) -> Iterator[Result]:
    """Each of `checks`, by its name; a check is as `Check`, of whatever kind of subject. Raises as `run_checks`."""
    for name, check in checks.items():
        began = clock()
        status, detail = _outcome(check, subject)
        yield Result(name, status, detail, clock() - began)


def _outcome(check: Callable[[S], str], subject: S) -> tuple[Status, str]:
    try:
        return Status.passed, check(subject)
    except CheckFailedError as error:
        return Status.failed, str(error)
    except CheckNotShownError as error:
        return Status.not_shown, str(error)
    except CheckSkippedError as error:
        return Status.skipped, str(error)
    except ServiceUnreachableError:
        raise
    except UnsupportedFieldError as error:
        return Status.skipped, f"not supported by this version: {error.param}"
    except FoundryError as error:
        return Status.failed, error.message


def verdict_of(results: list[Result], now: Callable[[], float] = time.time, *, core: frozenset[str] | None = None) -> Verdict:
    """The verdict on a model: failed when a check failed, passed when those of `core` passed (None: `CORE`), else undecided."""
    failed = tuple(result.name for result in results if result.status is Status.failed)
    passed = {result.name for result in results if result.status is Status.passed}
    date = datetime.fromtimestamp(int(now()), timezone.utc).isoformat()
    return Verdict(FAILED if failed else PASSED if passed >= (CORE if core is None else core) else UNDECIDED, date, failed)


GREEDY: dict[str, Any] = {"temperature": 0}
_SYSTEM_TEXT = "alpha system"
_TURN_TEXTS = ("bravo question", "charlie answer", "delta question")  # `PROBE` of engine/model_check.py
_LONGEST_ANSWER = 128  # tokens that a short answer may take
SAMPLE = "Grüße, 東京, Ωμέγα, привет, مرحبا, 😀👩\u200d🔬"
_WORDS = ("north", "river", "stone", "seven", "green", "music", "paper", "cloud")
_MOST_WORDS = 2_000_000
_BROKEN = "\N{REPLACEMENT CHARACTER}"


def _user(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def require(condition: object, failure: str) -> None:
    """Raise `CheckFailedError` with the reason `failure` unless `condition` holds."""
    if not condition:
        raise CheckFailedError(failure)


def check_template(subject: Subject) -> str:
    """Every message of a conversation is in the prompt once, turns in order, with something of the model's own between."""
    prompt = subject.facts.rendered
    if prompt is None:
        raise CheckNotShownError("the template is the runtime's own and cannot be seen")
    takes_system = _SYSTEM_TEXT in prompt  # wherever: some templates put it into the last question
    for text in _TURN_TEXTS:
        require(prompt.count(text) == 1, f"a message is in the prompt {prompt.count(text)} times instead of once")
    places = [prompt.find(text) for text in _TURN_TEXTS]
    require(places == sorted(places), "the messages are not in order")
    ends = [place + len(text) for place, text in zip(places, _TURN_TEXTS, strict=True)]
    gaps = [prompt[end:place] for end, place in zip(ends, places[1:], strict=False)]
    require(all(gap.strip() for gap in gaps), "nothing marks where one message ends and the next begins")
    return "all messages in order" if takes_system else "all messages in order; system messages are not taken"


def check_history(subject: Subject) -> str:
    """Earlier turns make the prompt longer."""
    first = subject.chat.complete(_user(SAMPLE), max_tokens=1, **GREEDY)
    turns = [*_user("One, two, three, four."), {"role": "assistant", "content": "Five, six, seven."}, *_user(SAMPLE)]
    second = subject.chat.complete(turns, max_tokens=1, **GREEDY)
    require(second.prompt_tokens > first.prompt_tokens, "earlier turns of the conversation do not reach the model")
    return f"{first.prompt_tokens} tokens alone, {second.prompt_tokens} with history"


def check_stop(subject: Subject) -> str:
    """An answer ends by itself, and the tokens that end it are not in its text."""
    require(subject.facts.eos_token_ids, "genai_config.json names no token that ends an answer")
    for question in ("Say hello in one word.", "What is 1 + 1? Answer with the number only."):
        answer = subject.chat.complete(_user(question), max_tokens=_LONGEST_ANSWER, **GREEDY)
        leaked = [token for token in subject.facts.control_tokens if token in answer.text]
        require(not leaked, f"the answer shows the control token {leaked[:1]}")
        if answer.finish_reason == "stop":
            return f"ended after {answer.completion_tokens} tokens"
    raise CheckNotShownError(f"no answer ended within {_LONGEST_ANSWER} tokens; none shows a control token")


def check_streaming(subject: Subject) -> str:
    """The streamed answer is the same as the other one."""
    question = _user("Name three colours.")
    options = {**GREEDY, "max_tokens": 32}
    subject.chat.complete(question, max_tokens=1, **GREEDY)  # both find the prompt in memory then
    whole, streamed = subject.chat.complete(question, **options), subject.chat.stream(question, **options)
    require(streamed.text == whole.text, f"streamed {streamed.text[:40]!r}, in one piece {whole.text[:40]!r}")
    require(streamed.finish_reason == whole.finish_reason, "the reasons of the end differ")
    require(streamed.completion_tokens == whole.completion_tokens, "the counts of tokens differ")
    return f"{whole.completion_tokens} tokens in {len(streamed.pieces)} pieces"


def check_determinism(subject: Subject) -> str:
    """The same question gives the same answer, at temperature 0 and with a seed."""
    question = _user("Tell me something about the sea.")
    subject.chat.complete(question, max_tokens=1, **GREEDY)
    for options in (GREEDY, {"temperature": 1, "seed": 7}):
        first, second = (subject.chat.complete(question, max_tokens=16, **options) for _ in range(2))
        require(first.text == second.text, f"two answers to one question differ with {options}")
    return "same answers at temperature 0 and with a seed"


def check_unicode(subject: Subject) -> str:
    """Characters of many bytes go in and come out whole."""
    answer = subject.chat.stream(_user(f"Repeat this text exactly: {SAMPLE}"), max_tokens=64, **GREEDY)
    require(_BROKEN not in answer.text, f"the answer has broken characters: {answer.text[:40]!r}")
    require("<0x" not in answer.text, f"the answer shows bytes instead of characters: {answer.text[:40]!r}")
    words = SAMPLE.split(", ")
    return f"no broken characters; {sum(word in answer.text for word in words)} of {len(words)} texts repeated"


def check_context_limit(subject: Subject) -> str:
    """A conversation that does not fit is refused with the right error, and the model goes on."""
    count = subject.facts.context_length + 64
    if count > _MOST_WORDS:
        raise CheckNotShownError("the context is longer than what one request may send")
    text = " ".join(_WORDS[number % len(_WORDS)] for number in range(count))
    try:
        subject.chat.complete(_user(text), max_tokens=1, **GREEDY)
    except ContextLengthError as error:
        subject.chat.complete(_user("Hello!"), max_tokens=1, **GREEDY)
        return error.message.partition(".")[0]
    raise CheckFailedError(f"a prompt of {count} words was accepted, with a context of {count - 64} tokens")


def check_json(subject: Subject) -> str:
    """JSON mode gives a JSON object; a weak model does not find the end of one, which says nothing about JSON mode."""
    question = _user('Give the capital of France as JSON, like {"capital": "…"}.')
    answer = subject.chat.complete(question, max_tokens=_LONGEST_ANSWER, response_format={"type": "json_object"}, **GREEDY)
    if answer.finish_reason == "length":
        raise CheckNotShownError(f"the answer was cut after {_LONGEST_ANSWER} tokens: {answer.text[:40]!r}")
    require(isinstance(_parsed(answer.text), dict), f"the answer is not a JSON object: {answer.text[:40]!r}")
    return "the answer is a JSON object"


def check_tools(subject: Subject) -> str:
    """A question that needs a tool is answered with a call of it, with usable arguments."""
    if not subject.supports_tool_calling:
        raise CheckSkippedError("the model has no tool calls")
    answer = subject.chat.complete(_user("What is the weather in Paris?"), max_tokens=256, tools=[_WEATHER], **GREEDY)
    require(answer.tool_calls, f"no tool was called; the answer is {answer.text[:40]!r}")
    function = answer.tool_calls[0].get("function", {})
    arguments = _parsed(str(function.get("arguments")))
    require(function.get("name") == "get_weather", f"the tool called is {function.get('name')!r}")
    require(isinstance(arguments, dict) and arguments.get("city"), f"the arguments are {function.get('arguments')!r}")
    return "the tool was called with its arguments"


def _parsed(text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


_WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}

CHECKS: dict[str, Check] = {
    "chat template": check_template,
    "history": check_history,
    "stop tokens": check_stop,
    "streaming": check_streaming,
    "determinism": check_determinism,
    "Unicode": check_unicode,
    "context limit": check_context_limit,
    "JSON mode": check_json,
    "tool calls": check_tools,
}

CORE = frozenset({"chat template", "streaming", "Unicode"})
"""The checks that a model must pass: what every conversation needs."""
