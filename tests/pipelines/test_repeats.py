"""Repeated text against a brute-force oracle: which copies are cut, whatever the parts."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from pipelines import dedup
from pipelines.config import CorpusConfig
from pipelines.kept import iter_kept, kept_parts
from pipelines.repeats import stage
from storage import commit, tables
from storage.errors import UserError
from tests.pipelines.dedup_corpus import Doc, corpus_config, with_dedup, write_corpus
from tests.pipelines.test_dedup import content_hash_of, in_parts, with_column

SIZE = 8
VOCABULARY = [f"w{k}" for k in range(400)]


def repeats_config(output: Path, **repeats: Any) -> CorpusConfig:
    return corpus_config(output, ["web"], exact=False, fuzzy=False, repeats=repeats)


def views(config: CorpusConfig) -> dict[str, str]:
    """What pack reads, by record."""
    found = {}
    for part in kept_parts(config):
        for batch in iter_kept(config, part, ["text", "record"]):
            columns = batch.documents.to_pydict()
            found |= dict(zip(columns["record"], columns["text"], strict=True))
    return found


def ranked(docs: list[Doc]) -> list[Doc]:
    """Best first: longest, then by content hash, then by record."""
    kept = [doc for doc in docs if not doc.drop]
    return sorted(kept, key=lambda d: (-len(d.text.encode()), content_hash_of(d.text), d.record))


def pages_with_shared_runs(seed: int, num_docs: int = 40) -> list[Doc]:
    """Random words, with runs of 4 to 30 words that several documents hold."""
    rng = random.Random(seed)
    runs = [rng.choices(VOCABULARY, k=rng.randrange(4, 31)) for _ in range(12)]
    docs = []
    for k in range(num_docs):
        words: list[str] = []
        for _ in range(rng.randrange(0, 7)):
            words += rng.choices(VOCABULARY, k=rng.randrange(0, 25))
            run = rng.choice(runs)
            first = rng.randrange(len(run))
            words += run[first : first + rng.randrange(1, 31)]
        docs.append(Doc(" ".join(words), f"{k:03d}", "bad" if k % 9 == 8 else ""))
    return docs


def without_repeated_runs(docs: list[Doc], size: int) -> dict[str, str]:
    """Every run of `size` words that occurred before, in rank order, is cut."""
    seen: set[tuple[str, ...]] = set()
    found = {}
    for doc in ranked(docs):
        words = doc.text.split()
        cut = [False] * len(words)
        for k in range(len(words) - size + 1):
            window = tuple(words[k : k + size])
            if window in seen:
                cut[k : k + size] = [True] * size
            seen.add(window)
        found[doc.record] = " ".join("" if gone else w for w, gone in zip(words, cut, strict=True))
    return found


@pytest.mark.parametrize(("seed", "num_parts"), [(1, 1), (1, 3), (2, 7)])
def test_runs_of_words_are_cut_as_brute_force_does(
    tmp_path: Path, seed: int, num_parts: int
) -> None:
    docs = pages_with_shared_runs(seed)
    config = repeats_config(tmp_path, words=SIZE)
    write_corpus(config, in_parts(docs, num_parts, seed))
    dedup.run(config)
    found = {record: text.split() for record, text in views(config).items()}
    expected = {record: text.split() for record, text in without_repeated_runs(docs, SIZE).items()}
    assert found == expected
    assert sum(map(len, found.values())) < sum(len(d.text.split()) for d in docs if not d.drop)
    assert not (tmp_path / stage.WORK).exists()


LINES = ["Menu", "About us", "All rights reserved.", "A line.", "Another line", "The end!", ""]


def pages_of_lines(seed: int) -> list[Doc]:
    rng = random.Random(seed)
    docs = []
    for k in range(30):
        lines = rng.choices(LINES, k=4) + [f"own line {rng.randrange(60)}" for _ in range(4)]
        rng.shuffle(lines)
        docs.append(Doc("\n".join(lines), f"{k:03d}"))
    return docs


@pytest.mark.parametrize("min_count", [2, 5, 40])
def test_lines_with_counts_over_documents(tmp_path: Path, min_count: int) -> None:
    docs = pages_of_lines(3)
    config = repeats_config(tmp_path, lines=min_count)
    write_corpus(config, in_parts(docs, 3, 1))
    dedup.run(config)
    counts = Counter(line for doc in docs for line in doc.text.split("\n"))
    seen = set()
    expected = {}
    for doc in ranked(docs):
        left = ""
        for line in doc.text.splitlines(keepends=True):
            key = line.rstrip("\n")
            if not key or counts[key] < min_count or key not in seen:
                left += line
            seen.add(key)
        expected[doc.record] = left
    assert views(config) == expected


def test_boilerplate_is_of_a_domain_and_goes_everywhere(tmp_path: Path) -> None:
    """Copies in one document count once; another domain's equal line stays."""
    texts = ["Menu\nMenu\nfirst", "Menu\nsecond\nRare", "Menu\nthird\nRare", "Menu\nelsewhere"]
    docs = [Doc(text, f"{k}") for k, text in enumerate(texts)]
    docs.append(Doc("Menu\nno url", "4"))
    config = repeats_config(tmp_path, boilerplate=3)
    write_corpus(config, {"web/0000000-0000": docs})
    urls = ["http://a.org/1", "https://www.a.org/2", "http://A.org/3", "http://b.org/", ""]
    with_column(config, "web/0000000-0000", "url", urls)
    dedup.run(config)
    assert views(config) == {
        "0": "first",
        "1": "second\nRare",
        "2": "third\nRare",
        "3": "Menu\nelsewhere",
        "4": "Menu\nno url",
    }


def test_paragraphs_and_sentences(tmp_path: Path) -> None:
    paragraph = "It was told once.\nAnd went on."
    docs = [Doc(f"{paragraph}\n\nThe first page, the longest one of all.", "a")]
    docs.append(Doc(f"The second.\n\n{paragraph}\n\nMore", "b"))
    config = repeats_config(tmp_path / "paragraphs", paragraphs=2)
    write_corpus(config, {"web/0000000-0000": docs})
    dedup.run(config)
    assert views(config) == {"a": docs[0].text, "b": "The second.\n\nMore"}
    docs = [Doc("One here. Two here. Three here. Four here, and the longest of all.", "a")]
    docs.append(Doc("Zero. One here. Two here! Three here. Five.", "b"))
    config = repeats_config(tmp_path / "sentences", sentences=2)
    write_corpus(config, {"web/0000000-0000": docs})
    dedup.run(config)
    assert views(config) == {"a": docs[0].text, "b": "Zero. Five."}


def test_what_is_mostly_repeated_is_cut_whole(tmp_path: Path) -> None:
    docs = [
        Doc("Menu\nAbout us\nThe longest line of all pages", "a"),
        Doc("Menu\nAbout us\nx", "b"),
    ]
    docs.append(Doc("Menu\nSomething of its own, rather", "c"))
    config = repeats_config(tmp_path, lines=2, drop_share=0.6)
    write_corpus(config, {"web/0000000-0000": docs})
    dedup.run(config)
    assert views(config) == {"a": docs[0].text, "b": "", "c": "Something of its own, rather"}
    (marker,) = commit.read_markers(config.output, "edits/repeated_lines")
    assert marker.counts["whole_documents"] == 1
    table = tables.read_table(config.path("edits/repeated_lines/web/0000000-0000.parquet"))
    assert table["reason"].to_pylist() == ["repeated_document", "repeated_lines"]


def fingerprint(config: CorpusConfig) -> str:
    stages = [stage.edits_stage(kind) for kind in stage.kinds(config)]
    return commit.fingerprint(m for s in stages for m in commit.read_markers(config.output, s))


def test_passes_and_kills_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = [Doc(d.text.replace(" w1", "\nw1"), d.record) for d in pages_with_shared_runs(5)]
    parts = in_parts(docs, 2, 5)
    configs = [repeats_config(tmp_path / str(k), lines=2, words=SIZE) for k in range(2)]
    for config in configs:
        write_corpus(config, parts)
    dedup.run(configs[0])
    calls: defaultdict[str, int] = defaultdict(int)

    def dies_once(name: str) -> Any:
        function = getattr(stage, name)

        def call(*args: Any) -> Any:
            calls[name] += 1
            if calls[name] == 2:
                raise UserError(f"killed in {name}")
            return function(*args)

        return call

    monkeypatch.setattr("pipelines.duplicates.candidates.MAX_PASS_BYTES", 5_000)
    monkeypatch.setattr("pipelines.duplicates.candidates.KEY_BYTES", 1_000)
    for name in ("_write_groups", "_around", "joined"):
        monkeypatch.setattr(stage, name, dies_once(name))
        with pytest.raises(UserError, match=name):
            dedup.run(configs[1])
    dedup.run(configs[1])
    assert fingerprint(configs[0]) == fingerprint(configs[1])
    before = fingerprint(configs[0])
    monkeypatch.setattr(stage, "_write_ranks", None)
    dedup.run(configs[0])
    assert fingerprint(configs[0]) == before


def test_switched_off_it_is_gone(tmp_path: Path) -> None:
    docs = pages_of_lines(4)
    config = repeats_config(tmp_path, lines=2)
    write_corpus(config, {"web/0000000-0000": docs})
    dedup.run(config)
    off = with_dedup(config, repeats=config.dedup.repeats.model_copy(update={"lines": 0}))
    dedup.run(off)
    assert views(off) == {doc.record: doc.text for doc in docs}
    assert not list((tmp_path / "edits").rglob("*.parquet"))
    with pytest.raises(UserError, match="tilth dedup"):
        kept_parts(config)


@pytest.mark.parametrize("repeats", [{"lines": 1}, {"words": 3}])
def test_settings_that_would_cut_everything_are_refused(repeats: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match=f"repeats.{next(iter(repeats))}"):
        repeats_config(Path("out"), **repeats)
