"""The shuffle gives what the same function gives in one process, however it is cut."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipelines.duplicates import band_shuffle, candidates
from pipelines.duplicates.candidates import candidate_pairs
from pipelines.duplicates.competing import MINHASH
from storage.errors import UserError
from tests.pipelines.dedup_corpus import ranks_of, shuffled_pairs


def bands(num_docs: int, num_bands: int) -> np.ndarray:
    rng = np.random.default_rng(2)
    rare = rng.integers(0, 1 << 64, (num_docs // 3, num_bands), dtype=np.uint64)
    hashes = rare[rng.integers(0, len(rare), (num_docs, num_bands)), np.arange(num_bands)]
    hashes[rng.choice(num_docs, 150, replace=False), 0] = rare[0, 0]  # a large bucket
    return hashes


@pytest.mark.parametrize(
    ("num_parts", "pass_bytes", "num_passes"),
    [(1, 10**9, 1), (4, 33_000, 2), (3, 6_000, 9), (1, 0, 1), (4, 0, 1)],
    ids=["Beam", "Beam, two passes", "Beam, nine passes", "files", "files of four parts"],
)
def test_parts_and_passes_give_the_pairs_of_one_process(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    num_parts: int,
    pass_bytes: int,
    num_passes: int,
) -> None:
    hashes = bands(1000, 3)
    monkeypatch.setattr(band_shuffle, "is_in_files", lambda _: pass_bytes == 0)
    monkeypatch.setattr(candidates, "MAX_PASS_BYTES", pass_bytes)
    monkeypatch.setattr(candidates, "KEY_BYTES", 4_000)
    pairs, counts = shuffled_pairs(tmp_path, hashes, num_parts)
    ranks = ranks_of(1000)
    expected, expected_counts = candidate_pairs(hashes, ranks, ranks)
    np.testing.assert_array_equal(pairs, expected)
    assert counts == expected_counts
    assert counts["large_buckets"] == 1
    assert len(list(tmp_path.glob(".work/_done/passes/*.json"))) == num_passes
    assert not list(tmp_path.glob(".work/rows/*"))


def test_a_damaged_table_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def damage(*_: object) -> tuple[dict, dict]:
        (tmp_path / MINHASH / "web" / "0000001-0000.parquet").write_bytes(b"PAR1 damaged PAR1")
        return {}, {}

    monkeypatch.setattr("pipelines.duplicates.band_shuffle.link_hot_buckets", damage)
    with pytest.raises(UserError, match=r"0000001-0000\.parquet") as error:
        shuffled_pairs(tmp_path, bands(900, 2), 3)
    assert "\n" not in str(error.value)
    assert not (tmp_path / ".work" / "_done" / "passes").exists()
