"""A small packed corpus with a real tokenizer, and training files for it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from storage import objects
from storage.manifest import CorpusManifest, encoding_hash, specials_hash, write_manifest
from storage.settings import load_settings
from tests.training.corpora import write_corpus
from training.config import TrainConfig

SENTENCE = "the a cat dog bird sees hears chases big small old red and then quickly home ."
WORDS = SENTENCE.split()
RAW_LENGTH = 16


def sentences(num_words: int, seed: int) -> str:
    """Text in which each word tells much about the next: word i is followed by i+1 or i+2."""
    random = np.random.default_rng(seed)
    steps = np.cumsum(random.integers(1, 3, num_words))
    return " ".join(WORDS[step % len(WORDS)] for step in steps)


def byte_level_tokenizer(vocab_size: int = 300) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # pyright: ignore
    tokenizer.decoder = decoders.ByteLevel()  # pyright: ignore
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([sentences(2000, 1)], trainer)
    return tokenizer


def text_corpus(root: Path, num_documents: int = 60) -> CorpusManifest:
    """Strata `pets` and `wild` with a validation split, packed from generated sentences."""
    tokenizer = byte_level_tokenizer()

    def documents(count: int, seed: int) -> list[np.ndarray]:
        texts = (sentences(20 + 7 * (i % 5), seed + i) for i in range(count))
        return [np.array(tokenizer.encode(text).ids, np.uint16) for text in texts]

    train = {name: [documents(num_documents, seed)] for name, seed in (("pets", 0), ("wild", 999))}
    validation = {name: [documents(6, seed)] for name, seed in (("pets", 5000), ("wild", 6000))}
    manifest = write_corpus(root, train, validation)
    parsed = json.loads(tokenizer.to_str())
    objects.write(str(root / "tokenizer.json"), tokenizer.to_str().encode())
    size = tokenizer.get_vocab_size()
    entry = replace(
        manifest.tokenizer,
        vocab_size=size,
        num_ids=size,
        encoding_hash=encoding_hash(parsed),
        specials_hash=specials_hash(parsed),
    )
    manifest = replace(manifest, tokenizer=entry)
    write_manifest(manifest)
    return manifest


SETTINGS: dict[str, Any] = {
    "corpus": "corpus",
    "output": "run",
    "num_steps": 12,
    "batch_size": 8,
    "stream": {"plan": {"raw_length": RAW_LENGTH, "num_lanes": 4, "cycle": 64}},
    "model": {
        "preset": "1m",
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
    },
    "optimizer": {"learning_rate": 1e-2},
    "schedule": {"warmup_steps": 2},
    "validation": {"every_steps": 6},
    "checkpoint": {"every_steps": 4},
    "log": {"every_steps": 1, "tensorboard": False},
    "runtime": {"device": "cpu", "precision": "float32", "num_threads": 1},
}


def train_file(folder: Path, **changes: Any) -> Path:
    """train.yaml in `folder`, whose corpus is `folder/corpus`."""
    path = folder / "train.yaml"
    path.write_text(yaml.safe_dump({**SETTINGS, **changes}))
    return path


def train_config(folder: Path, *overrides: str, **changes: Any) -> TrainConfig:
    return load_settings(TrainConfig, str(train_file(folder, **changes)), list(overrides))


def records(output: str | Path, kind: str = "train") -> list[dict[str, Any]]:
    lines = objects.read(objects.join(str(output), "metrics.jsonl")).decode().splitlines()
    return [record for record in map(json.loads, lines) if record["kind"] == kind]


def losses(output: str | Path) -> dict[int, float]:
    """Training loss per step, in full precision."""
    return {record["step"]: record["loss"] for record in records(output)}
