"""The final decision: the first drop in order, the split, and aligned, complete tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.config import CorpusConfig
from pipelines.duplicates import competing, decide, exact, generations
from pipelines.duplicates.competing import Part
from pipelines.duplicates.ranking import is_validation
from storage import commit, tables
from storage.commit import PartMarker, WrittenObject
from storage.tables import DECISION, FINAL
from tests.pipelines.dedup_corpus import (
    Doc,
    corpus_config,
    read_final,
    with_validation,
    write_corpus,
)

PART = "web/0000000-0000"


def decided_corpus(output: Path) -> tuple[CorpusConfig, list[Part]]:
    config = corpus_config(output, ["web"], fuzzy=False)
    docs = [Doc(f"text {k % 3}", f"{k}", "low" if k == 0 else "") for k in range(6)]
    write_corpus(config, {PART: docs})
    parts = competing.find_parts(config)
    exact.run(config, parts, generations.begin(config, parts))
    return config, parts


def write_stage(config: CorpusConfig, stage: str, reasons: list[str]) -> None:
    columns = [pa.array(range(len(reasons)), pa.uint64()), pa.array([bool(r) for r in reasons])]
    table = pa.Table.from_arrays([*columns, pa.array(reasons)], schema=DECISION)
    stats = tables.write_table(config.path(stage, f"{PART}.parquet"), table, DECISION)
    written = WrittenObject.of_table(stage, PART, stats)
    commit.write_marker(config.output, PartMarker(stage, PART, stats.digest, [written]))


def test_the_first_drop_in_order_is_the_fate(tmp_path: Path) -> None:
    config, parts = decided_corpus(tmp_path)
    write_stage(config, "decisions/takedown", ["asked"] + [""] * 5)
    write_stage(config, "decisions/decontamination", ["", "", "leak", "", "", "leak"])
    exact.run(config, parts, generations.begin(config, parts))
    counts = decide.run(config, parts)
    final = read_final(config)
    assert {r: (row["stage"], row["reason"]) for r, row in final.items() if not row["kept"]} == {
        "0": ("takedown", "asked"),
        "2": ("decontamination", "leak"),
        "4": ("exact", "exact_duplicate"),
        "5": ("decontamination", "leak"),
    }
    assert counts == {
        "documents": 6,
        "kept": 2,
        "kept_validation": 0,
        "drop:asked": 1,
        "drop:leak": 2,
        "drop:exact_duplicate": 1,
    }


def test_the_table_is_aligned_and_complete(tmp_path: Path) -> None:
    config, parts = decided_corpus(tmp_path)
    decide.run(config, parts)
    table = tables.read_table(config.path(decide.STAGE, f"{PART}.parquet"))
    assert table.schema.remove_metadata() == FINAL
    assert table["doc_id"].to_pylist() == list(range(6))
    assert all(column.null_count == 0 for column in table.columns)
    for row in table.to_pylist():
        assert row["kept"] == (row["reason"] == "") == (row["stage"] == "")
        if row["kept"]:
            assert row["survivor"] == row["cluster"] == row["doc_id"]
            assert row["similarity"] == 0.0


def test_the_split_follows_from_the_hash_alone(tmp_path: Path) -> None:
    """Equal texts are on one side; a larger fraction only moves documents to validation."""
    config, parts = decided_corpus(tmp_path)
    before: set[str] = set()
    for fraction in (0.0, 0.2, 0.5, 0.99):
        decide.run(with_validation(config, fraction), parts)
        final = read_final(config)
        held_out = {record for record, row in final.items() if row["split"] == "validation"}
        assert before <= held_out
        for k in range(3):
            assert len({final[str(k)]["split"], final[str(k + 3)]["split"]}) == 1
        before = held_out
    assert before


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.3, 0.999999])
def test_the_fraction_held_out(fraction: float) -> None:
    high = np.random.default_rng(1).integers(0, 1 << 64, 100_000, np.uint64)
    share = is_validation(high, fraction).mean()
    assert abs(share - fraction) < 4 * np.sqrt(fraction * (1 - fraction) / 100_000) + 1e-9


def test_a_second_run_decides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, parts = decided_corpus(tmp_path)
    counts = decide.run(config, parts)
    monkeypatch.setattr(decide, "final_table", None)
    assert decide.run(config, parts) == counts
