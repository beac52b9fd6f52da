"""Records of models: both generations of the original, and texts that may come from anybody."""

from __future__ import annotations

from foundry_cli.model_record import from_record, to_record
from foundry_cli.types import ModelInfo


def test_what_is_written_is_read_again() -> None:
    model = ModelInfo(
        "phi-generic-cpu",
        3,
        "phi",
        device="GPU",
        execution_provider="CUDAExecutionProvider",
        publisher="Tests",
        size_bytes=5 << 20,
        license="MIT",
        license_description="Two\nlines.",
        prompt_template={"assistant": "{Content}"},
        context_length=4096,
        max_output_tokens=100,
        requires_acceptance=True,
        source="office",
        uri="azureml://x",
        created=5,
        display_name="Phi",
        provider_type="AzureFoundry",
    )
    assert from_record(to_record(model)) == model
    again = from_record(to_record(model), source="other")
    assert again is not None
    assert again.source == "other"


def test_what_a_terminal_would_take_for_a_command_is_left_out() -> None:
    nasty = "a\x1b]52;c;aGk=\x07b\x9b31m\nforged\u202eline"
    record = {
        "id": "x:1",
        "alias": nasty,
        "license": nasty,
        "licenseDescription": nasty,
        "publisher": nasty,
        "task": nasty,
        "displayName": nasty,
    }
    model = from_record(record)
    assert model is not None
    for text in (model.alias, model.license, model.publisher, model.task, model.display_name):
        assert text.isprintable()
        assert text.startswith("a]52;c;aGk=b31m")
    assert model.license_description == "a]52;c;aGk=b31m\nforgedline"


def test_halves_of_characters_do_not_reach_what_is_sent() -> None:
    record = {"id": "x:1", "alias": "s\ud800r", "promptTemplate": {"user": "\ud800{Content}"}}
    model = from_record(record)
    assert model is not None
    assert model.alias == "sr"
    assert model.prompt_template == {"user": "?{Content}"}


def test_what_is_too_large_or_no_record_is_nothing() -> None:
    for record in (None, 7, [], {}, {"id": ""}, {"id": "x" * 5000}, {"name": 3}):
        assert from_record(record) is None
    model = from_record({"name": "x", "version": 10**300, "fileSizeMb": 10**40, "createdAt": -5, "contextLength": True})
    assert model is not None
    assert (model.version, model.size_bytes, model.created, model.context_length) == (0, 0, 0, None)
