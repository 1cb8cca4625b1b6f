"""N-gram language models as one hash table, and what they give the words of a text.

An entry is an n-gram's probability and, for the n-grams that it is the history of, a weight: the
back-off form of Katz (1987) and of ARPA files. With the longest known n-gram that ends in word w,

    log P(w | history) = log p(n-gram) + log weights of the longer histories that are known

Words are the hashes of shingles.word_hashes: case, accents and punctuation do not count, a letter
of a script without spaces is a word. A text is one sequence; before it stand `order - 1` marks.

A slot of the table is 32 bits of the n-gram's hash, and both logarithms in steps of 1/4096 of a
decade: an error of at most 0.03 % of a probability. Sums are of integers, so scores do not depend
on the processor. An n-gram that is not there is taken for one that is once in 2**32 probes.
"""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from filters.shingles import SHINGLE_BASE, Ragged, mix

STEPS_PER_DECADE = 4096
MAX_ORDER = 6
_FORMAT = 1
_U = np.uint64
BEGIN = _U(0x13198A2E03707344)  # digits of pi: the mark before a text
_LARGEST = 65535  # 10**-16
_SLOTS_PER_NGRAM = 1.6  # 62 % full: 1.8 probes for an n-gram that is there, 4 for one that is not
_WINDOW_WORDS = 1024


class NgramModel(NamedTuple):
    """slots uint64: hash << 32 | log p << 16 | log weight, 0 when free; logs are negative decades
    times STEPS_PER_DECADE. `unknown` is that of a word that training did not see."""

    slots: npt.NDArray[np.uint64]
    order: int
    unknown: int


class Entries(NamedTuple):
    """The n-grams of one length: `grams` uint64 from `gram_hashes`, and their logarithms."""

    grams: npt.NDArray[np.uint64]
    log_p: npt.NDArray[np.float64]
    log_weight: npt.NDArray[np.float64]


def gram_hashes(words: npt.NDArray[np.uint64], order: int) -> list[npt.NDArray[np.uint64]]:
    """At n - 1, for each place the hash of the n words that end there; the first are of fewer."""
    grams = [words]
    for _ in range(1, order):
        longer = words.copy()
        longer[1:] += grams[-1][:-1] * SHINGLE_BASE
        grams.append(longer)
    return grams


def make_model(entries: list[Entries], log_unknown: float) -> NgramModel:
    """The table of the n-grams of 1, 2, ... words."""
    num_ngrams = sum(len(one.grams) for one in entries)
    slots = np.zeros(int(num_ngrams * _SLOTS_PER_NGRAM) + 2, np.uint64)
    for n, one in enumerate(entries, 1):
        logs = _quantised(one.log_p) << _U(16) | _quantised(one.log_weight)
        _insert(slots, one.grams, logs, n)
    return NgramModel(slots, len(entries), int(_quantised(np.array([log_unknown]))[0]))


def log_scores(model: NgramModel, words: Ragged) -> npt.NDArray[np.float64]:
    """log10 of the probability of each text's words: float64[texts]; 0 for a text without."""
    sums = _scores(words.offsets, words.values, model.slots, model.order, model.unknown)
    return -sums / STEPS_PER_DECADE


def num_unknown(model: NgramModel, words: Ragged) -> int:
    """How many words of all texts the model has not seen."""
    return int(_count_unknown(words.values, model.slots))


def save(model: NgramModel, path: Path) -> None:
    """Writes the model; equal models give equal bytes."""
    with path.open("wb") as file:
        np.savez(
            file,
            format=np.int64(_FORMAT),
            slots=model.slots,
            order=np.int64(model.order),
            unknown=np.int64(model.unknown),
        )


def load(path: str) -> NgramModel:
    """Raises ValueError when the file is no model of `tilth perplexity train`."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in ("format", "slots", "order", "unknown")}
            version, order, unknown = (int(found[name]) for name in ("format", "order", "unknown"))
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        EOFError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(f"language model {path} cannot be read: {error}") from error
    slots = found["slots"]
    if version != _FORMAT or slots.dtype != np.uint64 or slots.ndim != 1:
        raise ValueError(f"language model {path} is of another format; train it again")
    has_room = 0 < len(slots) < 1 << 32 and bool((slots == 0).any())  # or a search never ends
    if not (has_room and 1 <= order <= MAX_ORDER and 0 <= unknown <= _LARGEST):
        raise ValueError(f"language model {path} is damaged; train it again")
    return NgramModel(slots, order, unknown)


def _quantised(logs: npt.NDArray[np.float64]) -> npt.NDArray[np.uint64]:
    return np.clip(np.rint(-logs * STEPS_PER_DECADE), 0, _LARGEST).astype(np.uint64)


@numba.njit(cache=True, nogil=True, inline="always")
def _find(slots, gram, n):
    """The place of an n-gram, or the free one where it would be, and its hash, shifted."""
    key = mix(gram + _U(n))
    place = np.int64((key & _U(0xFFFFFFFF)) * _U(slots.size) >> _U(32))
    tag = max(key >> _U(32), _U(1))
    while slots[place] != _U(0) and slots[place] >> _U(32) != tag:
        place += 1
        if place == slots.size:
            place = 0
    return place, tag << _U(32)


@numba.njit(cache=True, nogil=True)
def _insert(slots, grams, logs, n):
    for k in range(grams.size):
        place, tag = _find(slots, grams[k], n)
        slots[place] = tag | logs[k]


@numba.njit(cache=True, nogil=True)
def _count_unknown(words, slots):
    count = 0
    for word in words:
        place, _ = _find(slots, word, 1)
        count += slots[place] == _U(0)
    return count


@numba.njit(cache=True, nogil=True, inline="always")
def _gram(words, first, i, n):
    """The hash of the n words that end at i; those before `first`, where the text begins, are
    marks."""
    h = _U(0)
    for k in range(i - n + 1, i + 1):
        h = h * SHINGLE_BASE + (words[k] if k >= first else BEGIN)
    return h


@numba.njit(cache=True, nogil=True)
def _look_up(words, first, start, stop, slots, found):
    """found[n - 1, k] = the slot of the n words that end at start + k, 0 where there is none.

    One length after the other, so that the processor waits for many slots at a time.
    """
    for n in range(1, found.shape[0] + 1):
        for i in range(start, stop):
            slot = _U(0)
            if n == 1 or found[n - 2, i - start] != _U(0):  # else a longer one is not there either
                place, _ = _find(slots, _gram(words, first, i, n), n)
                slot = slots[place]
            found[n - 1, i - start] = slot


@numba.njit(cache=True, nogil=True)
def _scores(offsets, words, slots, order, unknown):
    """Negative log10 times STEPS_PER_DECADE of each text: int64[texts]."""
    num_docs = offsets.size - 1
    sums = np.zeros(num_docs, np.int64)
    begin = np.zeros((order, 1), np.uint64)  # the slots of marks alone
    for n in range(1, order):
        place, _ = _find(slots, _gram(words, 0, -1, n), n)
        begin[n - 1, 0] = slots[place]
    found = np.empty((order, _WINDOW_WORDS + 1), np.uint64)
    for doc in range(num_docs):
        first, last = offsets[doc], offsets[doc + 1]
        for start in range(first, last, _WINDOW_WORDS):
            stop, before = min(start + _WINDOW_WORDS, last), max(start - 1, first)
            _look_up(words, first, before, stop, slots, found)
            for i in range(start, stop):
                history, k = (begin, 0) if i == first else (found, i - before - 1)
                cost, longest = np.int64(unknown), 0
                for n in range(1, order + 1):
                    slot = found[n - 1, i - before]
                    if slot == _U(0):
                        break
                    cost, longest = np.int64(slot >> _U(16) & _U(0xFFFF)), n
                for n in range(max(longest, 1), order):
                    cost += np.int64(history[n - 1, k] & _U(0xFFFF))
                sums[doc] += cost
    return sums
