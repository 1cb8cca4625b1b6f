"""The distinct chunks and words of one document, each with a number.

Repeated n-grams are found from the numbers of words, and what a chunk adds to the counts is added
up once, times how often it occurs. The table is made anew for each document and so stays in the
processor's first cache for all but long ones; with one table for a batch, the time went into
waiting for memory. Chunks of ASCII letters are words as they are; of others, chunk_table.py knows
the words.

Equality is exact: by hash and number of bytes up to eight bytes, where the hash is one to one, and
by the bytes of the text itself for more.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from filters.bits import hash_bytes, load_word
from filters.chunk_table import (
    NONSYMBOL_WORD_CHARS,
    NUM_ALPHA_WORDS,
    NUM_COUNTED,
    NUM_NONSYMBOL_WORDS,
    NUM_STOP_WORDS,
    NUM_WORDS,
    STARTS_SENTENCE,
    stop_word_bit,
)
from filters.kernels import inlined, leaf

ENTRY = np.dtype(
    [  # 32 bytes
        ("hash", np.uint64),
        ("start", np.uint32),  # of its first bytes in the text
        ("count", np.uint32),  # occurrences as a chunk
        ("chunk", np.uint32),  # 1 + its number in the chunk table; 0: a word of ASCII letters
        ("first_part", np.uint32),  # as a chunk, its words are the entries
        ("num_parts", np.uint16),  # parts[first_part : first_part + num_parts]
        ("num_bytes", np.uint16),
        ("num_chars", np.uint16),
        ("sentence", np.uint8),  # as in chunk_table.py
    ],
    align=True,
)
_ENTRIES, _PARTS, _SHIFT = range(3)
_MIN_SLOTS = 256


class Vocabulary(NamedTuple):
    """Work memory for one document after the other.

    used int64[3]: entries and parts in use, and 64 - log2 of how many slots are. slots uint32:
    entry + 1, or 0, from the place that the upper bits of a hash give.
    """

    used: npt.NDArray[np.int64]
    slots: npt.NDArray[np.uint32]
    entries: Any
    parts: npt.NDArray[np.uint32]


@numba.njit(nogil=True)
def new_vocabulary():
    """Room for a short document; it grows."""
    used = np.array([0, 0, 64 - 8], np.int64)
    return Vocabulary(
        used,
        np.zeros(_MIN_SLOTS, np.uint32),
        np.zeros(_MIN_SLOTS, ENTRY),
        np.zeros(_MIN_SLOTS, np.uint32),
    )


@leaf
def clear(vocabulary):
    """Forget the last document."""
    used = vocabulary.used
    used[_ENTRIES] = 0
    used[_PARTS] = 0
    used[_SHIFT] = 64 - 8
    for slot in range(_MIN_SLOTS):
        vocabulary.slots[slot] = 0


@inlined
def has_room_for(vocabulary, num_words):
    """Whether one chunk of so many words fits in: half of the slots stay free."""
    used, num_slots = vocabulary.used, np.int64(1) << (64 - vocabulary.used[_SHIFT])
    needed = used[_ENTRIES] + num_words + 1
    return (
        2 * needed <= num_slots
        and needed <= vocabulary.entries.size
        and used[_PARTS] + num_words <= vocabulary.parts.size
    )


@numba.njit(nogil=True)
def with_room_for(vocabulary, num_words):
    """The vocabulary with room for one more chunk of so many words, and more."""
    used, slots, entries, parts = vocabulary
    needed = used[_ENTRIES] + num_words + 1
    if needed > entries.size:
        larger = np.zeros(2 * needed, ENTRY)
        for k in range(used[_ENTRIES]):
            larger[k] = entries[k]
        entries = larger
    if used[_PARTS] + num_words > parts.size:
        longer = np.zeros(2 * (used[_PARTS] + num_words), np.uint32)
        for k in range(used[_PARTS]):
            longer[k] = parts[k]
        parts = longer
    num_slots = np.int64(1) << (64 - used[_SHIFT])
    if 2 * needed > num_slots:
        while 4 * needed > num_slots:
            num_slots *= 2
            used[_SHIFT] -= 1
        if num_slots > slots.size:
            slots = np.zeros(num_slots, np.uint32)
        for slot in range(num_slots):
            slots[slot] = 0
        for k in range(used[_ENTRIES]):
            _insert(slots, used[_SHIFT], entries[k].hash, k)
    return Vocabulary(used, slots, entries, parts)


@leaf
def _insert(slots, shift, value, index):
    mask = (np.int64(1) << (64 - shift)) - 1
    slot = np.int64(value >> np.uint64(shift))
    while slots[slot]:
        slot = (slot + 1) & mask
    slots[slot] = index + 1


@inlined
def find_entry(vocabulary, value, data, origin, start, stop):
    """The entry with the bytes data[start:stop] and their hash; -1 - slot when it is new.

    `origin` is where the document starts.
    """
    shift = vocabulary.used[_SHIFT]
    slots, entries = vocabulary.slots, vocabulary.entries
    mask = (np.uint64(1) << np.uint64(64 - shift)) - np.uint64(1)
    slot = value >> np.uint64(shift)
    while slots[slot]:
        index = np.uint64(slots[slot]) - np.uint64(1)
        if entries[index].hash == value and _has_bytes(entries[index], data, origin, start, stop):
            return np.int64(index)
        slot = (slot + np.uint64(1)) & mask
    return -1 - np.int64(slot)


@inlined
def _has_bytes(entry, data, origin, start, stop):
    size = stop - start
    if entry.num_bytes != size:
        return False
    first = origin + np.int64(entry.start)
    k = np.int64(0) if size > 8 else size
    while k < size and load_word(data, first + k, first + size) == load_word(data, start + k, stop):
        k += 8
    return k >= size


@inlined
def _add_entry(vocabulary, slot, value, start, num_bytes, num_chars):
    index = vocabulary.used[_ENTRIES]
    vocabulary.used[_ENTRIES] = index + 1
    vocabulary.slots[slot] = index + 1
    entry = vocabulary.entries[index]
    entry.hash = value
    entry.start = start
    entry.count = 0
    entry.chunk = 0
    entry.num_parts = 0
    entry.num_bytes = num_bytes
    entry.num_chars = num_chars
    return index


@inlined
def add_letters(vocabulary, slot, value, origin, start, stop):
    """A new entry for a word of ASCII letters, which is its own chunk; returns its number."""
    size = stop - start
    index = _add_entry(vocabulary, slot, value, start - origin, size, size)
    become_letters(vocabulary, index)
    return index


@inlined
def become_letters(vocabulary, index):
    """An entry that was a word of ASCII letters only inside of chunks is now one of its own."""
    entry = vocabulary.entries[index]
    entry.first_part = vocabulary.used[_PARTS]
    entry.num_parts = 1
    entry.sentence = STARTS_SENTENCE
    vocabulary.parts[vocabulary.used[_PARTS]] = index
    vocabulary.used[_PARTS] += 1


@leaf
def add_chunk(vocabulary, index, value, data, origin, start, stop, table, number):
    """Chunk `number` of the table, data[start:stop], occurs for the first time as a chunk.

    `index` is what `find_entry` returned. The vocabulary has room for it; returns its entry.
    """
    record = table.chunks[number]
    num_words = np.int64(record.counts[NUM_WORDS])
    if index < 0:
        last_word = table.words[record.first_word]
        index = _add_entry(vocabulary, -1 - index, value, start - origin, stop - start, 0)
        vocabulary.entries[index].num_chars = last_word.num_chars  # if that is all of it
    first_part = vocabulary.used[_PARTS]
    begin = start
    for k in range(num_words):
        word = table.words[np.int64(record.first_word) + k]
        end = start + np.int64(word.end)
        vocabulary.parts[first_part + k] = _word_entry(
            vocabulary, data, origin, begin, end, np.int64(word.num_chars)
        )
        begin = end
    vocabulary.used[_PARTS] += num_words
    entry = vocabulary.entries[index]
    entry.chunk = number + 1
    entry.first_part = first_part
    entry.num_parts = num_words
    entry.sentence = record.sentence
    return index


@leaf
def _word_entry(vocabulary, data, origin, start, stop, num_chars):
    value = hash_bytes(data, start, stop)
    index = find_entry(vocabulary, value, data, origin, start, stop)
    if index < 0:
        index = _add_entry(vocabulary, -1 - index, value, start - origin, stop - start, num_chars)
    vocabulary.entries[index].num_chars = num_chars
    return index


@leaf
def num_entries(vocabulary):
    """How many numbers are given: all are below."""
    return vocabulary.used[_ENTRIES]


@leaf
def add_up(vocabulary, table, data, origin, out):
    """Add to out int64 what all chunks of the document add to the counts of chunk_table.py.

    Returns which stop words occur, bit k for word k.
    """
    stop_words = np.int64(0)
    letters = letters_chars = letters_stop = np.int64(0)
    for index in range(vocabulary.used[_ENTRIES]):
        entry = vocabulary.entries[index]
        count = np.int64(entry.count)
        if count == 0:
            continue
        if entry.chunk:
            record = table.chunks[np.int64(entry.chunk) - 1]
            for k in range(NUM_COUNTED):
                out[k] += count * record.counts[k]
            stop_words |= np.int64(record.stop_words)
            continue
        letters += count
        letters_chars += count * entry.num_chars
        if entry.num_bytes <= 4:
            start = origin + np.int64(entry.start)
            bit = stop_word_bit(load_word(data, start, start + entry.num_bytes), entry.num_bytes)
            stop_words |= bit
            letters_stop += count * (bit != 0)
    out[NUM_WORDS] += letters
    out[NUM_NONSYMBOL_WORDS] += letters
    out[NUM_ALPHA_WORDS] += letters
    out[NONSYMBOL_WORD_CHARS] += letters_chars
    out[NUM_STOP_WORDS] += letters_stop
    return stop_words
