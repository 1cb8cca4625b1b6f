"""Repeated word n-grams of one document (Gopher repetition rules, Rae et al. 2021, table A1).

An n-gram is its (n-1)-gram and one more word, so it gets the number that the pair gets: exact
identities from pairs of 32-bit numbers, without hashing text again. An n-gram can only repeat
where both (n-1)-grams inside it repeat, so each length looks only at the places that are left from
the one before. Of these, a table of counts by a hash of the pair, without the pairs, shows first
which are alone: in natural text nearly all, so few need a number. Nothing is left to do after n = 3
there; text of one repeated word costs ten linear passes.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from filters.blocks import highest_bit
from filters.kernels import inlined, leaf

MAX_NGRAM = 10
TOP_NGRAMS = (2, 3, 4)
DUPLICATE_NGRAMS = (5, 6, 7, 8, 9, 10)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_SEEN_PER_PAIR = 8
_ONE = np.uint64(1)


class NgramWork(NamedTuple):
    """Work memory for documents of up to `places.size` words.

    places int32: where the n-grams that may repeat start; keys uint64: the pair that each is;
    numbers uint32 of each, and counts uint32 by number; seen uint8: how often a hash occurs, up to
    2; slots uint32: 1 + a number, or 0, by hash.
    """

    places: npt.NDArray[np.int32]
    keys: npt.NDArray[np.uint64]
    numbers: npt.NDArray[np.uint32]
    counts: npt.NDArray[np.uint32]
    seen: npt.NDArray[np.uint8]
    slots: npt.NDArray[np.uint32]


@numba.njit(nogil=True)
def new_ngram_work(num_words):
    """Work memory for `num_words` words."""
    return NgramWork(
        np.empty(num_words, np.int32),
        np.empty(num_words, np.uint64),
        np.empty(num_words, np.uint32),
        np.empty(num_words, np.uint32),
        np.empty(1 << _bits_for(_SEEN_PER_PAIR * num_words), np.uint8),
        np.empty(1 << _bits_for(2 * num_words), np.uint32),
    )


@leaf
def repeated_ngrams(words, num_words, entries, work, out):
    """Characters in repeated n-grams of words[:num_words], numbers of entries.

    entries: records with `num_chars`, by number; words has room for one more. out int64[9], set to:
    for n = 2, 3, 4 the characters of the most frequent n-gram (of the earliest, when several are)
    with one space between words, times its count; for n = 5..10 those of n-grams that occurred
    before, counted from the left without overlaps and without spaces.
    """
    out[:] = 0
    for n in range(2, 5):
        if num_words >= n:
            out[n - 2] = _chars(words, entries, 0, n) + n - 1
    size = _list_pairs(words, num_words, work)
    for n in range(2, MAX_NGRAM + 1):
        if n > 2:
            size = _list_longer(words, n, size, work)
        size = _keep_likely(size, work)
        size = _keep_repeated(size, work)
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


@inlined
def _pair(first, second):
    return np.uint64(first) << np.uint64(32) | np.uint64(second)


@leaf
def _list_pairs(words, num_words, work):
    """All places of 2-grams, with their keys; returns how many."""
    size = max(0, num_words - 1)
    for place in range(np.uint64(size)):
        work.places[place] = place
        work.keys[place] = _pair(words[place], words[place + _ONE])
    return size


@leaf
def _list_longer(words, n, size, work):
    """From the (n-1)-grams that repeat to the n-grams that may; returns how many places.

    The next place on the list must be the next word, else the n-gram's second part is unique.
    """
    kept, last = np.uint64(0), np.uint64(n - 1)
    for k in range(np.uint64(size - 1)):
        place = np.uint64(work.places[k])
        work.keys[kept] = _pair(work.numbers[k], words[place + last])
        work.places[kept] = place  # overwritten unless one more is kept: no branch to foresee
        kept += np.uint64(np.uint64(work.places[k + _ONE]) == place + _ONE)
    return np.int64(kept)


@leaf
def _keep_likely(size, work):
    """Keep the places whose pair shares its hash with another one; returns how many."""
    bits = _bits_for(_SEEN_PER_PAIR * size)
    shift = np.uint64(64 - bits)
    work.seen[: 1 << bits] = 0
    for k in range(np.uint64(size)):
        slot = work.keys[k] * _GOLDEN >> shift
        count = work.seen[slot]
        work.seen[slot] = count + (count < 2)
    kept = np.uint64(0)
    for k in range(np.uint64(size)):
        key = work.keys[k]
        work.places[kept] = work.places[k]
        work.keys[kept] = key
        kept += np.uint64(work.seen[key * _GOLDEN >> shift] > 1)
    return np.int64(kept)


@leaf
def _keep_repeated(size, work):
    """Number the pairs and keep the places of those that repeat; returns how many."""
    bits = _bits_for(2 * size)
    shift, mask = np.uint64(64 - bits), np.uint64((1 << bits) - 1)
    work.slots[: 1 << bits] = 0
    for k in range(np.uint64(size)):
        key = work.keys[k]
        slot = key * _GOLDEN >> shift
        found = np.uint64(work.slots[slot])
        # `&`, not `and`: one branch, which seldom goes on
        while (found != 0) & (work.keys[max(found, _ONE) - _ONE] != key):
            slot = (slot + _ONE) & mask
            found = np.uint64(work.slots[slot])
        number = found - _ONE if found else k
        work.slots[slot] = number + _ONE
        work.counts[k] = 0
        work.counts[number] += np.uint32(1)
        work.numbers[k] = number
    kept = np.uint64(0)
    for k in range(np.uint64(size)):
        number = np.uint64(work.numbers[k])
        work.places[kept] = work.places[k]
        work.numbers[kept] = number
        kept += np.uint64(work.counts[number] > 1)
    return np.int64(kept)


@inlined
def _bits_for(size):
    """The least number of bits, at least 4, whose values are `size` or more."""
    return max(4, highest_bit(np.uint64(max(1, size) - 1)) + 1)


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
