"""Trains the model from random initialisation."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from samples import IGNORE, Encoder, Sample, batches
from transformers import Qwen2Config, Qwen2ForCausalLM

CONTEXT = 2048
Batch = tuple[torch.Tensor, torch.Tensor]


@dataclass
class Settings:
    """Size of the model and of the training."""

    conversations: int = 130_000
    hidden: int = 256
    layers: int = 4
    heads: int = 4
    key_value_heads: int = 2
    intermediate: int = 640
    batch_tokens: int = 5120
    rate: float = 2e-3
    muon_rate: float = 5e-3
    warmup: int = 60
    smoothing: float = 0.03
    averaging: float = 0.995
    full_answers: float = 0.18
    text_weight: float = 0.8
    seed: int = 20


def refining(settings: Settings) -> Settings:
    """Settings of the second phase: fewer samples, more of them with the full text of an answer."""
    return replace(
        settings,
        conversations=settings.conversations * 26 // 120,
        rate=settings.rate * 0.45,
        muon_rate=settings.muon_rate * 0.4,
        warmup=20,
        averaging=0.99,
        full_answers=0.5,
        text_weight=1.0,
        seed=settings.seed + 31,
    )


def finishing(settings: Settings) -> Settings:
    """Settings of the short last phase, in which every sample has the full text of an answer."""
    return replace(
        settings,
        conversations=settings.conversations * 9 // 120,
        rate=settings.rate * 0.1,
        muon_rate=settings.muon_rate * 0.08,
        warmup=20,
        averaging=0.98,
        full_answers=1.0,
        text_weight=1.0,
        seed=settings.seed + 1,
    )


def new_model(vocabulary: int, settings: Settings, end: int, pad: int) -> Qwen2ForCausalLM:
    """A randomly initialised model."""
    config = Qwen2Config(
        vocab_size=vocabulary,
        hidden_size=settings.hidden,
        intermediate_size=settings.intermediate,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        num_key_value_heads=settings.key_value_heads,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=end,
        pad_token_id=pad,
    )
    return Qwen2ForCausalLM(config)


def _schedule(step: int, total: int, settings: Settings) -> float:
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    progress = (step - settings.warmup) / max(1, total - settings.warmup)
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))


def _loss(model: Qwen2ForCausalLM, batch: Batch, plans: range, settings: Settings) -> torch.Tensor:
    """Mean loss of the plan tokens plus the weighted mean loss of the answer texts."""
    tokens, labels = batch
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = model.model(tokens, use_cache=False).last_hidden_state
        wanted = labels != IGNORE
        logits = model.lm_head(hidden[wanted])
    targets = labels[wanted]
    losses = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none", label_smoothing=settings.smoothing)
    is_plan = (targets >= plans.start) & (targets < plans.stop)
    text = losses[~is_plan].sum() / (~is_plan).sum().clamp(min=1)
    return losses[is_plan].mean() + settings.text_weight * text


def _optimizers(model: Qwen2ForCausalLM, settings: Settings) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the embeddings and the vectors."""
    hidden = [p for name, p in model.named_parameters() if p.dim() == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.dim() != 2 or "embed" in name]
    muon = torch.optim.Muon(hidden, lr=settings.muon_rate, momentum=0.95, weight_decay=0.02, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.AdamW(others, lr=settings.rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
    for optimizer in (muon, adam):
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
    return [muon, adam]


def _step(optimizers: list[torch.optim.Optimizer], factor: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def train(model: Qwen2ForCausalLM, samples: list[Sample], encoder: Encoder, settings: Settings) -> None:
    """One pass over the samples; leaves the averaged weights in the model."""
    torch.manual_seed(settings.seed)
    work = list(batches(samples, settings.batch_tokens, encoder.pad, settings.seed))
    optimizers = _optimizers(model, settings)
    weights = [value.detach() for value in model.parameters()]
    average = [value.clone() for value in weights]
    began, running = time.monotonic(), 0.0
    plans = range(min(encoder.plan.values()), max(encoder.plan.values()) + 1)
    for step, batch in enumerate(work):
        loss = _loss(model, batch, plans, settings)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        _step(optimizers, _schedule(step, len(work), settings))
        torch._foreach_lerp_(average, weights, 1 - min(settings.averaging, step / (step + 10)))
        running = 0.98 * running + 0.02 * loss.item() if step else loss.item()
        if step % 50 == 0 or step == len(work) - 1:
            passed = time.monotonic() - began
            sys.stdout.write(f"step {step}/{len(work)}  loss {running:.3f}  {passed:.0f} s\n")
            sys.stdout.flush()
    torch._foreach_copy_(weights, average)


@torch.no_grad()
def predict(model: Qwen2ForCausalLM, encoder: Encoder, turns: list[tuple[str, str]]) -> str:
    """The intent whose plan token the checkpoint would choose."""
    names = list(encoder.plan)
    tokens = torch.tensor([encoder.prompt(turns)])
    hidden = model.model(tokens, use_cache=False).last_hidden_state[0, -1]
    scores = model.lm_head(hidden)[torch.tensor([encoder.plan[name] for name in names])]
    return names[int(scores.argmax())]


def save(model: Qwen2ForCausalLM, directory: Path) -> None:
    """Write the checkpoint."""
    model.save_pretrained(directory)
