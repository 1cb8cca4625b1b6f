"""Signal group `text`: the integer counts behind Gopher's and FineWeb's rules, in one pass.

    compute(batch) -> one int64 column per count, aligned with the rows of `batch`

What is stored are counts; ratios are one float64 division when a rule is evaluated (gopher.py,
fineweb.py name them). No count depends on other documents of the batch. Columns:

    num_chars                       code points
    num_newlines                    "\\n"
    num_lines                       str.splitlines
    num_bullet_lines, ..._dolma, ..._dclm                   lines that start with a bullet
    num_ellipsis_lines, ..._dolma, ..._dclm                 lines that end with an ellipsis
    num_pieces                      text between runs of newlines, empty ones at the ends included
    num_duplicate_pieces, duplicate_piece_chars             pieces that occurred before
    num_nonblank_lines              "\\n" lines with a visible character; of these:
    num_terminal_lines              end in one of 159 terminal marks of all scripts
    num_short_lines                 have at most 30 characters
    duplicate_nonblank_line_chars   characters in those that occurred before
    num_long_lines                  "\\n" lines of at least 200 characters
    num_paragraphs                  text between runs of two or more newlines, stripped at the ends
    num_duplicate_paragraphs, duplicate_paragraph_chars
    num_words                       words and punctuation marks (segment.py)
    num_nonsymbol_words             words with a character that is no symbol
    nonsymbol_word_chars            characters in those
    num_alpha_words                 words with an alphabetic character
    num_stop_words                  occurrences of the, be, to, of, and, that, have, with
    num_hashes                      "#"
    num_ellipses                    "..." and U+2026
    num_curly_brackets              "{"
    num_distinct_stop_words         how many of the eight occur
    num_space_words                 str.split words
    num_sentences                   1 + words that come after a terminal mark
    top_2gram_chars .. top_4gram_chars              the most frequent n-gram's characters * count
    duplicate_5gram_chars .. duplicate_10gram_chars characters in repeated n-grams

Work memory is reused within a batch. A document of n words takes about 24 n bytes, whatever is in
it; time is linear in its bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numba
import numpy as np
import pyarrow as pa

from filters import (
    bits,
    blocks,
    chunk_table,
    chunks,
    contractions,
    lines,
    ngrams,
    segment,
    unicode,
    utf8,
    vocabulary,
)
from filters.bits import hash_bytes
from filters.chunk_table import (
    ENDS_SENTENCE,
    HAS_SENTENCES,
    KEEPS_SENTENCE,
    NUM_COUNTED,
    NUM_WORDS,
    STARTS_SENTENCE,
    STOP_WORDS,
    find_chunk,
    fit_cache,
    grown,
    has_room,
    learn_chunk,
    new_chunk_table,
)
from filters.chunks import block_at, chunk_in, next_chunk, read_block, skip_space
from filters.columns import text_bytes
from filters.kernels import leaf, sources_digest
from filters.lines import LINE_COLUMNS, count_lines
from filters.ngrams import DUPLICATE_NGRAMS, TOP_NGRAMS, new_ngram_work, repeated_ngrams
from filters.segment import MAX_CHUNK_BYTES, contraction, new_chunk
from filters.vocabulary import (
    add_chunk,
    add_letters,
    add_up,
    become_letters,
    clear,
    find_entry,
    has_room_for,
    new_vocabulary,
    num_entries,
    with_room_for,
)

WORD_COLUMNS = (
    "num_words",
    "num_nonsymbol_words",
    "nonsymbol_word_chars",
    "num_alpha_words",
    "num_stop_words",
    "num_hashes",
    "num_ellipses",
    "num_curly_brackets",
    "num_distinct_stop_words",
    "num_space_words",
    "num_sentences",
)
"""The first eight are those of chunk_table.py, by NUM_WORDS to NUM_CURLY_BRACKETS."""
NUM_DISTINCT_STOP_WORDS, NUM_SPACE_WORDS, NUM_SENTENCES = range(NUM_COUNTED, len(WORD_COLUMNS))
NGRAM_COLUMNS = (
    *(f"top_{n}gram_chars" for n in TOP_NGRAMS),
    *(f"duplicate_{n}gram_chars" for n in DUPLICATE_NGRAMS),
)
VERSION = 2
COLUMNS = (*LINE_COLUMNS, *WORD_COLUMNS, *NGRAM_COLUMNS)

SCHEMA = pa.schema([(name, pa.int64()) for name in COLUMNS])


def compute(batch: pa.RecordBatch, params: Mapping[str, Any] | None = None) -> pa.RecordBatch:
    """The counts of each document of `batch.column("text")`; `params` takes no entry."""
    if params:
        raise ValueError(f"signal group text takes no parameters, not {sorted(params)}")
    offsets, data = text_bytes(batch.column("text"))
    counts = np.empty((len(COLUMNS), batch.num_rows), np.int64)
    _count_documents(offsets, data, counts)
    return pa.RecordBatch.from_arrays([pa.array(column) for column in counts], schema=SCHEMA)


@leaf
def _store(line_counts, word_counts, ngram_counts, counts, document):
    column = 0
    for group in (line_counts, word_counts, ngram_counts):
        for k in range(group.size):
            counts[column, document] = group[k]
            column += 1


class Progress(NamedTuple):
    """How far the words of a document are read.

    at: the next chunk's first byte; last_end: the last one's end; num_words: so far;
    sentence_ended: whether the last word ended a sentence; next_words: of the next chunk, if known.
    """

    at: int | np.int64
    last_end: int | np.int64
    num_words: int | np.int64
    sentence_ended: int | np.int64
    next_words: int | np.int64


@numba.njit(nogil=True)
def _count_words(data, start, stop, table, chunk, vocabulary, numbers, out):
    """Set `out` to the WORD_COLUMNS and `numbers` to the words of data[start:stop], in order.

    Returns the table, the vocabulary and the numbers, grown if needed.
    """
    for column in range(out.size):
        out[column] = 0
    clear(vocabulary)
    zero, one = np.int64(0), np.int64(1)
    progress = Progress(skip_space(data, start, stop), start - 1, zero, zero, one)
    while progress.at < stop:
        if not has_room(table):
            table = grown(table)
        vocabulary = with_room_for(vocabulary, progress.next_words)
        numbers = _with_room(numbers, progress.num_words + MAX_CHUNK_BYTES)
        progress = _read_chunks(data, start, stop, table, chunk, vocabulary, numbers, progress, out)
    out[NUM_SENTENCES] += progress.num_words > 0
    stop_words = add_up(vocabulary, table, data, start, out)
    for k in range(len(STOP_WORDS)):
        out[NUM_DISTINCT_STOP_WORDS] += stop_words >> k & 1
    return table, vocabulary, numbers


@leaf
def _read_chunks(data, start, stop, table, chunk, vocabulary, numbers, progress, out):
    """Read chunks as long as there is room; returns the progress."""
    i, last_end, num_words, ended, needed = progress
    entries, parts = vocabulary.entries, vocabulary.parts
    space_words = sentences = np.int64(0)
    block = read_block(data, i, stop)
    while i < stop and num_words + MAX_CHUNK_BYTES <= numbers.size:
        block = block_at(block, data, i, stop)
        end, is_letters = chunk_in(block, data, i, stop)
        value = hash_bytes(data, i, end)
        index = find_entry(vocabulary, value, data, start, i, end)
        if index < 0 or entries[index].num_parts == 0:
            if is_letters and not contraction(value):
                if not has_room_for(vocabulary, 1):
                    break
                if index < 0:
                    index = add_letters(vocabulary, -1 - index, value, start, i, end)
                else:
                    become_letters(vocabulary, index)
            else:
                index, needed = _enter_chunk(
                    index, value, data, start, i, end, table, chunk, vocabulary
                )
                if index < 0:
                    break
        entry = entries[index]
        entry.count += np.uint32(1)
        for k in range(entry.num_parts):
            numbers[np.uint64(num_words) + k] = parts[np.uint64(entry.first_part) + k]
        num_words += np.int64(entry.num_parts)
        if entry.sentence == HAS_SENTENCES:
            record = table.chunks[np.int64(entry.chunk) - 1]
            sentences += np.int64(record.sentence_starts[ended])
            ended = np.int64(record.sentence_ended[ended])
        else:
            sentences += ended & np.int64(entry.sentence == STARTS_SENTENCE)
            ended = np.int64(entry.sentence == ENDS_SENTENCE) | (
                ended & np.int64(entry.sentence == KEEPS_SENTENCE)
            )
        space_words += i != last_end
        last_end = end
        i = next_chunk(block, data, end, stop)
    out[NUM_SPACE_WORDS] += space_words
    out[NUM_SENTENCES] += sentences
    return Progress(i, last_end, num_words, ended, needed)


@leaf
def _enter_chunk(index, value, data, origin, start, stop, table, chunk, vocabulary):
    """Enter a chunk that occurs for the first time; `index` is what `find_entry` returned.

    Returns its entry, or -1 for want of room, and how many words it has.
    """
    number = find_chunk(table, value, data, start, stop)
    if number < 0:
        if not has_room(table):
            return np.int64(-1), np.int64(1)
        number = learn_chunk(table, value, data, start, stop, chunk)
    num_words = np.int64(table.chunks[number].counts[NUM_WORDS])
    if not has_room_for(vocabulary, num_words):
        return np.int64(-1), num_words
    index = add_chunk(vocabulary, index, value, data, origin, start, stop, table, number)
    return index, num_words


@numba.njit(nogil=True)
def _with_room(numbers, at_least):
    """int32 array with room for `at_least` numbers, those that are there kept in place."""
    if at_least <= numbers.size:
        return numbers
    larger = np.empty(2 * at_least, np.int32)
    for k in range(numbers.size):
        larger[k] = numbers[k]
    return larger


def _compile(sources: str) -> Callable[..., None]:
    @numba.njit(cache=True, nogil=True)
    def count_documents(offsets, data, counts):
        """Set counts int64[columns, rows]."""
        _ = sources  # part of the cache's key
        line_counts = np.empty(len(LINE_COLUMNS), np.int64)
        word_counts = np.empty(len(WORD_COLUMNS), np.int64)
        ngram_counts = np.empty(len(NGRAM_COLUMNS), np.int64)
        table, chunk, vocabulary = new_chunk_table(), new_chunk(), new_vocabulary()
        numbers, work = np.empty(1 << 12, np.int32), new_ngram_work(1 << 12)
        for document in range(offsets.size - 1):
            start, stop = offsets[document], offsets[document + 1]
            count_lines(data, start, stop, line_counts)
            table, vocabulary, numbers = _count_words(
                data, start, stop, fit_cache(table), chunk, vocabulary, numbers, word_counts
            )
            num_words, distinct = word_counts[NUM_WORDS], num_entries(vocabulary)
            if max(num_words, distinct) > work.places.size:
                work = new_ngram_work(2 * max(num_words, distinct))
            repeated_ngrams(numbers, num_words, distinct, vocabulary.entries, work, ngram_counts)
            _store(line_counts, word_counts, ngram_counts, counts, document)

    return count_documents


_count_documents = _compile(
    sources_digest(
        bits,
        blocks,
        chunk_table,
        chunks,
        contractions,
        lines,
        ngrams,
        segment,
        unicode,
        utf8,
        vocabulary,
    )
)
