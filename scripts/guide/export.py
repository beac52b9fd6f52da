"""Exports a checkpoint to an int8 ONNX Runtime GenAI model directory."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

from vocabulary import END, START

NAME = "foundry-guide-generic-cpu:1"
TEMPLATE = {
    "system": f"{START}system\n{{Content}}{END}\n",
    "user": f"{START}user\n{{Content}}{END}\n",
    "assistant": "{Content}",
    "prompt": f"{START}user\n{{Content}}{END}\n{START}assistant\n",
}


def _run_builder(checkpoint: Path, target: Path, cache: Path) -> None:
    command = [
        sys.executable, "-m", "onnxruntime_genai.models.builder",
        "--input", str(checkpoint), "--output", str(target), "--cache_dir", str(cache),
        "--precision", "int8", "--execution_provider", "cpu",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace", check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the model builder failed:\n{done.stdout}\n{done.stderr}")


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _adjust_configuration(target: Path) -> None:
    path = target / "genai_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["search"] |= {"do_sample": False, "top_k": 1, "max_length": config["model"]["context_length"]}
    _write_json(path, config)
    path = target / "tokenizer_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for key in ("is_local", "local_files_only", "backend", "name_or_path"):
        config.pop(key, None)
    _write_json(path, config | {"tokenizer_class": "Qwen2Tokenizer"})


def export(checkpoint: Path, target: Path, work: Path) -> None:
    """Build the model directory ``target`` from the checkpoint."""
    shutil.rmtree(target, ignore_errors=True)
    _run_builder(checkpoint, target, work / "builder-cache")
    _adjust_configuration(target)
    _write_json(target / "inference_model.json", {"Name": NAME, "PromptTemplate": TEMPLATE})
