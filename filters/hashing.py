"""Content hashes: equal bytes, equal hash.

`content_hash` is xxh3-128 of the UTF-8 bytes of a text, in the canonical (big-endian) form that the
`xxhsum -H2` program prints. At 128 bits, two different documents among 10**12 share a hash with
probability 10**-15, so equality of hashes stands for equality of texts and nothing is compared.
xxh3 is not cryptographic: somebody who wants two texts to collide can make them.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import xxhash

from filters.columns import text_bytes

VERSION = 1
HASH_BYTES = 16
SCHEMA = pa.schema(
    [
        pa.field("content_hash", pa.binary(HASH_BYTES), nullable=False),
        pa.field("text_bytes", pa.uint64(), nullable=False),
    ]
)


def compute(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The `hash` signals of a batch with a `text` column, aligned by row."""
    text = batch.column("text")
    num_bytes = np.diff(text_bytes(text).offsets).astype(np.uint64)
    return pa.record_batch([content_hash(text), pa.array(num_bytes)], schema=SCHEMA)


def content_hash(text: pa.Array) -> pa.FixedSizeBinaryArray:
    """xxh3-128 of the bytes of each text, fixed_size_binary(16); an empty text has one too."""
    offsets, data = text_bytes(text)
    view = data.data
    bounds = offsets.tolist()
    digest = xxhash.xxh3_128_digest
    digests = [digest(view[bounds[i] : bounds[i + 1]]) for i in range(len(text))]
    buffers = [None, pa.py_buffer(b"".join(digests))]
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(HASH_BYTES), len(text), buffers)
