"""How long lists take when there is much: 10,000 models in the catalog, 1,000 of them on this machine.

Usage: python benchmarks/listing.py [--catalog N] [--cached N] [--runs N]
The baseline is `python -c "import typer"` with the same interpreter, measured in turns with the rest.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from foundry_cli.catalog.stored_list import StoredList
from foundry_cli.paths import Paths
from foundry_cli.store.layout import model_root
from foundry_cli.store.manifest import Manifest, StoredFile, write_manifest
from foundry_cli.types import ModelInfo

_FILES = 10  # of each cached model
_LIMIT_SECONDS = 1.0


def _model(number: int) -> ModelInfo:
    return ModelInfo(
        name=f"model-{number // 4}-instruct-{('generic-cpu', 'generic-gpu', 'cuda-gpu', 'qnn-npu')[number % 4]}",
        version=1 + number % 3,
        alias=f"model-{number // 4}",
        device=("CPU", "GPU", "GPU", "NPU")[number % 4],
        execution_provider="CPUExecutionProvider",
        display_name=f"model-{number}",
        publisher="Benchmark",
        size_bytes=number * 1_000_000,
        license="MIT",
        license_description="A licence of some length. " * 8,
        prompt_template={"assistant": "{Content}", "prompt": "<|user|>{Content}<|end|><|assistant|>"},
        uri=f"azureml://registries/azureml/models/model-{number}/versions/1",
    )


def fill(home: Path, catalog: int, cached: int) -> None:
    """Write a stored catalog and models on disk into `home`."""
    paths = Paths(home)
    models = [_model(number) for number in range(catalog)]
    StoredList(paths.default_cache / "foundry.modelinfo.json", paths.catalogs / "azure.json", "azure").save(models)
    files = tuple(StoredFile(f"v1/part{index}.bin", 3, "0" * 64) for index in range(_FILES - 2))
    described = tuple(StoredFile(f"v1/{name}", 2, "0" * 64) for name in ("genai_config.json", "inference_model.json"))
    for model in models[::4][:cached]:
        root = model_root(paths.default_cache, model)
        (root / "v1").mkdir(parents=True)
        for file in files:
            (root / file.path).write_bytes(b"abc")
        for file in described:
            (root / file.path).write_bytes(b"{}")
        (root / "v1" / "inference_model.json").write_text(json.dumps({"Name": model.id}))
        described = (described[0], StoredFile(described[1].path, (root / described[1].path).stat().st_size, "0" * 64))
        write_manifest(root, Manifest(model, (*files, *described)))


def _seconds(command: Sequence[str], environment: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> int:
    """Command line entry point; the exit status says whether the limit was kept."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--catalog", type=int, default=10_000)
    parser.add_argument("--cached", type=int, default=1_000)
    parser.add_argument("--runs", type=int, default=7)
    options = parser.parse_args()
    foundry = str(Path(sys.executable).with_name("foundry"))
    commands = {
        "import typer": [sys.executable, "-c", "import typer"],
        "model list": [foundry, "model", "list"],
        "model list --all-devices": [foundry, "model", "list", "--all-devices"],
        "cache list": [foundry, "cache", "list"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as directory:
        fill(Path(directory), options.catalog, options.cached)
        environment = {**os.environ, "FOUNDRY_HOME": directory, "FOUNDRY_OFFLINE": "1"}
        for _ in range(options.runs + 1):
            for name, command in commands.items():
                times[name].append(_seconds(command, environment))
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}
    for name, seconds in medians.items():
        print(f"{name:<26}{seconds:8.3f} s {seconds / medians['import typer']:8.2f} x")
    return 0 if all(seconds <= _LIMIT_SECONDS for seconds in medians.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
