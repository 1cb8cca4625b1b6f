"""Text of evaluation sets in documents: n-grams of words that both have (Brown et al.,
arXiv:2005.14165, appendix C: 13-grams).

Words are those of word_table.py, so case, accents, punctuation, white space and Unicode form make
no difference; a paraphrase does. Every n-gram of every evaluation text is in the index, and a
document is contaminated where one of its n-grams is one of those. A text with fewer than n words
has no n-gram and is not looked for: give its evaluation a smaller `ngram`.

    words of a document -> rolling hash of n of them -> 3 bits of a 64-bit word of the prefilter
    -> slot of a hash table -> the n words themselves, one by one

The prefilter has at least 16 bits an n-gram (2 MB for a million) and lets 0.7 % through at most.
What is compared last are n hashes of 64 bits each, so a false hit needs n collisions at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from filters.shingles import SHINGLE_BASE, Ragged, mix, word_hashes, word_spans

VERSION = 1
DEFAULT_NGRAM = 13
SCHEMA = pa.schema(
    [
        pa.field("contaminated_ngrams", pa.uint32(), nullable=False),
        pa.field("contaminated_bytes", pa.uint64(), nullable=False),
        pa.field("contaminated_by", pa.string(), nullable=False),
    ]
)
"""N-grams that an evaluation has too; bytes that they cover; the evaluation with most, or ""."""
EDITS = pa.schema(
    [
        pa.field("row", pa.uint32()),
        pa.field("start", pa.uint64()),
        pa.field("end", pa.uint64()),
        pa.field("replacement", pa.large_string()),
        pa.field("reason", pa.string()),
    ]
)

_U = np.uint64
_EMPTY = -1
_BITS_PER_NGRAM = 16


class Evaluation(NamedTuple):
    """The texts of one evaluation set."""

    name: str
    texts: pa.Array
    """large_string; each is looked for on its own."""
    ngram: int = DEFAULT_NGRAM


class NgramTable(NamedTuple):
    """The distinct n-grams of all evaluations with one n.

    words uint64: hashes of the words of all texts. keys uint64[slots], starts int64[slots]: hash of
    an n-gram and where in `words` it is, _EMPTY in an unused slot. owners int64[slots]: number of
    the first evaluation that has it. prefilter uint64[power of two].
    """

    ngram: int
    words: npt.NDArray[np.uint64]
    keys: npt.NDArray[np.uint64]
    starts: npt.NDArray[np.int64]
    owners: npt.NDArray[np.int64]
    prefilter: npt.NDArray[np.uint64]


class Coverage(NamedTuple):
    """What of an evaluation can be found."""

    name: str
    ngram: int
    num_texts: int
    num_too_short: int
    """Texts with fewer than `ngram` words: they are not looked for."""
    num_ngrams: int


@dataclass(frozen=True, slots=True)
class NgramIndex:
    names: tuple[str, ...]
    tables: tuple[NgramTable, ...]
    coverage: tuple[Coverage, ...]

    @property
    def num_ngrams(self) -> int:
        """Distinct ones."""
        return sum(int((table.starts != _EMPTY).sum()) for table in self.tables)


class Hits(NamedTuple):
    """int64[hits] each, by row and word: n-gram at words [words[k], words[k] + ngrams[k])."""

    rows: npt.NDArray[np.int64]
    words: npt.NDArray[np.int64]
    ngrams: npt.NDArray[np.int64]
    owners: npt.NDArray[np.int64]


def build_index(evaluations: Sequence[Evaluation]) -> NgramIndex:
    """The index of all n-grams of all texts. Raises ValueError for an `ngram` below 1."""
    by_ngram: dict[int, list[int]] = {}
    for number, evaluation in enumerate(evaluations):
        if evaluation.ngram < 1:
            raise ValueError(f"ngram of {evaluation.name} is {evaluation.ngram}; at least 1")
        by_ngram.setdefault(evaluation.ngram, []).append(number)
    words = [word_hashes(evaluation.texts) for evaluation in evaluations]
    tables = tuple(
        _table(ngram, [words[number] for number in numbers], numbers)
        for ngram, numbers in sorted(by_ngram.items())
    )
    coverage = tuple(map(_coverage, evaluations, words))
    return NgramIndex(tuple(evaluation.name for evaluation in evaluations), tables, coverage)


def compute_with_edits(batch: pa.RecordBatch, index: NgramIndex) -> tuple[pa.RecordBatch, pa.Table]:
    """Signals and the spans of contaminated text of a batch with a `text` column.

    The reason of a span is the name of the evaluation; spans that touch are one, with the name of
    the first.
    """
    text = batch.column("text")
    hits = find_hits(word_hashes(text), index)
    num_rows = batch.num_rows
    num_ngrams = np.bincount(hits.rows, minlength=num_rows).astype(np.uint32)
    names = pa.array(["", *index.names], pa.string())
    rows, starts, ends, owners = _byte_spans(text, hits)
    num_bytes = np.zeros(num_rows, np.uint64)
    np.add.at(num_bytes, rows, (ends - starts).astype(np.uint64))
    by = names.take(pa.array(_most_frequent(hits, num_rows, len(index.names)) + 1))
    signals = pa.record_batch([pa.array(num_ngrams), pa.array(num_bytes), by], schema=SCHEMA)
    edits = [
        pa.array(rows.astype(np.uint32)),
        pa.array(starts.astype(np.uint64)),
        pa.array(ends.astype(np.uint64)),
        pa.array([""] * len(rows), pa.large_string()),
        names.take(pa.array(owners + 1)),
    ]
    return signals, pa.Table.from_arrays(edits, schema=EDITS)


def find_hits(words: Ragged, index: NgramIndex) -> Hits:
    """Every n-gram of the documents that the index has."""
    found = [_find(words, table) for table in index.tables]
    if not found:
        none = np.zeros(0, np.int64)
        return Hits(none, none, none, none)
    if len(found) == 1:
        return found[0]
    hits = Hits(*(np.concatenate(column) for column in zip(*found, strict=True)))
    order = np.lexsort((hits.ngrams, hits.words, hits.rows))
    return Hits(*(column[order] for column in hits))


def _find(words: Ragged, table: NgramTable) -> Hits:
    rows, places, owners = _scan(*words, *table)
    return Hits(rows, places, np.full(len(rows), table.ngram), owners)


def _table(ngram: int, words: list[Ragged], owners: list[int]) -> NgramTable:
    counts = [_num_ngrams(one, ngram) for one in words]
    num_ngrams = sum(int(count.sum()) for count in counts)
    num_slots = 1 << max(4, (2 * num_ngrams).bit_length())
    num_filter_words = 1 << max(0, (_BITS_PER_NGRAM * num_ngrams // 64).bit_length())
    table = NgramTable(
        ngram,
        np.concatenate([one.values for one in words]),
        np.zeros(num_slots, np.uint64),
        np.full(num_slots, _EMPTY, np.int64),
        np.zeros(num_slots, np.int64),
        np.zeros(num_filter_words, np.uint64),
    )
    base = 0
    for owner, one in zip(owners, words, strict=True):
        _insert(one.offsets + base, owner, *table)
        base += len(one.values)
    return table


def _num_ngrams(words: Ragged, ngram: int) -> npt.NDArray[np.int64]:
    return np.maximum(np.diff(words.offsets) - ngram + 1, 0)


def _coverage(evaluation: Evaluation, words: Ragged) -> Coverage:
    counts = _num_ngrams(words, evaluation.ngram)
    return Coverage(
        evaluation.name,
        evaluation.ngram,
        len(counts),
        int((counts == 0).sum()),
        int(counts.sum()),
    )


def _most_frequent(hits: Hits, num_rows: int, num_names: int) -> npt.NDArray[np.int64]:
    """The evaluation with most hits in each row, the first of several; -1 without a hit."""
    most = np.full(num_rows, -1, np.int64)
    keys, counts = np.unique(hits.rows * num_names + hits.owners, return_counts=True)
    order = np.lexsort((-keys, counts))  # the last one written wins: most hits, then lowest number
    most[keys[order] // max(1, num_names)] = keys[order] % max(1, num_names)
    return most


def _byte_spans(
    text: pa.Array, hits: Hits
) -> tuple[
    npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]
]:
    """Rows, first bytes, ends and owners of runs of hits that overlap or touch: int64 each."""
    rows, firsts, lasts, owners = _merge(*hits)
    if not len(rows):
        return rows, firsts, lasts, owners
    hit_rows, inverse = np.unique(rows, return_inverse=True)
    hit_text = text.take(pa.array(hit_rows))
    words = word_hashes(hit_text)
    starts, ends = word_spans(hit_text, words)
    base = words.offsets[inverse]
    return rows, starts[base + firsts], ends[base + lasts], owners


@numba.njit(cache=True, nogil=True)
def _merge(rows, words, ngrams, owners):
    """Runs of hits: rows, first words, last words, owners of the first hit."""
    out = np.empty((4, rows.size), np.int64)
    count = 0
    for k in range(rows.size):
        last = words[k] + ngrams[k] - 1
        if count and out[0, count - 1] == rows[k] and words[k] <= out[2, count - 1] + 1:
            out[2, count - 1] = max(out[2, count - 1], last)
        else:
            out[0, count], out[1, count] = rows[k], words[k]
            out[2, count], out[3, count] = last, owners[k]
            count += 1
    return out[0, :count], out[1, :count], out[2, :count], out[3, :count]


@numba.njit(cache=True, nogil=True, inline="always")
def _filter_bits(h):
    """Three bits of a 64-bit word; the upper half of h says which word."""
    one = _U(1)
    return one << (h & _U(63)) | one << ((h >> _U(6)) & _U(63)) | one << ((h >> _U(12)) & _U(63))


@numba.njit(cache=True, nogil=True, inline="always")
def _power(exponent):
    """SHINGLE_BASE ** exponent: weight of the word that leaves a window."""
    weight = _U(1)
    for _ in range(exponent):
        weight *= SHINGLE_BASE
    return weight


@numba.njit(cache=True, nogil=True)
def _slot_of(h, document, i, ngram, words, keys, starts):
    """The slot of the n-gram document[i:i + ngram], or the empty one where it would be."""
    mask = keys.size - 1
    slot = np.int64(h >> _U(20)) & mask
    while starts[slot] != _EMPTY:
        if keys[slot] == h:
            k = 0
            while k < ngram and words[starts[slot] + k] == document[i + k]:
                k += 1
            if k == ngram:
                break
        slot = (slot + 1) & mask
    return slot


@numba.njit(cache=True, nogil=True)
def _insert(offsets, owner, ngram, words, keys, starts, owners, prefilter):
    leaving = _power(ngram - 1)
    filter_mask = _U(prefilter.size - 1)
    for doc in range(offsets.size - 1):
        first, h = offsets[doc], _U(0)
        for i in range(first, min(first + ngram - 1, offsets[doc + 1])):
            h = h * SHINGLE_BASE + words[i]
        for i in range(first + ngram - 1, offsets[doc + 1]):
            place = i - ngram + 1
            h = h * SHINGLE_BASE + words[i]
            key = mix(h)
            h -= words[place] * leaving
            slot = _slot_of(key, words, place, ngram, words, keys, starts)
            if starts[slot] == _EMPTY:
                keys[slot], starts[slot], owners[slot] = key, place, owner
                prefilter[(key >> _U(32)) & filter_mask] |= _filter_bits(key)


@numba.njit(cache=True, nogil=True)
def _scan(offsets, document, ngram, words, keys, starts, owners, prefilter):
    """Rows, words within the row, and owners of all hits."""
    leaving = _power(ngram - 1)
    filter_mask = _U(prefilter.size - 1)
    out = np.empty((3, 256), np.int64)
    count = 0
    for doc in range(offsets.size - 1):
        first, h = offsets[doc], _U(0)
        for i in range(first, min(first + ngram - 1, offsets[doc + 1])):
            h = h * SHINGLE_BASE + document[i]
        for i in range(first + ngram - 1, offsets[doc + 1]):
            place = i - ngram + 1
            h = h * SHINGLE_BASE + document[i]
            key = mix(h)
            h -= document[place] * leaving
            bits = _filter_bits(key)
            if prefilter[(key >> _U(32)) & filter_mask] & bits == bits:
                slot = _slot_of(key, document, place, ngram, words, keys, starts)
                if starts[slot] != _EMPTY:
                    if count == out.shape[1]:
                        grown = np.empty((3, 2 * count), np.int64)
                        grown[:, :count] = out
                        out = grown
                    out[0, count], out[1, count], out[2, count] = doc, place - first, owners[slot]
                    count += 1
    return out[0, :count], out[1, :count], out[2, :count]
