"""C4 (Raffel et al. 2020, https://jmlr.org/papers/v21/20-074.html): line editor and page counts.

Two incompatible sets of numbers are in circulation under this name. Each is a variant here, which
is both an editor (spans to cut) and a signal group (counts of the page and of what is left of it):

                                        c4          c4_datatrove    c4_fineweb
    published as                        TFDS c4     datatrove 0.10  FineWeb's settings of it
    min_words per line                  5           3               3
    words counted                       after citations were cut; before; before
    a line must end in one of           . ? ! "     . ? ! " '       -
    page rule: sentences at least       3           5               5

Both drop a page with "lorem ipsum" or "{" in a line that would have stayed. Sentences are counted
by the terminal marks of all scripts (segment.py says which marks are words), not by NLTK's trained
model. How lines are judged is in c4_lines.py. Columns, each with the variant's name in front:

    num_lines, num_kept_lines       str.splitlines
    num_<reason>_lines              lines cut, by the first reason that held
    num_citations                   cut from kept lines
    num_sentences, num_words        in kept lines
    num_chars, num_newlines, num_nonblank_lines, num_terminal_lines, num_short_lines,
    duplicate_nonblank_line_chars   of what is left, defined as in textstats.py
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from filters import (
    bits,
    blocks,
    c4_lines,
    chunk_table,
    chunks,
    contractions,
    lines,
    segment,
    unicode,
    utf8,
)
from filters.c4_lines import (
    COLUMNS,
    END,
    NEWLINE,
    REASON,
    REASONS,
    ROW,
    START,
    LineRules,
    clean_page,
    new_spans,
)
from filters.chunk_table import (
    ChunkTable,
    fields_to_keep,
    fit_cache,
    keep_known_chunks,
    take_known_chunks,
)
from filters.chunks import new_chunks
from filters.columns import read_only, text_bytes
from filters.kernels import sources_digest
from filters.segment import new_chunk

VERSION = 1
MAX_WORD_CHARS = 1000
EDITS = pa.schema(
    [
        ("row", pa.uint32()),
        ("start", pa.uint64()),
        ("end", pa.uint64()),
        ("replacement", pa.large_string()),
        ("reason", pa.string()),
    ]
)


class C4Params(NamedTuple):
    """The settings of a variant; the module docstring has the table."""

    name: str
    min_words: int
    require_terminal: bool
    count_cited_words: bool
    end_marks: str
    max_word_chars: int = MAX_WORD_CHARS


VARIANTS = {
    params.name: params
    for params in (
        C4Params("c4", 5, True, False, '.?!"'),
        C4Params("c4_datatrove", 3, True, True, ".?!\"'"),
        C4Params("c4_fineweb", 3, False, True, ".?!\"'"),
    )
}


def schema(params: C4Params) -> pa.Schema:
    """int64 columns, each with the variant's name in front."""
    fields = (f"{params.name}_{column}" for column in COLUMNS)
    return pa.schema([pa.field(name, pa.int64(), nullable=False) for name in fields])


def compute_with_edits(batch: pa.RecordBatch, params: C4Params) -> tuple[pa.RecordBatch, pa.Table]:
    """Counts of each page of `batch.column("text")`, aligned by row, and the spans to cut.

    The second is an EDITS table: `row` within the batch; `start`, `end` half-open UTF-8 bytes of
    the row's text, sorted, without overlaps; `replacement` a newline or empty.
    """
    offsets, data = text_bytes(batch.column("text"))
    counts = np.empty((len(COLUMNS), batch.num_rows), np.int64)
    scratch = np.empty(np.max(np.diff(offsets), initial=0), np.uint8)
    uncited = read_only(scratch)  # the type of `data`: kernels are compiled once for both
    spans, table = _clean_pages(
        offsets, data, scratch, uncited, counts, take_known_chunks(), *_line_rules(params)
    )
    keep_known_chunks(table)
    arrays = [pa.array(column) for column in counts]
    return pa.RecordBatch.from_arrays(arrays, schema=schema(params)), _edits_table(spans)


def _line_rules(params: C4Params) -> tuple[int, int, bool, bool, npt.NDArray[np.uint8]]:
    """The fields of LineRules. (A kernel's cache cannot hold types of ours in its signature.)"""
    return (
        params.max_word_chars,
        params.min_words,
        params.require_terminal,
        params.count_cited_words,
        np.array(list(params.end_marks.encode()), np.uint8),
    )


def _edits_table(spans: npt.NDArray[np.int64]) -> pa.Table:
    values = spans.T
    replacements = pa.array(["", "\n"], pa.large_string())
    reasons = pa.array(REASONS, pa.string())
    return pa.table(
        [
            pa.array(values[ROW].astype(np.uint32)),
            pa.array(values[START].astype(np.uint64)),
            pa.array(values[END].astype(np.uint64)),
            replacements.take(pa.array(values[NEWLINE])),
            reasons.take(pa.array(values[REASON])),
        ],
        schema=EDITS,
    )


def _compile(
    sources: str,
) -> Callable[..., tuple[npt.NDArray[np.int64], tuple[npt.NDArray, ...]]]:
    @numba.njit(cache=True, nogil=True)
    def clean_pages(
        offsets,
        data,
        scratch,
        uncited,
        counts,
        known,
        max_word_chars,
        min_words,
        require_terminal,
        count_cited_words,
        end_marks,
    ):
        """Set counts int64[columns, rows]; returns the spans int64[spans, 5] and the table."""
        _ = sources  # part of the cache's key
        line_rules = LineRules(
            max_word_chars, min_words, require_terminal, count_cited_words, end_marks
        )
        table = ChunkTable(*known)
        chunk, chunks, spans = new_chunk(), new_chunks(), new_spans()
        row_counts = np.empty(len(COLUMNS), np.int64)
        for row in range(offsets.size - 1):
            table, spans = clean_page(
                data,
                offsets[row],
                offsets[row + 1],
                row,
                line_rules,
                fit_cache(table),
                chunk,
                chunks,
                scratch,
                uncited,
                spans,
                row_counts,
            )
            for k in range(row_counts.size):
                counts[k, row] = row_counts[k]
        return spans.values[: spans.used[0]], fields_to_keep(table)

    return clean_pages


_clean_pages = _compile(
    sources_digest(
        bits,
        blocks,
        c4_lines,
        chunk_table,
        chunks,
        contractions,
        lines,
        segment,
        unicode,
        utf8,
    )
)
