"""Validation text: the same whole documents, in the same windows, for every run and model.

Per stratum, the documents of the validation split in shard order, as long as they fit a cap in
tokens. A document that was stored in pieces is whole again. They form one strip, as in training:

    S d d d S d d S d d d d S

cut into windows of T + 1 positions that share a token with their neighbours. So every token and
every end of a document is a label exactly once, whatever T is, and the sum of nll over labels
divided by the bytes of the documents' texts (`num_bytes`) is exact. Nothing is permuted; documents
that were taken down are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from storage import shards
from storage.errors import ConfigError
from storage.manifest import CorpusManifest
from training.exclusions import read_exclusions
from training.packing import PADDING, SEPARATOR

SPLIT = "validation"


@dataclass(frozen=True, slots=True)
class ValidationStrip:
    """Whole documents of one stratum. `tokens`: int32[num_labels + 1], text ids and SEPARATOR."""

    stratum: str
    tokens: NDArray[np.int32]
    num_documents: int
    num_bytes: int
    """UTF-8 bytes of the texts of these documents."""

    @property
    def num_labels(self) -> int:
        """Text tokens and ends of documents: what a model is asked to predict."""
        return self.tokens.size - 1

    def windows(self, raw_length: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Raw windows (tokens, documents: int32[W, raw_length + 1]), see training/windows.py."""
        num_windows = -(-self.num_labels // raw_length)
        padded = np.full(num_windows * raw_length + 1, PADDING, np.int32)
        padded[: self.tokens.size] = self.tokens
        first = np.arange(num_windows)[:, None] * raw_length
        places = first + np.arange(raw_length + 1)
        begins = np.where(padded == SEPARATOR, np.arange(padded.size), 0)
        documents = np.maximum(np.maximum.accumulate(begins)[places] - first, 0)
        documents[padded[places] == PADDING] = -1
        return padded[places], documents.astype(np.int32)


def read_validation(
    corpus: CorpusManifest, max_tokens_per_stratum: int = 1 << 20
) -> list[ValidationStrip]:
    """One strip per stratum of the validation split, in order of name.

    max_tokens_per_stratum: separators included. The first document is taken whatever its length.
    Raises ConfigError when the corpus has no validation split, StorageError on damage.
    """
    if max_tokens_per_stratum < 1:
        raise ConfigError(f"max_tokens_per_stratum is {max_tokens_per_stratum}; it must be above 0")
    names = sorted(set(corpus.select(SPLIT)["stratum"].to_pylist()))
    if not names:
        raise ConfigError(
            f"the corpus at {corpus.root} has no validation split; "
            "pack it with a validation_fraction above 0"
        )
    return [_read_strip(corpus, name, max_tokens_per_stratum) for name in names]


def _read_strip(corpus: CorpusManifest, stratum: str, max_tokens: int) -> ValidationStrip:
    parts: list[NDArray[np.int32]] = []
    num_tokens = num_bytes = 0
    for tokens, text_bytes in _documents(corpus, stratum):
        if parts and num_tokens + tokens.size + 1 > max_tokens:
            break
        parts += [np.array([SEPARATOR], np.int32), tokens]
        num_tokens += tokens.size + 1
        num_bytes += text_bytes
    closing = np.array([SEPARATOR], np.int32)
    return ValidationStrip(stratum, np.concatenate([*parts, closing]), len(parts) // 2, num_bytes)


def _documents(corpus: CorpusManifest, stratum: str) -> Iterator[tuple[NDArray[np.int32], int]]:
    """(tokens, bytes of text) of each whole document, in shard order."""
    excluded = set(read_exclusions(corpus).tolist())
    for path in corpus.select(SPLIT, stratum)["path"].to_pylist():
        parts: list[NDArray[np.unsignedinteger]] = []
        text_bytes = 0
        for doc, tokens in _pieces(corpus.location(path)):
            if doc["doc_id"] in excluded:
                continue
            if doc["piece"] == 0 and parts:
                yield np.concatenate(parts).astype(np.int32), text_bytes
                parts, text_bytes = [], 0
            parts.append(tokens)
            text_bytes += doc["text_bytes"]
        if parts:
            yield np.concatenate(parts).astype(np.int32), text_bytes


def _pieces(tar: str) -> Iterator[tuple[dict[str, Any], NDArray[np.unsignedinteger]]]:
    """Origin and tokens of each piece; docs.json is under the block's checksum, as tokens are."""
    for block in shards.iter_blocks(tar):
        yield from zip(
            block.docs, np.split(block.tokens, np.cumsum(block.lengths)[:-1]), strict=True
        )
