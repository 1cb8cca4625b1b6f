"""Embeddings by a model's folder: against the formula, and independent of the company of a text.

The model is a BERT of 2 layers with random weights, saved by the test as users have theirs.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from filters import vectors
from pipelines import annotate, dedup, embedding, ingest, report
from pipelines import select as select_stage
from pipelines.config import CorpusConfig, SemanticConfig
from pipelines.sentence_model import SentenceModel
from pipelines.stages import Slice
from storage import commit
from storage.errors import ConfigError

WORDS = [f"w{k}" for k in range(200)]
MAX_TOKENS = 80


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save_model(tmp_path_factory.mktemp("model"), seed=1)


def save_model(path: Path, seed: int) -> str:
    vocabulary = {word: k for k, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(path)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=128,
    )
    torch.manual_seed(seed)
    BertModel(config).save_pretrained(path)
    return str(path)


def texts(number: int, seed: int) -> list[str]:
    rng = random.Random(seed)
    return [" ".join(rng.choices(WORDS, k=rng.randrange(1, 120))) for _ in range(number)]


def batch_of(texts: list[str]) -> pa.RecordBatch:
    return pa.record_batch({"text": pa.array(texts, pa.large_string())})


def by_definition(folder: str, text: str) -> np.ndarray:
    """One text alone, not padded: the mean of the last layer over its tokens."""
    ids = [2, *[4 + WORDS.index(word) for word in text.split()][: MAX_TOKENS - 2], 3]
    model = BertModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        hidden = model(input_ids=torch.tensor([ids])).last_hidden_state
    return hidden[0].mean(dim=0).numpy()


def test_vectors_are_the_means_of_the_last_layer(folder: str) -> None:
    """Of texts shorter and longer than `max_tokens`, alone and unpadded."""
    sample = texts(12, seed=1)
    assert min(map(len, map(str.split, sample))) < MAX_TOKENS < max(len(t.split()) for t in sample)
    found = SentenceModel(folder, MAX_TOKENS).embed(batch_of(sample))
    expected = np.stack([by_definition(folder, text) for text in sample])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_text_has_one_vector_whatever_its_company(folder: str) -> None:
    """Bit by bit: alone, in any order, between short and long texts."""
    model = SentenceModel(folder, MAX_TOKENS)
    sample = texts(150, seed=2)
    together = model.embed(batch_of(sample))
    order = np.random.default_rng(3).permutation(len(sample))
    shuffled = model.embed(batch_of([sample[k] for k in order]))
    assert np.array_equal(shuffled, together[order])
    for k in range(0, len(sample), 15):
        assert np.array_equal(model.embed(batch_of([sample[k]]))[0], together[k])


def test_a_text_without_tokens_has_no_vector(folder: str) -> None:
    found = SentenceModel(folder, MAX_TOKENS).embed(batch_of(["", " \n ", "w1"]))
    assert not found[:2].any()
    assert found[2].any()
    assert SentenceModel(folder, MAX_TOKENS).embed(batch_of([])).shape == (0, 32)


def test_the_signals_of_a_model(folder: str) -> None:
    settings = SemanticConfig(model=folder, max_tokens=MAX_TOKENS)
    embedding.check(settings)
    group = embedding.group(settings)
    signals = group.compute(batch_of(["w1 w2", ""]))
    assert signals.schema == group.schema
    assert signals.column("squared_length").to_pylist()[1] == 0
    assert abs(signals.column("squared_length")[0].as_py() ** 0.5 - vectors.SCALE) < 5
    assert signals.column("embedding").type.list_size == 32


def test_a_model_enters_by_content(folder: str, tmp_path: Path) -> None:
    """A moved model is the same; another one is not, nor are other settings."""
    same, other = save_model(tmp_path / "same", seed=1), save_model(tmp_path / "other", seed=2)

    def settings(path: str, max_tokens: int = MAX_TOKENS) -> dict[str, object]:
        return embedding.group(SemanticConfig(model=path, max_tokens=max_tokens)).settings

    assert settings(folder) == settings(same)
    assert settings(folder) != settings(other)
    assert settings(folder) != settings(folder, 64)


def test_models_of_no_use_are_one_line(folder: str, tmp_path: Path) -> None:
    def message(path: Path | str, max_tokens: int = MAX_TOKENS) -> str:
        with pytest.raises(ConfigError) as raised:
            embedding.check(SemanticConfig(model=str(path), max_tokens=max_tokens))
        assert "\n" not in str(raised.value)
        return str(raised.value)

    assert "is no folder of a Hugging Face model" in message(tmp_path / "none")
    assert "has positions for 128" in message(folder, 129)
    (tmp_path / "config.json").write_text(json.dumps({"hidden_size": 8, "model_type": "bert"}))
    assert "has no .safetensors" in message(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not tensors")
    assert str(tmp_path) in message(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"is_encoder_decoder": True}))
    assert "hidden_size" in message(tmp_path)


def test_a_corpus_from_raw_files_to_decisions(folder: str, tmp_path: Path) -> None:
    """Ingest embeds; word order says little to this model, so shuffled pages are duplicates."""
    rng = random.Random(4)
    page = [f"w{k}" for k in range(60)]
    docs = [" ".join(rng.sample(page, 60)) for _ in range(3)] + [" ".join(WORDS[100:170])]
    lines = [json.dumps({"text": text, "id": str(k)}) for k, text in enumerate(docs)]
    (tmp_path / "pages.jsonl").write_text("\n".join(lines))
    semantic = {"model": folder, "threshold": 0.995, "max_tokens": MAX_TOKENS}
    config = CorpusConfig.model_validate(
        {
            "name": "pages",
            "output": str(tmp_path / "out"),
            "sources": [
                {"name": "web", "format": "jsonl", "paths": [str(tmp_path / "pages.jsonl")]}
            ],
            "dedup": {"semantic": semantic},
            "pack": {"validation_fraction": 0},
            "runner": {"workers": 1},
        }
    )
    for stage in (ingest, annotate, select_stage):
        stage.run(config, Slice(0, 1))
    counts = dedup.run(config)
    assert counts["drop:semantic_duplicate"] == 2
    assert counts["documents"] == 4
    page = report.make_page(config)
    assert page.data.funnels[0].dropped == {"semantic_duplicate": 2}
    assert page.duplicates.source_pairs == [("web", "web", 2, 4)]
    assert page.duplicates.clusters[0].size == 3
    assert "after semantic duplicates" in report.render(page)
    markers = commit.read_markers(config.output, "signals/embedding")
    assert [marker.object("signals/embedding").rows for marker in markers] == [4]
