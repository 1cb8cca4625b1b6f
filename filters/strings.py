"""Chunks and words of a batch, each distinct string stored and analysed once.

A chunk is what stands between white space, without a closing mark after plain letters, or one
letter (with its marks) of a script written without spaces, or the next 1,024 bytes of something
longer. Most chunks of a text have occurred before, so what the rules need of a chunk (its words,
how many of them are alphabetic, how many `#` it holds) is computed when it is first seen and added
up from then on.

Strings are compared byte by byte, never by hash alone: word identities are exact, so counts do not
depend on which other documents are in the batch. Nearly all words have at most eight bytes and are
compared in one step.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from filters.bits import are_letters, hash_bytes, load_word, plain_bytes
from filters.kernels import inlined, leaf
from filters.segment import MAX_CHUNK_BYTES, contraction, segment
from filters.unicode import ALPHA, MARK, PUNCT, SOLO, SPACE, SYMBOL, TERMINAL
from filters.utf8 import decode, flags_at

STRING = np.dtype(
    [  # 64 bytes: a line of the processor's cache
        ("hash", np.uint64),
        ("first_bytes", np.uint64),  # up to eight
        ("start", np.uint32),  # of its bytes in the arena
        ("first_word", np.uint32),  # its words are words[first_word : first_word + num_words]
        ("num_words", np.uint16),  # 0: not yet seen as a chunk
        ("num_bytes", np.uint16),
        ("num_chars", np.uint16),
        ("num_nonsymbol_words", np.uint16),
        ("nonsymbol_word_chars", np.uint16),
        ("num_alpha_words", np.uint16),
        ("num_stop_words", np.uint16),
        ("num_hashes", np.uint16),
        ("num_ellipses", np.uint16),
        ("num_curly_brackets", np.uint16),
        ("sentence_starts", np.uint16, 2),  # by whether the words before ended a sentence
        ("sentence_ended", np.uint8, 2),
        ("stop_words", np.uint8),  # bit k: stop word k is among its words
        ("flags", np.uint8),  # of the string as a word
        ("document", np.int32),  # 1 + the last document that had it as a word,
        ("number", np.int32),  # and its number there
    ],
    align=True,
)
HAS_ALPHA, HAS_NONSYMBOL, ALL_PUNCT, IS_TERMINAL = 1, 2, 4, 8
MAX_STRINGS = 1 << 13
"""Between documents, a table with more strings is emptied: it has to fit the processor's cache."""
_ROOM = MAX_CHUNK_BYTES + 8  # strings, words and bytes of the arena that one chunk may need
MAX_BATCH_BYTES = 1 << 31
"""Of all texts of a batch together; places in the arena are 32 bits."""

STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")
_STOP_BYTES = np.array([int.from_bytes(w.encode(), "little") for w in STOP_WORDS], np.uint64)

_PLAIN, _SPACE_BYTE, _DECODE = 0, 1, 2
_BYTE_KINDS = np.zeros(256, np.uint8)
_BYTE_KINDS[[9, 10, 11, 12, 13, 28, 29, 30, 31, 32]] = _SPACE_BYTE
# Leads of characters that may be white space, or letters of scripts written without it.
_BYTE_KINDS[[0xC2, *range(0xE0, 0xF8)]] = _DECODE
_CLOSING = np.zeros(256, np.bool_)
_CLOSING[list(b",;:!?.")] = True
_DOT, _LOWER_A = ord("."), ord("a")
_INDEX_BITS = np.uint64(0xFFFFFFFF)


class Strings(NamedTuple):
    """The table; it grows by doubling, and while it `has_room` it stays the same arrays.

    used int64[3]: strings, bytes of the arena and words in use. slots uint64: the upper half of a
    hash over string + 1, or 0. strings: STRING records. words: strings, the words of chunks.
    """

    used: npt.NDArray[np.int64]
    slots: npt.NDArray[np.uint64]
    strings: Any
    arena: npt.NDArray[np.uint8]
    words: npt.NDArray[np.uint32]


@numba.njit(nogil=True)
def new_strings():
    """An empty table."""
    return Strings(
        np.zeros(3, np.int64),
        np.zeros(4 * MAX_STRINGS, np.uint64),
        np.zeros(2 * MAX_STRINGS, STRING),
        np.empty(16 * MAX_STRINGS, np.uint8),
        np.empty(2 * MAX_STRINGS, np.uint32),
    )


@numba.njit(nogil=True)
def fit_cache(table):
    """The table to use for the next document."""
    return table if table.used[0] <= MAX_STRINGS else new_strings()


@inlined
def has_room(table):
    """Whether one more chunk of any kind fits in."""
    return (
        table.used[0] + _ROOM <= table.strings.size
        and table.used[1] + _ROOM <= table.arena.size
        and table.used[2] + _ROOM <= table.words.size
    )


@numba.njit(nogil=True)
def grown(table):
    """The table with twice the room."""
    used = table.used
    strings = np.zeros(2 * table.strings.size, table.strings.dtype)
    for k in range(used[0]):
        strings[k] = table.strings[k]
    arena = np.empty(2 * table.arena.size, np.uint8)
    for k in range(used[1]):
        arena[k] = table.arena[k]
    words = np.empty(2 * table.words.size, np.uint32)
    for k in range(used[2]):
        words[k] = table.words[k]
    slots = np.zeros(2 * table.slots.size, np.uint64)
    for k in range(used[0]):
        _insert(slots, strings[k].hash, k)
    return Strings(used, slots, strings, arena, words)


@inlined
def skip_space(data, i, stop):
    """The first byte from i on that is no white space."""
    while i < stop:
        kind = _BYTE_KINDS[data[i]]
        if kind == _SPACE_BYTE:
            i += 1
        elif kind == _PLAIN:
            break
        else:
            code_point, after = decode(data, i, stop)
            if not flags_at(code_point) & SPACE:
                break
            i = after
    return i


@leaf
def skip_word(data, i, stop):
    """The first white space from byte i on, and the characters before it."""
    num_chars = np.int64(0)
    while i < stop:
        kind = _BYTE_KINDS[data[i]]
        after = i + 1
        if kind == _SPACE_BYTE:
            break
        if kind == _DECODE:
            code_point, after = decode(data, i, stop)
            if flags_at(code_point) & SPACE:
                break
            num_chars += 1
        else:
            num_chars += data[i] & 0xC0 != 0x80
        i = after
    return i, num_chars


@inlined
def _run_end(data, start, stop):
    """The end of a chunk with the marks after it."""
    limit = min(stop, start + MAX_CHUNK_BYTES - 8)
    i = start
    while i < limit:
        plain = plain_bytes(load_word(data, i, stop))
        i += plain
        if plain == 8 or i >= limit:
            continue
        kind = _BYTE_KINDS[data[i]]
        if kind == _SPACE_BYTE:
            return i
        after = i + 1
        if kind == _DECODE:
            code_point, after = decode(data, i, stop)
            flags = flags_at(code_point)
            if flags & (SPACE | SOLO):
                return i if flags & SPACE or i > start else _marks_end(data, after, limit)
        i = after
    while i < stop and data[i] & 0xC0 == 0x80:
        i += 1
    return i


@inlined
def chunk_end(data, start, stop):
    """Where the chunk that starts at byte `start` ends.

    A mark that the rules cut off the end of any word of letters is a chunk of its own.
    """
    end = _run_end(data, start, stop)
    last = end - 1
    if last > start and _CLOSING[data[last]] and are_letters(data, start, last):
        if data[last] != _DOT:
            return last
        if data[last - 1] >= _LOWER_A and not contraction(hash_bytes(data, start, end)):
            return last
    return end


@leaf
def _marks_end(data, i, stop):
    while i < stop and data[i] >= 0x80:
        code_point, after = decode(data, i, stop)
        if not flags_at(code_point) & MARK:
            break
        i = after
    return i


@inlined
def find(slots, strings, arena, value, data, start, stop):
    """The string with the bytes data[start:stop] and their hash, -1 when the table has none."""
    mask = slots.size - 1
    slot = np.int64(value) & mask
    tag = value >> np.uint64(32)
    while slots[slot]:
        if slots[slot] >> np.uint64(32) == tag:
            index = np.int64(slots[slot] & _INDEX_BITS) - 1
            if _is_string(strings[index], arena, data, start, stop):
                return index
        slot = (slot + 1) & mask
    return np.int64(-1)


@inlined
def _is_string(record, arena, data, start, stop):
    """Whether a string has the bytes data[start:stop]."""
    if record.num_bytes != stop - start or record.first_bytes != load_word(data, start, stop):
        return False
    k = 8
    while k < stop - start and arena[record.start + k] == data[start + k]:
        k += 1
    return k >= stop - start


@inlined
def string_of_chunk(table, data, start, stop, chunk):
    """The string data[start:stop], stored and analysed if it is new; the table `has_room`."""
    value = hash_bytes(data, start, stop)
    index = find(table.slots, table.strings, table.arena, value, data, start, stop)
    if index < 0 or table.strings[index].num_words == 0:
        index = _learn(table, index, value, data, start, stop, chunk)
    return index


@leaf
def _learn(table, index, value, data, start, stop, chunk):
    """Store a chunk with its words, and what they add up to; `index` is -1 or that of a word."""
    if are_letters(data, start, stop) and not contraction(value):
        if index < 0:
            index = _add_bytes(table, value, data, start, stop)
            table.strings[index].num_chars = stop - start
            table.strings[index].flags = HAS_ALPHA | HAS_NONSYMBOL
        _set_only_word(table, index)
        return index
    size = segment(data, start, stop, chunk)
    if index < 0:
        index = _add_bytes(table, value, data, start, stop)
        _describe(table.strings[index], chunk, 0, size)
    _add_words(table, index, chunk, size)
    _count_characters(table.strings[index], chunk, size)
    _find_sentences(table.strings[index], table.strings, table.words)
    return index


@leaf
def _insert(slots, value, index):
    mask = slots.size - 1
    slot = np.int64(value) & mask
    while slots[slot]:
        slot = (slot + 1) & mask
    slots[slot] = value & ~_INDEX_BITS | np.uint64(index + 1)


@leaf
def _add_bytes(table, value, data, start, stop):
    """Store a string whose bytes are not in the arena yet."""
    arena_start = table.used[1]
    for k in range(stop - start):
        table.arena[arena_start + k] = data[start + k]
    table.used[1] += stop - start
    return _add_string(table, value, arena_start, stop - start)


@leaf
def _add_string(table, value, arena_start, num_bytes):
    """Store a string whose bytes are in the arena."""
    index = table.used[0]
    table.used[0] += 1
    _insert(table.slots, value, index)
    record = table.strings[index]
    record.hash = value
    record.first_bytes = load_word(table.arena, arena_start, arena_start + num_bytes)
    record.start = arena_start
    record.num_bytes = num_bytes
    return index


@leaf
def _describe(record, chunk, first, last):
    """Set what a string is as a word; it is characters first..last of `chunk`."""
    any_flags, all_flags = np.uint32(0), ~np.uint32(0)
    for k in range(first, last):
        any_flags |= chunk[k].flags
        all_flags &= chunk[k].flags
    flags = HAS_ALPHA if any_flags & ALPHA else 0
    flags |= 0 if all_flags & SYMBOL else HAS_NONSYMBOL
    flags |= ALL_PUNCT if all_flags & PUNCT else 0
    flags |= IS_TERMINAL if last - first == 1 and all_flags & TERMINAL else 0
    record.flags = flags
    record.num_chars = last - first


@leaf
def _set_only_word(table, index):
    """The counts of a chunk that is one word of ASCII letters."""
    record = table.strings[index]
    record.first_word = table.used[2]
    table.words[table.used[2]] = index
    table.used[2] += 1
    _count_word(record, record)
    record.sentence_starts[1] = 1


@leaf
def _add_words(table, index, chunk, size):
    """Find or store each word of a chunk, and add up their counts."""
    record = table.strings[index]
    record.first_word = table.used[2]
    first = 0
    for last in range(1, size + 1):
        if not chunk[last].cut:
            continue
        start = record.start + chunk[first].start
        stop = record.start + chunk[last].start
        value = hash_bytes(table.arena, start, stop)
        word = find(table.slots, table.strings, table.arena, value, table.arena, start, stop)
        if word < 0:
            word = _add_string(table, value, start, stop - start)
            _describe(table.strings[word], chunk, first, last)
        table.words[table.used[2]] = word
        table.used[2] += 1
        _count_word(record, table.strings[word])
        first = last


@leaf
def _count_word(record, word):
    """Add one word to the counts of the chunk `record`."""
    record.num_words += 1
    if word.flags & HAS_ALPHA:
        record.num_alpha_words += 1
    if word.flags & HAS_NONSYMBOL:
        record.num_nonsymbol_words += 1
        record.nonsymbol_word_chars += word.num_chars
    if word.num_bytes <= 4:
        for k in range(_STOP_BYTES.size):
            if word.first_bytes == _STOP_BYTES[k]:
                record.num_stop_words += 1
                record.stop_words |= 1 << k


@leaf
def _count_characters(record, chunk, size):
    """Counts of str.count in a chunk: `#`, `{`, and `...` without overlaps or U+2026."""
    dots = 0
    for k in range(size):
        char = chunk[k].char
        record.num_hashes += char == ord("#")
        record.num_curly_brackets += char == ord("{")
        record.num_ellipses += char == 0x2026
        dots = dots + 1 if char == ord(".") else 0
        if dots == 3:
            record.num_ellipses += 1
            dots = 0


@leaf
def _find_sentences(record, strings, words):
    """How many sentences start inside a chunk, and whether it ends after the end of one.

    Both depend on whether the words before the chunk ended a sentence (index 1) or not (index 0):
    a sentence starts at the first word that is no punctuation after a terminal mark.
    """
    for before in range(2):
        ended = before == 1
        starts = 0
        for k in range(record.first_word, record.first_word + record.num_words):
            flags = strings[words[k]].flags
            if flags & IS_TERMINAL:
                ended = True
            elif ended and not flags & ALL_PUNCT:
                starts += 1
                ended = False
        record.sentence_starts[before] = starts
        record.sentence_ended[before] = ended
