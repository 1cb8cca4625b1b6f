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

Work memory is reused within a batch. A document of n words takes at most 80 n bytes, whatever
is in it; time is linear in its bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numba
import numpy as np
import numpy.typing as npt
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
from filters.blocks import BLOCK
from filters.chunk_table import (
    NUM_COUNTED,
    NUM_WORDS,
    STOP_WORDS,
    ChunkTable,
    fields_to_keep,
    fit_cache,
    grown,
    has_room,
    keep_known_chunks,
    take_known_chunks,
)
from filters.chunks import WINDOW, Chunks, Place, new_chunks, read_chunks
from filters.columns import text_bytes
from filters.kernels import leaf, sources_digest
from filters.lines import LINE_COLUMNS, count_lines
from filters.ngrams import DUPLICATE_NGRAMS, TOP_NGRAMS, new_ngram_work, repeated_ngrams
from filters.segment import new_chunk
from filters.vocabulary import (
    Vocabulary,
    clear,
    describe_chunks,
    list_words,
    new_vocabulary,
    num_entries,
    number_chunks,
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

SCHEMA = pa.schema([pa.field(name, pa.int64(), nullable=False) for name in COLUMNS])


def compute(batch: pa.RecordBatch, params: Mapping[str, Any] | None = None) -> pa.RecordBatch:
    """The counts of each document of `batch.column("text")`; `params` takes no entry."""
    if params:
        raise ValueError(f"signal group text takes no parameters, not {sorted(params)}")
    offsets, data = text_bytes(batch.column("text"))
    counts = np.empty((len(COLUMNS), batch.num_rows), np.int64)
    keep_known_chunks(_count_documents(offsets, data, counts, take_known_chunks()))
    return pa.RecordBatch.from_arrays([pa.array(column) for column in counts], schema=SCHEMA)


@leaf
def _store(line_counts, word_counts, ngram_counts, counts, document):
    column = 0
    for group in (line_counts, word_counts, ngram_counts):
        for k in range(group.size):
            counts[column, document] = group[k]
            column += 1


class Work(NamedTuple):
    """Work memory for one document after the other; it grows.

    numbers int32: the chunks of the document, by their numbers in the vocabulary; words int32.
    """

    table: ChunkTable
    chunk: npt.NDArray[Any]
    chunks: Chunks
    vocabulary: Vocabulary
    numbers: npt.NDArray[np.int32]
    words: npt.NDArray[np.int32]


@numba.njit(nogil=True)
def _new_work(table):
    return Work(
        table,
        new_chunk(),
        new_chunks(),
        new_vocabulary(),
        np.empty(1 << 12, np.int32),
        np.empty(1 << 12, np.int32),
    )


@numba.njit(nogil=True)
def _count_words(data, start, stop, work, out):
    """Set `out` to the WORD_COLUMNS and `work.words` to the words of data[start:stop], in order.

    Returns the work memory, grown if needed.
    """
    table, chunk, chunks, vocabulary, numbers, words = work
    table = fit_cache(table)
    for column in range(out.size):
        out[column] = 0
    clear(vocabulary)
    num_chunks = np.int64(0)
    place = Place(np.int64(start), np.int64(start) - 1)
    while place.at < stop:
        at_most = min(WINDOW + BLOCK, stop - place.at)
        vocabulary = with_room_for(vocabulary, at_most)
        numbers = _with_room(numbers, num_chunks + at_most)
        found, after_space, place = read_chunks(data, place, stop, chunks)
        number_chunks(vocabulary, data, start, chunks, found, numbers, num_chunks)
        num_chunks += found
        out[NUM_SPACE_WORDS] += after_space
    described, num_distinct = np.int64(1), num_entries(vocabulary)
    stop_words, next_words = np.int64(0), np.int64(1)
    while described < num_distinct:
        if not has_room(table):
            table = grown(table)
        vocabulary = with_room_for(vocabulary, next_words)
        described, next_words, occurred = describe_chunks(
            vocabulary, table, chunk, data, start, described, num_distinct, out
        )
        stop_words |= occurred
    for k in range(len(STOP_WORDS)):
        out[NUM_DISTINCT_STOP_WORDS] += stop_words >> k & 1
    words = _with_room(words, out[NUM_WORDS] + 1)
    starts = list_words(vocabulary, table, numbers, num_chunks, words)
    out[NUM_SENTENCES] = starts + (num_chunks > 0)
    return Work(table, chunk, chunks, vocabulary, numbers, words)


@numba.njit(nogil=True)
def _with_room(numbers, at_least):
    """int32 array with room for `at_least` numbers, those that are there kept in place."""
    if at_least <= numbers.size:
        return numbers
    larger = np.empty(2 * at_least, np.int32)
    for k in range(numbers.size):
        larger[k] = numbers[k]
    return larger


def _compile(sources: str) -> Callable[..., tuple[npt.NDArray, ...]]:
    @numba.njit(cache=True, nogil=True)
    def count_documents(offsets, data, counts, known):
        """Set counts int64[columns, rows]; returns the table of chunks."""
        _ = sources  # part of the cache's key
        line_counts = np.empty(len(LINE_COLUMNS), np.int64)
        word_counts = np.empty(len(WORD_COLUMNS), np.int64)
        ngram_counts = np.empty(len(NGRAM_COLUMNS), np.int64)
        work = _new_work(ChunkTable(*known))
        ngram_work = new_ngram_work(1 << 12)
        for document in range(offsets.size - 1):
            start, stop = offsets[document], offsets[document + 1]
            count_lines(data, start, stop, line_counts)
            work = _count_words(data, start, stop, work, word_counts)
            num_words = word_counts[NUM_WORDS]
            if num_words > ngram_work.places.size:
                ngram_work = new_ngram_work(2 * num_words)
            repeated_ngrams(
                work.words, num_words, work.vocabulary.entries, ngram_work, ngram_counts
            )
            _store(line_counts, word_counts, ngram_counts, counts, document)
        return fields_to_keep(work.table)

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
