"""GenAI's model builder as a process that reports nothing to anybody and ends with the one that started it.

`python -m foundry_cli.engine.model_builder --parent PID -- ARGUMENT…`: the arguments are the builder's own. It needs the
packages of the extra `build`.
"""

from __future__ import annotations

import runpy
import sys

from foundry_cli.engine.confinement import die_with_parent


def main() -> None:
    """Run the builder with the arguments after `--`."""
    _, _, parent, _, *arguments = sys.argv
    die_with_parent(int(parent))
    from foundry_cli.engine import runtime  # noqa: F401 - switches the telemetry of the native library off

    sys.argv = ["builder", *arguments]
    runpy.run_module("onnxruntime_genai.models.builder", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
