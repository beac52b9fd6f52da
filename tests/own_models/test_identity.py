"""Names of own models."""

from __future__ import annotations

from pathlib import Path

import pytest

from foundry_cli.errors import InvalidRequestError
from foundry_cli.own_models.identity import LONGEST_NAME, Identity, check_unused, make_identity
from foundry_cli.types import ModelInfo

HERE = Path("/somewhere")


@pytest.mark.parametrize(
    ("name", "suggestion", "expected"),
    [
        ("foo", "x", "foo:1"),
        ("foo:7", "x", "foo:7"),
        ("Foo_1.5-b:999999999", "x", "Foo_1.5-b:999999999"),
        (None, "My model (new)", "My-model-new:1"),
        (None, "tiny-4", "tiny-4:1"),
        (None, "Old name:3", "Old-name:3"),
        (None, "old:0", "old:1"),
        (None, ".hidden", "hidden:1"),
        (None, "n" * 300, "n" * LONGEST_NAME + ":1"),
    ],
)
def test_a_name_is_given_or_made_of_the_folder(name: str | None, suggestion: str, expected: str) -> None:
    identity = make_identity(name, None, suggestion)
    assert identity.id == expected
    assert identity.alias == identity.name


@pytest.mark.parametrize(
    "name", ["", " ", ":1", "a b", "a/b", "../a", "-a", ".a", "ä", "a\n", "a:0", "a:1234567890", "n" * (LONGEST_NAME + 1)]
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError):
        make_identity(name, None, "suggestion")
    with pytest.raises(InvalidRequestError):
        make_identity("fine", name, "suggestion")


def test_a_folder_whose_name_gives_none_asks_for_one() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        make_identity(None, None, "東京")
    assert "--name" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("other", "is_refused"),
    [
        (ModelInfo("FOO", 1, "x", path=HERE), True),  # the id, in any case
        (ModelInfo("foo", 1, "x"), True),  # also when it is only in a catalog: the two would be taken for one
        (ModelInfo("foo", 2, "bar", path=HERE), False),  # another version of it
        (ModelInfo("other", 1, "foo", path=HERE), True),  # its alias is this name
        (ModelInfo("bar", 1, "x", path=HERE), True),  # its name is this alias
        (ModelInfo("other", 1, "BAR", path=HERE), True),
        (ModelInfo("other", 1, "bar"), False),  # not on this machine
        (ModelInfo("other", 1, "other", path=HERE), False),
    ],
)
def test_a_name_that_is_taken_is_refused_with_a_way_out(other: ModelInfo, is_refused: bool) -> None:
    identity = Identity("foo", 1, "bar")
    if not is_refused:
        check_unused(identity, [other])
        return
    with pytest.raises(InvalidRequestError) as caught:
        check_unused(identity, [other])
    assert "--name" in str(caught.value.hint)


def test_nobody_is_told_to_remove_the_bundled_model() -> None:
    bundled = ModelInfo("guide-cpu", 1, "guide", path=HERE, is_bundled=True)
    with pytest.raises(InvalidRequestError) as caught:
        check_unused(Identity("guide", 1, "guide"), [bundled])
    assert "remove" not in str(caught.value.hint)
