"""Signal group `code`: counts behind The Stack's rules for source files.

    code_language               the file's language, as `meta` has it under `lang`; "" when unknown
    code_longest_line_chars, code_longest_line_bytes        of str.splitlines
    code_line_chars             characters of all lines, without what breaks them
    code_num_alnum_chars        str.isalnum
    code_num_alpha_chars        str.isalpha
    code_has_xml_header         1 when "<?xml version=" is in the first 100 characters, else 0
    code_html_text_chars        of files in HTML, outside of tags, scripts and styles; 0 of others

Recipe `code-stack` has the thresholds (https://github.com/bigcode-project/bigcode-dataset, for The
Stack of Kocetkov et al. 2022, https://arxiv.org/abs/2211.15533, and StarCoder). Not here, because
they need a parser for each language or a tokenizer: the share of comments in code, and characters
per token.
"""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np
import pyarrow as pa

from filters import blocks, html_text, lines, unicode, utf8
from filters.blocks import BLOCK, bits_before, count_chars, in_range, num_bits
from filters.columns import text_bytes
from filters.html_text import count_text_chars
from filters.kernels import leaf, sources_digest
from filters.lines import next_break
from filters.ratios import Ratio
from filters.unicode import ALPHA
from filters.utf8 import decode, flags_at, is_alnum

VERSION = 2
NAME = "code"
COUNTS = (
    "code_longest_line_chars",
    "code_longest_line_bytes",
    "code_line_chars",
    "code_num_alnum_chars",
    "code_num_alpha_chars",
    "code_has_xml_header",
    "code_html_text_chars",
)
(
    _LONGEST_CHARS,
    _LONGEST_BYTES,
    _LINE_CHARS,
    _NUM_ALNUM,
    _NUM_ALPHA,
    _HAS_XML_HEADER,
    _HTML_TEXT_CHARS,
) = range(7)
HTML = "HTML"
SCHEMA = pa.schema(
    [
        pa.field("code_language", pa.string(), nullable=False),
        *(pa.field(name, pa.int64(), nullable=False) for name in COUNTS),
    ]
)
RATIOS = (
    Ratio("code_mean_line_chars", "code_line_chars", "num_lines"),
    Ratio("code_alnum_ratio", "code_num_alnum_chars", "num_chars"),
    Ratio("code_alpha_ratio", "code_num_alpha_chars", "num_chars"),
    Ratio("code_html_text_ratio", "code_html_text_chars", "num_chars"),
)
"""With counts of signal group `text` below."""

_XML_HEADER = np.array(list(b"<?xml version="), np.uint8)
_XML_HEADER_CHARS = 100


def compute(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The `code` signals of a batch with columns `text` and `meta`, aligned by row."""
    offsets, data = text_bytes(batch.column("text"))
    counts = np.empty((len(COUNTS), batch.num_rows), np.int64)
    languages = [dict(meta or ()).get("lang", "") for meta in batch.column("meta").to_pylist()]
    is_html = np.array([language == HTML for language in languages], np.bool_)
    _count_files(offsets, data, is_html, counts)
    columns = [pa.array(languages, pa.string()), *(pa.array(count) for count in counts)]
    return pa.RecordBatch.from_arrays(columns, schema=SCHEMA)


@leaf
def _count_file(data, start, stop, is_html, out):
    """Set out int64[7] to the COUNTS of data[start:stop]."""
    for column in range(out.size):
        out[column] = 0
    out[_HTML_TEXT_CHARS] = count_text_chars(data, start, stop) if is_html else 0
    out[_HAS_XML_HEADER] = _has_xml_header(data, start, stop)
    while start < stop:
        end, after = next_break(data, start, stop)
        chars = count_chars(data, start, end)
        out[_LONGEST_CHARS] = max(out[_LONGEST_CHARS], chars)
        out[_LONGEST_BYTES] = max(out[_LONGEST_BYTES], end - start)
        out[_LINE_CHARS] += chars
        _count_letters(data, start, end, chars < end - start, out)
        start = after


@leaf
def _count_letters(data, i, stop, decoded, out):
    """Count letters and digits; `decoded`: there are others than those of ASCII."""
    while decoded and i < stop:
        code_point, i = decode(data, i, stop)
        out[_NUM_ALPHA] += flags_at(code_point) & ALPHA != 0
        out[_NUM_ALNUM] += is_alnum(code_point)
    while i < stop:
        inside = bits_before(i, stop)
        letters = num_bits(in_range(data, i, ord("a"), ord("z"), flip=0x20) & inside)
        out[_NUM_ALPHA] += letters
        out[_NUM_ALNUM] += letters + num_bits(in_range(data, i, ord("0"), ord("9")) & inside)
        i += BLOCK


@leaf
def _has_xml_header(data, i, stop):
    last = i
    for _ in range(_XML_HEADER_CHARS):
        if last < stop:
            _, last = decode(data, last, stop)
    while i + _XML_HEADER.size <= last:
        k = 0
        while k < _XML_HEADER.size and data[i + k] == _XML_HEADER[k]:
            k += 1
        if k == _XML_HEADER.size:
            return True
        i += 1
    return False


def _compile(sources: str) -> Callable[..., None]:
    @numba.njit(cache=True, nogil=True)
    def count_files(offsets, data, is_html, counts):
        """Set counts int64[columns, rows]."""
        _ = sources  # part of the cache's key
        row_counts = np.empty(counts.shape[0], np.int64)
        for row in range(offsets.size - 1):
            _count_file(data, offsets[row], offsets[row + 1], is_html[row], row_counts)
            for k in range(row_counts.size):
                counts[k, row] = row_counts[k]

    return count_files


_count_files = _compile(sources_digest(blocks, html_text, lines, unicode, utf8))
