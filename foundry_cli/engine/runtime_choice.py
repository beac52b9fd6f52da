"""Which engine runs a model: the batched one wherever it can, GenAI for everything else."""

from __future__ import annotations

import logging
from typing import Literal

from foundry_cli.engine.conversation_store import ConversationStore
from foundry_cli.engine.decoder_graph import UnusualGraphError
from foundry_cli.engine.model_files import ModelFiles
from foundry_cli.engine.runtime import Runtime
from foundry_cli.errors import EngineError
from foundry_cli.execution_providers import CPU

logger = logging.getLogger("foundry.engine")

EngineChoice = Literal["auto", "batch", "genai"]


def open_runtime(
    files: ModelFiles,
    *,
    threads: int,
    provider: str = CPU,
    choice: EngineChoice = "auto",
    store: ConversationStore | None = None,
) -> Runtime:
    """Load the model. Raises `ModelInvalidError`, `EngineError`, also when the engine that is asked for cannot run it."""
    reason = "" if provider == CPU else f"it runs on {provider}"
    if choice != "genai" and not reason:
        from foundry_cli.engine.batch_runtime import BatchRuntime

        try:
            return BatchRuntime(files, threads=threads, store=store)
        except UnusualGraphError as error:
            reason = str(error)
    if choice == "batch":
        raise EngineError(
            f"The batched engine cannot run this model: {reason}.", hint="Set 'engine' to auto: GenAI will run it."
        )
    if reason:
        logger.warning("GenAI runs this model, because %s", reason)
    from foundry_cli.engine.genai_runtime import GenAIRuntime

    return GenAIRuntime(files, threads=threads, provider=provider)
