"""Requests that schemathesis makes up from `/openapi.json`, valid ones and others: every answer is one that is described.

Most cases are at the edges of each field; FOUNDRY_TEST_SCHEMATHESIS_EXAMPLES says how many random ones for each operation come
with them. In all there are more than 5,000, which takes three to four minutes.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.contracts.conftest import Detached
from tests.contracts.environments import python_environment

pytestmark = [pytest.mark.clients, pytest.mark.timeout(3600)]

_REQUIREMENTS = ("schemathesis==4.32.5",)
_CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
_EXAMPLES = os.environ.get("FOUNDRY_TEST_SCHEMATHESIS_EXAMPLES", "20")  # at import: a fixture removes such variables
_WITHOUT = (
    "/openai/register",  # it would write addresses that were made up into the settings
    "/v1/responses/input_tokens",  # takes what /v1/responses takes
)
_FEWEST = 2_000
_SECONDS = "30"  # a request that takes longer hangs


def test_made_up_requests(detached: Detached, tmp_path: Path) -> None:
    program = python_environment(*_REQUIREMENTS).with_name("st")
    options = ["--mode", "all", "--phases", "examples,coverage,fuzzing", "--max-examples", _EXAMPLES, "--checks", _CHECKS]
    options += [option for path in _WITHOUT for option in ("--exclude-path", path)]
    options += ["--request-timeout", _SECONDS, "--seed", "1", "--generation-database", "none"]
    options += ["--continue-on-failure", "--no-color", "--report", "ndjson", "--report-dir", str(tmp_path)]
    hooks = Path(__file__).parent / "scripts"
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(hooks), "NO_PROXY": "127.0.0.1"}
    command = [str(program), "run", f"{detached.url}/openapi.json", *options]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", env=environment, cwd=tmp_path)
    assert done.returncode == 0, f"{done.stdout[-20_000:]}\n{done.stderr[-2000:]}"
    generated = re.search(r"([\d,]+) generated", done.stdout)
    assert generated is not None, done.stdout[-2000:]
    assert int(generated[1].replace(",", "")) >= _FEWEST
