"""Rebuilds the bundled model foundry-guide from nothing: corpus, tokenizer, training, export, evaluation.

Usage: python scripts/guide/build.py [--work DIRECTORY] [--output DIRECTORY] [--conversations N] [--threads N]
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import card
import torch
from corpus import Conversation, Generator, check_separation, held_out
from evaluate import Result, direct_asker, evaluate, table
from export import export
from samples import Encoder
from train import CONTEXT, Settings, finishing, new_model, predict, refining, save, train
from transformers import Qwen2ForCausalLM
from vocabulary import save_tokenizer, train_tokenizer

HERE = Path(__file__).resolve().parent
OUTPUT = HERE.parent.parent / "foundry_cli" / "catalog" / "bundled" / "foundry-guide"
SHIPPED = (
    "model.onnx", "model.onnx.data", "genai_config.json", "tokenizer.json", "tokenizer_config.json",
    "chat_template.jinja", "inference_model.json",
)  # fmt: skip
LIMIT = 12 * 1024 * 1024


def _say(text: str, began: float) -> None:
    sys.stdout.write(f"[{time.monotonic() - began:5.0f} s] {text}\n")
    sys.stdout.flush()


def make_corpus(settings: Settings) -> tuple[list[Conversation], dict[str, str]]:
    """The training conversations and the canonical answers."""
    exclude = held_out()
    generator = Generator(settings.seed, exclude)
    conversations = list(generator.conversations(settings.conversations))
    check_separation(conversations, exclude)
    return conversations, generator.answers


def make_encoder(conversations: list[Conversation], answers: dict[str, str], settings: Settings) -> Encoder:
    """Train the tokenizer on a part of the corpus."""
    texts = [text for conversation in conversations[:60_000] for text, _ in conversation.turns]
    texts += [*answers.values()] * 30 + ["system", "user", "assistant"] * 500
    return Encoder(train_tokenizer(texts, answers), answers, settings.seed)


def train_phase(model: Qwen2ForCausalLM, encoder: Encoder, conversations: list[Conversation], settings: Settings) -> None:
    """Train on the conversations."""
    samples = [encoder.sample(item, encoder.rng.random() < settings.full_answers) for item in conversations]
    train(model, samples, encoder, settings)


def train_further(model: Qwen2ForCausalLM, encoder: Encoder, settings: Settings) -> None:
    """A later phase, on conversations of its own; the later, the more exact the texts of the answers."""
    encoder.rng.seed(settings.seed)
    train_phase(model, encoder, make_corpus(settings)[0], settings)


def make_checkpoint(settings: Settings, directory: Path, began: float) -> tuple[Qwen2ForCausalLM, Encoder]:
    """Generate, train and save the floating-point checkpoint."""
    conversations, answers = make_corpus(settings)
    _say(f"corpus: {len(conversations)} conversations, {len(answers)} intents", began)
    encoder = make_encoder(conversations, answers, settings)
    size = encoder.plain.get_vocab_size()
    torch.manual_seed(settings.seed)
    model = new_model(size, settings, encoder.end, encoder.pad)
    _say(f"vocabulary: {size}, parameters: {model.num_parameters()}", began)
    train_phase(model, encoder, conversations, settings)
    for phase in (refining(settings), finishing(settings)):
        _say(f"further phase: {phase.conversations} conversations", began)
        train_further(model, encoder, phase)
    model.eval()
    save(model, directory)
    save_tokenizer(encoder.plain, directory, CONTEXT)
    return model, encoder


def checkpoint_results(model: Qwen2ForCausalLM, encoder: Encoder) -> dict[str, tuple[int, int]]:
    """Right answers and totals per part, judged by the plan token of the checkpoint."""
    counts: dict[str, tuple[int, int]] = {}
    for path in sorted((HERE / "evaluation").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row, turns = json.loads(line), []
            for question in row["messages"]:
                turns.append((question, predict(model, encoder, [*turns, (question, "")])))
            part = f"dev, {row['part']}" if path.stem == "dev" else row["part"]
            right, total = counts.get(part, (0, 0))
            counts[part] = (right + (turns[-1][1] in row["expect"]), total + 1)
    return counts


def ship(source: Path, output: Path, text: str) -> None:
    """Replace the shipped directory by the new model."""
    beside = output.with_name(f"{output.name}.new")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    for name in SHIPPED:
        shutil.copyfile(source / name, beside / name)
    (beside / "MODEL_CARD.md").write_text(text, encoding="utf-8")
    size = sum(path.stat().st_size for path in beside.iterdir())
    if size > LIMIT:
        raise RuntimeError(f"the model is too big: {size} bytes")
    old = output.with_name(f"{output.name}.old")
    if output.exists():
        output.rename(old)
    beside.rename(output)
    shutil.rmtree(old, ignore_errors=True)


def build(work: Path, output: Path, settings: Settings) -> list[Result]:
    """All steps; returns the evaluation of the exported model."""
    began = time.monotonic()
    model, encoder = make_checkpoint(settings, work / "checkpoint", began)
    trained = checkpoint_results(model, encoder)
    _say(f"checkpoint: {trained}", began)
    export(work / "checkpoint", work / "model", work)
    _say("exported", began)
    results = evaluate(direct_asker(work / "model"))
    _say("evaluated", began)
    text = card.model_card(settings, model.num_parameters(), len(encoder.plan), trained, results)
    ship(work / "model", output, text)
    _say(f"shipped to {output.name}", began)
    return results


def main() -> int:
    """Command line entry point."""
    parser = argparse.ArgumentParser(description="Rebuild the bundled model foundry-guide.")
    parser.add_argument("--work", type=Path, help="directory for intermediate files (default: a temporary one)")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="directory of the finished model")
    parser.add_argument("--conversations", type=int, default=Settings.conversations, help="training conversations")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    settings = Settings(conversations=options.conversations)
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        results = build(work, options.output, settings)
    sys.stdout.write(f"{table(results)}\n")
    return 0 if all(result.passed for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
