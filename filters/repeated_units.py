"""Units of text that can repeat across documents, each with a 128-bit hash of its words.

    lines        CCNet (Wenzek et al. 2020, 3.2) drops lines that an earlier document holds
    paragraphs   runs of lines between blank ones
    sentences    spans of three sentences, as C4 drops them (Raffel et al. 2020, 2.2)
    windows      runs of n words: all that repeats over n words or more (Lee et al. 2022, 4.1)

Words are those of shingles (filters/shingles.py): case, accents and punctuation do not count,
digits do. A unit without words is none. Equal hashes stand for equal words: at 128 bits, two of
10**12 different units agree with probability 10**-15.

The windows of a corpus are as many as its words. `anchors` are few: of the (n + 1) // 2-word runs
in each window the one with the least hash (winnowing, Schleimer et al. 2003), about 4 in n. Equal
windows hold equal anchors at equal places, so a window repeats only where its anchor does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numpy.lib.stride_tricks import sliding_window_view

from filters.columns import text_bytes
from filters.shingles import Ragged, shingles, word_hashes, word_spans

VERSION = 1
SENTENCES = 3
"""Sentences in a span."""
_NEWLINE, _SPACE = 0x0A, 0x20
_ENDS = np.zeros(256, bool)
_ENDS[list(b"\n.!?")] = True
_SECOND = np.uint64(0xD6E8FEB86659FD93)

Int64Array = npt.NDArray[np.int64]
UInt64Array = npt.NDArray[np.uint64]


class Units(NamedTuple):
    """Units of a batch, by row and place; bytes `starts` to `ends` of the row's own text."""

    rows: Int64Array
    starts: Int64Array
    ends: Int64Array
    high: UInt64Array
    low: UInt64Array

    def of_rows(self, rows: Int64Array) -> Units:
        """With row numbers counted elsewhere: row i is `rows[i]`."""
        return self._replace(rows=rows[self.rows])

    def take(self, chosen: npt.NDArray[Any]) -> Units:
        """Those at the places, or under the mask, `chosen`."""
        starts, ends = self.starts[chosen], self.ends[chosen]
        return Units(self.rows[chosen], starts, ends, self.high[chosen], self.low[chosen])

    @classmethod
    def joined(cls, many: Sequence[Units]) -> Units:
        """One after another."""
        none, no_hash = np.empty(0, np.int64), np.empty(0, np.uint64)
        return cls(
            np.concatenate([none, *(one.rows for one in many)]),
            np.concatenate([none, *(one.starts for one in many)]),
            np.concatenate([none, *(one.ends for one in many)]),
            np.concatenate([no_hash, *(one.high for one in many)]),
            np.concatenate([no_hash, *(one.low for one in many)]),
        )


class Words(NamedTuple):
    """The words of a batch: hashes, and where each is in its row's own text."""

    text: pa.Array
    hashes: Ragged
    starts: Int64Array
    ends: Int64Array

    @classmethod
    def of(cls, text: pa.Array) -> Words:
        hashes = word_hashes(text)
        return cls(text, hashes, *word_spans(text, hashes))

    @property
    def rows(self) -> Int64Array:
        return np.repeat(np.arange(len(self.text)), np.diff(self.hashes.offsets))


def lines(words: Words, min_words: int = 1) -> Units:
    """Lines with at least `min_words` words, each with its line feed."""
    first, starts, ends = _lines(words)
    return _hashed(words, first, starts, ends, min_words)


def paragraphs(words: Words, min_words: int = 1) -> Units:
    """Runs of lines that are not blank, with the blank lines after them."""
    first, starts, ends = _lines(words)
    offsets, data = text_bytes(words.text)
    row_starts = offsets[:-1][_line_rows(words)]
    visible = np.concatenate([[0], np.cumsum(data[offsets[0] : offsets[-1]] > _SPACE)])
    base = row_starts - offsets[0]
    blank = visible[base + ends] == visible[base + starts]
    opens = ~blank & np.concatenate([[True], blank[:-1]]) | (starts == 0)
    number = np.cumsum(opens) - 1
    opening = np.flatnonzero(opens)
    closing = np.append(opening[1:], len(starts)) - 1 if len(opening) else opening
    return _hashed(words, number[first], starts[opening], ends[closing], min_words)


def sentences(words: Words, min_words: int = 1) -> Units:
    """Spans of three consecutive sentences of a document.

    A sentence ends where a full stop, `!`, `?` or a line feed stands between two words, whatever it
    belongs to: an abbreviation ends one too, in every document alike.
    """
    number, starts, ends = _sentences(words)
    one = _hashed(words, number, starts, ends, 1)
    if len(one.rows) < SENTENCES:
        return one.take(np.empty(0, np.int64))
    count = len(one.rows) - SENTENCES + 1
    num_words = np.bincount(number, minlength=len(starts))
    enough = sliding_window_view(num_words, SENTENCES).sum(axis=1) >= min_words
    whole = np.flatnonzero((one.rows[:count] == one.rows[SENTENCES - 1 :]) & enough)
    high, low = (_of_three(column)[whole] for column in (one.high, one.low))
    last = whole + SENTENCES - 1
    return Units(one.rows[whole], one.starts[whole], one.ends[last], high, low)


def windows(words: Words, num_words: int) -> Units:
    """Every run of `num_words` words; documents with fewer have none."""
    high = shingles(words.hashes, num_words)
    second = Ragged(words.hashes.offsets, _mix(words.hashes.values ^ _SECOND))
    low = shingles(second, num_words)
    sizes = np.diff(words.hashes.offsets)
    long = np.repeat(sizes >= num_words, np.diff(high.offsets))
    first = np.arange(len(high.values)) - np.repeat(high.offsets[:-1], np.diff(high.offsets))
    rows = np.repeat(np.arange(len(sizes)), np.diff(high.offsets))[long]
    places = words.hashes.offsets[rows] + first[long]
    ends = words.ends[places + num_words - 1]
    return Units(rows, words.starts[places], ends, high.values[long], low.values[long])


def anchors(words: Words, num_words: int) -> Units:
    """The run of least hash in each window; `starts` is the number of its first word in the row.

    Each run once; of several equal ones in a window the first.
    """
    size = anchor_words(num_words)
    runs = windows(words, size)
    spread = num_words - size + 1
    bounds = np.searchsorted(runs.rows, np.arange(len(words.text) + 1))
    picks = [np.empty(0, np.int64)]
    for first, last in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        if last - first >= spread:
            least = sliding_window_view(runs.high[first:last], spread).argmin(axis=1)
            picks.append(first + np.unique(np.arange(len(least)) + least))
    found = np.concatenate(picks)
    rows = runs.rows[found]
    places = found - bounds[rows]
    return Units(rows, places, places + size, runs.high[found], runs.low[found])


def anchor_words(num_words: int) -> int:
    """Words of an anchor of windows of `num_words`."""
    return (num_words + 1) // 2


def _lines(words: Words) -> tuple[Int64Array, Int64Array, Int64Array]:
    """For each word the number of its line; for each line where it starts and ends."""
    offsets, data = text_bytes(words.text)
    feeds = np.flatnonzero(data[offsets[0] : offsets[-1]] == _NEWLINE) + offsets[0]
    row_of_feed = np.searchsorted(offsets[1:], feeds, side="right")
    rows = np.arange(len(words.text))
    owner = np.concatenate([rows, row_of_feed])
    start = np.concatenate([np.zeros(len(rows), np.int64), feeds + 1 - offsets[:-1][row_of_feed]])
    order = np.lexsort((start, owner))
    owner, start = owner[order], start[order]
    sizes = np.diff(offsets)[owner]
    end = np.append(start[1:], 0)
    last = np.append(owner[1:] != owner[:-1], True)[-len(owner) :]
    end = np.where(last, sizes, end)
    place = offsets[:-1][owner] + start
    of_word = np.searchsorted(place, offsets[:-1][words.rows] + words.starts, side="right") - 1
    return of_word, start, end


def _line_rows(words: Words) -> Int64Array:
    offsets, data = text_bytes(words.text)
    feeds = np.flatnonzero(data[offsets[0] : offsets[-1]] == _NEWLINE) + offsets[0]
    counts = np.bincount(
        np.searchsorted(offsets[1:], feeds, side="right"), minlength=len(offsets) - 1
    )
    return np.repeat(np.arange(len(words.text)), counts + 1)


def _sentences(words: Words) -> tuple[Int64Array, Int64Array, Int64Array]:
    """For each word the number of its sentence; where each sentence starts and ends.

    A sentence reaches to the first word of the next one of its document.
    """
    offsets, data = text_bytes(words.text)
    rows = words.rows
    if not len(rows):
        none = np.empty(0, np.int64)
        return none, none, none
    stops = _ENDS[data[offsets[0] : offsets[-1]]]
    stops |= _ideographic_stops(data[offsets[0] : offsets[-1]])
    before = np.concatenate([[0], np.cumsum(stops)])
    base = offsets[:-1][rows] - offsets[0]
    opens = np.ones(len(rows), bool)
    new_row = rows[1:] != rows[:-1]
    opens[1:] = new_row | (
        before[base[1:] + words.starts[1:]] > before[base[:-1] + words.ends[:-1]]
    )
    opening = np.flatnonzero(opens)
    ends = np.append(words.starts[opening[1:]], 0)
    last = np.append(rows[opening[1:]] != rows[opening[:-1]], True)
    ends = np.where(last, np.diff(offsets)[rows[opening]], ends)
    return np.cumsum(opens) - 1, words.starts[opening], ends


def _ideographic_stops(data: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """The last bytes of U+3002, U+FF01 and U+FF1F."""
    found = np.zeros(len(data), bool)
    for one in ("\u3002", "\uff01", "\uff1f"):
        a, b, c = one.encode()
        if len(data) > 2:
            found[2:] |= (data[:-2] == a) & (data[1:-1] == b) & (data[2:] == c)
    return found


def _hashed(
    words: Words, number: Int64Array, starts: Int64Array, ends: Int64Array, min_words: int
) -> Units:
    """Units of the words with equal `number`, which ascend; those with enough words."""
    if not len(number):
        return Units.joined([])
    first = np.flatnonzero(np.concatenate([[True], number[1:] != number[:-1]]))
    sizes = np.diff(first, append=len(number))
    place = (np.arange(len(number)) - np.repeat(first, sizes)).astype(np.uint64)
    values = words.hashes.values
    high = _mix(np.add.reduceat(_mix(values + place * _SECOND), first))
    low = _mix(np.add.reduceat(_mix((values ^ _SECOND) + place), first))
    kept = sizes >= min_words
    unit = number[first][kept]
    return Units(words.rows[first][kept], starts[unit], ends[unit], high[kept], low[kept])


def _of_three(values: UInt64Array) -> UInt64Array:
    first, second, third = values[:-2], values[1:-1], values[2:]
    return _mix(_mix(_mix(first) + second) + third)


def _mix(x: UInt64Array) -> UInt64Array:
    """The finaliser of splitmix64."""
    x = (x ^ x >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ x >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return x ^ x >> np.uint64(31)
