"""Signatures by other libraries, run by benchmarks/minhash.py in their own virtual environment.

    PEER_PYTHON minhash_peers.py DOCUMENTS.json REPEATS   ->   {peer: [seconds per document, ...]}

datatrove normalises and splits text itself. datasketch and rensa take ready tokens, so they get
the cheapest shingles Python can make: lower case, `str.split`, joined runs of five words. Each is
called by its fastest interface for signatures of 112 entries. (rensa 0.5 does not compute them by
112 independent functions: on sets of 30 the spread of its estimates is 0.76 of the binomial one.)
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

NUM_PERM = 112
NGRAM = 5
NUM_SLOW = 200  # documents for the peers that need a millisecond or more for each


def shingles(text: str) -> list[str]:
    words = text.lower().split()
    return [" ".join(words[i : i + NGRAM]) for i in range(max(1, len(words) - NGRAM + 1))]


def shingle_hashes(texts: list[str]) -> list[np.ndarray]:
    import xxhash

    hashed = xxhash.xxh3_64_intdigest
    return [np.array([hashed(s.encode()) for s in shingles(text)], np.uint64) for text in texts]


def datatrove(texts: list[str]) -> None:
    from datatrove.pipeline.dedup import MinhashDedupSignature  # pyright: ignore

    signer = MinhashDedupSignature("/tmp", language="en")
    for text in texts:
        signer.get_signature(signer.get_shingles(text))


def datasketch(texts: list[str]) -> None:
    from datasketch import MinHash

    for text in texts:
        tokens = [shingle.encode() for shingle in shingles(text)]
        MinHash(num_perm=NUM_PERM).update_batch(tokens)


def rensa(texts: list[str]) -> None:
    from rensa import RMinHash  # pyright: ignore

    RMinHash.digest_matrix_from_token_sets([shingles(text) for text in texts], NUM_PERM, 1)


def datasketch_from_hashes(rows: list[np.ndarray]) -> None:
    from datasketch import MinHash

    for row in rows:
        MinHash(num_perm=NUM_PERM, hashfunc=lambda x: x).update_batch((row >> 32).tolist())


def rensa_from_hashes(rows: list[np.ndarray]) -> None:
    from rensa import RMinHash  # pyright: ignore

    ends = np.cumsum([0, *map(len, rows)]).astype(np.uint64)
    RMinHash.digest_matrix_from_flat_token_hashes(np.concatenate(rows), ends, NUM_PERM, 1)


def seconds_per_item(call: Callable[[list], None], items: list, repeats: int) -> list[float]:
    call(items[:2])
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        call(items)
        seconds.append((time.process_time() - start) / len(items))
    return seconds


def main(documents: str, repeats: int) -> None:
    texts = json.loads(Path(documents).read_text())
    hashes = shingle_hashes(texts)
    print(
        json.dumps(
            {
                "datatrove": seconds_per_item(datatrove, texts[:NUM_SLOW], repeats),
                "datasketch": seconds_per_item(datasketch, texts[:NUM_SLOW], repeats),
                "rensa": seconds_per_item(rensa, texts, repeats),
                "datasketch from hashes": seconds_per_item(
                    datasketch_from_hashes, hashes[:NUM_SLOW], repeats
                ),
                "rensa from hashes": seconds_per_item(rensa_from_hashes, hashes, repeats),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
