"""What the engine says about a model folder. It is asked in a process of its own: native code never runs in a command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundry_cli.errors import EngineError, FoundryError, error_for_code
from foundry_cli.execution_providers import CPU, configured_provider
from foundry_cli.store.manifest import read_object

CHECK_COMMAND = (sys.executable, "-m", "foundry_cli.engine.model_check")
_LARGEST_CONFIG = 1 << 20  # bytes


@dataclass(frozen=True)
class ModelFacts:
    """What a folder says about its model. `rendered` is the prompt for `PROBE` of `engine/model_check.py`."""

    folder: Path
    context_length: int  # tokens
    eos_token_ids: tuple[int, ...]
    control_tokens: tuple[str, ...]
    chat_template: str | None
    rendered: str | None  # None: the template is the runtime's own
    execution_provider: str
    device: str  # one of `types.DEVICES`
    makes_embeddings: bool = False
    has_unit_length: bool = True  # of embeddings
    untried: str = ""  # why a model for another device could not be tried here


def read_facts(folder: Path, command: Sequence[str] = CHECK_COMMAND) -> ModelFacts:
    """Check the files. Raises `ModelInvalidError` naming the one that is missing or wrong, `EngineError`."""
    facts, _ = _ask(folder, command)
    return facts


def check_model(folder: Path, command: Sequence[str] = CHECK_COMMAND) -> ModelFacts:
    """Check the files, and that the model answers, or makes an embedding. Raises what was found wrong, `EngineError`.

    That a model for another device than the processor cannot run here is no fault of it.
    """
    provider, _ = _made_for(folder)
    facts, failure = _ask(folder, (*command, "--try-with", provider))
    if failure is None:
        return facts
    if facts.execution_provider == CPU:
        raise failure
    return ModelFacts(**{**vars(facts), "untried": failure.message})


def _ask(folder: Path, command: Sequence[str]) -> tuple[ModelFacts, FoundryError | None]:
    arguments = [*command, os.path.abspath(folder), "--parent", str(os.getpid())]
    done = subprocess.run(
        arguments, stdin=subprocess.DEVNULL, capture_output=True, cwd=Path(sys.executable).anchor, check=False
    )
    try:
        document = json.loads(done.stdout)
        if error := document.get("error"):
            raise _error(error)
        facts = document["facts"]
        provider, device = _made_for(folder)
        texts = (facts["chat_template"], facts["rendered"])
        found = ModelFacts(
            folder,
            int(facts["context_length"]),
            tuple(facts["eos_token_ids"]),
            tuple(facts["control_tokens"]),
            *texts,
            execution_provider=provider,
            device=device,
            makes_embeddings=bool(facts["makes_embeddings"]),
            has_unit_length=bool(facts["has_unit_length"]),
        )
        return found, _error(facts["trial"]) if facts["trial"] else None
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise EngineError(f"The model in {folder} could not be checked: {words[-1]}") from error


def _error(fields: dict[str, Any]) -> FoundryError:
    return error_for_code(fields["code"])(str(fields["message"]), hint=fields["hint"], param=fields["param"])


def _made_for(folder: Path) -> tuple[str, str]:
    """Execution provider and device that genai_config.json asks for; the processor when it asks for none."""
    return configured_provider(read_object(folder / "genai_config.json", _LARGEST_CONFIG))
