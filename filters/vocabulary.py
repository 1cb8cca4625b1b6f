"""The distinct chunks and words of one document, each with a number.

Repeated n-grams are found from the numbers of words, and what a chunk adds to the counts is added
up once, times how often it occurs. The table is made anew for each document and so stays in the
processor's first caches for all but long ones; with one table for a batch, the time went into
waiting for memory.

A document is numbered in three steps, each a small loop: `number_chunks` as they are read (half of
the chunks of a page are new, which no branch can foresee, so new and known ones take the same
way), `describe_chunks` for each distinct one (a chunk of letters is a word as it is, of others
chunk_table.py knows the words), `list_words` in the order of the text.

Equality is exact: by hash and number of bytes up to eight bytes, where the hash is one to one, and
by the bytes of the text itself for more.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt

from filters.bits import hash_bytes, load_word
from filters.blocks import count_chars
from filters.chunk_table import (
    ENDS_SENTENCE,
    HAS_SENTENCES,
    KEEPS_SENTENCE,
    NONSYMBOL_WORD_CHARS,
    NUM_ALPHA_WORDS,
    NUM_COUNTED,
    NUM_NONSYMBOL_WORDS,
    NUM_STOP_WORDS,
    NUM_WORDS,
    STARTS_SENTENCE,
    find_chunk,
    has_room,
    learn_chunk,
    stop_word_bit,
)
from filters.chunks import ASCII_LETTERS, SOLO_LETTER, plain_word
from filters.kernels import inlined, leaf
from filters.segment import contraction

ENTRY = np.dtype(
    [  # 32 bytes
        ("hash", np.uint64),
        ("start", np.uint32),  # of its first bytes in the text
        ("count", np.uint32),  # occurrences as a chunk
        ("chunk", np.uint32),  # its number in the chunk table, if it has been looked up there
        ("word", np.uint32),  # as a chunk, its one word is this entry, or
        ("num_parts", np.uint16),  # its words are parts[word : word + num_parts]
        ("num_bytes", np.uint16),
        ("num_chars", np.uint16),  # of words
        ("sentence", np.uint8),  # as in chunk_table.py
        ("kind", np.uint8),  # as in chunks.py
    ],
    align=True,
)
_ENTRIES, _PARTS, _SHIFT = range(3)
_MIN_SLOTS = 256
_ONE = np.uint64(1)


class Vocabulary(NamedTuple):
    """Work memory for one document after the other. Entry 0 stands for none.

    used int64[3]: entries and parts in use, and 64 - log2 of how many slots are. slots uint32: an
    entry or 0, from the place that the upper bits of a hash give.
    """

    used: npt.NDArray[np.int64]
    slots: npt.NDArray[np.uint32]
    entries: Any
    parts: npt.NDArray[np.uint32]


@numba.njit(nogil=True)
def new_vocabulary():
    """Room for a short document; it grows."""
    used = np.array([1, 0, 64 - 8], np.int64)
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
    used[_ENTRIES] = 1
    used[_PARTS] = 0
    used[_SHIFT] = 64 - 8
    for slot in range(_MIN_SLOTS):
        vocabulary.slots[slot] = 0


@leaf
def num_entries(vocabulary):
    """How many numbers are given: all are below."""
    return vocabulary.used[_ENTRIES]


@inlined
def _has_room_for(vocabulary, num_words):
    """Whether so many new words fit in: half of the slots stay free."""
    used, num_slots = vocabulary.used, np.int64(1) << (64 - vocabulary.used[_SHIFT])
    needed = used[_ENTRIES] + num_words + 1
    return (
        2 * needed <= num_slots
        and needed <= vocabulary.entries.size
        and used[_PARTS] + num_words <= vocabulary.parts.size
    )


@numba.njit(nogil=True)
def with_room_for(vocabulary, num_words):
    """The vocabulary with room for so many new chunks, or one new chunk of so many words."""
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
        while 2 * needed > num_slots:
            num_slots *= 2
            used[_SHIFT] -= 1
        if num_slots > slots.size:
            slots = np.zeros(num_slots, np.uint32)
        for slot in range(num_slots):
            slots[slot] = 0
        for k in range(1, used[_ENTRIES]):
            _insert(slots, used[_SHIFT], entries[k].hash, k)
    return Vocabulary(used, slots, entries, parts)


@leaf
def _insert(slots, shift, value, index):
    mask = (np.int64(1) << (64 - shift)) - 1
    slot = np.int64(value >> np.uint64(shift))
    while slots[slot]:
        slot = (slot + 1) & mask
    slots[slot] = index


@inlined
def _number(vocabulary, used, value, data, origin, start, stop):
    """The entry of data[start:stop], whose hash is `value`; entry `used` if it is new.

    `origin` is where the document starts.
    """
    slots, entries = vocabulary.slots, vocabulary.entries
    shift, size = np.uint64(vocabulary.used[_SHIFT]), stop - start
    mask = (_ONE << (np.uint64(64) - shift)) - _ONE
    slot = value >> shift
    while True:
        index = np.uint64(slots[slot])
        entry = entries[index]  # `&`, not `and`: one branch, which seldom goes on
        other = (index != 0) & ((entry.hash != value) | (entry.num_bytes != size))
        if not other and (size <= 8 or index == 0 or _has_bytes(entry, data, origin, start, size)):
            break
        slot = (slot + _ONE) & mask
    fresh = entries[used]  # filled in any case: a branch would be wrong every third time
    fresh.hash = value
    fresh.start = start - origin
    fresh.count = 0
    fresh.num_bytes = size
    index = index if index else used
    slots[slot] = index
    return index


@inlined
def _has_bytes(entry, data, origin, start, size):
    """Whether an entry of `size` bytes has those from `start` on."""
    first, k = origin + np.int64(entry.start), np.int64(0)
    while k < size and (
        load_word(data, first + k, first + size) == load_word(data, start + k, start + size)
    ):
        k += 8
    return k >= size


@leaf
def number_chunks(vocabulary, data, origin, chunks, num_chunks, numbers, first):
    """Set numbers[first : first + num_chunks] to the entries of chunks, for which there is room."""
    entries = vocabulary.entries
    used = np.uint64(vocabulary.used[_ENTRIES])
    to = np.uint64(first)
    for k in range(np.uint64(num_chunks)):
        start, stop = chunks.starts[k], chunks.ends[k]
        value = hash_bytes(data, start, stop)
        index = _number(vocabulary, used, value, data, origin, start, stop)
        entries[index].count += np.uint32(1)
        entries[index].kind = chunks.kinds[k]
        numbers[to + k] = index
        used += np.uint64(index == used)
    vocabulary.used[_ENTRIES] = used


@leaf
def describe_chunks(vocabulary, table, chunk, data, origin, index, stop, out):
    """What the chunks index..stop of the vocabulary are, as long as there is room.

    Adds what all their occurrences add to the counts of chunk_table.py to `out` int64. Returns the
    next one, how many words it has, if known, and which stop words occurred, bit k for word k.
    """
    entries = vocabulary.entries
    plain = plain_chars = num_stop = stop_words = np.int64(0)
    num_words = np.int64(1)
    while index < stop:
        entry = entries[index]
        count, start = np.int64(entry.count), origin + np.int64(entry.start)
        num_bytes = np.int64(entry.num_bytes)
        if entry.kind == SOLO_LETTER:
            num_chars = count_chars(data, start, start + num_bytes)
        elif entry.kind == ASCII_LETTERS and not contraction(entry.hash):
            num_chars = num_bytes
        else:
            num_chars = plain_word(data, start, start + num_bytes, entry.hash)
        if num_chars:
            entry.word = index
            entry.num_parts = 1
            entry.num_chars = num_chars
            entry.sentence = STARTS_SENTENCE
            plain += count
            plain_chars += count * num_chars
            bit = stop_word_bit(entry.hash, num_bytes)
            stop_words |= bit
            num_stop += count * (bit != 0)
        else:
            number = _look_up(table, entry, data, start, chunk)
            if number < 0:
                break
            record = table.chunks[number]
            num_words = np.int64(record.counts[NUM_WORDS])
            if not _has_room_for(vocabulary, num_words):
                break
            _enter_words(vocabulary, index, data, origin, table, number)
            for k in range(NUM_COUNTED):
                out[k] += count * record.counts[k]
            stop_words |= np.int64(record.stop_words)
        index += 1
    out[NUM_WORDS] += plain
    out[NUM_NONSYMBOL_WORDS] += plain
    out[NUM_ALPHA_WORDS] += plain
    out[NONSYMBOL_WORD_CHARS] += plain_chars
    out[NUM_STOP_WORDS] += num_stop
    return index, num_words, stop_words


@inlined
def _look_up(table, entry, data, start, chunk):
    """The number of a chunk in the table, which learns it; -1 if there is no room."""
    stop = start + np.int64(entry.num_bytes)
    number = find_chunk(table, entry.hash, data, start, stop)
    if number < 0 and has_room(table):
        number = learn_chunk(table, entry.hash, data, start, stop, chunk)
    return number


@leaf
def _enter_words(vocabulary, index, data, origin, table, number):
    """Chunk `number` of the table is entry `index`: number its words, for which there is room."""
    record, entry = table.chunks[number], vocabulary.entries[index]
    num_words, first = np.int64(record.counts[NUM_WORDS]), np.int64(record.first_word)
    entry.chunk = number
    entry.num_parts = num_words
    entry.sentence = record.sentence
    if num_words == 1:
        entry.word = index
        entry.num_chars = table.words[first].num_chars
        return
    first_part = vocabulary.used[_PARTS]
    entry.word = first_part
    chunk_start = start = origin + np.int64(entry.start)
    for k in range(num_words):
        word = table.words[first + k]
        stop = chunk_start + np.int64(word.end)
        used = vocabulary.used[_ENTRIES]
        value = hash_bytes(data, start, stop)
        part = _number(vocabulary, np.uint64(used), value, data, origin, start, stop)
        vocabulary.used[_ENTRIES] += np.int64(part) == used
        vocabulary.entries[part].num_chars = word.num_chars
        vocabulary.parts[first_part + k] = part
        start = stop
    vocabulary.used[_PARTS] += num_words


@leaf
def list_words(vocabulary, table, numbers, num_chunks, words):
    """Set `words` to those of chunks numbers[:num_chunks]; returns how many sentences they start.

    A sentence starts at a word that comes after a terminal mark.
    """
    entries, parts = vocabulary.entries, vocabulary.parts
    sentences = ended = np.int64(0)
    size = np.uint64(0)
    for k in range(np.uint64(num_chunks)):
        entry = entries[np.uint64(numbers[k])]
        if entry.num_parts == 1:
            words[size] = entry.word
            size += _ONE
        else:
            for part in range(np.uint64(entry.word), np.uint64(entry.word + entry.num_parts)):
                words[size] = parts[part]
                size += _ONE
        if entry.sentence == HAS_SENTENCES:
            record = table.chunks[np.uint64(entry.chunk)]
            sentences += np.int64(record.sentence_starts[ended])
            ended = np.int64(record.sentence_ended[ended])
        else:
            sentences += ended & np.int64(entry.sentence == STARTS_SENTENCE)
            ended = np.int64(entry.sentence == ENDS_SENTENCE) | (
                ended & np.int64(entry.sentence == KEEPS_SENTENCE)
            )
    return sentences
