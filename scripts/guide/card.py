"""Writes the model card with the measured figures."""

from __future__ import annotations

from evaluate import Result, table
from train import CONTEXT, Settings

_CARD = """# foundry-guide

A very small language model that answers questions about the command line tool `foundry` and its local service.
It is part of the program, so that something useful runs right after the installation, offline and on any CPU.

- Model id: `foundry-guide-generic-cpu:1`, alias `foundry-guide`
- Architecture: Qwen2-shaped decoder, {parameters} parameters, {layers} layers, hidden size {hidden},
  vocabulary trained for this model (byte-level BPE), context {context} tokens
- Format: ONNX Runtime GenAI, weights quantised to int8 (embeddings in floating point), for the CPU
- Licence: MIT

## How it works

The model was trained from random initialisation on generated conversations. Every answer starts with one special
token that names what the question is about (a "plan" token, for example `<|plan:model_list|>`); the rest of the
answer follows from it. Special tokens are not part of the decoded text, so users never see it. There is one fixed
answer for each of the {intents} kinds of questions, among them one refusal ("I only know about foundry") for
everything that has nothing to do with the tool.

## Training data

{conversations} conversations of one to five turns, generated from hand-written grammars (`scripts/guide/data`):
paraphrases of questions about the tool, follow-up questions, questions about everyday life and other software,
nonsense words, typing errors, missing words and punctuation, and some generic system messages. No text of other
origin was used, and no other model was used in training. Two shorter phases with fewer
conversations, and more of them with the full text of the answer, end the training.

## Evaluation

The questions in `scripts/guide/evaluation` were written by hand before the grammars. A judged question never occurs in
the training data; the build checks that, ignoring case and punctuation. "Right" means that
the answer is exactly the canonical one, or for questions out of scope that the model refuses. The author of
the grammars also wrote the questions and so knew them; expect lower figures for questions of other people.

The exported int8 model, greedy decoding:

{table}

The floating-point checkpoint before the export, judged by its plan token:

{checkpoint}

The development questions ("dev") were used to improve the grammars. The wrong answers of the other files were not
looked at, but their totals were, a few times, to choose the training settings. Where the export has fewer right
answers than the checkpoint, the topic was recognised and the text of the answer came out garbled.

## Limits

- It knows nothing but this tool, understands English only and cannot combine facts or adapt its answers.
- A question of an unusual kind may get the answer to a similar question, or the refusal.
- Now and then the wording of an answer is mixed up with that of another one, so check a command with `--help`.
- Follow-up questions refer to the turn directly before them.
- Questions out of scope which share many words with the tool can be mistaken for questions about it.

## Rebuilding

`python scripts/guide/build.py` does everything: corpus, tokenizer, training, export and evaluation. See
`scripts/guide/README.md`.
"""


def model_card(
    settings: Settings, parameters: int, intents: int, checkpoint: dict[str, tuple[int, int]], results: list[Result]
) -> str:
    """The text of MODEL_CARD.md."""
    rows = ["| part | right | total | percent |", "|---|---|---|---|"]
    rows += [f"| {part} | {right} | {total} | {100 * right / total:.1f} % |" for part, (right, total) in checkpoint.items()]
    return _CARD.format(
        parameters=f"{parameters / 1e6:.1f} million",
        layers=settings.layers,
        hidden=settings.hidden,
        context=CONTEXT,
        intents=intents,
        conversations=f"{settings.conversations:,}",
        table=table(results),
        checkpoint="\n".join(rows),
    )
