"""Text to tokens and back with the runtime's own tokenizer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from foundry_cli.engine.detokenizer import Detokenizer
from foundry_cli.engine.model_files import read_model_files
from foundry_cli.engine.tokenizer import Tokenizer
from foundry_cli.errors import ModelInvalidError
from tests.engine.workers import needs_batches
from tests.models.scripted import write_scripted_model

pytestmark = needs_batches


def test_control_tokens_are_no_text_however_many_they_are(tmp_path: Path) -> None:
    files = read_model_files(write_scripted_model(tmp_path, ["hello"]))
    tokenizer = Tokenizer(files)
    control, *others = files.control_tokens.values()
    word = tokenizer.encode("yes")
    for tokens in ([], [control], [control] * 5, [control, *others]):
        assert tokenizer.decode(tokens) == ""
    assert tokenizer.decode([control, *word, control]) == "yes"
    detokenizer = Detokenizer(tokenizer.decode)
    assert "".join(map(detokenizer.add, [*[control] * 6, *word, *[control] * 6])) + detokenizer.flush() == "yes"


def test_a_list_of_templates_that_the_runtime_cannot_read(tmp_path: Path) -> None:
    directory = write_scripted_model(tmp_path, ["hello"])
    config = json.loads((directory / "tokenizer_config.json").read_text(encoding="utf-8"))
    config["chat_template"] = [{"name": "default", "template": "x"}]
    (directory / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ModelInvalidError, match="cannot be loaded") as caught:
        Tokenizer(read_model_files(directory))
    assert "lists several chat templates" in str(caught.value.hint)
