"""The tree of errors: every class travels over the wire and has an exit code and a status."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from foundry_cli import errors
from foundry_cli.api.errors import error_body, error_from_body
from foundry_cli.cli.errors import ExitCode, exit_code, sentence
from foundry_cli.service.errors import status_of


def _classes(root: type[errors.FoundryError]) -> Iterator[type[errors.FoundryError]]:
    if not root.__name__.startswith("_"):  # a module's own refinement never leaves it
        yield root
    for child in root.__subclasses__():
        yield from _classes(child)


ALL = list(_classes(errors.FoundryError))


def test_codes_are_unique() -> None:
    codes = [cls.code for cls in ALL]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("cls", ALL)
def test_an_error_survives_the_wire(cls: type[errors.FoundryError]) -> None:
    error = cls("It went wrong.", hint="Do this.", param="field")
    back = error_from_body(error_body(error, "kind"), "fallback")
    assert type(back) is cls
    assert (back.message, back.hint, back.param) == ("It went wrong.", "Do this.", "field")


@pytest.mark.parametrize("body", [None, [], {}, {"error": "text"}, {"error": {"message": 3}}])
def test_a_body_that_is_no_error_gives_the_fallback(body: object) -> None:
    assert error_from_body(body, "fallback").message == "fallback"


def test_every_error_has_an_exit_code_and_a_status() -> None:
    for cls in ALL:
        assert exit_code(cls("x")) in ExitCode
        assert 400 <= status_of(cls("x")) < 600


def test_the_sentence_is_one_line() -> None:
    text = sentence(errors.FoundryError("First\nsecond.", hint="Way\tout."))
    assert text == "Exception: First second. Way out."
