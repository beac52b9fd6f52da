"""How a configuration says that its model makes embeddings."""

from __future__ import annotations

from typing import Any

import pytest

from foundry_cli.embedding_config import is_embedding_config

NAMES = {"present_key_names": "present.%d.key", "present_value_names": "present.%d.value"}


@pytest.mark.parametrize(
    ("decoder", "expected"),
    [
        ({"outputs": NAMES}, True),
        ({"outputs": {**NAMES, "hidden_states": "hidden_states"}}, True),
        ({"outputs": {**NAMES, "logits": "logits"}}, False),
        ({"outputs": {**NAMES, "logits": "logits", "hidden_states": "hidden_states"}}, False),
        ({"outputs": NAMES, "pipeline": []}, False),
        ({"outputs": {}}, False),  # nothing is said: the runtime expects logits then
        ({"outputs": ["present"]}, False),
        ({}, False),
    ],
)
def test_a_decoder_without_logits(decoder: dict[str, Any], expected: bool) -> None:
    assert is_embedding_config({"model": {"decoder": decoder}}) is expected


@pytest.mark.parametrize("config", [None, [], {}, {"model": None}, {"model": {"decoder": "x"}}])
def test_what_is_no_configuration(config: object) -> None:
    assert not is_embedding_config(config)
