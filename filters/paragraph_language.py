"""Languages of paragraphs: how much of a document is in another language than its beginning.

The `language` of a document is that of its first characters (language.py). A forum with a
translated frame, a page with a cookie notice or a bilingual law has paragraphs in others. A
paragraph is a line; those with fewer than 50 characters are not judged, nor are those whose
language the model gives less than 0.5. Of each, the first 200 characters are looked at: a document
costs as much as one prediction for each 200 characters, a multiple of the `language` group.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from filters import language
from filters.language import LanguageParams
from filters.ratios import Ratio

VERSION = 1
MIN_CHARS = 50
MAX_CHARS = 200
MIN_SCORE = 0.5
SCHEMA = pa.schema(
    [
        pa.field("num_judged_paragraphs", pa.uint32(), nullable=False),
        pa.field("num_foreign_paragraphs", pa.uint32(), nullable=False),
        pa.field("judged_paragraph_chars", pa.uint64(), nullable=False),
        pa.field("foreign_paragraph_chars", pa.uint64(), nullable=False),
    ]
)
"""Foreign is what is judged to be in another language than the document; characters are those of
whole paragraphs."""
RATIOS = (
    Ratio("foreign_paragraph_ratio", "num_foreign_paragraphs", "num_judged_paragraphs"),
    Ratio("foreign_paragraph_char_ratio", "foreign_paragraph_chars", "judged_paragraph_chars"),
)


def compute(batch: pa.RecordBatch, params: LanguageParams = LanguageParams()) -> pa.RecordBatch:
    """The signals of a batch with a `text` column, aligned by row."""
    text = batch.column("text")
    documents, _ = language.predict(text, params.model_path, params.max_chars)
    paragraphs = list(_paragraphs(text))
    starts = pa.array([start for _, start, _ in paragraphs], pa.large_string())
    found, scores = language.predict(starts, params.model_path, MAX_CHARS)
    counts = np.zeros((len(SCHEMA), len(text)), np.uint64)
    names = documents.to_pylist()
    for (row, _, num_chars), name, score in zip(
        paragraphs, found.to_pylist(), scores.to_pylist(), strict=True
    ):
        if score >= MIN_SCORE:
            is_foreign = name != names[row]
            counts[:, row] += np.array(
                [1, is_foreign, num_chars, is_foreign * num_chars], np.uint64
            )
    columns = [
        pa.array(count).cast(field.type) for count, field in zip(counts, SCHEMA, strict=True)
    ]
    return pa.record_batch(columns, schema=SCHEMA)


def _paragraphs(text: pa.Array) -> Iterator[tuple[int, str, int]]:
    """Row, beginning and number of characters of each paragraph that is long enough."""
    for row, document in enumerate(text):
        for line in (document.as_py() or "").split("\n"):
            stripped = line.strip()
            if len(stripped) >= MIN_CHARS:
                yield row, stripped[:MAX_CHARS], len(stripped)
