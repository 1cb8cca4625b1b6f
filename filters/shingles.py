"""Words and word n-grams (shingles) of documents as 64-bit hashes.

    text -> word_hashes -> shingles(n) -> sorted_unique

Each step maps a ragged array to a ragged array, so MinHash, exact Jaccard and n-gram indices share
them. What counts as a word is in word_table.py. Definitions, all modulo 2**64 and little else, so
that the values are equal on every platform:

    mix(x)    the finaliser of splitmix64 (Steele, Lea, Flood, OOPSLA 2014): a bijection
    word      the UTF-8 bytes of the normalised word in big-endian chunks of eight, the last one
              shorter: h = WORD_SEED; for each chunk h = mix(h ^ chunk)
    shingle   mix(w[0] * P**(n-1) + ... + w[n-1]) over n consecutive words

A document with fewer than n words, but at least one, has one shingle of all its words; a document
without words has none. Bytes that are not valid UTF-8 separate words.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from filters import word_table
from filters.columns import text_bytes
from filters.word_table import DROP, EXPAND, SEPARATOR, SINGLE, WORD

_U = np.uint64
WORD_SEED = _U(0x243F6A8885A308D3)  # digits of pi
SHINGLE_BASE = _U(0x9E3779B97F4A7C55)

_CLOSED = 0  # no word is open; otherwise WORD or SINGLE, the kind of the open word
_ASCII = np.array(
    [ord(chr(b).lower()) if b < 128 and chr(b).isalnum() else 0 for b in range(256)], np.uint8
)  # the byte that stands in the word, 0 for a separator
_WORD_STATE = np.dtype(
    [("hash", np.uint64), ("chunk", np.uint64), ("size", np.int64), ("kind", np.int64)]
)  # a word being read: hash of its full chunks, bytes of the last one, how many, kind or _CLOSED
_ROOM = 4096  # free places in the output before each step, which adds fewer words


class Ragged(NamedTuple):
    """One list of hashes per document: row i is `values[offsets[i]:offsets[i + 1]]`.

    offsets int64[docs + 1], from 0; values uint64.
    """

    offsets: npt.NDArray[np.int64]
    values: npt.NDArray[np.uint64]


def word_hashes(text: pa.Array) -> Ragged:
    """The hash of each word of each document, in reading order."""
    offsets, data = text_bytes(text)
    ends, values = _word_hashes(offsets, data, _ASCII, word_table.load())
    return Ragged(ends, values)


def shingles(words: Ragged, ngram: int) -> Ragged:
    """The hash of each run of `ngram` words, in reading order, repeats included."""
    if ngram < 1:
        raise ValueError(f"ngram is {ngram}; a shingle needs at least 1 word")
    return Ragged(*_shingles(words.offsets, words.values, ngram))


def shingle_hashes(text: pa.Array, ngram: int = 5) -> Ragged:
    """The shingle set of each document: hashes sorted ascending, without repeats."""
    return Ragged(*_sorted_unique(*shingles(word_hashes(text), ngram)))


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


@numba.njit(cache=True, nogil=True, inline="always")
def _mix(x):
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


@numba.njit(cache=True, nogil=True)
def _decode(data, i, stop):
    """The code point at byte i and the byte after it; -1 and the next byte where it is invalid."""
    lead = np.int64(data[i])
    if 0xC2 <= lead < 0xE0:
        extra, smallest, code_point = 1, 0x80, lead & 0x1F
    elif 0xE0 <= lead < 0xF0:
        extra, smallest, code_point = 2, 0x800, lead & 0x0F
    elif 0xF0 <= lead < 0xF5:
        extra, smallest, code_point = 3, 0x10000, lead & 0x07
    else:
        return np.int64(-1), i + 1
    if i + extra >= stop:
        return np.int64(-1), i + 1
    for k in range(1, extra + 1):
        byte = np.int64(data[i + k])
        if byte & 0xC0 != 0x80:
            return np.int64(-1), i + 1
        code_point = code_point << 6 | byte & 0x3F
    if code_point < smallest or code_point > 0x10FFFF:
        return np.int64(-1), i + 1
    return code_point, i + 1 + extra


@numba.njit(cache=True, nogil=True, inline="always")
def _append(h, chunk, size, packed, length):
    """Add `length` bytes to a word whose hash so far is h and whose open chunk has `size` bytes."""
    over = size + length - 8
    if over < 0:
        return h, chunk << _U(8 * length) | packed, size + length
    rest = _U(8 * over)
    full = chunk << _U(8 * (length - over)) | packed >> rest
    return _mix(h ^ full), packed & ((_U(1) << rest) - _U(1)), over


@numba.njit(cache=True, nogil=True)
def _doubled(values):
    grown = np.empty(2 * values.size, np.uint64)
    grown[: values.size] = values
    return grown


@numba.njit(cache=True, nogil=True)
def _add(kind, code_point, word, out, count):
    """Let one folded code point act on the open word; returns the number of words now in out."""
    is_open = word["kind"]
    if kind == DROP:
        return count
    if is_open and (kind in (SEPARATOR, SINGLE) or (kind == WORD and is_open == SINGLE)):
        count = _close(word, out, count)
        is_open = _CLOSED
    if kind != SEPARATOR:
        if is_open == _CLOSED:
            word["kind"] = SINGLE if kind == SINGLE else WORD
        packed, length = _utf8(code_point)
        word["hash"], word["chunk"], word["size"] = _append(
            word["hash"], word["chunk"], word["size"], packed, length
        )
    return count


@numba.njit(cache=True, nogil=True)
def _close(word, out, count):
    out[count] = _mix(word["hash"] ^ word["chunk"]) if word["size"] else word["hash"]
    word["hash"], word["chunk"], word["size"], word["kind"] = WORD_SEED, _U(0), 0, _CLOSED
    return count + 1


@numba.njit(cache=True, nogil=True)
def _add_encoded(data, i, stop, table, word, out, count):
    """Let the code point encoded at byte i act on the open word: next byte, number of words."""
    blocks, kinds, deltas, pieces = table
    code_point, i = _decode(data, i, stop)
    if code_point < 0:
        return i, _add(SEPARATOR, 0, word, out, count)
    entry = np.int64(blocks[code_point >> 7]) << 7 | code_point & 127
    delta = np.int64(deltas[entry])
    if kinds[entry] != EXPAND:
        return i, _add(kinds[entry], code_point + delta, word, out, count)
    first = delta >> 5
    for piece in pieces[first : first + (delta & 31)]:
        count = _add(piece >> 24, piece & 0xFFFFFF, word, out, count)
    return i, count


@numba.njit(cache=True, nogil=True)
def _add_ascii(data, i, stop, ascii_words, word, out, count):
    """Let the ASCII bytes from i on act on the open word; stops at the first other byte."""
    h, chunk, size, kind = word["hash"], word["chunk"], word["size"], word["kind"]
    while i < stop:
        byte = data[i]
        if byte >= 128:
            break
        i += 1
        letter = ascii_words[byte]
        if letter != 0:
            chunk = chunk << _U(8) | _U(letter)
            size += 1
            kind = WORD
            if size == 8:
                h, chunk, size = _mix(h ^ chunk), _U(0), 0
        elif kind != _CLOSED:
            out[count] = _mix(h ^ chunk) if size else h
            count += 1
            h, chunk, size, kind = WORD_SEED, _U(0), 0, _CLOSED
    word["hash"], word["chunk"], word["size"], word["kind"] = h, chunk, size, kind
    return i, count


@numba.njit(cache=True, nogil=True)
def _word_hashes(offsets, data, ascii_words, table):
    num_docs = offsets.size - 1
    ends = np.zeros(num_docs + 1, np.int64)
    # English has a word per 5.7 bytes, Chinese one per 3
    out = np.empty(_ROOM + (offsets[num_docs] - offsets[0]) // 5, np.uint64)
    word = np.zeros(1, _WORD_STATE)[0]
    count = 0
    word["hash"] = WORD_SEED
    for doc in range(num_docs):
        i, stop = offsets[doc], offsets[doc + 1]
        while i < stop:
            if count + _ROOM > out.size:
                out = _doubled(out)
            if data[i] < 128:
                if word["kind"] == SINGLE and ascii_words[data[i]]:
                    count = _close(word, out, count)
                i, count = _add_ascii(data, i, min(stop, i + _ROOM), ascii_words, word, out, count)
            else:
                i, count = _add_encoded(data, i, stop, table, word, out, count)
        count = _add(SEPARATOR, 0, word, out, count)
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
                out[place] = _mix(h)
                place += 1
        if place < ends[doc + 1]:
            out[place] = _mix(h)
    return ends, out


@numba.njit(cache=True, nogil=True)
def _sorted_unique(offsets, values):
    ends = np.zeros_like(offsets)
    out = np.empty_like(values)
    count = 0
    for doc in range(offsets.size - 1):
        row = np.sort(values[offsets[doc] : offsets[doc + 1]])
        for i in range(row.size):
            if i == 0 or row[i] != row[i - 1]:
                out[count] = row[i]
                count += 1
        ends[doc + 1] = count
    return ends, out[:count].copy()


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
