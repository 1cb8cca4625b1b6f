"""Options of the fuzzy stage: units of shingles, similarities, bands solved for a threshold."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import pytest
from datasketch.lsh import _optimal_param
from pydantic import ValidationError

from filters import lsh
from pipelines import dedup
from pipelines.config import CorpusConfig, DedupConfig
from storage import tables
from tests.pipelines.dedup_corpus import Doc, corpus_config, kept_records, read_final, write_corpus

PART = "web/0000000-0000"


def words(seed: int, count: int) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices("abcdefghijklmnop", k=7)) for _ in range(count)]


def dedup_of(output: Path, texts: dict[str, str], **settings: Any) -> CorpusConfig:
    config = corpus_config(output, ["web"], **settings)
    write_corpus(config, {PART: [Doc(text, name) for name, text in texts.items()]})
    dedup.run(config)
    return config


def methods(config: CorpusConfig) -> set[str]:
    return set(tables.read_table(config.path("pairs", f"{PART}.parquet"))["method"].to_pylist())


def test_characters_find_what_words_miss(tmp_path: Path) -> None:
    """A letter in every fifth word: no run of five words is left, most runs of five letters are."""
    original = words(1, 200)
    misread = [word[:3] + "z" + word[4:] if k % 5 == 0 else word for k, word in enumerate(original)]
    texts = {"original": " ".join(original), "misread": " ".join(misread), "else": words(2, 1)[0]}
    assert len(kept_records(dedup_of(tmp_path / "w", texts, threshold=0.6))) == 3
    config = dedup_of(tmp_path / "c", texts, threshold=0.6, shingle="char", rows=4, bands=28)
    assert len(kept_records(config)) == 2


def test_similarity_of_characters_is_that_of_their_sets(tmp_path: Path) -> None:
    one, other = " ".join(words(1, 60)), " ".join([*words(1, 55), *words(2, 5)])
    config = dedup_of(tmp_path, {"a": one, "b": other}, shingle="char", ngram=9, rows=4, bands=28)
    sets = [{text[k : k + 9] for k in range(len(text) - 8)} for text in (one, other)]
    row = tables.read_table(config.path("pairs", f"{PART}.parquet")).to_pylist()[0]
    assert row["method"] == "exact"
    assert row["jaccard"] == len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_containment_drops_an_excerpt_and_keeps_the_whole(tmp_path: Path) -> None:
    """The first 60 % of a page: Jaccard similarity .6, containment 1."""
    page = words(3, 500)
    texts = {"whole": " ".join(page), "excerpt": " ".join(page[:300])}
    settings = {"bands": 28, "rows": 4, "threshold": 0.9}
    assert kept_records(dedup_of(tmp_path / "j", texts, **settings)) == {"whole", "excerpt"}
    config = dedup_of(tmp_path / "c", texts, similarity="containment", **settings)
    assert kept_records(config) == {"whole"}
    assert read_final(config)["excerpt"]["similarity"] == 1.0
    assert methods(config) == {"containment"}


def test_results_of_one_similarity_are_not_taken_for_the_other(tmp_path: Path) -> None:
    page = words(3, 500)
    texts = {"whole": " ".join(page), "excerpt": " ".join(page[:350])}
    settings = {"bands": 28, "rows": 4, "threshold": 0.65}
    for similarity, expected in (("jaccard", "exact"), ("containment", "containment")) * 2:
        config = dedup_of(tmp_path, texts, similarity=similarity, **settings)
        assert methods(config) == {expected}
        shorter = read_final(config)["excerpt"]["similarity"]
        assert shorter == (1.0 if similarity == "containment" else 346 / 496)


@pytest.mark.parametrize(
    ("threshold", "permutations", "weight"),
    list(itertools.product([0.5, 0.8, 0.9], [64, 112, 128], [0.5, 0.1])),
)
def test_auto_solves_bands_as_datasketch_does(
    threshold: float, permutations: int, weight: float
) -> None:
    config = DedupConfig.model_validate(
        {
            "bands": "auto",
            "rows": "auto",
            "threshold": threshold,
            "permutations": permutations,
            "false_positive_weight": weight,
        }
    )
    expected = _optimal_param(threshold, permutations, weight, 1 - weight)
    assert (config.bands, config.rows) == expected
    assert config.num_permutations == permutations


def test_auto_misses_fewer_pairs_than_the_default_with_as_many_hashes() -> None:
    solved = DedupConfig.model_validate({"bands": "auto", "rows": "auto"})
    assert (solved.bands, solved.rows, solved.num_permutations) == (16, 7, 112)
    assert lsh.probability(0.8, 16, 7) > 0.97 > lsh.probability(0.8, 14, 8)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"bands": "auto", "rows": 8}, "set both to auto"),
        ({"bands": 20, "rows": 13, "permutations": 112}, "20 x 13 = 260 exceeds permutations"),
        ({"bands": 512, "rows": 512}, "at most 4096"),
        ({"bands": "auto", "rows": "auto", "threshold": 1}, "threshold 1 "),
        ({"bands": "auto", "rows": "auto", "threshold": "high"}, "threshold"),
        ({"bands": "auto", "rows": "auto", "permutations": 10**9}, "permutations"),
        ({"shingle": "sentence"}, "'word' or 'char'"),
        ({"similarity": "cosine"}, "'jaccard' or 'containment'"),
        ({"ngram": 0}, "greater than or equal to 1"),
        ({"threshold": 0}, "greater than 0"),
        ({"bands": 0}, "greater than or equal to 1"),
    ],
)
def test_impossible_settings_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DedupConfig.model_validate(settings)
