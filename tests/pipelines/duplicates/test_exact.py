"""Exact duplicates: groups by hash, and the survivor by source and record, never by address."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.duplicates import competing, exact, generations
from pipelines.duplicates.exact import repeated_rows
from pipelines.duplicates.ranking import ContentHashes
from storage import commit, tables
from tests.pipelines.dedup_corpus import Doc, corpus_config, with_dedup, write_corpus

hash_values = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0, 1, 2**64 - 1])))


@settings(deadline=None)
@given(hash_values)
def test_rows_repeat_when_both_halves_of_the_hash_do(values: list[tuple[int, int]]) -> None:
    high = np.array([value[0] for value in values], np.uint64)
    low = np.array([value[1] for value in values], np.uint64)
    rows, groups = repeated_rows(ContentHashes(high, low))
    times = Counter(values)
    assert rows.tolist() == [row for row, value in enumerate(values) if times[value] > 1]
    named = {int(group): values[row] for row, group in zip(rows, groups, strict=True)}
    assert [named[int(group)] for group in groups] == [values[row] for row in rows]
    assert len(set(named.values())) == len(named)


PARTS = {
    "web/0000000-0000": [Doc("one", "z"), Doc("two", "m"), Doc("one", "b", drop="bad")],
    "web/0000002-0000": [Doc("one", "y"), Doc("three", "n")],
    "books/0000001-0000": [Doc("one", "c"), Doc("two", "a"), Doc("one", "c2")],
}


def survivors(output: Path, **dedup) -> dict[str, str]:
    """Record of the survivor of each dropped document."""
    config = corpus_config(output, ["web", "books"], **dedup)
    write_corpus(config, PARTS)
    parts = competing.find_parts(config)
    exact.run(config, parts, generations.begin(config, parts))
    records: dict[int, str] = {}
    rows = []
    for part in parts:
        table = tables.read_table(config.path(exact.STAGE, f"{part.name}.parquet"))
        documents = tables.read_table(config.path("documents", f"{part.name}.parquet"))
        records |= dict(
            zip(documents["doc_id"].to_pylist(), documents["record"].to_pylist(), strict=True)
        )
        rows += table.to_pylist()
    for row in rows:
        assert row["drop"] == (row["survivor"] != row["doc_id"]) == (row["similarity"] == 1.0)
        assert row["cluster"] == row["survivor"]
    return {records[row["doc_id"]]: records[row["survivor"]] for row in rows if row["drop"]}


def test_source_then_record_decide(tmp_path: Path) -> None:
    """`books` comes before `web` by name; what select dropped neither competes nor survives."""
    assert survivors(tmp_path) == {"c2": "c", "y": "c", "z": "c", "m": "a"}


def test_source_priority_is_the_order_in_the_corpus_file(tmp_path: Path) -> None:
    found = survivors(tmp_path, survivor="source_priority")
    assert found == {"z": "y", "c": "y", "c2": "y", "a": "m"}


def test_ranges_of_the_hash_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    docs = [Doc(f"text {rng.integers(200)}", f"{k:04d}") for k in range(600)]
    config = corpus_config(tmp_path, ["web"])
    write_corpus(config, {"web/0000000-0000": docs[:400], "web/0000001-0000": docs[400:]})
    parts = competing.find_parts(config)
    whole = exact.find_duplicates(config, parts, ["decisions/select"])
    monkeypatch.setattr(exact, "BYTES_PER_DOC", 20 * config.dedup.memory_bytes // 600)
    ranges = exact.find_duplicates(config, parts, ["decisions/select"])
    np.testing.assert_array_equal(whole.doc_ids, ranges.doc_ids)
    np.testing.assert_array_equal(whole.survivors, ranges.survivors)
    assert len(whole.doc_ids) == 600 - len({doc.text for doc in docs})


def test_a_changed_policy_decides_again(tmp_path: Path) -> None:
    config = corpus_config(tmp_path, ["web", "books"])
    write_corpus(config, PARTS)
    parts = competing.find_parts(config)
    exact.run(config, parts, generations.begin(config, parts))
    before = commit.fingerprint(commit.read_markers(config.output, exact.STAGE))
    changed = with_dedup(config, survivor="source_priority")
    exact.run(changed, parts, generations.begin(changed, parts))
    assert commit.fingerprint(commit.read_markers(config.output, exact.STAGE)) != before
