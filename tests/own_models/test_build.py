"""The real model builder on tiny checkpoints of three architectures: convert, add, run, test. Needs the extra `build`."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from foundry_cli.paths import Paths
from foundry_cli.store.cache import scan_cache
from tests.conftest import FOUNDRY, Foundry, clean_environment

torch = pytest.importorskip("torch", reason="the extra 'build' is not installed")
transformers = pytest.importorskip("transformers", reason="the extra 'build' is not installed")
tokenizers = pytest.importorskip("tokenizers", reason="the extra 'build' is not installed")
pytest.importorskip("onnx_ir", reason="the extra 'build' is not installed")

pytestmark = [
    pytest.mark.build,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the libraries that make the checkpoints
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

ARCHITECTURES = ("Llama", "Qwen3", "Phi3")
CONTEXT = 512
TOKENS = 24
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
REPLY = "I am a tiny model.<|im_end|>"
SENTENCES = ("I am a tiny model.", "hello there, what is the weather like", "north river stone seven green") * 4


def make_tokenizer() -> Any:
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=special[2], pad_token=special[0])
    fast.chat_template = TEMPLATE
    return fast


def make_model(architecture: str, tokenizer: Any) -> Any:
    """A random model whose greedy tokens do not repeat, for its weights are spread wider than usual."""
    sizes = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    tokens = {"bos_token_id": None, "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    extra = {"Qwen3": {"head_dim": 16}, "Phi3": {"original_max_position_embeddings": CONTEXT}}.get(architecture, {})
    config = getattr(transformers, f"{architecture}Config")(
        vocab_size=len(tokenizer),
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
        initializer_range=0.3,
        **{**sizes, **tokens, **extra},
    )
    torch.manual_seed(3)
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.train(False)
    return model


def save(model: Any, tokenizer: Any, directory: Path) -> Path:
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    (directory / "README.md").write_text("---\nlicense: cc0-1.0\n---\n")
    return directory


def greedy(model: Any, prompt: list[int]) -> list[int]:
    """Every step from the whole text: no cache that could be wrong in the same way."""
    tokens: list[int] = []
    with torch.no_grad():
        for _ in range(TOKENS):
            logits = model(torch.tensor([prompt + tokens]), use_cache=False).logits[0, -1]
            tokens.append(int(logits.argmax()))
    return tokens


def convert(foundry: Foundry, checkpoint: Path, output: Path, *options: str) -> None:
    done = foundry("model", "convert", str(checkpoint), "--output", str(output), *options)
    assert done.code == 0, done.stderr


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_greedy_tokens_of_the_converted_model_are_those_of_the_checkpoint(
    foundry: Foundry, tmp_path: Path, architecture: str
) -> None:
    from tests.models.runtime import Runtime, generate_by_appending

    tokenizer = make_tokenizer()
    model = make_model(architecture, tokenizer)
    checkpoint = save(model, tokenizer, tmp_path / architecture)
    convert(foundry, checkpoint, tmp_path / "made", "--precision", "fp32", "--add")
    assert [entry.id for entry in scan_cache(Paths(tmp_path / "home").default_cache)] == ["made:1"]
    runtime = Runtime(tmp_path / "made")
    for text in ("hello there", "what is the weather like in the north", "Grüße, 東京 😀"):
        prompt = tokenizer.encode(text, add_special_tokens=False)
        assert runtime.encode(text) == prompt
        assert generate_by_appending(runtime.generator(prompt), TOKENS) == greedy(model, prompt)


def teach(model: Any, tokenizer: Any) -> None:
    """Let the model give one answer to everything, so that its text is known."""
    opening, end = (tokenizer.encode(text) for text in ("<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"))
    reply = tokenizer.encode(REPLY)
    chance = random.Random(5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for _ in range(250):
        question = [chance.randrange(3, len(tokenizer)) for _ in range(chance.randrange(1, 120))]
        prompt = [*opening, *question, *end]
        labels = torch.tensor([[-100] * len(prompt) + reply])
        model(torch.tensor([prompt + reply]), labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.train(False)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that answers with `REPLY`."""
    torch.set_num_threads(1)  # more of them wait for each other in so small a model
    tokenizer = make_tokenizer()
    model = make_model("Llama", tokenizer)
    teach(model, tokenizer)
    return save(model, tokenizer, tmp_path_factory.mktemp("taught") / "Tiny Llama")


@pytest.mark.parametrize("precision", ["int4", "int8", "fp32"])
def test_a_model_is_converted_added_run_and_tested(foundry: Foundry, tmp_path: Path, taught: Path, precision: str) -> None:
    made = tmp_path / "models" / "tiny"
    convert(foundry, taught, made, "--precision", precision, "--name", "tiny:2")
    added = foundry("model", "add", str(made), "--alias", "t")
    assert added.code == 0, added.stderr
    assert foundry("model", "run", "t", "--prompt", "hello there").stdout == "I am a tiny model.\n"
    tested = foundry("model", "test", "t", "--output", "json")
    document = json.loads(tested.stdout)
    assert (tested.code, document["verdict"], document["model"]) == (0, "passed", "tiny:2"), document
    info = json.loads(foundry("model", "info", "t", "--output", "json").stdout)["model"]
    assert (info["license"], info["contextLength"]) == ("cc0-1.0", CONTEXT)


def test_a_checkpoint_that_the_builder_does_not_know_is_a_clear_error(foundry: Foundry, tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    checkpoint = save(make_model("Llama", tokenizer), tokenizer, tmp_path / "strange")
    config = json.loads((checkpoint / "config.json").read_text())
    code = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    config.update(model_type="unheard-of", architectures=["UnheardOfForCausalLM"], auto_map=code)
    (checkpoint / "config.json").write_text(json.dumps(config))
    (checkpoint / "evil.py").write_text(f"open({str(tmp_path / 'owned')!r}, 'w')\n")
    done = foundry("model", "convert", str(checkpoint), "--output", str(tmp_path / "out"))
    assert done.code == 1
    assert "The conversion failed: the checkpoint can only be read by programs of its own, which are never run." in done.stderr
    assert "convert.log" in done.stderr
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "owned").exists()  # programs of a checkpoint do not run


@pytest.fixture
def converting(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """The command, in the middle of a conversion."""
    tokenizer = make_tokenizer()
    checkpoint = save(make_model("Llama", tokenizer), tokenizer, tmp_path / "checkpoint")
    command = [str(FOUNDRY), "model", "convert", str(checkpoint), "--output", str(tmp_path / "models" / "out")]
    environment = clean_environment(tmp_path / "home")
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=environment) as process:
        assert process.stderr is not None
        while not process.stderr.readline().startswith("Reading the checkpoint"):
            assert process.poll() is None
        yield process


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the kernel does not tell a process that its parent ended")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_builder_ends_with_the_command(converting: subprocess.Popen[str], tmp_path: Path, number: signal.Signals) -> None:
    builders = psutil.Process(converting.pid).children()
    assert builders
    os.kill(converting.pid, number)
    converting.wait()
    gone, alive = psutil.wait_procs(builders, timeout=10)
    assert (len(gone), alive) == (len(builders), [])
    if number == signal.SIGINT:
        assert converting.returncode != 0
        assert not (tmp_path / "models").exists()
