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
from typing import Any

import numba
import numpy as np
import pyarrow as pa

from filters import contractions, lines, ngrams, segment, strings, unicode
from filters.columns import text_bytes
from filters.kernels import sources_digest
from filters.lines import LINE_COLUMNS, count_lines
from filters.ngrams import DUPLICATE_NGRAMS, TOP_NGRAMS, new_ngram_work, repeated_ngrams
from filters.segment import load_rules, new_chunk
from filters.strings import find, learn_chunk, new_strings, scan_chunk, skip_space

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
SCHEMA = pa.schema([(name, pa.int64()) for name in COLUMNS])


def compute(batch: pa.RecordBatch, params: Mapping[str, Any] | None = None) -> pa.RecordBatch:
    """The counts of each document of `batch.column("text")`; `params` takes no entry."""
    if params:
        raise ValueError(f"signal group text takes no parameters, not {sorted(params)}")
    offsets, data = text_bytes(batch.column("text"))
    counts = np.empty((len(COLUMNS), batch.num_rows), np.int64)
    _count_documents(offsets, data, load_rules(), new_strings(), new_chunk(), counts)
    return pa.RecordBatch.from_arrays([pa.array(column) for column in counts], schema=SCHEMA)


@numba.njit(nogil=True)
def _store(line_counts, word_counts, ngram_counts, counts, document):
    column = 0
    for group in (line_counts, word_counts, ngram_counts):
        for k in range(group.size):
            counts[column, document] = group[k]
            column += 1


@numba.njit(nogil=True)
def _count_words(data, start, stop, document, rules, table, chunk, words, word_chars, out):
    """Set `out` to the WORD_COLUMNS, words[:num_words] to numbers from 0 and word_chars to lengths.

    Returns the table, both arrays (grown if needed) and how many distinct words there are.
    """
    out[:] = 0
    stop_words = np.uint8(0)
    distinct = np.int32(0)
    num_words = np.int64(0)
    sentence_ended = np.uint8(0)
    last_end = np.int64(-1)
    i = skip_space(data, start, stop, rules.classes)
    while i < stop:
        end, value = scan_chunk(data, i, stop, rules.classes)
        index = find(table, value, data, i, end)
        if index < 0 or table.strings[index].num_words == 0:
            table, index = learn_chunk(table, value, data, i, end, rules, chunk)
        record = table.strings[index]
        out[NUM_SPACE_WORDS] += i != last_end
        out[NUM_NONSYMBOL_WORDS] += record.num_nonsymbol_words
        out[NONSYMBOL_WORD_CHARS] += record.nonsymbol_word_chars
        out[NUM_ALPHA_WORDS] += record.num_alpha_words
        out[NUM_STOP_WORDS] += record.num_stop_words
        out[NUM_HASHES] += record.num_hashes
        out[NUM_ELLIPSES] += record.num_ellipses
        out[NUM_CURLY_BRACKETS] += record.num_curly_brackets
        out[NUM_SENTENCES] += record.sentence_starts[sentence_ended]
        sentence_ended = record.sentence_ended[sentence_ended]
        stop_words |= record.stop_words
        if num_words + record.num_words > words.size:
            words = _grown(words, num_words + record.num_words)
            word_chars = _grown(word_chars, num_words + record.num_words)
        for k in range(record.first_word, record.first_word + record.num_words):
            word = table.strings[table.words[k]]
            if word.document != document + 1:
                word.document = document + 1
                word.number = distinct
                distinct += 1
            words[num_words] = word.number
            word_chars[num_words] = word.num_chars
            num_words += 1
        last_end = end
        i = skip_space(data, end, stop, rules.classes)
    out[NUM_WORDS] = num_words
    out[NUM_SENTENCES] += num_words > 0
    for k in range(8):
        out[NUM_DISTINCT_STOP_WORDS] += stop_words >> k & 1
    return table, words, word_chars, distinct


@numba.njit(nogil=True)
def _grown(values, at_least):
    grown = np.empty(max(at_least, 2 * values.size), values.dtype)
    for k in range(values.size):
        grown[k] = values[k]
    return grown


def _compile(sources: str) -> Callable[..., None]:
    @numba.njit(cache=True, nogil=True)
    def count_documents(offsets, data, rules, table, chunk, counts):
        """Set counts int64[columns, rows]."""
        _ = sources  # part of the cache's key
        line_counts = np.empty(len(LINE_COLUMNS), np.int64)
        word_counts = np.empty(len(WORD_COLUMNS), np.int64)
        ngram_counts = np.empty(len(NGRAM_COLUMNS), np.int64)
        work = new_ngram_work(1 << 12)
        words = np.empty(1 << 12, np.int32)
        word_chars = np.empty(1 << 12, np.int32)
        for document in range(offsets.size - 1):
            start, stop = offsets[document], offsets[document + 1]
            count_lines(data, start, stop, rules.classes, line_counts)
            table, words, word_chars, distinct = _count_words(
                data, start, stop, document, rules, table, chunk, words, word_chars, word_counts
            )
            if word_counts[NUM_WORDS] > work.places.size:
                work = new_ngram_work(words.size)
            repeated_ngrams(words, word_counts[NUM_WORDS], distinct, word_chars, work, ngram_counts)
            _store(line_counts, word_counts, ngram_counts, counts, document)

    return count_documents


_count_documents = _compile(sources_digest(contractions, lines, ngrams, segment, strings, unicode))
