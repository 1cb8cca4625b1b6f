"""Features of documents: rows of numbers, picked and put together by document."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipelines.duplicates.features import Features

ROWS = st.dictionaries(st.integers(0, 50), st.lists(st.integers(0, 2**64 - 1), max_size=4))


def features_of(rows: dict[int, list[int]]) -> Features:
    doc_ids = np.array(sorted(rows), np.uint64)
    lengths = [len(rows[doc_id]) for doc_id in sorted(rows)]
    values = [number for doc_id in sorted(rows) for number in rows[doc_id]]
    return Features.of_rows(doc_ids, np.array(lengths, np.int64), np.array(values, np.uint64))


def rows_of(features: Features) -> dict[int, list[int]]:
    rows = np.split(features.values, features.offsets[1:-1])
    return {doc: row.tolist() for doc, row in zip(features.doc_ids.tolist(), rows, strict=False)}


@given(rows=ROWS, data=st.data())
def test_features_are_packed_picked_and_merged_by_document(
    rows: dict[int, list[int]], data: st.DataObject
) -> None:
    some = data.draw(st.sets(st.sampled_from(sorted(rows)))) if rows else set()
    whole = features_of(rows)
    assert rows_of(Features.unpack(whole.pack(), "<u8")) == rows
    picked = whole.take(np.array(sorted(some), np.uint64))
    assert rows_of(picked) == {doc_id: rows[doc_id] for doc_id in some}
    others = features_of({doc_id: row for doc_id, row in rows.items() if doc_id not in some})
    for merged in (picked.merge(others), others.merge(picked)):
        assert merged.doc_ids.tolist() == sorted(rows)
        assert rows_of(merged) == rows
