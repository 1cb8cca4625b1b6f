from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.edits import apply_edits
from pipelines.config import CorpusConfig
from pipelines.reporting import data as report_data
from pipelines.reporting.data import cluster_sizes, cut_bytes, decided_parts, list_casualties
from pipelines.reporting.funnel import Funnel, Tally
from storage import commit, tables
from storage.commit import PartMarker, WrittenObject
from storage.errors import UserError
from storage.tables import CASUALTIES, EDITS
from tests.pipelines.packed_corpus import Doc, make_config, write_corpus

SPANS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 20), st.integers(0, 20)), max_size=6)


def edits_table(spans: list[tuple[int, int, int]]) -> pa.Table:
    """Spans of one editor: sorted, without overlaps; every other one puts a newline in."""
    rows, done = [], (-1, 0)
    for row, one, other in sorted((row, min(a, b), max(a, b)) for row, a, b in spans):
        if (row, one) < done:
            continue
        replacement = "\n" if len(rows) % 2 else ""
        rows.append({"row": row, "start": one, "end": other, "replacement": replacement})
        done = (row, other)
    return pa.Table.from_pylist([{**one, "reason": "line"} for one in rows], EDITS)


@settings(deadline=None)
@given(SPANS, SPANS)
def test_cut_bytes_are_those_that_the_view_lacks(
    first: list[tuple[int, int, int]], second: list[tuple[int, int, int]]
) -> None:
    text = pa.array(["a" * 20, "b" * 21, "c" * 30], pa.large_string())
    edits = [edits_table(first), edits_table(second)]
    view = apply_edits(text, *edits)
    lost = sum(map(len, text.to_pylist())) - sum(map(len, view.to_pylist()))
    assert cut_bytes([with_sizes(table) for table in edits]) == lost


def with_sizes(edits: pa.Table) -> pa.Table:
    sizes = [len(one.encode()) for one in edits["replacement"].to_pylist()]
    edits = edits.select(["row", "start", "end"])
    return edits.append_column("replaced", pa.array(sizes, pa.int64()))


def docs_in_clusters(sizes: list[int]) -> list[Doc]:
    """Web documents in clusters of these sizes, mixed over parts; the first of each is kept."""
    docs: list[Doc] = []
    for size in sizes:
        best = len(docs)
        docs.append(Doc(f"document {best}"))
        doc_id = (best // 7 << 28) + best % 7  # parts of 7 documents of unit 0
        docs += [Doc("copy", reason="near_duplicate", survivor=doc_id) for _ in range(size - 1)]
    return docs


@pytest.mark.parametrize("max_members", [3, 10, 10**6])
def test_clusters_are_counted_in_any_number_of_passes(tmp_path: Path, max_members: int) -> None:
    sizes = [2, 1, 3, 2, 1, 9, 1, 2]
    sizes[0] = 1  # document 0 is its own survivor in the test corpus
    corpus = write_corpus(tmp_path, docs_in_clusters(sizes))
    parts = decided_parts(corpus.config)
    assert len(parts) == 3
    found = cluster_sizes(corpus.config, parts, max_members)
    assert found == Counter(size for size in sizes if size > 1)


def test_parts_without_their_own_decisions_stop_the_report(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, [Doc(f"text {n}") for n in range(9)])
    assert len(decided_parts(corpus.config)) == 2
    commit.delete_marker(corpus.config.output, "decisions/final", "web/0000000-0001")
    with pytest.raises(UserError, match="web/0000000-0001 has no final decisions"):
        decided_parts(corpus.config)


def test_tally_counts_documents_and_bytes() -> None:
    tally = Tally()
    for language, kept, size in (("en", True, 5), ("en", False, 7), ("de", True, 1)):
        rows = {"language": [language], "kept": [kept], "text_bytes": np.array([size], np.uint64)}
        tally.add(pa.table(rows), "language", "kept")
    shares = [
        (one.value, one.documents, one.num_bytes, one.kept, one.kept_bytes)
        for one in tally.shares()
    ]
    assert shares == [("de", 1, 1, 1, 1), ("en", 2, 12, 1, 5)]


def test_the_total_of_funnels_adds_every_figure() -> None:
    funnels = []
    for number in (1, 2):
        one = Funnel("web", raw_bytes=number, records=10 * number, kept=number, tokens=number)
        one.casualties["corrupt"] = number
        one.fates.documents["select", "short"] = number
        funnels.append(one)
    total = Funnel.total(funnels, "all")
    assert (total.raw_bytes, total.records, total.kept, total.tokens) == (3, 30, 3, 3)
    assert total.casualties == {"corrupt": 3}
    assert total.dropped == {"short": 3}
    assert total.source == "all"
    assert funnels[0].records == 10


def test_rules_that_only_follow_others_are_listed() -> None:
    funnel = Funnel("web")
    funnel.fates.documents.update({("", ""): 5, ("select", "short"): 2, ("exact", "copy"): 1})
    funnel.marginal.update({"short": 3, "hashes": 1, "never": 0})
    drops = [(one.reason, one.documents, one.alone) for one in funnel.drops()]
    assert drops == [("short", 2, 3), ("copy", 1, None), ("hashes", 0, 1)]


def test_casualties_of_every_kind_and_source_are_listed(tmp_path: Path) -> None:
    """A few of each, however many there are."""
    config = make_config(tmp_path)
    for part, kind, number in (
        ("books/0000001-0000", "corrupt", 3),
        ("gone/0000002-0000", "corrupt", 3),
        ("web/0000000-0000", "invalid", 5000),
        ("web/0000000-0001", "invalid", 5000),
        ("web/0000000-0002", "corrupt", 1),
    ):
        write_casualties(config, part, kind, number)
    listed = Counter((one["source"], one["kind"]) for one in list_casualties(config))
    most = report_data.MAX_CASUALTIES_OF_KIND
    assert listed == {("books", "corrupt"): 3, ("web", "invalid"): most, ("web", "corrupt"): 1}


def write_casualties(config: CorpusConfig, part: str, kind: str, number: int) -> None:
    rows = [{"record": f"raw#{n}+1", "kind": kind, "message": "lost"} for n in range(number)]
    path = config.path(f"casualties/{part}.parquet")
    stats = tables.write_table(path, pa.Table.from_pylist(rows, CASUALTIES), CASUALTIES)
    written = WrittenObject.of_table("casualties", part, stats)
    counts = {"records": number, f"casualty:{kind}": number}
    commit.write_marker(config.output, PartMarker("ingest", part, "r", [written], counts))
