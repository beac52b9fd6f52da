"""How fast things start, as ratios within one run; needs an installed `foundry` beside the interpreter that runs this.

usage: startup.py [--runs 9]
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
from pathlib import Path

FOUNDRY = str(Path(sys.executable).with_name("foundry"))
IMPORT_TYPER = [sys.executable, "-c", "import typer"]


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """Wall-clock seconds of one run."""
    began = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def ratio(command: list[str], environment: dict[str, str], runs: int) -> float:
    """Median over pairs of `command` over `python -c "import typer"`."""
    pairs = [(seconds(command, environment), seconds(IMPORT_TYPER, environment)) for _ in range(runs + 1)]
    return statistics.median(one / two for one, two in pairs[1:])


def first_token(environment: dict[str, str]) -> float:
    """Seconds from nothing running to the first byte of an answer of `foundry-guide`."""
    command = [FOUNDRY, "model", "run", "foundry-guide", "--prompt", "How do I list the models?"]
    began = time.perf_counter()
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        elapsed = time.perf_counter() - began
        process.stdout.read()
    return elapsed


def main() -> None:
    """Measure and print one JSON document."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=9)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "FOUNDRY_HOME": home}
        stop = [FOUNDRY, "service", "stop"]
        starts, firsts = [], []
        for _ in range(max(3, runs // 2)):
            starts.append(seconds([FOUNDRY, "service", "start"], environment))
            seconds(stop, environment)
            firsts.append(first_token(environment))
            seconds(stop, environment)
        seconds([FOUNDRY, "service", "start"], environment)
        result = {
            "version_ratio": ratio([FOUNDRY, "--version"], environment, runs),
            "help_ratio": ratio([FOUNDRY, "--help"], environment, runs),
            "model_list_ratio": ratio([FOUNDRY, "model", "list"], environment, runs),
            "service_status_ratio": ratio([FOUNDRY, "service", "status"], environment, runs),
            "service_start_s": statistics.median(starts),
            "nothing_to_first_token_s": statistics.median(firsts),
        }
        seconds(stop, environment)
    print(json.dumps({name: round(value, 3) for name, value in result.items()}, indent=2))


main()
