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
    num_distinct_stop_words         how many of the eight occur
    num_space_words                 str.split words
    num_hashes                      "#"
    num_ellipses                    "..." and U+2026
    num_curly_brackets              "{"
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
import numpy.typing as npt
import pyarrow as pa

from filters import bits, contractions, lines, ngrams, segment, strings, unicode, utf8
from filters.columns import text_bytes
from filters.kernels import leaf, sources_digest
from filters.lines import LINE_COLUMNS, count_lines
from filters.ngrams import DUPLICATE_NGRAMS, TOP_NGRAMS, new_ngram_work, repeated_ngrams
from filters.segment import MAX_CHUNK_BYTES, new_chunk
from filters.strings import (
    chunk_end,
    fit_cache,
    grown,
    has_room,
    new_strings,
    skip_space,
    string_of_chunk,
)

(
    NUM_WORDS,
    NUM_NONSYMBOL_WORDS,
    NONSYMBOL_WORD_CHARS,
    NUM_ALPHA_WORDS,
    NUM_STOP_WORDS,
    NUM_DISTINCT_STOP_WORDS,
    NUM_SPACE_WORDS,
    NUM_HASHES,
    NUM_ELLIPSES,
    NUM_CURLY_BRACKETS,
    NUM_SENTENCES,
) = range(11)
WORD_COLUMNS = (
    "num_words",
    "num_nonsymbol_words",
    "nonsymbol_word_chars",
    "num_alpha_words",
    "num_stop_words",
    "num_distinct_stop_words",
    "num_space_words",
    "num_hashes",
    "num_ellipses",
    "num_curly_brackets",
    "num_sentences",
)
NGRAM_COLUMNS = (
    *(f"top_{n}gram_chars" for n in TOP_NGRAMS),
    *(f"duplicate_{n}gram_chars" for n in DUPLICATE_NGRAMS),
)
VERSION = 1
COLUMNS = (*LINE_COLUMNS, *WORD_COLUMNS, *NGRAM_COLUMNS)
_SENTENCE_ENDED, _STOP_WORDS, _DISTINCT, _LAST_END = range(4)  # state within a document

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


class DocumentWords(NamedTuple):
    """Room for the words of one document: their numbers and lengths in order, int32."""

    numbers: npt.NDArray[np.int32]
    chars: npt.NDArray[np.int32]


@numba.njit(nogil=True)
def new_document_words():
    """Room for some words; it grows."""
    return DocumentWords(np.empty(1 << 12, np.int32), np.empty(1 << 12, np.int32))


@numba.njit(nogil=True)
def _count_words(data, start, stop, document, table, chunk, words, out):
    """Set `out` to the WORD_COLUMNS and `words` to the words of data[start:stop].

    Returns the table and the words (both grown if needed) and how many distinct words there are.
    """
    for column in range(out.size):
        out[column] = 0
    state = np.zeros(4, np.int64)
    state[_LAST_END] = -1
    i = skip_space(data, start, stop)
    while i < stop:
        if not has_room(table):
            table = grown(table)
        words = _with_room(words, out[NUM_WORDS] + MAX_CHUNK_BYTES)
        i = _count_chunks(data, i, stop, document, table, chunk, words, state, out)
    out[NUM_SENTENCES] += out[NUM_WORDS] > 0
    for k in range(8):
        out[NUM_DISTINCT_STOP_WORDS] += state[_STOP_WORDS] >> k & 1
    return table, words, state[_DISTINCT]


@leaf
def _count_chunks(data, i, stop, document, table, chunk, words, state, out):
    """Count chunks from byte i on, as long as there is room; returns where the next one starts."""
    strings, table_words, numbers, chars = table.strings, table.words, words.numbers, words.chars
    while i < stop and out[NUM_WORDS] + MAX_CHUNK_BYTES <= numbers.size and has_room(table):
        end = chunk_end(data, i, stop)
        record = strings[string_of_chunk(table, data, i, end, chunk)]
        out[NUM_SPACE_WORDS] += i != state[_LAST_END]
        out[NUM_NONSYMBOL_WORDS] += record.num_nonsymbol_words
        out[NONSYMBOL_WORD_CHARS] += record.nonsymbol_word_chars
        out[NUM_ALPHA_WORDS] += record.num_alpha_words
        out[NUM_STOP_WORDS] += record.num_stop_words
        out[NUM_HASHES] += record.num_hashes
        out[NUM_ELLIPSES] += record.num_ellipses
        out[NUM_CURLY_BRACKETS] += record.num_curly_brackets
        out[NUM_SENTENCES] += record.sentence_starts[state[_SENTENCE_ENDED]]
        state[_SENTENCE_ENDED] = record.sentence_ended[state[_SENTENCE_ENDED]]
        state[_STOP_WORDS] |= record.stop_words
        state[_LAST_END] = end
        num_words = out[NUM_WORDS]
        for k in range(record.num_words):
            word = strings[table_words[record.first_word + k]]
            if word.document != document + 1:
                word.document = document + 1
                word.number = state[_DISTINCT]
                state[_DISTINCT] += 1
            numbers[num_words + k] = word.number
            chars[num_words + k] = word.num_chars
        out[NUM_WORDS] += record.num_words
        i = skip_space(data, end, stop)
    return i


@numba.njit(nogil=True)
def _with_room(words, at_least):
    """The words with room for `at_least` of them, kept in place."""
    if at_least <= words.numbers.size:
        return words
    size = max(at_least, 2 * words.numbers.size)
    larger = DocumentWords(np.empty(size, np.int32), np.empty(size, np.int32))
    for k in range(words.numbers.size):
        larger.numbers[k] = words.numbers[k]
        larger.chars[k] = words.chars[k]
    return larger


def _compile(sources: str) -> Callable[..., None]:
    @numba.njit(cache=True, nogil=True)
    def count_documents(offsets, data, counts):
        """Set counts int64[columns, rows]."""
        _ = sources  # part of the cache's key
        line_counts = np.empty(len(LINE_COLUMNS), np.int64)
        word_counts = np.empty(len(WORD_COLUMNS), np.int64)
        ngram_counts = np.empty(len(NGRAM_COLUMNS), np.int64)
        table, chunk = new_strings(), new_chunk()
        words, work = new_document_words(), new_ngram_work(1 << 12)
        for document in range(offsets.size - 1):
            start, stop = offsets[document], offsets[document + 1]
            count_lines(data, start, stop, line_counts)
            table = fit_cache(table)
            table, words, distinct = _count_words(
                data, start, stop, document, table, chunk, words, word_counts
            )
            num_words = word_counts[NUM_WORDS]
            if num_words > work.places.size:
                work = new_ngram_work(words.numbers.size)
            repeated_ngrams(words.numbers, num_words, distinct, words.chars, work, ngram_counts)
            _store(line_counts, word_counts, ngram_counts, counts, document)

    return count_documents


_count_documents = _compile(
    sources_digest(bits, contractions, lines, ngrams, segment, strings, unicode, utf8)
)
