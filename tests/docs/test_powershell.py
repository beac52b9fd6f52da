"""The completion for PowerShell. There is no PowerShell where the tests run: its table and its brackets are looked at."""

from __future__ import annotations

import re

import pytest

from tests.docs.shells import POWERSHELL, generator

TREE = generator.read_tree()
SCRIPT = POWERSHELL.read_text(encoding="utf-8")
_STRING = r"'((?:[^']|'')*)'"


def _tables() -> dict[str, str]:
    """The part of the script about each command."""
    parts = re.split(rf"^        {_STRING} = @\{{$", SCRIPT.partition("    $aliases")[0], flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def _table(path: str, name: str) -> dict[str, str]:
    body = re.search(
        rf"^            {name} = (?:\[ordered\])?@\{{(?:\}}$|\n(.*?)^            \}}$)", _tables()[path], re.M | re.S
    )
    assert body, (path, name)
    pairs = re.findall(rf"^                {_STRING} = {_STRING}$", body[1] or "", re.MULTILINE)
    assert len(pairs) == len((body[1] or "").splitlines())
    return {key: value.replace("''", "'") for key, value in pairs}


def test_table_has_every_command() -> None:
    assert list(_tables()) == [command.path for command in TREE.walk()]


@pytest.mark.parametrize("command", list(TREE.walk()), ids=lambda command: command.path or "foundry")
def test_table_of_a_command(command) -> None:  # type: ignore[no-untyped-def]
    options = {name: option for option in command.options for name in option.completable}
    assert _table(command.path, "Commands") == {child.name: child.title for child in command.commands}
    assert _table(command.path, "Options") == {name: generator.summary(option.help) for name, option in options.items()}
    assert _table(command.path, "Takes") == {name: option.kind for name, option in options.items() if option.kind}
    kinds = ", ".join(f"'{argument.kind}'" for argument in command.places)
    assert f"            Arguments = @({kinds})\n" in _tables()[command.path]


def test_keys_differ_in_more_than_case() -> None:
    for command in TREE.walk():
        names = [name.lower() for option in command.options for name in option.completable]
        assert len(names) == len(set(names)), command.path


def test_every_tooltip_has_text() -> None:
    for command in TREE.walk():
        assert all(_table(command.path, "Commands").values())
        assert all(_table(command.path, "Options").values())


def test_aliases_lead_to_the_visible_command() -> None:
    for command in TREE.walk():
        for alias in command.alias_paths:
            assert f"        '{alias}' = '{command.path}'\n" in SCRIPT


@pytest.mark.parametrize(
    ("text", "quoted"), [("plain", "'plain'"), ("the model's", "'the model''s'"), ("a \u2019 b", "'a \u2019\u2019 b'")]
)
def test_quoting(text: str, quoted: str) -> None:
    assert generator._powershell_quote(text) == quoted


def test_brackets_and_quotes_are_balanced() -> None:
    code = re.sub(r"^ *#.*$", "", SCRIPT, flags=re.MULTILINE)
    code = re.sub(r"'(?:[^'\n]|'')*'", "''", code)
    code = re.sub(r'"(?:[^"\n`$]|\$\(\$\w+\.\w+\)|\$\w+)*"', '""', code)
    assert not re.search(r"[^'\"]['\"][^'\"]", code.replace("''", "").replace('""', ""))
    opened: list[str] = []
    for character in code:
        if character in "([{":
            opened.append(character)
        elif character in ")]}":
            assert opened.pop() + character in ("()", "[]", "{}")
    assert opened == []
