"""The tables of request fields: nothing of OpenAI's reference is missing, and what they say is what the service does."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from field_tables import CHAT, COMPLETIONS, EMBEDDINGS, MESSAGES, PAGES, RESPONSES, Interface, rows
from openai.types import completion_create_params, embedding_create_params
from openai.types.chat import ChatCompletionStreamOptionsParam
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.responses import ResponseTextConfigParam, response_create_params
from openai.types.shared_params import Reasoning

from foundry_cli.api.field_notes import Only
from foundry_cli.errors import UnsupportedFieldError
from foundry_cli.service.anthropic.conversion import read_message_request
from foundry_cli.service.openai.completion_conversion import read_completion
from foundry_cli.service.openai.convert import read_chat_request
from foundry_cli.service.openai.embeddings import read_embeddings
from foundry_cli.service.openai.response_conversion import read_response_request
from foundry_cli.service.openai.response_store import ResponseStore
from tests.docs.shells import ROOT

REFERENCE: list[tuple[Interface, Any]] = [
    (CHAT, chat_create_params.CompletionCreateParamsBase),
    (COMPLETIONS, completion_create_params.CompletionCreateParamsBase),
    (EMBEDDINGS, embedding_create_params.EmbeddingCreateParams),
    (RESPONSES, response_create_params.ResponseCreateParamsBase),
]
"""What OpenAI's own client can send. `stream` stands in classes derived from those that are called `…Base`."""

NEWER = {"access_programs", "background_options", "image"}
"""Fields that only clients later than the oldest one allowed in `pyproject.toml` can send."""

NESTED: list[tuple[Interface, str, Any]] = [
    (CHAT, "stream_options", ChatCompletionStreamOptionsParam),
    (COMPLETIONS, "stream_options", ChatCompletionStreamOptionsParam),
    (RESPONSES, "stream_options", response_create_params.StreamOptions),
    (RESPONSES, "text", ResponseTextConfigParam),
    (RESPONSES, "reasoning", Reasoning),
]

MESSAGES_OF_USER = [{"role": "user", "content": "Hi"}]
READERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    CHAT.path: lambda fields: read_chat_request({"model": "m", "messages": MESSAGES_OF_USER, **fields}),
    COMPLETIONS.path: lambda fields: read_completion({"model": "m", "prompt": "Hi", **fields}),
    EMBEDDINGS.path: lambda fields: read_embeddings({"model": "m", "input": "Hi", **fields}),
    RESPONSES.path: lambda fields: read_response_request({"model": "m", "input": "Hi", **fields}, ResponseStore()),
    MESSAGES.path: lambda fields: read_message_request({"model": "m", "max_tokens": 5, "messages": MESSAGES_OF_USER, **fields}),
}
INTERFACES = [interface for _, interfaces in PAGES.values() for interface in interfaces]


def _path(interface: Interface) -> str:
    return interface.path


def _known_to_openai(parameters: Any) -> set[str]:
    return {*parameters.__annotations__, *({"stream"} if "Base" in parameters.__name__ else ())}


def _fields(interface: Interface) -> set[str]:
    return {row.name for row in rows(interface) if "." not in row.name}


@pytest.mark.parametrize(("interface", "parameters"), REFERENCE, ids=[interface.path for interface, _ in REFERENCE])
def test_no_field_of_openai_is_missing(interface: Interface, parameters: Any) -> None:
    """When this fails after an update of the client: decide what becomes of the new field, and say so beside the model."""
    assert _known_to_openai(parameters) - _fields(interface) == set()


@pytest.mark.parametrize(("interface", "name", "parameters"), NESTED)
def test_no_part_of_a_field_of_openai_is_missing(interface: Interface, name: str, parameters: Any) -> None:
    named = {row.name for row in rows(interface)}
    assert {f"{name}.{part}" for part in parameters.__annotations__} - named == set()


@pytest.mark.parametrize(("interface", "parameters"), REFERENCE, ids=[interface.path for interface, _ in REFERENCE])
def test_own_fields_are_those_that_openai_does_not_have(interface: Interface, parameters: Any) -> None:
    own = {name for name in interface.own if "." not in name}
    assert own & _known_to_openai(parameters) == set()
    of_other_interfaces = _known_to_openai(chat_create_params.CompletionCreateParamsBase)
    assert _fields(interface) - own - _known_to_openai(parameters) <= of_other_interfaces | NEWER
    assert set(interface.model.model_fields) - own - _known_to_openai(parameters) == set()
    assert interface.own <= {row.name for row in rows(interface)}


@pytest.mark.parametrize("interface", INTERFACES, ids=_path)
def test_every_field_is_there_once(interface: Interface) -> None:
    names = [row.name for row in rows(interface)]
    assert len(names) == len(set(names))
    assert {row.outcome for row in rows(interface)} <= {"honoured", "in part", "no effect", "refused", "own"}
    assert all(row.remark for row in rows(interface) if row.outcome in ("in part", "no effect", "refused"))


@pytest.mark.parametrize("interface", INTERFACES, ids=_path)
def test_refused_fields_are_refused(interface: Interface) -> None:
    for name in interface.unsupported:
        if "[" not in name:
            with pytest.raises(UnsupportedFieldError) as caught:
                READERS[interface.path]({name: {"type": "other"}})
            assert caught.value.param == name


@pytest.mark.parametrize("interface", INTERFACES, ids=_path)
def test_fields_without_effect_have_none(interface: Interface) -> None:
    plain = READERS[interface.path]({})
    given = READERS[interface.path]({name: "x" for name in interface.harmless if "[" not in name})
    assert given.ignored_fields == []
    assert _generations(given) == _generations(plain)


def _generations(request: Any) -> Any:
    return getattr(request, "generations", None) or getattr(request, "entries", None) or request.generation


@pytest.mark.parametrize("interface", INTERFACES, ids=_path)
def test_only_the_values_in_the_table_are_honoured(interface: Interface) -> None:
    read = READERS[interface.path]
    for name, field in interface.model.model_fields.items():
        for note in (note for note in field.metadata if isinstance(note, Only)):
            for value in (*note.values, None):
                assert read({name: value}).ignored_fields == []
            other: Any = {"truncation": "auto", "background": True, "n": 2, "suffix": "end"}[name]
            with pytest.raises(UnsupportedFieldError) as caught:
                read({name: other})
            assert caught.value.param == name


def test_the_tables_can_be_read() -> None:
    for path in PAGES:
        text = (ROOT / path).read_text(encoding="utf-8")
        lines = [line for line in text.splitlines() if line.startswith("|")]
        assert all(len(re.findall(r"(?<!\\)\|", line)) == 5 for line in lines), path
        assert path in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("interface", "name", "cells"),
    [
        (CHAT, "temperature", ("honoured", "number from 0 to 2", "")),
        (CHAT, "min_p", ("own", "number from 0 to 1", "")),
        (CHAT, "store", ("no effect", "", "answers are never stored")),
        (CHAT, "audio", ("refused", "", "models write text only")),
        (CHAT, "modalities", ("in part", 'only `["text"]`', "models write text only")),
        (CHAT, "tools[].function.strict", ("honoured", "true or false", "")),
        (RESPONSES, "background", ("in part", "only `false`", "use `stream`, or wait for the answer")),
        (RESPONSES, "text.verbosity", ("in part", 'only `"medium"`', "models have no such setting")),
        (MESSAGES, "max_tokens", ("honoured", "integer from 1 to 2147483647; required", "")),
        (MESSAGES, "tools[].cache_control", ("no effect", "", "common beginnings are always found")),
    ],
)
def test_rows(interface: Interface, name: str, cells: tuple[str, str, str]) -> None:
    (row,) = [row for row in rows(interface) if row.name == name]
    assert (row.outcome, row.values, row.remark) == cells


def test_a_field_that_nobody_decided_about_would_be_noticed() -> None:
    class Newer:
        __annotations__ = {**chat_create_params.CompletionCreateParamsBase.__annotations__, "telepathy": bool}

    assert _known_to_openai(Newer) - _fields(CHAT) == {"telepathy"}
