"""Training of n-gram models: interpolated modified Kneser-Ney (Chen and Goodman 1999, section 3).

    p_n(w | h) = (c - D(c)) / sum of c + gamma(h) * p_{n-1}(w | h without its first word)
    gamma(h)   = sum of D(c) / sum of c          over the words that follow h

c is the count of an n-gram; for shorter n-grams, the number of different words (or the mark) that
stand before it. D is one of three discounts, for c = 1, 2 and more, from how many n-grams of the
length have the counts 1 to 4; where these give none, as in few texts or chosen ones, 0.5, 1 and
1.5. Below single words is the uniform distribution of all words and an unknown one.

Everything is in memory: about 150 bytes a word of the texts, for trigrams.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from filters.ngram_model import BEGIN, MAX_ORDER, Entries, NgramModel, gram_hashes, make_model
from filters.shingles import Ragged

FALLBACK = (0.5, 1.0, 1.5)

Grams = npt.NDArray[np.uint64]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class _Counted(NamedTuple):
    """The different n-grams of a length, by hash: their counts, and where one ends in the text."""

    grams: Grams
    counts: Ints
    places: Ints


def train(words: Ragged, order: int) -> NgramModel:
    """The model of the words of texts. Raises ValueError for an order out of range, or no word."""
    if not 1 <= order <= MAX_ORDER:
        raise ValueError(f"order is {order}; expected 1 to {MAX_ORDER}")
    if not len(words.values):
        raise ValueError("the texts have no words")
    padded, places = _with_marks(words, order - 1)
    grams = gram_hashes(padded, order)
    counted = _count(grams, places)
    probabilities, below = _unigrams(counted[0])
    entries = []
    for n in range(1, order):
        longer = counted[n]
        histories, sums, weights, rows = _histories(grams[n - 1][longer.places - 1], longer.counts)
        entries.append(_entries(counted[n - 1].grams, probabilities, histories, weights))
        lower = probabilities[np.searchsorted(counted[n - 1].grams, grams[n - 1][longer.places])]
        own = (longer.counts - _discount(longer.counts)) / sums[rows]
        probabilities = own + weights[rows] * lower
    entries.append(
        Entries(counted[-1].grams, np.log10(probabilities), np.zeros(len(probabilities)))
    )
    return make_model(entries, float(np.log10(below)))


def discounts(counts: Ints) -> tuple[float, float, float]:
    """D(1), D(2) and D(3 and more) of n-grams with these counts."""
    n1, n2, n3, n4 = (int((counts == k).sum()) for k in range(1, 5))
    if not (n1 and n2 and n3 and n4):
        return FALLBACK
    y = n1 / (n1 + 2 * n2)
    found = (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3)
    return found if all(0 < d <= k for k, d in enumerate(found, 1)) else FALLBACK


def _with_marks(words: Ragged, num_marks: int) -> tuple[Grams, Ints]:
    """All texts in one array, marks before each, and where in it the words are."""
    num_docs = len(words.offsets) - 1
    doc = np.repeat(np.arange(num_docs), np.diff(words.offsets))
    places = np.arange(len(words.values)) + num_marks * (doc + 1)
    padded = np.full(len(words.values) + num_marks * num_docs, BEGIN)
    padded[places] = words.values
    return padded, places


def _count(grams: list[Grams], places: Ints) -> list[_Counted]:
    """At n - 1 the n-grams: the longest as often as they occur, others by what is before them."""
    counted: list[_Counted] = []
    for of_length in reversed(grams):
        found, first, counts = np.unique(of_length[places], return_index=True, return_counts=True)
        places = places[first]
        counted.append(_Counted(found, counts.astype(np.int64), places))
    return counted[::-1]


def _discount(counts: Ints) -> Floats:
    return np.array((0.0, *discounts(counts)))[np.minimum(counts, 3)]


def _unigrams(counted: _Counted) -> tuple[Floats, float]:
    """Probabilities of the words, and of an unknown one."""
    taken = _discount(counted.counts)
    total = counted.counts.sum()
    below = taken.sum() / total / (len(counted.counts) + 1)
    return (counted.counts - taken) / total + below, float(below)


def _histories(of_grams: Grams, counts: Ints) -> tuple[Grams, Floats, Floats, Ints]:
    """Histories by hash, their counts and weights, and of which history each n-gram is."""
    histories, rows = np.unique(of_grams, return_inverse=True)
    sums = np.bincount(rows, counts).astype(np.float64)
    return histories, sums, np.bincount(rows, _discount(counts)) / sums, rows


def _entries(grams: Grams, probabilities: Floats, histories: Grams, weights: Floats) -> Entries:
    """Both logarithms of n-grams; histories of marks alone have a weight and no probability."""
    log_weight = np.zeros(len(grams))
    places = np.minimum(np.searchsorted(grams, histories), len(grams) - 1)
    known = grams[places] == histories
    log_weight[places[known]] = np.log10(weights[known])
    marks = ~known
    return Entries(
        np.concatenate([grams, histories[marks]]),
        np.concatenate([np.log10(probabilities), np.full(int(marks.sum()), -np.inf)]),
        np.concatenate([log_weight, np.log10(weights[marks])]),
    )
