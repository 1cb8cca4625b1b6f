"""Chunks and words of a batch, each distinct string stored and analysed once.

A chunk is what stands between white space, or one letter (with its marks) of a script written
without spaces, or the next 4,096 bytes of something longer. Most chunks of a text have occurred
before, so what the rules need of a chunk (its words, how many of them are alphabetic, how many
`#` it holds) is computed when it is first seen and added up from then on.

Strings are compared byte by byte, never by hash alone: word identities are exact, so counts do not
depend on which other documents are in the batch. The 64-bit FNV-1a hash only finds the slot.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from filters.contractions import HASH_PRIME, HASH_SEED
from filters.segment import MAX_CHUNK_BYTES, segment
from filters.unicode import ALPHA, MARK, PUNCT, SOLO, SPACE, SYMBOL, TERMINAL, classes_of, decode

STRING = np.dtype(
    [
        ("hash", np.uint64),
        ("start", np.int64),  # of its bytes in the arena
        ("first_word", np.int64),  # its words are words[first_word : first_word + num_words]
        ("num_words", np.int32),  # 0: not yet seen as a chunk
        ("num_bytes", np.int32),
        ("num_chars", np.int32),
        ("document", np.int32),  # the last document that had it as a word, and its number there
        ("number", np.int32),
        ("num_nonsymbol_words", np.int16),
        ("nonsymbol_word_chars", np.int16),
        ("num_alpha_words", np.int16),
        ("num_stop_words", np.int16),
        ("num_hashes", np.int16),
        ("num_ellipses", np.int16),
        ("num_curly_brackets", np.int16),
        ("sentence_starts", np.int16, 2),  # by whether the words before ended a sentence
        ("sentence_ended", np.uint8, 2),
        ("stop_words", np.uint8),  # bit k: stop word k is among its words
        ("flags", np.uint8),  # of the string as a word
    ],
    align=True,
)
HAS_ALPHA, HAS_NONSYMBOL, ALL_PUNCT, IS_TERMINAL = 1, 2, 4, 8

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
_STOP_BYTES = np.array([int.from_bytes(w.encode(), "little") for w in STOP_WORDS], np.uint64)

_PLAIN, _SPACE_BYTE, _DECODE = 0, 1, 2
_BYTE_KINDS = np.zeros(256, np.uint8)
_BYTE_KINDS[[9, 10, 11, 12, 13, 28, 29, 30, 31, 32]] = _SPACE_BYTE
# Leads of characters that may be white space, or letters of scripts written without it.
_BYTE_KINDS[[0xC2, *range(0xE0, 0xF8)]] = _DECODE


class Strings(NamedTuple):
    """The table. Arrays grow by doubling; `reserve` returns the table to use from then on.

    used int64[3]: strings, bytes of the arena and words in use. slots int32: string + 1, or 0;
    strings: an array of STRING; words int32: the strings that are the words of chunks.
    """

    used: npt.NDArray[np.int64]
    slots: npt.NDArray[np.int32]
    strings: Any
    arena: npt.NDArray[np.uint8]
    words: npt.NDArray[np.int32]


def new_strings() -> Strings:
    """An empty table."""
    return Strings(
        np.zeros(3, np.int64),
        np.zeros(1 << 13, np.int32),
        np.zeros(1 << 12, STRING),
        np.zeros(1 << 15, np.uint8),
        np.zeros(1 << 13, np.int32),
    )


@numba.njit(nogil=True)
def skip_space(data, i, stop, classes):
    """The first byte from i on that is no white space."""
    while i < stop:
        kind = _BYTE_KINDS[data[i]]
        if kind == _PLAIN:
            break
        after = i + 1
        if kind == _DECODE:
            code_point, after = decode(data, i, stop)
            if not classes_of(classes, code_point) & SPACE:
                break
        i = after
    return i


@numba.njit(nogil=True)
def skip_word(data, i, stop, classes):
    """The first white space from byte i on, and the characters before it."""
    num_chars = np.int64(0)
    while i < stop:
        kind = _BYTE_KINDS[data[i]]
        after = i + 1
        if kind == _SPACE_BYTE:
            break
        if kind == _DECODE:
            code_point, after = decode(data, i, stop)
            if classes_of(classes, code_point) & SPACE:
                break
            num_chars += 1
        else:
            num_chars += data[i] & 0xC0 != 0x80
        i = after
    return i, num_chars


@numba.njit(nogil=True)
def scan_chunk(data, start, stop, classes):
    """The end of the chunk that starts at byte `start`, and its hash."""
    value = HASH_SEED
    limit = min(stop, start + MAX_CHUNK_BYTES - 4)
    i = start
    while i < limit:
        byte = data[i]
        kind = _BYTE_KINDS[byte]
        after = i + 1
        if kind == _SPACE_BYTE:
            return i, value
        if kind == _DECODE:
            code_point, after = decode(data, i, stop)
            flags = classes_of(classes, code_point)
            if flags & (SPACE | SOLO):
                if flags & SPACE or i > start:
                    return i, value
                return _hash_to(data, i, _end_of_marks(data, after, limit, classes), value)
        for k in range(i, after):
            value = (value ^ np.uint64(data[k])) * HASH_PRIME
        i = after
    end = i
    while end < stop and data[end] & 0xC0 == 0x80:
        end += 1
    return _hash_to(data, i, end, value)


@numba.njit(nogil=True)
def _hash_to(data, i, end, value):
    for k in range(i, end):
        value = (value ^ np.uint64(data[k])) * HASH_PRIME
    return end, value


@numba.njit(nogil=True)
def _end_of_marks(data, i, stop, classes):
    while i < stop and data[i] >= 0x80:
        code_point, after = decode(data, i, stop)
        if not classes_of(classes, code_point) & MARK:
            break
        i = after
    return i


@numba.njit(nogil=True)
def find(table, value, data, start, stop):
    """The string with these bytes, -1 when the table has none."""
    mask = table.slots.size - 1
    slot = np.int64(value ^ value >> np.uint64(32)) & mask
    while table.slots[slot]:
        index = table.slots[slot] - 1
        record = table.strings[index]
        if record.hash == value and record.num_bytes == stop - start:
            k = 0
            while k < stop - start and table.arena[record.start + k] == data[start + k]:
                k += 1
            if k == stop - start:
                return np.int64(index)
        slot = (slot + 1) & mask
    return np.int64(-1)


@numba.njit(nogil=True)
def reserve(table, num_bytes):
    """The table with room for one more chunk of `num_bytes` and for all its words."""
    num_strings, num_arena, num_words = table.used
    strings, arena, words, slots = table.strings, table.arena, table.words, table.slots
    need = num_strings + num_bytes + 1
    if need > strings.size:
        strings = np.zeros(max(need, 2 * strings.size), strings.dtype)
        for k in range(num_strings):
            strings[k] = table.strings[k]
    if num_arena + num_bytes > arena.size:
        arena = np.empty(max(num_arena + num_bytes, 2 * arena.size), np.uint8)
        for k in range(num_arena):
            arena[k] = table.arena[k]
    if num_words + num_bytes > words.size:
        words = np.empty(max(num_words + num_bytes, 2 * words.size), np.int32)
        for k in range(num_words):
            words[k] = table.words[k]
    if 2 * need > slots.size:
        slots = np.zeros(_power_of_two(4 * need), np.int32)
        for k in range(num_strings):
            _insert(slots, strings[k].hash, k)
    return Strings(table.used, slots, strings, arena, words)


@numba.njit(nogil=True)
def _power_of_two(at_least):
    size = 1
    while size < at_least:
        size *= 2
    return size


@numba.njit(nogil=True)
def _insert(slots, value, index):
    mask = slots.size - 1
    slot = np.int64(value ^ value >> np.uint64(32)) & mask
    while slots[slot]:
        slot = (slot + 1) & mask
    slots[slot] = index + 1


@numba.njit(nogil=True)
def learn_chunk(table, value, data, start, stop, rules, chunk):
    """Store a chunk with its words, and what they add up to. Returns the table and the string."""
    table = reserve(table, stop - start)
    size = segment(data, start, stop, rules, chunk)
    index = find(table, value, data, start, stop)
    if index < 0:
        arena_start = table.used[1]
        for k in range(stop - start):
            table.arena[arena_start + k] = data[start + k]
        table.used[1] += stop - start
        index = _add_string(table, value, arena_start, stop - start, chunk, 0, size)
    _add_words(table, index, chunk, size)
    _count_characters(table.strings[index], chunk, size)
    _find_sentences(table, table.strings[index])
    return table, index


@numba.njit(nogil=True)
def _add_string(table, value, arena_start, num_bytes, chunk, first, last):
    """A new string of the bytes at arena_start, which are characters first..last of `chunk`."""
    index = table.used[0]
    table.used[0] += 1
    _insert(table.slots, value, index)
    record = table.strings[index]
    record.hash = value
    record.start = arena_start
    record.num_bytes = num_bytes
    record.num_chars = last - first
    flags = ALL_PUNCT
    for k in range(first, last):
        if chunk.flags[k] & ALPHA:
            flags |= HAS_ALPHA
        if not chunk.flags[k] & SYMBOL:
            flags |= HAS_NONSYMBOL
        if not chunk.flags[k] & PUNCT:
            flags &= ~ALL_PUNCT
    if last - first == 1 and chunk.flags[first] & TERMINAL:
        flags |= IS_TERMINAL
    record.flags = flags
    return index


@numba.njit(nogil=True)
def _add_words(table, index, chunk, size):
    """Find or store each word of a chunk, and add up their counts."""
    record = table.strings[index]
    record.first_word = table.used[2]
    first = 0
    for last in range(1, size + 1):
        if not chunk.cuts[last]:
            continue
        start = record.start + chunk.starts[first]
        stop = record.start + chunk.starts[last]
        _, value = _hash_to(table.arena, start, stop, HASH_SEED)
        word = find(table, value, table.arena, start, stop)
        if word < 0:
            word = _add_string(table, value, start, stop - start, chunk, first, last)
        table.words[table.used[2]] = word
        table.used[2] += 1
        _count_word(record, table, word)
        first = last


@numba.njit(nogil=True)
def _count_word(record, table, word):
    flags = table.strings[word].flags
    record.num_words += 1
    if flags & HAS_ALPHA:
        record.num_alpha_words += 1
    if flags & HAS_NONSYMBOL:
        record.num_nonsymbol_words += 1
        record.nonsymbol_word_chars += table.strings[word].num_chars
    num_bytes = table.strings[word].num_bytes
    if 2 <= num_bytes <= 4:
        packed = np.uint64(0)
        for k in range(num_bytes):
            byte = np.uint64(table.arena[table.strings[word].start + k])
            packed |= byte << np.uint64(8 * k)
        for k in range(_STOP_BYTES.size):
            if packed == _STOP_BYTES[k]:
                record.num_stop_words += 1
                record.stop_words |= 1 << k


@numba.njit(nogil=True)
def _count_characters(record, chunk, size):
    """Counts of str.count in a chunk: `#`, `{`, and `...` without overlaps or U+2026."""
    dots = 0
    for k in range(size):
        char = chunk.chars[k]
        record.num_hashes += char == ord("#")
        record.num_curly_brackets += char == ord("{")
        record.num_ellipses += char == 0x2026
        dots = dots + 1 if char == ord(".") else 0
        if dots == 3:
            record.num_ellipses += 1
            dots = 0


@numba.njit(nogil=True)
def _find_sentences(table, record):
    """How many sentences start inside a chunk, and whether it ends after the end of one.

    Both depend on whether the words before the chunk ended a sentence (index 1) or not (index 0):
    a sentence starts at the first word that is no punctuation after a terminal mark.
    """
    for before in range(2):
        ended = before == 1
        starts = 0
        for k in range(record.first_word, record.first_word + record.num_words):
            flags = table.strings[table.words[k]].flags
            if flags & IS_TERMINAL:
                ended = True
            elif ended and not flags & ALL_PUNCT:
                starts += 1
                ended = False
        record.sentence_starts[before] = starts
        record.sentence_ended[before] = ended
