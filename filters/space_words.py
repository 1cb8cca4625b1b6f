"""Signal group `space_words`: Gopher's counts by words of str.split, as Dolma and DCLM read them.

Nothing is cut off a word, so "end." is one and "that," is no stop word.

    space_word_chars            characters of all words
    median_space_word_chars     of the words' lengths; at most 255
    num_symbol_space_words      words with "#" or U+2026 in them
    num_alpha_space_words       words with a letter
    num_stop_space_words        words that are the, be, to, of, and, that, have or with
    num_folded_stop_space_words likewise, in any case
    num_copied_lines            "\\n" lines that occur more than once, the first of them included
    copied_line_chars           characters of those

Empty lines are no copies of each other here. Dolma takes them for such, but its text has none.
References: dolma 1.2.1, taggers/gopher.py (Soldaini et al. 2024, arXiv:2402.00159); DCLM,
content_filters.py (Li et al. 2024, arXiv:2406.11794).
"""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np
import pyarrow as pa

from filters import bits, blocks, chunks, lines, unicode, utf8
from filters.bits import hash_bytes
from filters.blocks import byte_from, count_chars
from filters.chunks import skip_space
from filters.columns import text_bytes
from filters.kernels import leaf, sources_digest
from filters.lines import has_slot, insert, new_hash_set, with_room
from filters.ratios import Ratio
from filters.unicode import ALPHA, SPACE
from filters.utf8 import decode, flags_at

VERSION = 1
NAME = "space_words"
COUNTS = (
    "num_symbol_space_words",
    "num_alpha_space_words",
    "num_stop_space_words",
    "num_folded_stop_space_words",
    "space_word_chars",
    "num_copied_lines",
    "copied_line_chars",
)
(
    _SYMBOL_WORDS,
    _ALPHA_WORDS,
    _STOP_WORDS,
    _FOLDED_STOP_WORDS,
    _WORD_CHARS,
    _COPIED_LINES,
    _COPIED_CHARS,
) = range(7)
SCHEMA = pa.schema(
    [
        pa.field("median_space_word_chars", pa.float64(), nullable=False),
        *(pa.field(name, pa.int64(), nullable=False) for name in COUNTS),
    ]
)
RATIOS = (
    Ratio("mean_space_word_chars", "space_word_chars", "num_space_words"),
    Ratio("symbol_space_word_ratio_dclm", "num_hashes", "num_space_words", plus="num_ellipses"),
    Ratio("symbol_space_word_ratio", "num_symbol_space_words", "num_space_words"),
    Ratio("alpha_space_word_ratio", "num_alpha_space_words", "num_space_words"),
    Ratio("bullet_line_ratio_dolma", "num_bullet_lines_dolma", "num_lines"),
    Ratio("ellipsis_line_ratio_dolma", "num_ellipsis_lines_dolma", "num_lines"),
    Ratio("copied_line_ratio", "num_copied_lines", "num_lines"),
    Ratio("copied_line_char_ratio", "copied_line_chars", "space_word_chars"),
)
"""With counts of signal group `text`, too."""
MAX_WORD_CHARS = 255
STOP_WORDS = ("the", "be", "to", "of", "and", "that", "have", "with")

_STOP_WORDS_BYTES = np.array([list(w.encode().ljust(4, b"\0")) for w in STOP_WORDS], np.uint8)
_STOP_WORD_SIZES = np.array([len(word) for word in STOP_WORDS], np.int64)
_NEWLINE, _HASH, _ELLIPSIS, _CASE = ord("\n"), ord("#"), 0x2026, 0x20


def compute(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The `space_words` signals of a batch with a `text` column, aligned by row."""
    offsets, data = text_bytes(batch.column("text"))
    counts = np.empty((len(COUNTS), batch.num_rows), np.int64)
    medians = np.empty(batch.num_rows, np.float64)
    _count_documents(offsets, data, medians, counts)
    columns = [pa.array(medians), *(pa.array(count) for count in counts)]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


@leaf
def _count_words(data, i, stop, lengths, out):
    """Add the words of data[i:stop] to `out`, and to lengths int64[256] how many are how long."""
    i = skip_space(data, i, stop)
    while i < stop:
        start, chars = i, np.int64(0)
        has_alpha = has_symbol = False
        while i < stop:
            code_point, after = decode(data, i, stop)
            flags = flags_at(code_point)
            if flags & SPACE:
                break
            chars += 1
            has_alpha |= flags & ALPHA != 0
            has_symbol |= code_point in (_HASH, _ELLIPSIS)
            i = after
        lengths[min(chars, MAX_WORD_CHARS)] += 1
        out[_WORD_CHARS] += chars
        out[_ALPHA_WORDS] += has_alpha
        out[_SYMBOL_WORDS] += has_symbol
        out[_STOP_WORDS] += _is_stop_word(data, start, i, 0)
        out[_FOLDED_STOP_WORDS] += _is_stop_word(data, start, i, _CASE)
        i = skip_space(data, i, stop)


@leaf
def _is_stop_word(data, start, stop, case):
    """Whether data[start:stop], with the bits of `case` set in each byte, is a stop word."""
    size = stop - start
    for which in range(_STOP_WORD_SIZES.size):
        if size == _STOP_WORD_SIZES[which]:
            k = 0
            while k < size and data[start + k] | case == _STOP_WORDS_BYTES[which, k]:
                k += 1
            if k == size:
                return True
    return False


@leaf
def _median(lengths):
    """The median of lengths, of which lengths[n] are n: 0 for none, as statistics.median else."""
    total = np.int64(0)
    for n in range(lengths.size):
        total += lengths[n]
    if total == 0:
        return 0.0
    return (_at_rank(lengths, (total - 1) // 2) + _at_rank(lengths, total // 2)) / 2


@leaf
def _at_rank(lengths, rank):
    n = np.int64(0)
    while lengths[n] <= rank:
        rank -= lengths[n]
        n += 1
    return n


@leaf
def _count_lines(data, line, stop, seen, copied, out):
    """Count copied lines from byte `line` on, as long as the sets have room; returns the next."""
    while line < stop and has_slot(seen) and has_slot(copied):
        end = byte_from(data, line, stop, _NEWLINE)
        if line < end:
            value = hash_bytes(data, line, end)
            if insert(seen, value):
                copies = 1 if insert(copied, value) else 2  # with the first one
                out[_COPIED_LINES] += copies
                out[_COPIED_CHARS] += copies * count_chars(data, line, end)
        line = end + 1
    return line


def _compile(sources: str) -> Callable[..., None]:
    @numba.njit(cache=True, nogil=True)
    def count_documents(offsets, data, medians, counts):
        """Set medians float64[rows] and counts int64[columns, rows]."""
        _ = sources  # part of the cache's key
        row_counts = np.empty(counts.shape[0], np.int64)
        lengths = np.empty(MAX_WORD_CHARS + 1, np.int64)
        for row in range(offsets.size - 1):
            start, stop = offsets[row], offsets[row + 1]
            row_counts[:] = 0
            lengths[:] = 0
            _count_words(data, start, stop, lengths, row_counts)
            seen, copied = new_hash_set(64), new_hash_set(16)
            while start < stop:
                seen, copied = with_room(seen), with_room(copied)
                start = _count_lines(data, start, stop, seen, copied, row_counts)
            medians[row] = _median(lengths)
            for k in range(row_counts.size):
                counts[k, row] = row_counts[k]

    return count_documents


_count_documents = _compile(sources_digest(bits, blocks, chunks, lines, unicode, utf8))
