"""The kernels of `native/`: whether there are any for this machine, and graphs that use them."""

from __future__ import annotations

import ctypes
import logging
from dataclasses import dataclass
from pathlib import Path

from foundry_cli.engine.attention import with_attention
from foundry_cli.engine.graph_edit import with_own_domain
from foundry_cli.engine.int4_matmul import with_int4_matmul

logger = logging.getLogger("foundry.engine")

LIBRARY = Path(__file__).parent / "native" / "kernels.so"
"""Built with the package where there is a compiler for it, see `scripts/build_native.py`."""

RUNTIME_KERNELS = "onnxruntime"
"""The name of what computes where they are not used."""

LARGEST_EDITED = 128 * 1024 * 1024
"""Bytes of a graph that is edited. One with its weights in other files is smaller, also with the tables of long rotations."""


def kernel_name(library: Path = LIBRARY) -> str | None:
    """What the processor computes with: `avx512_vnni`, `avx2`; None when it has neither, or the library was not built."""
    try:
        loaded = _load(library)
    except (OSError, AttributeError) as error:  # it is not there, or of other sources
        logger.debug("no kernels of our own: %s", error)
        return None
    name = loaded.foundry_kernel_name()
    return name.decode() if name else None


@dataclass(frozen=True)
class EditedGraph:
    """A model that uses our operators; `has_attention`: all of its attention is among them."""

    model: bytes
    has_attention: bool


def with_own_kernels(model: bytes, head_size: int, context_length: int) -> EditedGraph | None:
    """`model` with our operators where these can stand for others; None when they can nowhere.

    `head_size` and `context_length`: see `with_attention`. Only where `kernel_name` gives a name.
    """
    edited = with_int4_matmul(model)
    attending = with_attention(edited or model, head_size, context_length) if _load(LIBRARY).foundry_can_attend() else None
    edited = attending or edited
    return EditedGraph(with_own_domain(edited), attending is not None) if edited else None


def _load(library: Path) -> ctypes.CDLL:
    """Raises `OSError`, and `AttributeError` when a function is missing."""
    loaded = ctypes.CDLL(str(library))
    loaded.foundry_kernel_name.restype = ctypes.c_char_p
    loaded.foundry_can_attend.restype = ctypes.c_int
    return loaded
