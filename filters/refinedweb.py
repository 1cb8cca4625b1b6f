"""RefinedWeb's line editor, as DCLM publishes it, with the counts behind its page rule.

How lines are judged is in refinedweb_lines.py. A page is dropped when more than 5 % of its words
are cut. Columns, each with `refinedweb_` in front, int64:

    num_lines                   str.split("\\n"), those that are not empty
    num_uppercase_lines, num_numeric_lines, num_counter_lines, num_few_words_lines
                                lines cut, by the first reason that held
    num_phrase_lines            lines that a phrase was cut from
    num_words                   words that begin with a letter or digit, before
    num_removed_words           how many fewer there are after

The first step of the published pipeline is not here: it cuts URLs out of the text, by a list of
top-level domains.
"""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np
import pyarrow as pa

from filters import bits, blocks, refinedweb_lines, unicode, utf8
from filters.columns import read_only, text_bytes
from filters.kernels import sources_digest
from filters.marks import edits_of_marks
from filters.ratios import Ratio
from filters.refinedweb_lines import COLUMNS, REASONS, clean_page

VERSION = 1
NAME = "refinedweb"
SCHEMA = pa.schema([pa.field(f"{NAME}_{column}", pa.int64(), nullable=False) for column in COLUMNS])
RATIOS = (Ratio(f"{NAME}_removed_word_ratio", f"{NAME}_num_removed_words", f"{NAME}_num_words"),)


def compute_with_edits(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.Table]:
    """Counts of each page of `batch.column("text")`, aligned by row, and the spans to cut.

    The second is an EDITS table: `row` within the batch; `start`, `end` half-open UTF-8 bytes of
    the row's text, sorted, without overlaps; nothing is put in their place. Takes a byte for each
    byte of the texts.
    """
    offsets, data = text_bytes(batch.column("text"))
    data = data[offsets[0] : offsets[-1]]
    offsets = offsets - offsets[0]
    cut = np.zeros(offsets[-1], np.uint8)
    counts = np.empty((len(COLUMNS), batch.num_rows), np.int64)
    scratch = np.empty(np.max(np.diff(offsets), initial=0), np.uint8)
    rest = read_only(scratch)  # the type of `data`: kernels are compiled once for both
    _clean_pages(offsets, data, scratch, rest, cut, counts)
    columns = [pa.array(column) for column in counts]
    signals = pa.RecordBatch.from_arrays(columns, schema=SCHEMA)
    return signals, edits_of_marks(offsets, cut, REASONS)


def _compile(sources: str) -> Callable[..., None]:
    @numba.njit(cache=True, nogil=True)
    def clean_pages(offsets, data, scratch, rest, cut, counts):
        """Set marks uint8[bytes] and counts int64[columns, rows]."""
        _ = sources  # part of the cache's key
        row_counts = np.empty(counts.shape[0], np.int64)
        for row in range(offsets.size - 1):
            clean_page(data, offsets[row], offsets[row + 1], scratch, rest, cut, row_counts)
            for k in range(row_counts.size):
                counts[k, row] = row_counts[k]

    return clean_pages


_clean_pages = _compile(sources_digest(bits, blocks, refinedweb_lines, unicode, utf8))
