"""Scripted models: real ONNX Runtime GenAI model directories whose replies are known beforehand.

The answer is decided by the prompt's *markers*, the added tokens that open an assistant turn (`<|im_start|>assistant`
and `<|assistant|>`, each with or without a line feed): after the n-th marker of the text comes the n-th reply, token by
token, whatever else the prompt says. A text without a marker is answered with end-of-turn at once. Earlier assistant
messages count too, because a chat template renders them behind a marker; so the n-th user turn gets the n-th reply.
What the model has really been given can be read from its cache: `get_output("present.0.key")` holds the token ids.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from .scripted_graph import Script, write_graph
from .scripted_tokenizer import END_OF_TEXT, END_OF_TURN, MARKERS, Vocabulary, make_vocabulary, write_tokenizer

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_NEVER = 2**40


def write_scripted_model(
    directory: Path,
    replies: Sequence[Sequence[bytes] | str | bytes],
    *,
    name: str = "scripted:1",
    chat_template: str | None = CHAT_TEMPLATE,
    prompt_template: Mapping[str, str] | None = None,
    context_length: int = 2048,
    eos_after_reply: bool = True,
    busy: int = 0,
    markers: Sequence[str] = MARKERS,
    special_tokens: Sequence[str] = (),
    added_tokens: Sequence[str] = (),
    logit: float = 50.0,
    share_buffer: bool = True,
) -> Path:
    """Write a model that answers the k-th user turn with `replies[k]`, and later turns with the last one.

    A reply given as `str` or `bytes` has one token per byte; given as a sequence of pieces, one per piece. A piece may
    be any bytes, half a character too; a piece that is the text of an added token is that token. `special_tokens` (left
    out by decode) and `added_tokens` (kept by it) are further ones, such as `<tool_call>`; `markers` replaces the
    tokens that open an assistant turn. Without `eos_after_reply` a reply starts again at its end, until the caller's
    limit.

    `busy` makes the model slow: about that many milliseconds of one core for every token of a step, prompt or reply. It
    is real work, a chain of matrix products, not a sleep: it takes the runtime's threads, can be cancelled, and varies
    with the machine.

    `logit` is the chosen token's lead over the others, which lie between 0 and -1: at 50 it is certain, at about 5
    sampling shows. `share_buffer` is GenAI's `past_present_share_buffer`; the graph works with both.
    """
    scripts = [_pieces(reply) for reply in replies]
    if not scripts:
        raise ValueError("a scripted model needs at least one reply")
    vocabulary = make_vocabulary((p for script in scripts for p in script), markers, special_tokens, added_tokens)
    directory.mkdir(parents=True, exist_ok=True)
    write_graph(directory / "model.onnx", _script(vocabulary, scripts, eos_after_reply, logit, busy))
    write_tokenizer(directory, vocabulary, chat_template, context_length)
    _write_json(directory / "genai_config.json", _genai_config(vocabulary, context_length, share_buffer))
    template = dict(prompt_template) if prompt_template is not None else None
    _write_json(directory / "inference_model.json", {"Name": name, "PromptTemplate": template})
    return directory


def _pieces(reply: Sequence[bytes] | str | bytes) -> list[bytes]:
    if isinstance(reply, str):
        reply = reply.encode()
    pieces = [bytes([byte]) for byte in reply] if isinstance(reply, bytes) else list(reply)
    if b"" in pieces or b"\0" in pieces:
        raise ValueError("a piece of a reply must not be empty or the byte 0, which marks an unwritten cache position")
    return pieces


def _script(vocabulary: Vocabulary, scripts: list[list[bytes]], eos: bool, logit: float, busy: int) -> Script:
    rows = [[], *([vocabulary.token(piece) for piece in script] for script in scripts)]
    if any(token in vocabulary.markers for row in rows for token in row):
        raise ValueError("a reply must not contain a marker: it would begin the next one")
    width = max(map(len, rows)) + 1
    end = vocabulary.special[END_OF_TURN]
    return Script(
        table=[row + [end] * (width - len(row)) for row in rows],
        periods=[_NEVER if eos or not row else len(row) for row in rows],
        markers=vocabulary.markers,
        vocabulary_size=vocabulary.size,
        logit=logit,
        busy=busy,
    )


def _genai_config(vocabulary: Vocabulary, context_length: int, share_buffer: bool) -> dict[str, object]:
    special = vocabulary.special
    return {
        "model": {
            "type": "qwen2",
            "context_length": context_length,
            "vocab_size": vocabulary.size,
            "bos_token_id": special["<|im_start|>"],
            "eos_token_id": [special[END_OF_TURN], special[END_OF_TEXT]],
            "pad_token_id": special[END_OF_TEXT],
            "decoder": _decoder_config(),
        },
        "search": {
            "do_sample": False,
            "max_length": context_length,
            "past_present_share_buffer": share_buffer,
            "temperature": 1.0,
            "top_k": 50,
            "top_p": 1.0,
        },
    }


def _decoder_config() -> dict[str, object]:
    return {
        "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
        "filename": "model.onnx",
        "head_size": 1,
        "hidden_size": 1,
        "num_attention_heads": 1,
        "num_hidden_layers": 1,
        "num_key_value_heads": 1,
        "inputs": {
            "input_ids": "input_ids",
            "attention_mask": "attention_mask",
            "past_key_names": "past_key_values.%d.key",
            "past_value_names": "past_key_values.%d.value",
        },
        "outputs": {
            "logits": "logits",
            "present_key_names": "present.%d.key",
            "present_value_names": "present.%d.value",
        },
    }


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
