"""Asks the exported model the evaluation questions and compares the answers with the canonical ones.

Usage:
    python scripts/guide/evaluate.py [--url http://127.0.0.1:PORT/v1] [--model foundry-guide] [--failures]
    python scripts/guide/evaluate.py --direct DIRECTORY

Without --url the script starts the service with `foundry service start` and asks `foundry service status`
for the endpoint. --direct loads a model directory with ONNX Runtime GenAI instead of using a service.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
REFUSAL = "I only know about foundry"
OOS = "oos"
PARTS = {"in_scope": ("in scope", 92.0), "out_of_scope": ("out of scope", 90.0), "second_turn": ("second turn", 85.0)}
Messages = list[dict[str, str]]
Ask = Callable[[Messages], str]


@dataclass
class Result:
    """Outcome of one part of the evaluation."""

    name: str
    target: float
    right: int
    total: int
    failures: list[str]

    @property
    def percent(self) -> float:
        """Share of right answers."""
        return 100 * self.right / self.total if self.total else 0.0

    @property
    def passed(self) -> bool:
        """Whether the target was reached."""
        return self.percent >= self.target


def read_answers() -> dict[str, str]:
    """The canonical answer of every intent."""
    answers: dict[str, str] = {}
    intent = ""
    for line in (HERE / "data" / "answers.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("[") and line.endswith("]"):
            intent = line[1:-1]
        elif line.strip() and not line.startswith("#"):
            answers[intent] = f"{answers[intent]}\n{line}" if intent in answers else line
    return answers


def is_right(answer: str, expected: list[str], answers: dict[str, str]) -> bool:
    """Whether the answer is the canonical one of an expected intent, or a refusal where that is expected."""
    if OOS in expected and REFUSAL in answer:
        return True
    return any(answer.strip() == answers[intent].strip() for intent in expected if intent != OOS)


def _conversation(questions: list[str], ask: Ask) -> str:
    messages: Messages = []
    answer = ""
    for question in questions:
        messages.append({"role": "user", "content": question})
        answer = ask(messages)
        messages.append({"role": "assistant", "content": answer})
    return answer


def judge(file: str, ask: Ask) -> Result:
    """Ask all questions of one evaluation file."""
    name, target = PARTS[file]
    answers, failures, right = read_answers(), [], 0
    rows = (HERE / "evaluation" / f"{file}.jsonl").read_text(encoding="utf-8").splitlines()
    for row in map(json.loads, rows):
        answer = _conversation(row["messages"], ask)
        if is_right(answer, row["expect"], answers):
            right += 1
        else:
            failures.append(f"{' -> '.join(row['messages'])}\n    wanted: {', '.join(row['expect'])}\n    got: {answer}")
    return Result(name, target, right, len(rows), failures)


def service_asker(url: str, model: str) -> Ask:
    """Ask a model through the OpenAI-compatible service."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(messages: Messages) -> str:
        body = json.dumps({"model": model, "messages": messages, "temperature": 0}).encode()
        request = urllib.request.Request(
            f"{url.rstrip('/')}/chat/completions",
            data=body,
            headers={"Content-Type": "application/json", "Authorization": "Bearer none"},
        )
        with opener.open(request, timeout=300) as response:
            return json.load(response)["choices"][0]["message"]["content"]

    return ask


def direct_asker(directory: Path) -> Ask:
    """Ask a model directory with ONNX Runtime GenAI."""
    import onnxruntime_genai as og

    model = og.Model(str(directory))
    tokenizer = og.Tokenizer(model)

    def ask(messages: Messages) -> str:
        prompt = tokenizer.apply_chat_template(json.dumps(messages), add_generation_prompt=True)
        params = og.GeneratorParams(model)
        params.set_search_options(max_length=2048, do_sample=False)
        generator = og.Generator(model, params)
        tokens = tokenizer.encode(prompt)
        generator.append_tokens(tokens)
        while not generator.is_done():
            generator.generate_next_token()
        return tokenizer.decode(generator.get_sequence(0)[len(tokens) :])

    return ask


def _foundry(*arguments: str) -> str:
    command = ["foundry", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8").stdout


def find_endpoint() -> str:
    """Start the service and ask for its endpoint."""
    _foundry("service", "start")
    status = json.loads(_foundry("service", "status", "--output", "json"))
    return f"{status['endpoints'][0].rstrip('/')}/v1"


def table(results: list[Result]) -> str:
    """The results as a Markdown table."""
    rows = ["| part | right | total | percent | target | result |", "|---|---|---|---|---|---|"]
    for item in results:
        verdict = "pass" if item.passed else "FAIL"
        rows.append(f"| {item.name} | {item.right} | {item.total} | {item.percent:.1f} % | {item.target:.0f} % | {verdict} |")
    return "\n".join(rows)


def evaluate(ask: Ask) -> list[Result]:
    """Judge all parts."""
    return [judge(file, ask) for file in PARTS]


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def main() -> int:
    """Command line entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", help="base URL of the service, for example http://127.0.0.1:5273/v1")
    parser.add_argument("--model", default="foundry-guide", help="name of the model")
    parser.add_argument("--direct", type=Path, metavar="DIRECTORY", help="use this model directory without a service")
    parser.add_argument("--failures", action="store_true", help="list the wrong answers")
    options = parser.parse_args()
    direct = options.direct
    ask = direct_asker(direct) if direct else service_asker(options.url or find_endpoint(), options.model)
    results = evaluate(ask)
    _say(table(results))
    if options.failures:
        for result in results:
            for failure in result.failures:
                _say(f"\n[{result.name}] {failure}")
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
