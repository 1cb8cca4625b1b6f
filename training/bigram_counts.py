"""Exact counts of pairs of words in a text of any size, in bounded memory.

Pairs are packed in a uint64, sorted and merged, for one range of first words per pass over the
text: as many ranges as `max_pairs` asks for. Only sums per word are kept, and the counts of those
pairs that somebody wants to know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MAX_PAIRS = 1 << 25
"""Distinct pairs held at once: 512 MiB of keys and counts, about as much again while merging."""

Words = Callable[[], Iterator[NDArray[np.int64]]]
"""Opens one pass over the text: arrays of word ids, each beginning and ending with a separator."""


@dataclass(frozen=True, slots=True)
class BigramCounts:
    """What the two models need of a text, for a vocabulary of V words.

    unigrams: int64[V]; successors, predecessors: int64[V], N(v, .) and N(., w); num_singletons,
    num_doubletons: pairs seen once and twice; keys: uint64, sorted; pairs: int64, c of each key.
    """

    unigrams: NDArray[np.int64]
    successors: NDArray[np.int64]
    predecessors: NDArray[np.int64]
    num_singletons: int
    num_doubletons: int
    keys: NDArray[np.uint64]
    pairs: NDArray[np.int64]


def pack_pairs(first: NDArray[np.int64], second: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Keys of pairs of word ids below 2**32, ordered as the pairs are."""
    return (first.astype(np.uint64) << np.uint64(32)) | second.astype(np.uint64)


def count_bigrams(
    words: Words, num_words: int, queries: NDArray[np.uint64], max_pairs: int = MAX_PAIRS
) -> BigramCounts:
    """Exact counts of a text, in one pass to count words and one per range of first words.

    queries: sorted, distinct keys (first word in the upper 32 bits) whose counts are wanted.
    """
    unigrams = np.zeros(num_words, np.int64)
    for text in words():
        unigrams += np.bincount(text[1:], minlength=num_words)
    successors, predecessors = np.zeros_like(unigrams), np.zeros_like(unigrams)
    singletons = doubletons = 0
    pairs = np.zeros(queries.size, np.int64)
    for first, last in _ranges(np.minimum(unigrams, num_words), max_pairs):
        keys, counts = _count_range(words(), first, last, max_pairs)
        successors += np.bincount((keys >> np.uint64(32)).astype(np.int64), minlength=num_words)
        predecessors += np.bincount(_second(keys), minlength=num_words)
        singletons += int((counts == 1).sum())
        doubletons += int((counts == 2).sum())
        pairs += _look_up(keys, counts, queries)
    return BigramCounts(unigrams, successors, predecessors, singletons, doubletons, queries, pairs)


def _ranges(bounds: NDArray[np.int64], max_pairs: int) -> Iterator[tuple[int, int]]:
    """Ranges of first words with at most `max_pairs` distinct pairs (bounds: per word) each."""
    first, total = 0, 0
    for word, bound in enumerate(bounds.tolist()):
        if total + bound > max_pairs and word > first:
            yield first, word
            first, total = word, 0
        total += bound
    yield first, bounds.size


def _count_range(
    texts: Iterator[NDArray[np.int64]], first: int, last: int, max_pairs: int
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Sorted distinct keys of pairs whose first word is in [first, last), and their counts."""
    keys, counts = np.zeros(0, np.uint64), np.zeros(0, np.int64)
    waiting: list[NDArray[np.uint64]] = []
    num_waiting = 0
    for text in texts:
        inside = (text[:-1] >= first) & (text[:-1] < last)
        waiting.append(pack_pairs(text[:-1][inside], text[1:][inside]))
        num_waiting += waiting[-1].size
        if num_waiting >= max_pairs:
            keys, counts = _merge(keys, counts, waiting)
            waiting, num_waiting = [], 0
    return _merge(keys, counts, waiting)


def _merge(
    keys: NDArray[np.uint64], counts: NDArray[np.int64], waiting: list[NDArray[np.uint64]]
) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    new_keys, new_counts = np.unique(np.concatenate([keys[:0], *waiting]), return_counts=True)
    if keys.size == 0:
        return new_keys, new_counts
    both = np.concatenate([keys, new_keys])
    amounts = np.concatenate([counts, new_counts])
    order = np.argsort(both, kind="stable")
    both, amounts = both[order], amounts[order]
    begins = np.flatnonzero(np.concatenate([[True], both[1:] != both[:-1]]))
    return both[begins], np.add.reduceat(amounts, begins)


def _look_up(
    keys: NDArray[np.uint64], counts: NDArray[np.int64], queries: NDArray[np.uint64]
) -> NDArray[np.int64]:
    if keys.size == 0:
        return np.zeros(queries.size, np.int64)
    place = np.minimum(np.searchsorted(keys, queries), keys.size - 1)
    return np.where(keys[place] == queries, counts[place], 0)


def _second(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    return (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)
