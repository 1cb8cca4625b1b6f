"""Personal data and secrets: counted per kind, and spans that mask them.

Candidates come from a byte scan (pii_scan.py), exact checks per kind from pii_checks.py and
secrets.py; those modules say what each kind is. Names, postal addresses and birthdays are not
looked for: they need a model. Spans that overlap are one span, of the kind that is first in
PRIORITY. A mask such as <EMAIL> is found by no check again.

    num_emails, num_ipv4_addresses, num_ipv6_addresses, num_phones, num_ibans, num_cards,
    num_secrets     int64, occurrences in a document
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from pydantic import ConfigDict

from filters import secrets
from filters.c4 import EDITS
from filters.columns import TextBytes, text_bytes
from filters.pii_checks import KINDS, Span, check
from filters.pii_scan import scan

VERSION = 1
COLUMNS = {
    "email": "num_emails",
    "ipv4": "num_ipv4_addresses",
    "ipv6": "num_ipv6_addresses",
    "phone": "num_phones",
    "iban": "num_ibans",
    "card": "num_cards",
    "secret": "num_secrets",
}
MASKS = {
    "email": "<EMAIL>",
    "ipv4": "<IP>",
    "ipv6": "<IP>",
    "phone": "<PHONE>",
    "iban": "<IBAN>",
    "card": "<CARD>",
    "secret": "<SECRET>",
}
PRIORITY = ("secret", "email", "iban", "card", "ipv6", "ipv4", "phone")
SCHEMA = pa.schema([pa.field(name, pa.int64(), nullable=False) for name in COLUMNS.values()])
_KEY_BEGINS = b"-----BEGIN "


@dataclass(frozen=True, slots=True)
class PiiParams:
    """`mask`: the kinds that the editor masks; all kinds are counted."""

    __pydantic_config__ = ConfigDict(extra="forbid")

    mask: tuple[str, ...] = KINDS

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.mask if kind not in KINDS]
        if unknown:
            raise ValueError(f"unknown kind {unknown[0]!r}; there are {', '.join(KINDS)}")


def compute(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The `pii` signals of a batch with a `text` column, aligned by row."""
    return _counts(batch.num_rows, find(batch.column("text")))


def compute_with_edits(
    batch: pa.RecordBatch, params: PiiParams = PiiParams()
) -> tuple[pa.RecordBatch, pa.Table]:
    """The `pii` signals, and an EDITS table that replaces what `params` masks."""
    found = find(batch.column("text"))
    return _counts(batch.num_rows, found), _edits(found, params)


def find(text: pa.Array) -> list[tuple[int, Span]]:
    """(row, span) of all personal data, by row, then start, without overlaps."""
    columns = text_bytes(text)
    by_row: dict[int, list[Span]] = {}
    for row, span in (*_checked(columns), *_private_keys(columns)):
        by_row.setdefault(row, []).append(span)
    return [(row, span) for row in sorted(by_row) for span in _apart(by_row[row])]


def _checked(text: TextBytes) -> Iterator[tuple[int, Span]]:
    view = text.data.data
    bounds = text.offsets.tolist()
    for row, start, end, shape in zip(*(c.tolist() for c in scan(*text)), strict=True):
        document = view[bounds[row] : bounds[row + 1]]
        for span in check(document, start, end, shape):
            yield row, span


def _private_keys(text: TextBytes) -> Iterator[tuple[int, Span]]:
    """They need not hold a digit near their start, and few batches have any."""
    offsets = text.offsets
    data = text.data[offsets[0] : offsets[-1]].tobytes()
    if _KEY_BEGINS not in data:
        return
    for row in range(len(offsets) - 1):
        document = data[offsets[row] - offsets[0] : offsets[row + 1] - offsets[0]]
        for start, end in secrets.private_keys(document):
            yield row, Span(start, end, "secret")


def _apart(spans: list[Span]) -> list[Span]:
    """Sorted spans without overlaps: those that overlap are one, of the first kind by PRIORITY."""
    apart: list[Span] = []
    for span in sorted(spans):
        if apart and span.start < apart[-1].end:
            last = apart.pop()
            kind = min(last.kind, span.kind, key=PRIORITY.index)
            span = Span(last.start, max(last.end, span.end), kind)
        apart.append(span)
    return apart


def _counts(num_rows: int, found: list[tuple[int, Span]]) -> pa.RecordBatch:
    counts = {kind: np.zeros(num_rows, np.int64) for kind in COLUMNS}
    for row, span in found:
        counts[span.kind][row] += 1
    return pa.RecordBatch.from_arrays([pa.array(one) for one in counts.values()], schema=SCHEMA)


def _edits(found: list[tuple[int, Span]], params: PiiParams) -> pa.Table:
    masked = [(row, span) for row, span in found if span.kind in params.mask]
    columns = {
        "row": [row for row, _ in masked],
        "start": [span.start for _, span in masked],
        "end": [span.end for _, span in masked],
        "replacement": [MASKS[span.kind] for _, span in masked],
        "reason": [span.kind for _, span in masked],
    }
    return pa.table(columns, schema=EDITS)
