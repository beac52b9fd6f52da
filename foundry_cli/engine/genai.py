"""ONNX Runtime GenAI, imported in one place: without its telemetry, and with its errors as ours."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from foundry_cli.errors import EngineError, FoundryError

os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before the import: the wheels report usage otherwise

try:
    import onnxruntime_genai as og
except ImportError as error:  # a wheel for another machine, a library that is missing
    raise EngineError(f"ONNX Runtime GenAI cannot be loaded: {error}") from error

if hasattr(og, "disable_telemetry_events"):  # since 0.12
    og.disable_telemetry_events()

__all__ = ["first_line", "og", "translated"]


@contextmanager
def translated(kind: type[FoundryError], what: str, *, hint: str | None = None) -> Iterator[None]:
    """Turn whatever a native library raises into an error of `kind` that begins with `what`."""
    try:
        yield
    except FoundryError:
        raise
    except Exception as error:  # pybind raises RuntimeError, ValueError, TypeError and OverflowError
        raise kind(f"{what}: {first_line(error)}", hint=hint) from error


def first_line(error: Exception) -> str:
    """What an error of a native library says, without its stack; its kind when it says nothing."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
