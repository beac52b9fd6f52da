"""Opens a decoder's graph on the CPU, with the kernels that this machine has."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from foundry_cli.engine.genai import translated
from foundry_cli.engine.mapped_files import forget_mapped
from foundry_cli.engine.own_kernels import LIBRARY, RUNTIME_KERNELS, kernel_name, with_own_kernels
from foundry_cli.errors import EngineError

logger = logging.getLogger("foundry.engine")

_PROVIDERS = ["CPUExecutionProvider"]


@dataclass(frozen=True)
class CpuSession:
    """A session of ONNX Runtime, what computes its products with weights of four bits, and whether its attention is ours."""

    session: Any
    kernels: str
    has_own_attention: bool = False


def open_cpu_session(
    path: Path, graph: bytes | None, threads: int, *, head_size: int, context_length: int, own_kernels: bool = True
) -> CpuSession:
    """Load the graph at `path`, or `graph` in its place; raises what ONNX Runtime raises.

    `head_size` and `context_length`: what the configuration says, see `with_attention`.
    Without `own_kernels`, or where there are none, ONNX Runtime computes everything.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.spin_duration_us", "1000")  # from one step to the next, no longer
    options.enable_mem_pattern = False  # every step has another length, for which it would be computed anew
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(path.parent))
    kernels = own_kernels and graph and kernel_name()
    if graph and kernels and (edited := with_own_kernels(graph, head_size, context_length)):
        try:
            with translated(EngineError, "Our own kernels cannot run this model"):
                options.register_custom_ops_library(str(LIBRARY))
                session = onnxruntime.InferenceSession(edited.model, options, providers=_PROVIDERS)
        except EngineError as error:
            logger.warning("%s", error)
        else:
            forget_mapped(path.parent)  # the kernels have their own copy of the weights
            return CpuSession(session, kernels, edited.has_attention)
    return CpuSession(onnxruntime.InferenceSession(graph or str(path), options, providers=_PROVIDERS), RUNTIME_KERNELS)
