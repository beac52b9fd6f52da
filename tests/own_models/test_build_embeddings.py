"""The real model builder on a tiny embedding checkpoint: its vectors are those of `transformers`. Needs the extra `build`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from foundry_cli.engine.embedding_job import EmbeddingJob
from foundry_cli.engine.embedding_runtime import EmbeddingRuntime
from foundry_cli.engine.model_files import read_model_files
from tests.conftest import Foundry

torch = pytest.importorskip("torch", reason="the extra 'build' is not installed")
transformers = pytest.importorskip("transformers", reason="the extra 'build' is not installed")
pytest.importorskip("onnx_ir", reason="the extra 'build' is not installed")

pytestmark = [
    pytest.mark.build,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of the libraries that make the checkpoints
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

CONTEXT = 1024
TEXTS = ["hello there", "what is the weather like in the north", "Grüße, 東京 😀", "river stone " * 200, "x"]
MODULES = [{"type": f"sentence_transformers.models.{kind}"} for kind in ("Transformer", "Pooling", "Normalize")]


def make_tokenizer() -> Any:
    """One whose texts end with `<|endoftext|>`, as those of Qwen3-Embedding do."""
    from tokenizers.processors import TemplateProcessing

    from tests.own_models.test_build import make_tokenizer as make_plain_tokenizer

    tokenizer = make_plain_tokenizer()
    tokenizer.chat_template = None
    end = tokenizer.convert_tokens_to_ids("<|endoftext|>")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="$A <|endoftext|>", pair="$A $B <|endoftext|>", special_tokens=[("<|endoftext|>", end)]
    )
    return tokenizer


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """A directory as Sentence Transformers writes it, its model, and its tokenizer."""
    directory = tmp_path_factory.mktemp("checkpoint") / "tiny-embedding"
    tokenizer = make_tokenizer()
    sizes = {"hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 4, "head_dim": 64}
    config = transformers.Qwen3Config(
        vocab_size=len(tokenizer), num_key_value_heads=2, max_position_embeddings=CONTEXT, initializer_range=0.3,
        bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id, **sizes,
    )  # fmt: skip
    torch.manual_seed(3)
    model = transformers.Qwen3ForCausalLM(config)
    model.train(False)
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    (directory / "modules.json").write_text(json.dumps(MODULES))
    (directory / "1_Pooling").mkdir()
    (directory / "1_Pooling" / "config.json").write_text('{"pooling_mode_lasttoken": true, "pooling_mode_mean_tokens": false}')
    return directory, model, tokenizer


def expected(model: Any, tokenizer: Any, text: str) -> NDArray[np.float64]:
    tokens = tokenizer(text, return_tensors="pt").input_ids
    assert tokens[0, -1] == tokenizer.convert_tokens_to_ids("<|endoftext|>")
    with torch.no_grad():
        state = model.model(tokens).last_hidden_state[0, -1].double().numpy()
    return np.asarray(state / np.linalg.norm(state))


@pytest.mark.parametrize(("precision", "least"), [("fp32", 0.9999), ("int8", 0.98)])
def test_vectors_of_the_converted_model_are_those_of_the_checkpoint(
    foundry: Foundry, tmp_path: Path, checkpoint: tuple[Path, Any, Any], precision: str, least: float
) -> None:
    directory, model, tokenizer = checkpoint
    made = tmp_path / "made"
    done = foundry("model", "convert", str(directory), "--output", str(made), "--precision", precision, "--add")
    assert done.code == 0, done.stderr
    assert (made / "1_Pooling" / "config.json").is_file()
    job = EmbeddingJob(EmbeddingRuntime(read_model_files(made), threads=2), TEXTS, None)
    vectors: dict[int, bytes] = {}
    while not job.is_done:
        vectors.update(job.step())
    for place, text in enumerate(TEXTS):
        assert np.frombuffer(vectors[place], "<f4") @ expected(model, tokenizer, text) > least
    tested = foundry("model", "test", "made", "--output", "json")
    assert (tested.code, json.loads(tested.stdout)["verdict"]) == (0, "passed"), tested.stdout
