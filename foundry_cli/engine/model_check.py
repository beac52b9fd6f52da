"""A look at a model directory, in a process of its own: `python -m foundry_cli.engine.model_check DIRECTORY --parent PID`.

Prints one line of JSON: `{"facts": {…}}`, or `{"error": {code, message, hint, param}}` when the files cannot be used. With
`--try-with PROVIDER` a worker answers a short prompt, or makes an embedding of it; what went wrong there is the fact `trial`,
because a model for another device may be good nevertheless.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from pathlib import Path
from typing import Any

from foundry_cli.embedding_config import MODULES, is_embedding_config
from foundry_cli.engine.chat_template import PromptTemplate
from foundry_cli.engine.confinement import die_with_parent
from foundry_cli.engine.embedding_form import read_form
from foundry_cli.engine.messages import error_fields
from foundry_cli.engine.model_files import ModelFiles, read_model_files
from foundry_cli.engine.process import EngineProcess
from foundry_cli.engine.prompt import jinja_dialect
from foundry_cli.engine.request import Finish, GenerationRequest, SamplingParameters
from foundry_cli.errors import EngineError, FoundryError

TRIAL_TOKENS = 8
PROBE = (
    {"role": "system", "content": "alpha system"},
    {"role": "user", "content": "bravo question"},
    {"role": "assistant", "content": "charlie answer"},
    {"role": "user", "content": "delta question"},
)
"""A conversation in which each text is told from every other."""


def look(directory: Path) -> dict[str, Any]:
    """What the files say. Raises `ModelInvalidError`."""
    files = read_model_files(directory)
    return {
        "context_length": files.context_length,
        "eos_token_ids": sorted(files.eos_token_ids),
        "control_tokens": sorted(files.control_tokens),
        "chat_template": "\n".join(filter(None, (files.chat_template, files.tool_template))) or files.chat_template,
        "rendered": _render(files, PROBE) or _render(files, PROBE[1:]),
        "makes_embeddings": _makes_embeddings(files),
        "has_unit_length": read_form(directory).is_normalized if _makes_embeddings(files) else True,
    }


def _makes_embeddings(files: ModelFiles) -> bool:
    """Whether that is what the model is for; one that could write, too, has files that say so."""
    return is_embedding_config(files.config) or (files.directory / MODULES).is_file()


def _render(files: ModelFiles, messages: tuple[dict[str, str], ...]) -> str | None:
    """The prompt for `messages`; None when the template refuses them, or there is none in the files."""
    try:
        if files.chat_template is not None:
            return jinja_dialect(files, files.chat_template).render(messages, None)
        return PromptTemplate(files.prompt_template).render(messages) if files.prompt_template else None
    except FoundryError:  # some templates take no system message; a damaged one is found by the trial
        return None


async def run_trial(directory: Path, provider: str, *, embeds: bool = False) -> None:
    """Let a worker answer a short prompt, or make an embedding of it.

    Raises what the worker reports, and `EngineError` when nothing comes.
    """
    if embeds:
        await _try_embedding(directory, provider)
        return
    request = GenerationRequest(
        messages=({"role": "user", "content": "Hello!"},),
        max_tokens=TRIAL_TOKENS,
        sampling=SamplingParameters(temperature=0.0),
    )
    engine = await EngineProcess.start(directory.name, directory, provider)
    try:
        async for event in engine.generate(request):
            if isinstance(event, Finish) and not event.usage.completion_tokens:
                raise EngineError("The model writes nothing at all.")
    finally:
        await engine.stop()


async def _try_embedding(directory: Path, provider: str) -> None:
    engine = await EngineProcess.start(directory.name, directory, provider, embeds=True)
    try:
        await engine.embed(["Hello!"])
    finally:
        await engine.stop()


def report(directory: Path, provider: str | None) -> dict[str, Any]:
    """The document that is printed. `provider`: the execution provider to try the model with."""
    try:
        facts = look(directory)
    except FoundryError as error:
        return {"error": error_fields(error)}
    trial = None
    if provider is not None:
        try:
            asyncio.run(run_trial(directory, provider, embeds=facts["makes_embeddings"]))
        except FoundryError as error:
            trial = error_fields(error)
    return {"facts": {**facts, "trial": trial}}


def main() -> None:
    """Look at the directory given."""
    parser = argparse.ArgumentParser(prog="foundry-model-check")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--try-with", metavar="PROVIDER")
    arguments = parser.parse_args()
    die_with_parent(arguments.parent)
    document = report(Path(os.path.abspath(arguments.directory)), arguments.try_with)
    print(json.dumps(document))  # noqa: T201 - what this process is for


if __name__ == "__main__":
    main()
