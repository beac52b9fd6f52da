"""A stand-in for GenAI's model builder: says what that one says, and makes a scripted model."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

from tests.models.scripted import write_scripted_model

LINES = """\
Valid precision + execution provider combinations are: FP32 CPU
Loading weights:   0%|          | 0/21\rLoading weights: 100%|##########| 21/21
Reading embedding layer
Reading layer 0
Reading layer 1
Reading final norm
Reading LM head
Saving ONNX model in somewhere
Saving lm_head.MatMul.weight (f32, [64,299]):  50%|#####     | 9/19\rSaving lm_head: 100%|##########| 19/19
Saving GenAI config in somewhere
Saving processing files in somewhere for GenAI
"""


def main() -> None:
    """Do what the first argument says with the arguments that a builder gets."""
    behaviour, arguments = sys.argv[1], sys.argv[2:]
    options = dict(zip(arguments[3::2], arguments[4::2], strict=False))
    output = Path(options["-o"])
    Path(options["-i"], "seen.json").write_text(json.dumps({"arguments": arguments, "environment": dict(os.environ)}))
    _say(LINES)
    output.mkdir()
    if behaviour == "wait":
        (output / "half.onnx").write_text("x")
        _say(f"Waiting as {os.getpid()}\n")
        signal.pause()
    if behaviour == "fail":
        _say("Traceback (most recent call last):\n  File x, line 1\nValueError: no such thing\n")
        sys.exit(1)
    if behaviour == "remote":
        _say("Please pass the argument `trust_remote_code=True` to allow custom code to be run.\n")
        sys.exit(1)
    if behaviour == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if behaviour != "nothing":
        write_scripted_model(output, ["Hello!"])
        (output / "inference_model.json").unlink()
    if behaviour == "broken":
        (output / "tokenizer.json").unlink()


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
