"""Repeated word n-grams of one document (Gopher repetition rules, Rae et al. 2021, table A1).

An n-gram is its (n-1)-gram and one more word, so it gets the number that the pair gets: exact
identities from pairs of 32-bit numbers, without hashing text again. An n-gram can only repeat
where both (n-1)-grams inside it repeat, so each length looks only at the places that are left from
the one before. Natural text has few places left at n = 3, and nothing to do after that; text of
one repeated word costs ten linear passes.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from filters.kernels import leaf

MAX_NGRAM = 10
TOP_NGRAMS = (2, 3, 4)
DUPLICATE_NGRAMS = (5, 6, 7, 8, 9, 10)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


class NgramWork(NamedTuple):
    """Work memory for documents of up to `places.size` words.

    places int32: where the n-grams that may repeat start; numbers int32: the number of each;
    counts int32 and seen int32 by number; keys uint64 and values int32: pairs to numbers.
    """

    places: npt.NDArray[np.int32]
    numbers: npt.NDArray[np.int32]
    counts: npt.NDArray[np.int32]
    keys: npt.NDArray[np.uint64]
    values: npt.NDArray[np.int32]


@numba.njit(nogil=True)
def new_ngram_work(num_words):
    """Work memory for `num_words` words."""
    slots = 16
    while slots < 2 * num_words:
        slots *= 2
    return NgramWork(
        np.empty(num_words, np.int32),
        np.empty(num_words, np.int32),
        np.empty(num_words, np.int32),
        np.empty(slots, np.uint64),
        np.empty(slots, np.int32),
    )


@leaf
def repeated_ngrams(words, num_words, num_distinct, entries, work, out):
    """Characters in repeated n-grams of words[:num_words], numbers below `num_distinct`.

    entries: records with `num_chars`, by number. out int64[9], set to: for n = 2, 3, 4 the
    characters of the most frequent n-gram (of the earliest, when several are) with one space
    between words, times its count; for n = 5..10 those of n-grams that occurred before, counted
    from the left without overlaps and without spaces.
    """
    out[:] = 0
    for n in range(2, 5):
        if num_words >= n:
            out[n - 2] = _chars(words, entries, 0, n) + n - 1
    size = _repeated_words(words, num_words, num_distinct, work)
    for n in range(2, MAX_NGRAM + 1):
        size = _number_pairs(words, num_words, n, size, work)
        if size == 0:
            break
        if n <= 4:
            out[n - 2] = _top_chars(words, entries, n, size, work, out[n - 2])
        else:
            out[n - 2] = _duplicate_chars(words, entries, n, size, work)


@leaf
def _chars(words, entries, start, n):
    total = np.int64(0)
    for k in range(start, start + n):
        total += np.int64(entries[words[k]].num_chars)
    return total


@leaf
def _repeated_words(words, num_words, num_distinct, work):
    """The places of words that occur more than once; returns how many."""
    counts = work.counts
    for word in range(num_distinct):
        counts[word] = 0
    for place in range(num_words):
        counts[words[place]] += 1
    size = 0
    for place in range(num_words):
        work.places[size] = place  # overwritten unless size grows: no branch to foresee
        work.numbers[size] = words[place]
        size += counts[words[place]] > 1
    return size


@leaf
def _number_pairs(words, num_words, n, size, work):
    """From the (n-1)-grams that repeat to the n-grams that repeat; returns how many places.

    The next place on the list must be the next word, else the n-gram's second part is unique.
    """
    slots = 16
    while slots < 2 * size:
        slots *= 2
    for slot in range(slots):
        work.values[slot] = 0
    shift = np.uint64(64 - _log2(slots))
    kept = distinct = 0
    for k in range(size - 1):
        place = work.places[k]
        if work.places[k + 1] != place + 1 or place + n > num_words:
            continue
        key = np.uint64(work.numbers[k]) << np.uint64(32) | np.uint64(words[place + n - 1])
        slot = np.int64(key * _GOLDEN >> shift)
        while work.values[slot] and work.keys[slot] != key:
            slot = (slot + 1) & (slots - 1)
        if work.values[slot] == 0:
            work.keys[slot] = key
            distinct += 1
            work.values[slot] = distinct
            work.counts[distinct - 1] = 0
        number = work.values[slot] - 1
        work.counts[number] += 1
        work.places[kept] = place
        work.numbers[kept] = number
        kept += 1
    size = 0
    for k in range(kept):
        work.places[size] = work.places[k]
        work.numbers[size] = work.numbers[k]
        size += work.counts[work.numbers[k]] > 1
    return size


@leaf
def _log2(power_of_two):
    exponent = 0
    while (1 << exponent) < power_of_two:
        exponent += 1
    return exponent


@leaf
def _top_chars(words, entries, n, size, work, otherwise):
    """Characters times count of the most frequent n-gram, the earliest of equals."""
    best = 1
    total = otherwise
    for k in range(size):
        count = work.counts[work.numbers[k]]
        if count > best:
            best = count
            total = (_chars(words, entries, work.places[k], n) + n - 1) * count
    return total


@leaf
def _duplicate_chars(words, entries, n, size, work):
    """Characters of n-grams seen before, going on after each one found."""
    for k in range(size):
        work.counts[work.numbers[k]] = 1
    total = 0
    next_place = 0
    for k in range(size):
        if work.places[k] < next_place:
            continue
        if work.counts[work.numbers[k]] == 1:
            work.counts[work.numbers[k]] = 2
        else:
            total += _chars(words, entries, work.places[k], n)
            next_place = work.places[k] + n
    return total
