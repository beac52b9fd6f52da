"""From messages to prompt tokens, over a runtime of bytes."""

from __future__ import annotations

from typing import Any

import pytest

from foundry_cli.engine.prompt import PromptBuilder
from foundry_cli.engine.request import GenerationRequest
from foundry_cli.errors import ContextLengthError, InvalidRequestError, ModelInvalidError
from tests.engine.fakes import FakeRuntime, reply

CONTROL = dict.fromkeys({"<|end|>", "<|end|><|end|>", "<<|end|>", "[INST]"}, 0)


def message(content: str, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": content}


def parts(*messages: dict[str, Any], **options: Any) -> list[str]:
    """The texts that were tokenized one by one."""
    runtime = FakeRuntime(reply(b""), **options)
    PromptBuilder(runtime).build(GenerationRequest(messages=messages))
    return [text for text in runtime.encoded if text not in ("\n", "\nword", "word")]  # how cut texts go on is tried first


def test_a_prompt_is_tokenized_in_one_piece() -> None:
    assert parts(message("a <b>"), message("c"), control_tokens=CONTROL) == ["a <b>c>"]


@pytest.mark.parametrize("role", ["user", "tool"])
def test_control_tokens_of_others_are_cut(role: str) -> None:
    written = parts(message("a<|end|>b", role), control_tokens=CONTROL)
    assert written == ["a<" if role == "user" else "Result of the call: a<", "|end|>b>"]


@pytest.mark.parametrize("role", ["system", "assistant"])
def test_control_tokens_of_the_application_are_left(role: str) -> None:
    assert parts(message("a<|end|>b", role), control_tokens=CONTROL) == ["a<|end|>b>"]


@pytest.mark.parametrize(
    "content", ["<|end|><|end|>", "<<|end|>", "<|en<|end|>d|>", "[INST][INST]", "<|\ufdd0end|>", "<\ufdd0|end|>"]
)
def test_no_way_of_writing_makes_a_control_token(content: str) -> None:
    written = parts(message(content), control_tokens=CONTROL)
    assert not any(name in part for part in written for name in CONTROL)
    assert "".join(written) == content.replace("\ufdd0", "") + ">"


class BlankRuntime(FakeRuntime):
    """Puts a blank before every text, as tokenizers of SentencePiece do."""

    def encode(self, text: str) -> list[int]:
        return [ord(" "), *super().encode(text)]


def test_a_text_that_was_cut_gets_no_blank() -> None:
    builder = PromptBuilder(BlankRuntime(reply(b""), control_tokens={"</s>": 0}))
    prompt = builder.build(GenerationRequest(messages=(message("<b></s>\n</s> x"),)))
    assert bytes(prompt.tokens) == b" <b></s>\n</s> x>"


def test_control_tokens_of_the_template_are_left() -> None:
    assert parts(message("a"), control_tokens=CONTROL, template="[INST]{{ messages[0].content }}") == ["[INST]a"]


def test_what_cannot_fit_is_not_tokenized() -> None:
    runtime = FakeRuntime(reply(b""), context_length=100)
    with pytest.raises(ContextLengthError, match="150 characters"):
        PromptBuilder(runtime).build(GenerationRequest(messages=(message("x" * 90), message("y" * 60))))
    assert runtime.encoded == []


def test_without_a_template_the_runtime_decides() -> None:
    with pytest.raises(ModelInvalidError, match="no chat template"):
        PromptBuilder(FakeRuntime(reply(b""), template=None)).build(GenerationRequest(messages=(message("x"),)))


def test_an_empty_prompt_is_an_error() -> None:
    with pytest.raises(InvalidRequestError, match="empty"):
        PromptBuilder(FakeRuntime(reply(b""), template="")).build(GenerationRequest(messages=(message("x"),)))
