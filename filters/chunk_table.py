"""The chunks that are more than a word of letters, each analysed once in a thread.

What the rules need of a chunk (where its words end, how many of them are alphabetic, how many `#`
it holds) is computed when it is first seen and read from this table from then on: by the signals
and by C4's editor, in one batch and the next. A chunk is found by its bytes, not by a hash alone,
so counts do not depend on what was seen before.
"""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from filters.bits import hash_bytes, hash_of, load_word
from filters.kernels import inlined, leaf
from filters.segment import MAX_CHUNK_BYTES, segment
from filters.unicode import ALPHA, PUNCT, SYMBOL, TERMINAL

(
    NUM_WORDS,
    NUM_NONSYMBOL_WORDS,
    NONSYMBOL_WORD_CHARS,
    NUM_ALPHA_WORDS,
    NUM_STOP_WORDS,
    NUM_HASHES,
    NUM_ELLIPSES,
    NUM_CURLY_BRACKETS,
) = range(8)
NUM_COUNTED = 8

# What a chunk does to the sentence it is in. Most are a word, which starts one after a terminal
# mark; some are other marks, which change nothing. A chunk with both is looked up.
STARTS_SENTENCE, KEEPS_SENTENCE, ENDS_SENTENCE, HAS_SENTENCES = range(4)

CHUNK = np.dtype(
    [
        ("hash", np.uint64),
        ("counts", np.uint16, NUM_COUNTED),  # by NUM_WORDS to NUM_CURLY_BRACKETS
        ("start", np.uint32),  # of its bytes in `bytes`
        ("first_word", np.uint32),  # its words are words[first_word : first_word + NUM_WORDS]
        ("num_bytes", np.uint16),
        ("sentence_starts", np.uint16, 2),  # by whether the words before ended a sentence
        ("sentence_ended", np.uint8, 2),
        ("sentence", np.uint8),
        ("stop_words", np.uint8),  # bit k: stop word k is among its words
    ],
    align=True,
)
WORD = np.dtype(
    [
        ("end", np.uint16),  # in bytes from the start of the chunk
        ("num_chars", np.uint16),
    ]
)
MAX_CHUNKS = 1 << 16
"""Between documents, a table with more chunks is emptied. With 1 << 13, text with many different
words (Hebrew, Korean) was analysed again and again and took twice the time."""
_MAX_WORDS, _MAX_BYTES = 4 * MAX_CHUNKS, 32 * MAX_CHUNKS  # likewise, if chunks are long
_FIRST_CHUNKS = 1 << 13
_ROOM = MAX_CHUNK_BYTES + 8  # words and bytes that one chunk may need
_SLOTS_PER_CHUNK = 4

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
_MAX_STOP_BYTES = max(map(len, STOP_WORDS))
_STOP_HASHES = np.array([hash_of(word.encode()) for word in STOP_WORDS], np.uint64)
# By the upper eight bits of a hash, the one stop word that it can be.
_STOP_WORD_AT = np.zeros(256, np.uint8)
_STOP_WORD_AT[_STOP_HASHES >> np.uint64(56)] = range(len(STOP_WORDS))
assert len(set(_STOP_HASHES >> np.uint64(56))) == len(STOP_WORDS)
_DOT, _HASH, _CURLY, _ELLIPSIS = ord("."), ord("#"), ord("{"), 0x2026


class ChunkTable(NamedTuple):
    """The table; it grows by doubling, and while it `has_room` it stays the same arrays.

    used int64[3]: chunks, words and bytes in use. slots uint32: chunk + 1, or 0.
    """

    used: npt.NDArray[np.int64]
    slots: npt.NDArray[np.uint32]
    chunks: Any
    words: Any
    bytes: npt.NDArray[np.uint8]


@numba.njit(nogil=True)
def new_chunk_table():
    """An empty table."""
    return ChunkTable(
        np.zeros(3, np.int64),
        np.zeros(_SLOTS_PER_CHUNK * _FIRST_CHUNKS, np.uint32),
        np.zeros(_FIRST_CHUNKS, CHUNK),
        np.zeros(2 * _FIRST_CHUNKS, WORD),
        np.empty(16 * _FIRST_CHUNKS, np.uint8),
    )


class _Known(threading.local):
    """The arrays of the table of this thread; a kernel's cache cannot hold types of ours."""

    arrays: tuple[npt.NDArray, ...] | None = None


_known = _Known()


def take_known_chunks() -> tuple[npt.NDArray, ...]:
    """The fields of the table that this thread has filled so far, which has it no longer.

    A kernel that fails may leave arrays behind that do not fit each other.
    """
    arrays, _known.arrays = _known.arrays, None
    if arrays is None:  # made without a kernel, which would be compiled in each process
        arrays = tuple(new_chunk_table.py_func())
    return arrays


def keep_known_chunks(table: tuple[npt.NDArray, ...]) -> None:
    """Keeps the fields of a table for the thread's next batch."""
    _known.arrays = table


@numba.njit(nogil=True)
def fit_cache(table):
    """The table to use for the next document."""
    num_chunks, num_words, num_bytes = table.used
    fits = num_chunks <= MAX_CHUNKS and num_words <= _MAX_WORDS and num_bytes <= _MAX_BYTES
    return table if fits else new_chunk_table()


@numba.njit(nogil=True)
def fields_to_keep(table):
    """The fields of the table for `keep_known_chunks`."""
    table = fit_cache(table)
    return table.used, table.slots, table.chunks, table.words, table.bytes


@inlined
def has_room(table):
    """Whether one more chunk of any kind fits in."""
    return (
        table.used[0] < table.chunks.size
        and table.used[1] + _ROOM <= table.words.size
        and table.used[2] + _ROOM <= table.bytes.size
    )


@numba.njit(nogil=True)
def grown(table):
    """The table with twice the room."""
    used = table.used
    chunks = np.zeros(2 * table.chunks.size, CHUNK)
    for k in range(used[0]):
        chunks[k] = table.chunks[k]
    words = np.zeros(2 * table.words.size, WORD)
    for k in range(used[1]):
        words[k] = table.words[k]
    kept = np.empty(2 * table.bytes.size, np.uint8)
    for k in range(used[2]):
        kept[k] = table.bytes[k]
    slots = np.zeros(2 * table.slots.size, np.uint32)
    for k in range(used[0]):
        _insert(slots, chunks[k].hash, k)
    return ChunkTable(used, slots, chunks, words, kept)


@inlined
def find_chunk(table, value, data, start, stop):
    """The chunk with the bytes data[start:stop] and their hash, -1 when it is new."""
    mask = table.slots.size - 1
    slot = _slot(value) & mask
    while table.slots[slot]:
        index = np.int64(table.slots[slot]) - 1
        record = table.chunks[index]
        if record.hash == value and _has_bytes(record, table.bytes, data, start, stop):
            return index
        slot = (slot + 1) & mask
    return np.int64(-1)


@inlined
def _slot(value):
    """The upper half of a hash: its lower bits know only the first letters of a word."""
    return np.int64(value >> np.uint64(32))


@inlined
def _has_bytes(record, stored, data, start, stop):
    """Whether a chunk has the bytes data[start:stop], whose hash it has.

    `hash_bytes` is one to one for up to eight bytes of the same number.
    """
    size = stop - start
    if record.num_bytes != size:
        return False
    if size <= 8:
        return True
    first = np.int64(record.start)
    k = 0
    while k < size:
        if load_word(stored, first + k, first + size) != load_word(data, start + k, stop):
            return False
        k += 8
    return True


@leaf
def learn_chunk(table, value, data, start, stop, chunk):
    """Analyse and store a new chunk, for which the table has room; returns its number."""
    size = segment(data, start, stop, chunk)
    index = _add(table, value, data, start, stop)
    record = table.chunks[index]
    ended = (np.int64(0), np.int64(1))  # by the same before the chunk
    starts = (np.int64(0), np.int64(0))
    first = 0
    for last in range(1, size + 1):
        if not chunk[last].cut:
            continue
        any_flags, all_flags = _flags(chunk, first, last)
        _count_word(record.counts, any_flags, all_flags, last - first)
        _count_stop_word(record, data, start + chunk[first].start, start + chunk[last].start)
        if last - first == 1 and all_flags & TERMINAL:
            ended = (np.int64(1), np.int64(1))
        elif not all_flags & PUNCT:
            starts = (starts[0] + ended[0], starts[1] + ended[1])
            ended = (np.int64(0), np.int64(0))
        word = table.words[table.used[1]]
        word.end = chunk[last].start
        word.num_chars = last - first
        table.used[1] += 1
        first = last
    _count_characters(record.counts, chunk, size)
    _set_sentences(record, starts, ended)
    return index


@leaf
def _insert(slots, value, index):
    mask = slots.size - 1
    slot = _slot(value) & mask
    while slots[slot]:
        slot = (slot + 1) & mask
    slots[slot] = index + 1


@leaf
def _add(table, value, data, start, stop):
    """Store the bytes of a chunk."""
    index, first = table.used[0], table.used[2]
    for k in range(stop - start):
        table.bytes[first + k] = data[start + k]
    table.used[0] += 1
    table.used[2] += stop - start
    _insert(table.slots, value, index)
    record = table.chunks[index]
    record.hash = value
    record.start = first
    record.first_word = table.used[1]
    record.num_bytes = stop - start
    return index


@leaf
def _flags(chunk, first, last):
    """The flags that any and that all of characters first..last have."""
    any_flags, all_flags = np.uint32(0), ~np.uint32(0)
    for k in range(first, last):
        any_flags |= chunk[k].flags
        all_flags &= chunk[k].flags
    return any_flags, all_flags


@leaf
def _count_word(counts, any_flags, all_flags, num_chars):
    counts[NUM_WORDS] += 1
    if any_flags & ALPHA:
        counts[NUM_ALPHA_WORDS] += 1
    if not all_flags & SYMBOL:
        counts[NUM_NONSYMBOL_WORDS] += 1
        counts[NONSYMBOL_WORD_CHARS] += num_chars


@leaf
def _count_stop_word(record, data, start, stop):
    bit = stop_word_bit(hash_bytes(data, start, stop), stop - start)
    record.stop_words |= bit
    record.counts[NUM_STOP_WORDS] += bit != 0


@inlined
def stop_word_bit(value, num_bytes):
    """1 << k for stop word k, 0 for other words, by their hash: no branch to foresee."""
    which = _STOP_WORD_AT[value >> np.uint64(56)]
    same = (value == _STOP_HASHES[which]) & (num_bytes <= _MAX_STOP_BYTES)
    return np.int64(same) << np.int64(which)


@leaf
def _count_characters(counts, chunk, size):
    """Counts of str.count in a chunk: `#`, `{`, and `...` without overlaps or U+2026."""
    dots = 0
    for k in range(size):
        char = chunk[k].char
        counts[NUM_HASHES] += char == _HASH
        counts[NUM_CURLY_BRACKETS] += char == _CURLY
        counts[NUM_ELLIPSES] += char == _ELLIPSIS
        dots = dots + 1 if char == _DOT else 0
        if dots == 3:
            counts[NUM_ELLIPSES] += 1
            dots = 0


@leaf
def _set_sentences(record, starts, ended):
    """How many sentences start in a chunk, and whether it ends after the end of one.

    Both depend on whether the words before the chunk ended a sentence (index 1) or not (index 0):
    a sentence starts at the first word that is no punctuation after a terminal mark.
    """
    for before in range(2):
        record.sentence_starts[before] = starts[before]
        record.sentence_ended[before] = ended[before]
    record.sentence = HAS_SENTENCES
    if starts == (0, 1) and ended == (0, 0):
        record.sentence = STARTS_SENTENCE
    elif starts == (0, 0) and ended == (0, 1):
        record.sentence = KEEPS_SENTENCE
    elif starts == (0, 0) and ended == (1, 1):
        record.sentence = ENDS_SENTENCE
