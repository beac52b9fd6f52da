"""The manual pages: clean for two formatters, complete, and the same on every day."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.docs.shells import ROOT, generator, program

pytestmark = pytest.mark.shells

TREE = generator.read_tree()
PAGES = sorted((ROOT / "man").glob("*.1"))
SECTIONS = ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS", "ENVIRONMENT", "FILES", "EXAMPLES", "SEE ALSO"]


def _shown(page: Path) -> str:
    """The page as a reader sees it, on wide lines."""
    formatter = [program("mandoc"), "-T", "utf8", "-O", "width=1000", str(page)]
    text = subprocess.run(formatter, capture_output=True, text=True, encoding="utf-8", check=True).stdout
    while "\b" in text:  # bold and underlined characters are printed over each other
        index = text.index("\b")
        text = text[: index - 1] + text[index + 1 :]
    return text


def test_there_is_a_page_for_the_program_and_for_each_command() -> None:
    names = ["foundry", *(f"foundry-{command.path}" for command in TREE.commands)]
    assert {page.stem for page in PAGES} == set(names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_mandoc_finds_nothing(page: Path) -> None:
    done = subprocess.run([program("mandoc"), "-T", "lint", "-W", "style", str(page)], capture_output=True, text=True)
    found = (done.stdout + done.stderr).splitlines()
    if ' 1 "" ' in page.read_text(encoding="utf-8"):  # not released yet
        found = [line for line in found if "missing date" not in line]
    assert found == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_groff_warns_of_nothing(page: Path) -> None:
    done = subprocess.run(
        [program("groff"), "-man", "-ww", "-z", "-K", "utf8", "-T", "utf8", str(page)], capture_output=True, text=True
    )
    assert done.stdout + done.stderr == ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_sections(page: Path) -> None:
    sections = [line.removeprefix(".SH ") for line in page.read_text(encoding="utf-8").splitlines() if line.startswith(".SH ")]
    expected = list(SECTIONS)
    if page.stem not in {generator._page(command) for command in TREE.commands if not command.commands}:
        expected.insert(3, "COMMANDS")
    assert sections == expected


@pytest.mark.parametrize("command", [TREE, *TREE.commands], ids=lambda command: command.path or "foundry")
def test_everything_is_described(command) -> None:  # type: ignore[no-untyped-def]
    shown = _shown(ROOT / "man" / f"{generator._page(command)}.1")
    for below in (command, *(command.commands if command.path else ())):
        assert " ".join(below.help.partition("\n\n")[0].split()) in shown
        for parameter in below.options:
            assert f" {', '.join(parameter.names)}" in shown
            assert parameter.help in shown
        for alias in below.alias_paths:
            assert f"'foundry {alias}'" in shown


def test_page_of_the_program() -> None:
    shown = _shown(ROOT / "man" / "foundry.1")
    for text in (*generator.ENVIRONMENT, *map(str, generator.FILES), *map(str, map(int, generator.EXIT_STATUS))):
        assert f"     {text}" in shown
    for text in (*generator.ENVIRONMENT.values(), *generator.FILES.values(), *generator.EXIT_STATUS.values()):
        assert text in shown
    assert "$ foundry model run foundry-guide --prompt 'How do I list the models?'" in shown


@pytest.mark.parametrize(
    ("text", "troff"),
    [
        ("With --top-p or -o.", "With \\-\\-top\\-p or \\-o."),
        ("in ~/.foundry", "in \\(ti/.foundry"),
        ("'!' and the model's", "\\(aq!\\(aq and the model's"),
        ("a \\ b", "a \\e b"),
        ("well-known", "well-known"),
    ],
)
def test_prose(text: str, troff: str) -> None:
    assert generator._prose(text) == troff


@pytest.mark.parametrize(
    ("heading", "day"),
    [("## [1.2.3] - 2031-04-05", "2031-04-05"), ("## 1.2.3 (2031-04-05)", "2031-04-05"), ("## [Unreleased]", ""), ("", "")],
)
def test_date_is_the_one_of_the_release(heading: str, day: str) -> None:
    log = f"# Changelog\n\n{heading}\n- Add.\n\n## [1.2.2] - 2030-01-01\n- Begin.\n"
    assert generator.release_date("1.2.3", log) == day
    assert generator.release_date("1.2.2", log) == "2030-01-01"


def test_a_line_is_never_a_request() -> None:
    assert generator._paragraph(".TH is a request") == ["\\&.TH is a request"]
    assert generator._paragraph("'tis too") == ["\\(aqtis too"]
