"""MinHash signatures and LSH bands of documents (Broder, SEQUENCES 1997; Indyk and Motwani 1998).

A signature has, for each of `num_perm` hash functions, the minimum over the document's shingles
(shingles.py). The share of equal entries in two signatures estimates the Jaccard similarity J of
the two shingle sets without bias, with standard error sqrt(J * (1 - J) / num_perm).

Hash function j is multiply-shift (Dietzfelbinger 1996; Thorup, arXiv:1504.06804, 3.3) on the upper
32 bits x of the 64-bit shingle hash: (a[j] * x + b[j]) mod 2**64 >> 32 with a[j], b[j] uniform in
64 bits. It is strongly universal from 32 to 32 bits, needs no modulus by a prime, and keeps its
promise in 64-bit integers, where the usual (a * x + b) mod (2**61 - 1) overflows. a and b come
from splitmix64 of the seed: hash function j does not depend on num_perm, numpy or the platform.

Cost on 4.4 kB of English prose: benchmarks/minhash.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from filters.shingles import UNITS, Ragged, shingles

VERSION = 1  # also of words and shingles, which signatures are made of
_U = np.uint64
_I = np.uint32
_NO_HASH = _I(0xFFFFFFFF)  # the greatest one: what a document without shingles has
_BLOCK = 4096  # shingles that stay in the first-level cache while all functions read them
_LANES = 32  # keys per step of the vectorised loop; a repeated key does not change a minimum
_BAND_SEED = _U(0x452821E638D01377)  # digits of pi


@dataclass(frozen=True, slots=True)
class MinHashParams:
    """Settings of the `minhash` signal group; a change of any gives incomparable signatures."""

    ngram: int = 5
    num_perm: int = 112
    bands: int = 14
    rows: int = 8
    seed: int = 1
    shingle: str = "word"


def schema(params: MinHashParams) -> pa.Schema:
    """Columns that `compute` returns: signature, band_00 ..., num_shingles."""
    fields = [pa.field("signature", pa.list_(pa.uint32(), params.num_perm), nullable=False)]
    fields += [pa.field(name, pa.uint64(), nullable=False) for name in band_names(params.bands)]
    return pa.schema([*fields, pa.field("num_shingles", pa.uint32(), nullable=False)])


def band_names(bands: int) -> list[str]:
    """band_00, band_01, ...: one column per band, so that a pass reads only its own."""
    return [f"band_{band:02d}" for band in range(bands)]


def compute(batch: pa.RecordBatch, params: MinHashParams = MinHashParams()) -> pa.RecordBatch:
    """The `minhash` signals of a batch with a `text` column, aligned by row.

    A row with num_shingles 0 has no signature worth comparing (all entries are 2**32 - 1, so all
    such rows share their bands): leave it out of candidate search.
    """
    values, num_shingles = signatures(
        batch.column("text"), params.ngram, params.num_perm, params.seed, params.shingle
    )
    bands = band_hashes(values, params.bands, params.rows)
    columns = [pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), params.num_perm)]
    columns += [pa.array(bands[:, band]) for band in range(params.bands)]
    return pa.record_batch([*columns, pa.array(num_shingles)], schema=schema(params))


def signatures(
    text: pa.Array, ngram: int = 5, num_perm: int = 112, seed: int = 1, shingle: str = "word"
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.uint32]]:
    """MinHash signatures uint32[docs, num_perm], and shingles per document uint32[docs].

    The number of shingles counts repeats; it is 0 for a document without words.
    """
    if num_perm < 1:
        raise ValueError(f"num_perm is {num_perm}; a signature needs at least 1 hash function")
    rows = shingles(UNITS[shingle](text), ngram)
    return minimum_hashes(rows, num_perm, seed), np.diff(rows.offsets).astype(np.uint32)


def minimum_hashes(rows: Ragged, num_perm: int, seed: int) -> npt.NDArray[np.uint32]:
    """Signatures uint32[docs, num_perm] of sets of 64-bit hashes."""
    return _minimum_hashes(*rows, *hash_functions(num_perm, seed))


def hash_functions(
    num_perm: int, seed: int
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """The multipliers a and summands b of the hash functions, uint64[num_perm] each."""
    if not 0 <= seed < 1 << 64:
        raise ValueError(f"seed is {seed}; it must fit in 64 bits without sign")
    numbers = _splitmix64(seed, 2 * num_perm)
    return numbers[0::2].copy(), numbers[1::2].copy()


def band_hashes(signature: npt.NDArray[np.uint32], bands: int, rows: int) -> npt.NDArray[np.uint64]:
    """One hash per band of `rows` signature entries: uint64[docs, bands].

    The band's number is mixed in, so equal entries in different bands do not collide.
    """
    if bands < 1 or rows < 1 or bands * rows > signature.shape[1]:
        raise ValueError(
            f"{bands} bands x {rows} rows need {bands * rows} signature entries, "
            f"there are {signature.shape[1]}"
        )
    return _band_hashes(signature, bands, rows)


def estimate(
    left: npt.NDArray[np.uint32], right: npt.NDArray[np.uint32]
) -> npt.NDArray[np.float64]:
    """Estimated Jaccard similarity of signatures row by row, uint32[pairs, num_perm] each."""
    return np.count_nonzero(left == right, axis=1) / left.shape[1]


def _splitmix64(seed: int, count: int) -> npt.NDArray[np.uint64]:
    """The first `count` numbers of splitmix64 started at `seed`."""
    state = _U(seed) + np.arange(1, count + 1, dtype=np.uint64) * _U(0x9E3779B97F4A7C15)
    state = (state ^ (state >> _U(30))) * _U(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> _U(27))) * _U(0x94D049BB133111EB)
    return state ^ (state >> _U(31))


@numba.njit(cache=True, nogil=True)
def _minimum_hashes(offsets, values, a, b):
    num_docs = offsets.size - 1
    out = np.full((num_docs, a.size), _NO_HASH, np.uint32)
    keys = np.empty(_BLOCK, np.uint32)
    for doc in range(num_docs):
        for start in range(offsets[doc], offsets[doc + 1], _BLOCK):
            count = min(_BLOCK, offsets[doc + 1] - start)
            for i in range(count):
                keys[i] = values[start + i] >> _U(32)
            padded = (count + _LANES - 1) // _LANES * _LANES
            keys[count:padded] = keys[0]
            for j in range(0, a.size, 2):
                k = min(j + 1, a.size - 1)
                first, second = _minima(keys[:padded], a[j], b[j], a[k], b[k])
                out[doc, j] = min(out[doc, j], first)
                out[doc, k] = min(out[doc, k], second)
    return out


@numba.njit(cache=True, nogil=True)
def _minima(keys, a, b, c, d):
    """min of (a * x + b) >> 32 and of (c * x + d) >> 32: reductions that LLVM vectorises.

    The upper half of a goes into a product of 32 bits, so that minima are of 32 bits, of which a
    vector holds twice as many. Two functions share the reading of a key: together 1.6 times as
    fast with AVX2 as 64-bit minima of one function at a time.
    """
    a_low, a_high, c_low, c_high = _I(a), _I(a >> _U(32)), _I(c), _I(c >> _U(32))
    first, second = _NO_HASH, _NO_HASH
    for i in range(keys.size):
        x = keys[i]
        one = _I((_U(a_low) * _U(x) + b) >> _U(32)) + _I(a_high * x)
        other = _I((_U(c_low) * _U(x) + d) >> _U(32)) + _I(c_high * x)
        first, second = min(first, _I(one)), min(second, _I(other))
    return first, second


@numba.njit(cache=True, nogil=True)
def _band_hashes(signature, bands, rows):
    out = np.empty((signature.shape[0], bands), np.uint64)
    for doc in range(signature.shape[0]):
        for band in range(bands):
            h = _BAND_SEED + _U(band)
            for row in range(rows):
                h ^= _U(signature[doc, band * rows + row])
                h = (h ^ (h >> _U(30))) * _U(0xBF58476D1CE4E5B9)
                h = (h ^ (h >> _U(27))) * _U(0x94D049BB133111EB)
                h ^= h >> _U(31)
            out[doc, band] = h
    return out
