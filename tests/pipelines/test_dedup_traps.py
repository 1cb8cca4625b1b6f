"""Traps that near-duplicate removal falls into, on small corpora through the whole stage."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from pipelines import dedup
from pipelines.config import CorpusConfig
from pipelines.duplicates import fuzzy
from storage import commit
from tests.pipelines.dedup_corpus import Doc, corpus_config, kept_records, read_final, write_corpus

PART = "web/0000000-0000"
NUM_COPIES = 100_000
HUGE_WORDS = 7_000_000
"""Of seven letters each and a space: a document of 56 MB."""


def words(seed: int, count: int) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices("abcdefghijklmnop", k=7)) for _ in range(count)]


def dedup_of(output: Path, docs: list[Doc], **settings: Any) -> CorpusConfig:
    config = corpus_config(output, ["web"], **settings)
    write_corpus(config, {PART: docs})
    dedup.run(config)
    return config


def jaccard(one: str, other: str, ngram: int = 5) -> float:
    a, b = (
        {tuple(text.split()[k : k + ngram]) for k in range(len(text.split()) - ngram + 1)}
        for text in (one, other)
    )
    return len(a & b) / len(a | b)


@pytest.mark.parametrize("share", [0.5, 0.75])
def test_pages_of_one_template_stay(tmp_path: Path, share: float) -> None:
    """Up to three quarters of each page are the site's frame: far below the threshold."""
    frame = words(1, int(400 * share))
    docs = [
        Doc(" ".join(frame + words(100 + k, 400 - len(frame))), f"page{k:03d}") for k in range(150)
    ]
    assert jaccard(docs[0].text, docs[1].text) == pytest.approx(share / (2 - share), abs=0.02)
    assert len(kept_records(dedup_of(tmp_path, docs))) == 150


def test_a_licence_at_the_head_of_every_file_merges_no_files(tmp_path: Path) -> None:
    """180 words of licence before 60 of code; two files that differ by a line are duplicates."""
    licence = " ".join(words(1, 180))
    files = [f"{licence} {' '.join(words(50 + k, 60))}" for k in range(60)]
    docs = [Doc(text, f"file{k:02d}") for k, text in enumerate(files)]
    docs.append(Doc(f"{files[7]} one more", "fork"))
    kept = kept_records(dedup_of(tmp_path, docs))
    assert kept == {doc.record for doc in docs} - {"file07"}


def test_numbers_alone_make_a_document_different(tmp_path: Path) -> None:
    """Weather of two days: same words, other numbers; and one day published twice."""
    rng = random.Random(1)
    days = [
        " ".join(f"{word} {rng.randrange(-300, 400) / 10} degrees" for word in words(1, 60))
        for _ in range(25)
    ]
    docs = [Doc(day, f"day{k:02d}") for k, day in enumerate(days)]
    docs.append(Doc(days[3] + " end of report", "again"))
    kept = kept_records(dedup_of(tmp_path, docs))
    assert kept == {doc.record for doc in docs} - {"day03"}


def test_a_long_chain_is_not_one_cluster_of_one(tmp_path: Path) -> None:
    """40 versions, each like the two before and the two after it (.92, .85), no other (.78).

    Connected components would keep one. Here every drop is for a version that truly resembles it,
    so at least every fifth stays.
    """
    text, versions = words(5, 300), []
    for step in range(40):
        versions.append(" ".join(text))
        text = text[12:] + words(500 + step, 12)
    docs = [Doc(version, f"{k:02d}") for k, version in enumerate(versions)]
    config = dedup_of(tmp_path, docs, bands=28, rows=4)
    final = read_final(config)
    assert len({row["cluster"] for row in final.values()}) == 1
    kept = [int(record) for record, row in final.items() if row["kept"]]
    assert 8 <= len(kept) <= 14
    for record, row in final.items():
        if not row["kept"]:
            assert jaccard(versions[int(record)], versions[int(row["survivor"])]) >= 0.8
    assert jaccard(versions[0], versions[39]) == 0.0


@pytest.mark.parametrize(
    ("first", "last"),
    [(0x05D0, 0x05EA), (0x0621, 0x063A), (0x4E00, 0x62FF), (0x3041, 0x3096), (0x0E01, 0x0E2E)],
    ids=["hebrew", "arabic", "han", "kana", "thai"],
)
def test_scripts(tmp_path: Path, first: int, last: int) -> None:
    """Right-to-left words, and scripts without spaces; marks, direction and case do not count."""
    rng = random.Random(first)
    gap = "" if first >= 0x0E00 else " "

    def text(seed: int) -> list[str]:
        own = random.Random(seed)
        length = 1 if gap == "" else 5
        return ["".join(chr(own.randint(first, last)) for _ in range(length)) for _ in range(300)]

    pages = [text(rng.randrange(10**9)) for _ in range(12)]
    docs = [Doc(gap.join(page), f"page{k:02d}") for k, page in enumerate(pages)]
    near = gap.join(pages[4][:200] + text(1)[:3] + pages[4][203:])
    docs.append(Doc(f"\u202b{near}\u202c \u3002 ...", "near"))
    kept = kept_records(dedup_of(tmp_path, docs))
    assert kept == {doc.record for doc in docs} - {"page04"}


def test_text_of_one_repeated_word_and_of_marks_alone(tmp_path: Path) -> None:
    docs = [Doc("spam " * n, f"spam{n}") for n in (3, 50, 500)]
    docs += [Doc("ham " * 50, "ham"), Doc("- - -", "dashes"), Doc("* * *", "stars"), Doc("", "no")]
    docs += [Doc("\x00" * 40, "nul"), Doc("\u200b\u200d", "joiners"), Doc("one", "one")]
    kept = kept_records(dedup_of(tmp_path, docs))
    assert kept >= {"ham", "dashes", "stars", "no", "nul", "joiners", "one"}
    assert len(kept & {"spam50", "spam500"}) == 1  # one shingle, five times the same word
    assert "spam3" in kept  # another shingle: of all its three words


@pytest.mark.slow
def test_a_hundred_thousand_copies_of_a_page(tmp_path: Path) -> None:
    """Each with a number of its own, so none is an exact copy; the pairs stay linear in copies."""
    page = " ".join(words(1, 120))
    parts = {
        f"web/{part:07d}-0000": [
            Doc(f"{page} visitor {k}", f"{k:06d}") for k in range(part, NUM_COPIES, 2)
        ]
        for part in range(2)
    }
    config = corpus_config(tmp_path, ["web"])
    write_corpus(config, parts)
    dedup.run(config)
    final = read_final(config)
    assert sum(row["kept"] for row in final.values()) == 1
    assert min(row["similarity"] for row in final.values() if not row["kept"]) >= 0.8
    counts = commit.read_markers(config.output, fuzzy.SUMMARY)[0].counts
    assert counts["largest_bucket"] > NUM_COPIES // 2
    pairs = sum(marker.counts["pairs"] for marker in commit.read_markers(config.output, "pairs"))
    assert pairs < 40 * NUM_COPIES


@pytest.mark.slow
def test_documents_of_fifty_megabytes(tmp_path: Path) -> None:
    """Two nearly equal ones, which are verified, and a third that shares nothing."""
    vocabulary = words(1, 50_000)
    rng = random.Random(2)
    huge = rng.choices(vocabulary, k=HUGE_WORDS)
    other = rng.choices(vocabulary, k=HUGE_WORDS)
    edits = rng.sample(range(HUGE_WORDS), HUGE_WORDS * 3 // 200)
    edited = list(huge)
    for place in edits:
        edited[place] = "edited"
    texts = {"huge": huge, "edited": edited, "other": other}
    docs = [Doc(" ".join(text), name) for name, text in texts.items()]
    assert all(len(doc.text) > 50_000_000 for doc in docs)
    config = dedup_of(tmp_path, docs, bands=28, rows=4)
    final = read_final(config)
    assert {name for name, row in final.items() if row["kept"]} == {"huge", "other"}
    assert final["edited"]["similarity"] == pytest.approx(0.864, abs=0.03)
