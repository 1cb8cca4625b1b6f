"""Words, characters and n-grams of them (shingles) of documents as 64-bit hashes.

    text -> word_hashes or character_hashes -> shingles(n) -> sorted_unique

Each step maps a ragged array to a ragged array, so MinHash, exact Jaccard and n-gram indices share
them. What counts as a word is in word_table.py. Definitions, all modulo 2**64 and little else, so
that the values are equal on every platform:

    mix(x)    the finaliser of splitmix64 (Steele, Lea, Flood, OOPSLA 2014): a bijection
    word      the UTF-8 bytes of the normalised word in big-endian chunks of eight, the last one
              shorter: h = WORD_SEED; for each chunk h = mix(h ^ chunk)
    character mix(CHARACTER_SEED ^ code point) of the normalised words, with U+0020 between words
    shingle   mix(w[0] * P**(n-1) + ... + w[n-1]) over n consecutive words or characters

A document with fewer than n words, but at least one, has one shingle of all its words; a document
without words has none. Bytes that are not valid UTF-8 separate words.

Characters compare spellings, words compare phrases: an edited word changes n shingles of words, an
edited letter n of characters. Characters cost 8 bytes of memory for each letter, twice.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from filters import ascii_words, bits, word_table
from filters.ascii_words import find_words, starts_run
from filters.bits import load_big_endian
from filters.columns import text_bytes
from filters.kernels import inlined, sources_digest
from filters.word_table import DROP, EXPAND, NUM_CODE_POINTS, SEPARATOR, SINGLE, WORD

_U = np.uint64
WORD_SEED = _U(0x243F6A8885A308D3)  # digits of pi
CHARACTER_SEED = _U(0x452821E638D01377)
SHINGLE_BASE = _U(0x9E3779B97F4A7C55)

_CLOSED = 0  # no word is open; otherwise WORD or SINGLE, the kind of the open word
_ASCII = np.array(
    [ord(chr(b).lower()) if b < 128 and chr(b).isalnum() else 0 for b in range(256)], np.uint8
)  # the byte that stands in the word, 0 for a separator
_WORD_STATE = np.dtype(
    [("hash", np.uint64), ("chunk", np.uint64), ("size", np.int64), ("kind", np.int64)]
)  # a word being read: hash of its full chunks, bytes of the last one, how many, kind or _CLOSED
_STEP_BYTES = 1024  # read at most, before room in the output is looked at again
_ROOM = 4 * _STEP_BYTES  # no text has more words than that in a block of ASCII and a step: 7 in the
# 3 bytes of U+321D


class Ragged(NamedTuple):
    """One list of hashes per document: row i is `values[offsets[i]:offsets[i + 1]]`.

    offsets int64[docs + 1], from 0; values uint64.
    """

    offsets: npt.NDArray[np.int64]
    values: npt.NDArray[np.uint64]


def word_hashes(text: pa.Array) -> Ragged:
    """The hash of each word of each document, in reading order."""
    offsets, data = text_bytes(text)
    return Ragged(*_word_hashes(offsets, data, _ASCII, word_table.load(), ascii_words.scratch()))


def word_spans(
    text: pa.Array, words: Ragged
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Where each word of `words = word_hashes(text)` is: first byte and the byte after its last.

    int64[words] each, counted from the start of the word's own text. Words that come out of one
    character, as the seven of U+321D, share its bytes.
    """
    offsets, data = text_bytes(text)
    return _word_spans(offsets, data, _ASCII, word_table.load(), words.offsets)


def character_hashes(text: pa.Array) -> Ragged:
    """The hash of each character of the normalised words, one space between two words."""
    offsets, data = text_bytes(text)
    ends, values = _character_hashes(offsets, data, word_table.load())
    return Ragged(ends, values)


UNITS: dict[str, Callable[[pa.Array], Ragged]] = {"word": word_hashes, "char": character_hashes}
"""What shingles are made of, by the names that settings have for it."""


def shingles(units: Ragged, ngram: int) -> Ragged:
    """The hash of each run of `ngram` words or characters, in reading order, repeats included."""
    if ngram < 1:
        raise ValueError(f"ngram is {ngram}; a shingle needs at least 1 word")
    return Ragged(*_shingles(units.offsets, units.values, ngram))


def shingle_hashes(text: pa.Array, ngram: int = 5, unit: str = "word") -> Ragged:
    """The shingle set of each document: hashes sorted ascending, without repeats."""
    return _sorted_unique(shingles(UNITS[unit](text), ngram))


def intersection_sizes(
    left: Ragged,
    right: Ragged,
    left_rows: npt.NDArray[np.int64],
    right_rows: npt.NDArray[np.int64],
) -> npt.NDArray[np.int64]:
    """Shared shingles of pair k, documents `left_rows[k]` and `right_rows[k]`: int64[pairs].

    Both sides must be sorted and unique, as `shingle_hashes` returns them; they may be the same.
    """
    return _intersection_sizes(*left, *right, left_rows, right_rows)


def jaccard_of_pairs(
    left: Ragged,
    right: Ragged,
    left_rows: npt.NDArray[np.int64],
    right_rows: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """|A & B| / |A | B| of pair k, documents `left_rows[k]` and `right_rows[k]`: float64[pairs].

    Arguments as for `intersection_sizes`. 0.0 when neither document has a shingle.
    """
    shared = intersection_sizes(left, right, left_rows, right_rows)
    union = np.diff(left.offsets)[left_rows] + np.diff(right.offsets)[right_rows] - shared
    return shared / np.maximum(union, 1)


def containment_of_pairs(
    left: Ragged,
    right: Ragged,
    left_rows: npt.NDArray[np.int64],
    right_rows: npt.NDArray[np.int64],
) -> npt.NDArray[np.float64]:
    """|A & B| / min(|A|, |B|) of pair k: float64[pairs] (Broder 1997, with the smaller set).

    Arguments as for `intersection_sizes`. 0.0 when either document has no shingle.
    """
    shared = intersection_sizes(left, right, left_rows, right_rows)
    smaller = np.minimum(np.diff(left.offsets)[left_rows], np.diff(right.offsets)[right_rows])
    return shared / np.maximum(smaller, 1)


def _sorted_unique(rows: Ragged) -> Ragged:
    values = rows.values.copy()
    for start, stop in itertools.pairwise(rows.offsets.tolist()):
        values[start:stop].sort()  # numpy's vectorised sort, several times as fast as numba's
    is_first = np.ones(len(values), bool)
    is_first[1:] = values[1:] != values[:-1]
    is_first[rows.offsets[:-1][np.diff(rows.offsets) > 0]] = True
    num_before = np.concatenate(([0], np.cumsum(is_first)))
    return Ragged(num_before[rows.offsets], values[is_first])


@numba.njit(cache=True, nogil=True, inline="always")
def mix(x):
    """The finaliser of splitmix64; for kernels."""
    x = (x ^ (x >> _U(30))) * _U(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> _U(27))) * _U(0x94D049BB133111EB)
    return x ^ (x >> _U(31))


@numba.njit(cache=True, nogil=True, inline="always")
def _utf8(code_point):
    """The UTF-8 bytes of a code point packed big-endian in an integer, and how many they are."""
    c = _U(code_point)
    low = _U(0x80) | (c & _U(0x3F))
    if code_point < 0x80:
        return c, 1
    if code_point < 0x800:
        return (_U(0xC0) | (c >> _U(6))) << _U(8) | low, 2
    middle = _U(0x80) | ((c >> _U(6)) & _U(0x3F))
    if code_point < 0x10000:
        return (_U(0xE0) | (c >> _U(12))) << _U(16) | middle << _U(8) | low, 3
    upper = _U(0x80) | ((c >> _U(12)) & _U(0x3F))
    return (_U(0xF0) | (c >> _U(18))) << _U(24) | upper << _U(16) | middle << _U(8) | low, 4


@numba.njit(cache=True, nogil=True, inline="always")
def _decode(data, i, stop):
    """The code point at byte i and the byte after it; -1 and the next byte where it is invalid."""
    lead = np.int64(data[i])
    if 0xC2 <= lead < 0xE0 and i + 1 < stop:
        second = np.int64(data[i + 1]) ^ 0x80
        if second < 0x40:
            return (lead & 0x1F) << 6 | second, i + 2
    elif 0xE0 <= lead < 0xF0 and i + 2 < stop:
        second, third = np.int64(data[i + 1]) ^ 0x80, np.int64(data[i + 2]) ^ 0x80
        code_point = (lead & 0x0F) << 12 | second << 6 | third
        if second | third < 0x40 and code_point >= 0x800:
            return code_point, i + 3
    elif 0xF0 <= lead < 0xF5 and i + 3 < stop:
        second, third = np.int64(data[i + 1]) ^ 0x80, np.int64(data[i + 2]) ^ 0x80
        fourth = np.int64(data[i + 3]) ^ 0x80
        code_point = (lead & 0x07) << 18 | second << 12 | third << 6 | fourth
        if second | third | fourth < 0x40 and 0x10000 <= code_point < NUM_CODE_POINTS:
            return code_point, i + 4
    return np.int64(-1), i + 1


@numba.njit(cache=True, nogil=True, inline="always")
def _append(h, chunk, size, packed, length):
    """Add `length` bytes to a word whose hash so far is h and whose open chunk has `size` bytes."""
    over = size + length - 8
    if over < 0:
        return h, chunk << _U(8 * length) | packed, size + length
    rest = _U(8 * over)
    full = chunk << _U(8 * (length - over)) | packed >> rest
    return mix(h ^ full), packed & ((_U(1) << rest) - _U(1)), over


@numba.njit(cache=True, nogil=True, inline="always")
def _finish(h, chunk, size):
    return mix(h ^ chunk) if size else h


@numba.njit(cache=True, nogil=True)
def _doubled(values):
    grown = np.empty(2 * values.size, np.uint64)
    grown[: values.size] = values
    return grown


@inlined
def _read_words(data, i, pause, stop, ascii_words, table, word, out, count):
    """Read on from byte i, with `word` open, to `pause` or just after it, at most to `stop`.

    Stops after an ASCII separator too. Appends the hash of each word that ends to `out`. Returns
    the next byte and the word count.
    """
    blocks, kinds, deltas, pieces = table
    h, chunk, size, is_open = word["hash"], word["chunk"], word["size"], word["kind"]
    while i < pause:
        byte = data[i]
        if byte < 128:  # the general case below does the same, at a third of the speed
            i += 1
            letter = ascii_words[byte]
            if is_open != _CLOSED and (letter == 0 or is_open == SINGLE):
                out[count] = _finish(h, chunk, size)
                count += 1
                h, chunk, size, is_open = WORD_SEED, _U(0), 0, _CLOSED
            if letter != 0:
                chunk, size, is_open = chunk << _U(8) | _U(letter), size + 1, WORD
                if size == 8:
                    h, chunk, size = mix(h ^ chunk), _U(0), 0
                continue
            break
        code_point, i = _decode(data, i, stop)
        kind, delta = SEPARATOR, np.int64(0)
        if code_point >= 0:
            entry = np.int64(blocks[code_point >> 7]) << 7 | code_point & 127
            kind, delta = np.int64(kinds[entry]), np.int64(deltas[entry])
        expands = kind == EXPAND
        place, last = (delta >> 5, (delta >> 5) + (delta & 31)) if expands else (0, 1)
        code_point += delta
        while place < last:
            if expands:
                kind, code_point = np.int64(pieces[place] >> 24), np.int64(pieces[place] & 0xFFFFFF)
            place += 1
            ends_single = is_open == SINGLE and kind == WORD
            if is_open != _CLOSED and (ends_single or kind in (SEPARATOR, SINGLE)):
                out[count] = _finish(h, chunk, size)
                count += 1
                h, chunk, size, is_open = WORD_SEED, _U(0), 0, _CLOSED
            if kind not in (SEPARATOR, DROP):
                if is_open == _CLOSED:
                    is_open = SINGLE if kind == SINGLE else WORD
                packed, length = _utf8(code_point)
                h, chunk, size = _append(h, chunk, size, packed, length)
    word["hash"], word["chunk"], word["size"], word["kind"] = h, chunk, size, is_open
    return i, count


@inlined
def _hash_ascii_words(block, num_edges, out, count):
    """Appends the hash of each word between two edges to `out`."""
    for k in range(0, num_edges, 2):
        i, end = block.edges[k], block.edges[k + 1]
        h = WORD_SEED
        while end - i > 8:
            h = mix(h ^ load_big_endian(block.folded_bytes, i))
            i += 8
        chunk = load_big_endian(block.folded_bytes, i) >> _U(8 * (8 - end + i))
        out[count] = mix(h ^ chunk)
        count += 1
    return count


def _compile_word_hashes(sources: str):
    @numba.njit(cache=True, nogil=True)
    def word_hashes_of_texts(offsets, data, ascii_letters, table, block):
        _ = sources  # part of the cache's key
        num_docs = offsets.size - 1
        ends = np.zeros(num_docs + 1, np.int64)
        # English has a word per 5.7 bytes, Chinese one per 3
        out = np.empty(_ROOM + (offsets[num_docs] - offsets[0]) // 5, np.uint64)
        word = np.zeros(1, _WORD_STATE)[0]
        count = 0
        for doc in range(num_docs):
            word["hash"], word["chunk"], word["size"], word["kind"] = WORD_SEED, _U(0), 0, _CLOSED
            i, stop = offsets[doc], offsets[doc + 1]
            while i < stop:
                if count + _ROOM > out.size:
                    out = _doubled(out)
                if word["kind"] == _CLOSED and starts_run(data, i, stop):
                    num_edges, i = find_words(data, i, stop, block)
                    count = _hash_ascii_words(block, num_edges, out, count)
                pause = min(stop, i + _STEP_BYTES)
                i, count = _read_words(data, i, pause, stop, ascii_letters, table, word, out, count)
            if word["kind"] != _CLOSED:
                out[count] = _finish(word["hash"], word["chunk"], word["size"])
                count += 1
            ends[doc + 1] = count
        return ends, out[:count]

    return word_hashes_of_texts


_word_hashes = _compile_word_hashes(sources_digest(ascii_words, bits))


@numba.njit(cache=True, nogil=True)
def _word_spans(offsets, data, ascii_words, table, words):
    starts = np.empty(words[-1], np.int64)
    ends = np.empty(words[-1], np.int64)
    out = np.empty(_ROOM, np.uint64)
    word = np.zeros(1, _WORD_STATE)[0]
    for doc in range(offsets.size - 1):
        word["hash"], word["chunk"], word["size"], word["kind"] = WORD_SEED, _U(0), 0, _CLOSED
        first, stop = offsets[doc], offsets[doc + 1]
        place, i = words[doc], first
        while i < stop:
            was_open = word["kind"] != _CLOSED
            after, closed = _read_words(data, i, i + 1, stop, ascii_words, table, word, out, 0)
            is_open = word["kind"] != _CLOSED
            if not was_open and (closed > 0 or is_open):
                starts[place] = i - first
            for k in range(closed):
                ends[place] = (i if k == 0 and was_open else after) - first
                place += 1
                if k + 1 < closed or is_open:
                    starts[place] = i - first
            i = after
        if word["kind"] != _CLOSED:
            ends[place] = stop - first
    return starts, ends


@numba.njit(cache=True, nogil=True)
def _character_hashes(offsets, data, table):
    blocks, kinds, deltas, pieces = table
    num_docs = offsets.size - 1
    ends = np.zeros(num_docs + 1, np.int64)
    out = np.empty(_ROOM + offsets[num_docs] - offsets[0], np.uint64)
    space = mix(CHARACTER_SEED ^ _U(0x20))
    count = 0
    for doc in range(num_docs):
        i, stop = offsets[doc], offsets[doc + 1]
        kind_before = SEPARATOR  # a word is open unless it is this one
        while i < stop:
            if count + 2 * 32 > out.size:  # two hashes for each of the 31 pieces of an expansion
                out = _doubled(out)
            code_point, i = np.int64(data[i]), i + 1
            if code_point >= 128:
                code_point, i = _decode(data, i - 1, stop)
            kind, delta = SEPARATOR, np.int64(0)
            if code_point >= 0:
                entry = np.int64(blocks[code_point >> 7]) << 7 | code_point & 127
                kind, delta = np.int64(kinds[entry]), np.int64(deltas[entry])
            expands = kind == EXPAND
            place, last = (delta >> 5, (delta >> 5) + (delta & 31)) if expands else (0, 1)
            code_point += delta
            while place < last:
                if expands:
                    kind = np.int64(pieces[place] >> 24)
                    code_point = np.int64(pieces[place] & 0xFFFFFF)
                place += 1
                if kind not in (SEPARATOR, DROP):
                    if kind_before == SEPARATOR and count > ends[doc]:
                        out[count] = space
                        count += 1
                    out[count] = mix(CHARACTER_SEED ^ _U(code_point))
                    count += 1
                if kind != DROP:
                    kind_before = kind
        ends[doc + 1] = count
    return ends, out[:count]


@numba.njit(cache=True, nogil=True)
def _shingles(offsets, words, ngram):
    num_docs = offsets.size - 1
    ends = np.zeros(num_docs + 1, np.int64)
    for doc in range(num_docs):
        num_words = offsets[doc + 1] - offsets[doc]
        ends[doc + 1] = ends[doc] + (max(1, num_words - ngram + 1) if num_words else 0)
    out = np.empty(ends[num_docs], np.uint64)
    leaving = _U(1)  # SHINGLE_BASE ** ngram: weight of the word that leaves the window
    for _ in range(ngram):
        leaving *= SHINGLE_BASE
    for doc in range(num_docs):
        h, place = _U(0), ends[doc]
        for i in range(offsets[doc], offsets[doc + 1]):
            h = h * SHINGLE_BASE + words[i]
            if i - offsets[doc] >= ngram:
                h -= words[i - ngram] * leaving
            if i - offsets[doc] >= ngram - 1:
                out[place] = mix(h)
                place += 1
        if place < ends[doc + 1]:
            out[place] = mix(h)
    return ends, out


@numba.njit(cache=True, nogil=True)
def _intersection_sizes(left_offsets, left, right_offsets, right, left_rows, right_rows):
    shared = np.zeros(left_rows.size, np.int64)
    for pair in range(left_rows.size):
        i, i_end = left_offsets[left_rows[pair]], left_offsets[left_rows[pair] + 1]
        j, j_end = right_offsets[right_rows[pair]], right_offsets[right_rows[pair] + 1]
        while i < i_end and j < j_end:
            x, y = left[i], right[j]
            shared[pair] += x == y
            i += x <= y
            j += y <= x
    return shared
