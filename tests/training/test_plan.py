import shutil

import numpy as np
import pytest

from storage.manifest import load_manifest
from tests.training.corpora import small_corpus
from training.packing import num_windows
from training.plan import PlanConfig, make_plan


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return small_corpus(tmp_path_factory.mktemp("corpus"))


def test_strata_are_sorted_and_hold_their_shards(corpus):
    plan = make_plan(corpus, PlanConfig(raw_length=16))
    assert plan.names == ["books", "web"]
    paths = [[plan.path(int(row)) for row in rows] for rows in plan.rows]
    assert paths[0] == [f"shards/train/books-0000{i}.tar" for i in range(2)]
    assert paths[1] == [f"shards/train/web-0000{i}.tar" for i in range(3)]
    for stratum, rows in zip(plan.strata, plan.rows, strict=True):
        shards = plan.shards.take(rows)
        tokens, docs = shards["tokens"].to_numpy(), shards["docs"].to_numpy()
        np.testing.assert_array_equal(stratum.windows_per_shard, num_windows(tokens, docs, 16, 1))
        assert stratum.num_windows == stratum.windows_per_shard.sum()
    assert plan.num_windows.tolist() == [stratum.num_windows for stratum in plan.strata]


@pytest.mark.parametrize(
    "change", [{"raw_length": 17}, {"seed": 1}, {"separator": 0}, {"num_lanes": 8}, {"cycle": 16}]
)
def test_whatever_decides_the_order_is_in_the_fingerprint(corpus, change):
    settings = {"raw_length": 16}
    plan, same, other = (
        make_plan(corpus, PlanConfig.model_validate(settings | fields)).fingerprint
        for fields in ({}, {}, change)
    )
    assert plan == same
    assert plan != other


def test_a_corpus_may_be_moved(corpus, tmp_path):
    shutil.copytree(corpus.root, tmp_path / "elsewhere")
    moved = load_manifest(str(tmp_path / "elsewhere"))
    config = PlanConfig(raw_length=16)
    assert make_plan(moved, config).fingerprint == make_plan(corpus, config).fingerprint


@pytest.mark.parametrize("num_lanes", [0, 3, 255])
def test_lanes_are_a_power_of_two(num_lanes):
    with pytest.raises(ValueError, match="num_lanes"):
        PlanConfig(raw_length=16, num_lanes=num_lanes)
