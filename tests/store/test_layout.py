"""The folder of a model: its own, inside the cache, and as the original has it where that can be."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from foundry_cli.store.layout import model_root
from foundry_cli.types import ModelInfo

CACHE = Path("/cache")


def place(name: str, publisher: str = "", version: int = 1) -> str:
    return model_root(CACHE, ModelInfo(name, version, name, publisher=publisher)).relative_to(CACHE).as_posix()


@pytest.mark.parametrize(("name", "publisher"), [("Phi-4-mini-instruct-generic-cpu", "Microsoft"), ("größe_1.5+b", "A @ B")])
def test_plain_names_are_kept_as_the_original_has_them(name: str, publisher: str) -> None:
    assert place(name, publisher, 4) == f"{publisher}/{name}-4"


NAMES = ["a-b", "a/b", "a:b", "a\\b", "-a-b", "a-b.", "..", "/", "x" * 120, "x" * 121, "x" * 122, "語" * 100, "語" * 101]


def test_no_two_models_share_a_folder() -> None:
    for one, other in combinations(NAMES, 2):
        assert place(one, "Tests").casefold() != place(other, "Tests").casefold(), (one, other)
    assert place("a/b", version=1) != place("a/b", version=2)


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_is_inside_the_cache_and_not_too_long_for_a_file_system(name: str) -> None:
    levels = place(name, name).split("/")
    assert len(levels) <= 2
    assert all(level.strip(".") and len(level.encode()) <= 255 for level in levels)


def test_a_publisher_that_had_to_be_changed_gives_a_folder_of_its_own() -> None:
    assert place("a", "T/T") != place("a", "T-T")
    assert place("a", "T/T") == place("a", "T/T")
