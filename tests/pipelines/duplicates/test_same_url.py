"""Pages of one URL: one is kept, and what follows sees that one only."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import dedup
from storage import commit
from tests.pipelines.dedup_corpus import (
    Doc,
    corpus_config,
    kept_records,
    read_final,
    with_dedup,
    write_corpus,
)
from tests.pipelines.test_dedup import PART, page, with_column


@pytest.mark.parametrize(("policy", "expected"), [("newest", "new"), ("best", "long")])
def test_one_page_of_each_url(tmp_path: Path, policy: str, expected: str) -> None:
    docs = [Doc(page(1, 200), "long"), Doc(page(2), "new"), Doc(page(3), "elsewhere")]
    docs += [Doc(page(4), "no url"), Doc(page(5), "none either")]
    docs[1] = Doc(page(2, 50), "new")
    config = corpus_config(tmp_path, ["web"], url=policy)
    write_corpus(config, {PART: docs})
    urls = ["http://www.example.org/a?utm_id=1", "https://example.org/a", "https://b.org/", "", ""]
    with_column(config, PART, "url", urls)
    with_column(config, PART, "created", ["2020", "2021", "", "", ""])
    dedup.run(config)
    final = read_final(config)
    assert kept_records(config) == {expected, "elsewhere", "no url", "none either"}
    (lost,) = [row for row in final.values() if not row["kept"]]
    assert (lost["stage"], lost["reason"]) == ("url", "same_url")
    assert lost["survivor"] == expected
    assert sum(row["num_copies"] for row in final.values()) == 4
    (marker,) = commit.read_markers(config.output, "decisions/url")
    assert marker.counts == {"documents": 5, "kept": 4, "drop:same_url": 1}
    dedup.run(with_dedup(config, url=""))
    assert len(kept_records(config)) == 5


@pytest.mark.parametrize("exact", [True, False])
def test_its_survivor_is_kept_whatever_comes_after(tmp_path: Path, exact: bool) -> None:
    """Dropped for a page that is itself a duplicate: the survivor is what that one was dropped for.
    An append leaves it so."""
    text = page(1)
    docs = [Doc(page(2), "older"), Doc(text, "newer"), Doc(text + " and longer", "best")]
    config = corpus_config(tmp_path, ["web"], url="newest", exact=exact)
    write_corpus(config, {PART: docs})
    with_column(config, PART, "url", ["http://a.org/1", "http://a.org/1", "http://a.org/2"])
    with_column(config, PART, "created", ["2020", "2021", "2022"])
    for number in range(2):
        dedup.run(with_dedup(config, mode="append"))
        final = read_final(config)
        assert kept_records(config) == {"best"} | ({"unrelated"} if number else set())
        assert {row["survivor"] for record, row in final.items() if record != "unrelated"} == {
            "best"
        }
        write_corpus(config, {"web/0000001-0000": [Doc(page(7), "unrelated")]})
