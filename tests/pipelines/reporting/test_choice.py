from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from pipelines.reporting.choice import Chooser, Fate
from pipelines.reporting.data import decided_parts
from tests.pipelines.packed_corpus import Corpus, Doc, write_corpus

SOURCES = ["web", "books"]
LIMIT = 6


def make_docs() -> list[Doc]:
    reasons = ["", "", "common", "common", "common", "rare"]
    return [
        Doc(
            f"document {n}",
            source="books" if n % 17 == 3 else "web",
            reason=reasons[n % 5] if n != 50 else "rare",
            record=f"record {n}",
        )
        for n in range(100)
    ]


def choose(corpus: Corpus, order: random.Random | None = None) -> Chooser:
    parts = [part.part for part in decided_parts(corpus.config)]
    if order:
        order.shuffle(parts)
    chooser = Chooser(LIMIT)
    for part in parts:
        chooser.add(corpus.config, part)
    return chooser


def texts(corpus: Corpus, fates: list[Fate]) -> list[str]:
    return [corpus.docs[fate.doc_id].text for fate in fates]


def test_the_choice_does_not_depend_on_parts(tmp_path: Path) -> None:
    """The same documents from parts of 7 or 40 documents, in any order."""
    small = write_corpus(tmp_path / "small", make_docs(), part_docs=7)
    large = write_corpus(tmp_path / "large", make_docs(), part_docs=40)
    expected, chooser = choose(large), choose(small, random.Random(1))
    for method in (Chooser.kept, Chooser.dropped):
        assert texts(small, method(chooser, SOURCES)) == texts(large, method(expected, SOURCES))


def test_sources_and_reasons_take_turns(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, make_docs())
    chooser = choose(corpus)
    kept = chooser.kept(SOURCES)
    assert Counter(fate.source for fate in kept) == {"web": 4, "books": 2}
    assert [fate.source for fate in kept] == sorted((fate.source for fate in kept), reverse=True)
    dropped = chooser.dropped(SOURCES)
    assert Counter(fate.reason for fate in dropped) == {"common": 5, "rare": 1}
    assert Counter(fate.source for fate in dropped if fate.reason == "common") == {
        "web": 3,
        "books": 2,
    }
    for fate in [*kept, *dropped]:
        assert corpus.docs[fate.doc_id].reason == fate.reason


def test_memory_is_bounded_by_sources_and_reasons(tmp_path: Path) -> None:
    chooser = choose(write_corpus(tmp_path, make_docs()))
    assert max(len(pool) for pool in chooser._pools.values()) == LIMIT
    assert len(chooser._pools) <= len(SOURCES) * 3


@pytest.mark.parametrize("limit", [0, 1])
def test_few_samples(tmp_path: Path, limit: int) -> None:
    corpus = write_corpus(tmp_path, make_docs()[:20])
    chooser = Chooser(limit)
    for part in decided_parts(corpus.config):
        chooser.add(corpus.config, part.part)
    assert len(chooser.kept(SOURCES)) == len(chooser.dropped(SOURCES)) == limit
