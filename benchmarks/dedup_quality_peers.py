"""Candidate pairs by other libraries, run by benchmarks/dedup_quality.py in their own environment.

    PEER_PYTHON dedup_quality_peers.py INPUT.json OUTPUT.json

INPUT has `texts` (words joined by spaces), `ngram` and `settings` ([bands, rows] each). OUTPUT has
for each peer and setting the pairs [first, second, estimate] that share a band; the estimate is -1
where the peer's program computes none. Only the peers that the interpreter can import are there.

datatrove splits words by spaCy and text-dedup by a pattern of its own; datasketch and rensa take
the shingles of the benchmark. Numbers are left as they are, everywhere.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

Pair = tuple[int, int]
Found = list[list[float]]
Signer = Callable[[list[str], int, int, int], Iterable[Sequence[Hashable]]]
"""Texts, words per shingle, bands and rows to the bands of each document."""


def shingles(text: str, ngram: int) -> set[str]:
    words = text.split()
    return {" ".join(words[i : i + ngram]) for i in range(max(1, len(words) - ngram + 1))}


def colliding(bands_of_documents: Iterable[Sequence[Hashable]]) -> set[Pair]:
    """All pairs of documents that share a band."""
    buckets: dict[tuple[int, Hashable], list[int]] = defaultdict(list)
    for document, bands in enumerate(bands_of_documents):
        for band, value in enumerate(bands):
            buckets[band, value].append(document)
    return {(a, b) for members in buckets.values() for a in members for b in members if a < b}


def datatrove(texts: list[str], ngram: int, bands: int, rows: int) -> Found:
    from datatrove.pipeline.dedup import MinhashDedupSignature  # pyright: ignore
    from datatrove.pipeline.dedup.minhash import MinhashConfig  # pyright: ignore
    from datatrove.utils.text import TextNormConfig  # pyright: ignore

    norm = TextNormConfig(norm_numbers=False)
    config = MinhashConfig(
        n_grams=ngram, num_buckets=bands, hashes_per_bucket=rows, norm_config=norm
    )
    signer = MinhashDedupSignature("/tmp", config=config, language="en")
    signatures = [signer.get_signature(hashed) for hashed in _datatrove_shingles(signer, texts)]
    return [[a, b, -1] for a, b in colliding([map(tuple, one) for one in signatures])]  # pyright: ignore


_SHINGLES: list[Any] = []


def _datatrove_shingles(signer: Any, texts: list[str]) -> list[Any]:
    """Most of its time, and the same for all settings."""
    if not _SHINGLES:
        _SHINGLES.extend(signer.get_shingles(text) for text in texts)
    return _SHINGLES


def datasketch(texts: list[str], ngram: int, bands: int, rows: int) -> Found:
    from datasketch import MinHash, MinHashLSH

    lsh = MinHashLSH(num_perm=bands * rows, params=(bands, rows))
    sketches = []
    for number, text in enumerate(texts):
        sketch = MinHash(num_perm=bands * rows, seed=1)
        sketch.update_batch([shingle.encode() for shingle in shingles(text, ngram)])
        lsh.insert(str(number), sketch)
        sketches.append(sketch)
    return [
        [a, b, sketch.jaccard(sketches[b])]
        for a, sketch in enumerate(sketches)
        for b in (int(str(name)) for name in lsh.query(sketch))
        if a < b
    ]


def rensa(texts: list[str], ngram: int, bands: int, rows: int) -> Found:
    from rensa import RMinHash, RMinHashLSH  # pyright: ignore

    num_perm = bands * rows
    sketches = RMinHash.from_token_sets(
        [sorted(shingles(text, ngram)) for text in texts], num_perm=num_perm, seed=42
    )
    lsh = RMinHashLSH(threshold=0.5, num_perm=num_perm, num_bands=bands)
    lsh.insert_pairs(list(enumerate(sketches)))
    return [
        [a, b, sketches[a].jaccard(sketches[b])]
        for a, candidates in enumerate(lsh.query_all(sketches))
        for b in candidates
        if a < b
    ]


def text_dedup(texts: list[str], ngram: int, bands: int, rows: int) -> Found:
    from text_dedup.minhash import RNG, embed_func, xxh3_32hash  # pyright: ignore

    prime, num_perm = np.uint64((1 << 61) - 1), bands * rows
    functions = (
        RNG.randint(1, prime, size=(num_perm,), dtype=np.uint64),
        RNG.randint(0, prime, size=(num_perm,), dtype=np.uint64),
    )
    sign = partial(
        embed_func,
        num_perm=num_perm,
        ngram_size=ngram,
        min_length=0,
        hashranges=[(band * rows, (band + 1) * rows) for band in range(bands)],
        permutations=functions,
        hash_func=xxh3_32hash,
        dtype=np.uint64,
        max_hash=np.uint32((1 << 32) - 1),
        modulo_prime=prime,
    )
    signatures = (sign(text, number)["__signatures__"] for number, text in enumerate(texts))
    return [[a, b, -1] for a, b in colliding(signatures)]


PEERS = {
    "datatrove": datatrove,
    "datasketch": datasketch,
    "rensa": rensa,
    "text_dedup": text_dedup,
}


def main(source: str, target: str) -> None:
    given = json.loads(Path(source).read_text())
    found: dict[str, dict[str, Found]] = {}
    for name, peer in PEERS.items():
        if importlib.util.find_spec(name) is None:
            continue
        for bands, rows in given["settings"]:
            pairs = peer(given["texts"], given["ngram"], bands, rows)
            found.setdefault(name.replace("_", "-"), {})[f"{bands} x {rows}"] = pairs
    Path(target).write_text(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
