"""Small packed corpora for the tests of the stream, written with the real shard writer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import xxhash
from numpy.typing import NDArray

from storage import tables
from storage.manifest import (
    EXCLUSIONS_TABLE,
    SHARDS,
    CorpusManifest,
    TokenizerEntry,
    write_manifest,
)
from storage.shards import ShardDocument, ShardWriter

VOCAB_SIZE = 1000
BLOCK_BYTES = 128

Documents = Sequence[np.ndarray]


def random_documents(sizes: Sequence[int] | NDArray[np.int64], seed: int = 0) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    return [random.integers(0, VOCAB_SIZE, size, dtype=np.uint16) for size in sizes]


def write_corpus(
    root: Path,
    train: Mapping[str, Sequence[Documents]],
    validation: Mapping[str, Sequence[Documents]] | None = None,
    *,
    dtype: str = "uint16",
    block_bytes: int = BLOCK_BYTES,
) -> CorpusManifest:
    """A corpus from documents per shard per stratum: split -> stratum -> shards -> documents.

    doc_ids count from 1; a document of n tokens has 3 n bytes of text.
    """
    rows, doc_id = [], 1
    for split, strata in (("train", train), ("validation", validation or {})):
        for stratum, shards in sorted(strata.items()):
            for number, documents in enumerate(shards):
                path = f"shards/{split}/{stratum}-{number:05d}"
                with ShardWriter(str(root / path), np.dtype(dtype), block_bytes) as writer:
                    for tokens in documents:
                        document = ShardDocument(doc_id, stratum, "r", 3 * len(tokens), tokens)
                        writer.add(document)
                        doc_id += 1
                rows.append((split, stratum, number, path, writer.stats))
    manifest = CorpusManifest(
        root=str(root),
        name="test",
        config={},
        tokenizer=TokenizerEntry(
            "tokenizer.json", VOCAB_SIZE, VOCAB_SIZE, dtype, "encoding", "specials", {}, "none"
        ),
        fingerprint=xxhash.xxh3_128_hexdigest("".join(row[4].sha256 for row in rows).encode()),
        shards=pa.Table.from_pylist([_shard_row(*row) for row in rows], SHARDS),
    )
    write_manifest(manifest)
    return manifest


def _shard_row(split, stratum, number, path, stats) -> dict[str, object]:
    return {
        "path": f"{path}.tar",
        "split": split,
        "stratum": stratum,
        "shard": number,
        "bytes": stats.bytes,
        "docs": stats.docs,
        "documents": stats.documents,
        "tokens": stats.tokens,
        "text_bytes": stats.text_bytes,
        "sha256": stats.sha256,
    }


def small_corpus(root: Path) -> CorpusManifest:
    """Two strata of several shards, with documents from 1 token to several blocks."""
    random = np.random.default_rng(7)
    sizes = {"books": [30, 7], "web": [60, 40, 50]}
    train = {
        stratum: [
            random_documents(random.integers(1, 90, number), seed)
            for seed, number in enumerate(numbers)
        ]
        for stratum, numbers in sizes.items()
    }
    validation = {
        stratum: [random_documents(random.integers(1, 90, 20), 99) for _ in range(2)]
        for stratum in sizes
    }
    return write_corpus(root, train, validation)


def flip_byte(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x40
    path.write_bytes(data)


def exclude(corpus: CorpusManifest, doc_ids: Sequence[int]) -> None:
    """Take documents down."""
    table = pa.table({"doc_id": pa.array(doc_ids, pa.uint64())})
    tables.write_table(corpus.location(EXCLUSIONS_TABLE), table, table.schema)
