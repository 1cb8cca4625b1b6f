"""Precision and recall of near-duplicate removal against exact similarity, next to peers.

    python -m benchmarks.dedup_quality --data DATA [--peer-python PYTHON ...]

DATA is the folder with `neardup` and `books` (its sets that are missing are left out; without any,
only planted pairs remain). Every side gets the same words of the same documents:

    debian_guide       pages of two editions of one manual
    gutenberg_editions the first 100 kB of several editions of books
    clough_stevenson   copied and revised short answers
    minhash_articles   news articles, ten of them with a near copy
    planted            prose of the quickstart and edited copies: pairs, and families of six

The truth is the exact Jaccard similarity of the word 5-gram sets of all pairs, computed here with
Python sets. A *pair* counts as found when a side accepts it. A *decision* is judged by what is
left: of a dropped document, whether any kept one resembles it; of a true pair, whether one of the
two is gone. Peers drop all but the longest of each connected component, as their programs do.

The peers live in environments of their own; give each interpreter.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import random
import re
import subprocess
import tempfile
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from filters import lsh
from pipelines import annotate, dedup, ingest, select
from pipelines.config import CorpusConfig, DedupConfig
from pipelines.stages import Slice
from storage import tables

NGRAM = 5
PERMUTATIONS = 112
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
DEFAULT = (14, 8)
AUTO_WEIGHT = DedupConfig().false_positive_weight
BOOKS = Path(__file__).parent.parent / "examples" / "quickstart" / "data" / "books"
BOOK_CHARS = 100_000
PEERS = Path(__file__).with_name("dedup_quality_peers.py")

Pair = tuple[int, int]
Pairs = dict[Pair, float]
"""Pairs (lower document first) with their similarity."""


@dataclass(frozen=True)
class Truth:
    texts: list[str]
    sets: list[str]
    """Which of the data sets each document is of."""
    similarity: Pairs
    """Of all pairs that share a shingle."""

    def pairs_from(self, threshold: float) -> set[Pair]:
        return {pair for pair, value in self.similarity.items() if value >= threshold}


@dataclass
class Outcome:
    """What one side makes of the documents at one setting and threshold."""

    pairs: set[Pair]
    kept: set[int]
    dropped: set[int] = field(default_factory=set)


def main() -> None:
    parser = argparse.ArgumentParser(description="quality of near-duplicate removal, with peers")
    parser.add_argument("--data", type=Path, help="folder with neardup/ and books/")
    parser.add_argument("--peer-python", action="append", default=[], help="may be repeated")
    parser.add_argument("--planted", type=int, default=1500, help="pairs made by editing prose")
    options = parser.parse_args()
    truth = make_truth(read_sets(options.data, options.planted))
    solved = {t: lsh.optimal_bands(t, PERMUTATIONS) for t in THRESHOLDS}
    settings = sorted({DEFAULT, *solved.values()})
    print(describe(truth))
    with tempfile.TemporaryDirectory() as folder:
        peers = run_peers(options.peer_python, truth.texts, settings, Path(folder))
        corpus = TilthCorpus(Path(folder) / "corpus", truth.texts)
        print("\n### 14 bands x 8 rows, all sides\n")
        print_table(truth, peers, corpus, dict.fromkeys(THRESHOLDS, DEFAULT))
        print("\n### bands solved for the threshold, all sides\n")
        print_table(truth, peers, corpus, solved)
        print("\n### bands solved for candidates that are verified (`bands: auto`), tilth alone\n")
        auto = {t: lsh.optimal_bands(t, PERMUTATIONS, AUTO_WEIGHT) for t in THRESHOLDS}
        print_table(truth, {}, corpus, auto)
        print("\n### by data set, 14 x 8 at .8\n")
        print_sets(truth, peers, corpus)


def words(text: str) -> str:
    """The words that all sides get: lower case, without accents, one space between."""
    folded = unicodedata.normalize("NFKD", text.casefold())
    bare = "".join(char for char in folded if not unicodedata.combining(char))
    return " ".join(re.findall(r"[a-z0-9]+", bare))


def read_sets(data: Path | None, num_planted: int) -> dict[str, dict[str, str]]:
    """Texts by data set and name."""
    sets = {"planted": plant(num_planted)}
    near = data / "neardup" if data else Path("missing")
    guide = near / "debian_guide" / "docs.dev.jsonl.gz"
    if guide.exists():
        with gzip.open(guide, "rt", encoding="utf-8") as lines:
            sets["debian_guide"] = {row["id"]: words(row["text"]) for row in map(json.loads, lines)}
    editions = near / "gutenberg_editions_PAIRS.dev.tsv"
    if data and editions.exists():
        with editions.open() as lines:
            rows = list(csv.DictReader(lines, delimiter="\t"))
        names = sorted({row[side] for row in rows for side in "ab"})
        sets["gutenberg_editions"] = {
            name: words(read_gzip(data / name)[:BOOK_CHARS]) for name in names
        }
    answers = sorted(near.glob("clough_stevenson/*.txt"))
    if answers:
        texts = {path.stem: path.read_text(encoding="utf-8", errors="replace") for path in answers}
        sets["clough_stevenson"] = {name: words(text) for name, text in texts.items()}
    articles = near / "minhash_articles" / "articles_1000.train.gz"
    if articles.exists():
        with gzip.open(articles, "rt", encoding="utf-8", errors="replace") as lines:
            pieces = [line.split(" ", 1) for line in lines]
        sets["minhash_articles"] = {name: words(text) for name, text in pieces}
    return sets


def read_gzip(path: Path) -> str:
    with gzip.open(path) as book:
        return book.read().decode("utf-8", "replace")


def plant(num_pairs: int) -> dict[str, str]:
    """Prose of 300 words and edited copies: similarities spread over .4 to 1; 60 families."""
    rng = random.Random(1)
    prose = [words(read_gzip(path)) for path in sorted(BOOKS.glob("*.txt.gz"))]
    chunks = [
        tokens[start : start + 300]
        for tokens in (text.split() for text in prose)
        for start in range(2000, len(tokens) - 2000, 700)
    ]
    rng.shuffle(chunks)
    texts: dict[str, str] = {}
    for number, chunk in enumerate(chunks[:num_pairs]):
        texts[f"pair {number}"] = " ".join(chunk)
        texts[f"pair {number} edited"] = edited(chunk, rng.uniform(0.4, 1.0), rng)
    for number, chunk in enumerate(chunks[num_pairs : num_pairs + 60]):
        base = rng.uniform(0.8, 0.97)
        for member in range(6):
            texts[f"family {number}.{member}"] = edited(chunk, base, rng)
    return texts


def edited(chunk: list[str], similarity: float, rng: random.Random) -> str:
    """The words with so many replaced as to leave about this Jaccard similarity of shingles."""
    shared = 2 * similarity / (1 + similarity)
    rate = 1 - shared ** (1 / NGRAM)
    return " ".join(rng.choice(chunk) + "x" if rng.random() < rate else word for word in chunk)


def shingle_set(text: str) -> frozenset[tuple[str, ...]]:
    tokens = text.split()
    starts = range(max(1, len(tokens) - NGRAM + 1))
    return frozenset(tuple(tokens[i : i + NGRAM]) for i in starts) if tokens else frozenset()


def make_truth(sets: Mapping[str, Mapping[str, str]]) -> Truth:
    """Exact similarities of all pairs, of different data sets too. Equal texts are left out."""
    texts: dict[str, str] = {}
    for name, documents in sets.items():
        for text in documents.values():
            texts.setdefault(text, name)
    shingles = [shingle_set(text) for text in texts]
    owners: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for number, own in enumerate(shingles):
        for shingle in own:
            owners[shingle].append(number)
    shared: Counter[Pair] = Counter()
    for members in owners.values():
        if len(members) > 1:
            shared.update((a, b) for i, a in enumerate(members) for b in members[i + 1 :])
    similarity = {
        (a, b): common / (len(shingles[a]) + len(shingles[b]) - common)
        for (a, b), common in shared.items()
    }
    return Truth(list(texts), list(texts.values()), similarity)


def describe(truth: Truth) -> str:
    counts = Counter(truth.sets)
    lines = ["| set | documents | pairs from .5 | from .8 |", "|---|--:|--:|--:|"]
    for name, number in counts.items():
        inside = {p for p in truth.similarity if truth.sets[p[0]] == truth.sets[p[1]] == name}
        above = [len(inside & truth.pairs_from(t)) for t in (0.5, 0.8)]
        lines.append(f"| {name} | {number} | {above[0]} | {above[1]} |")
    return "\n".join(lines)


def run_peers(
    pythons: list[str], texts: list[str], settings: list[tuple[int, int]], folder: Path
) -> dict[str, dict[str, Pairs]]:
    """Candidates with their estimates (-1 without) by peer and setting."""
    given = folder / "given.json"
    given.write_text(json.dumps({"texts": texts, "ngram": NGRAM, "settings": settings}))
    found: dict[str, dict[str, Pairs]] = {}
    for number, python in enumerate(pythons):
        answer = folder / f"found-{number}.json"
        subprocess.run([python, "-P", str(PEERS), str(given), str(answer)], check=True)
        for peer, by_setting in json.loads(answer.read_text()).items():
            found[peer] = {
                setting: {(int(a), int(b)): float(value) for a, b, value in pairs}
                for setting, pairs in by_setting.items()
            }
    return found


class TilthCorpus:
    """The documents as a corpus, deduplicated by the stages that users run."""

    def __init__(self, folder: Path, texts: list[str]) -> None:
        folder.mkdir()
        lines = [json.dumps({"text": text}) for text in texts]
        (folder / "documents.jsonl").write_text("\n".join(lines) + "\n")
        self._texts = {text: number for number, text in enumerate(texts)}
        self._folder = folder
        self._numbers: dict[int, int] = {}

    def outcome(self, bands: int, rows: int, threshold: float) -> Outcome:
        config = CorpusConfig.model_validate(
            {
                "name": "quality",
                "output": str(self._folder / "out"),
                "sources": [
                    {
                        "name": "all",
                        "format": "jsonl",
                        "paths": [str(self._folder / "documents.jsonl")],
                    }
                ],
                "dedup": {"bands": bands, "rows": rows, "threshold": threshold},
                "pack": {"validation_fraction": 0.0},
                "runner": {"workers": 1},
            }
        )
        ingest.run(config, Slice(0, 1))
        annotate.run(config, Slice(0, 1))
        select.run(config, Slice(0, 1))
        dedup.run(config)
        numbers = self._numbers or dict(self._read_numbers(config))
        self._numbers = numbers
        pairs = {
            ordered(numbers[row["doc_a"]], numbers[row["doc_b"]])
            for row in read(config, "pairs")
            if row["jaccard"] >= threshold
        }
        rows_ = list(read(config, "decisions/final"))
        kept = {numbers[row["doc_id"]] for row in rows_ if row["kept"]}
        return Outcome(pairs, kept, set(numbers.values()) - kept)

    def _read_numbers(self, config: CorpusConfig) -> Iterator[tuple[int, int]]:
        for row in read(config, "documents"):
            yield row["doc_id"], self._texts[row["text"]]


def read(config: CorpusConfig, table: str) -> Iterator[dict]:
    for marker in ingest.document_parts(config):
        yield from tables.read_table(config.path(table, f"{marker.part}.parquet")).to_pylist()


def ordered(a: int, b: int) -> Pair:
    return (a, b) if a < b else (b, a)


def cluster(truth: Truth, pairs: set[Pair]) -> Outcome:
    """Connected components, of which the longest document is kept."""
    parent = list(range(len(truth.texts)))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = node = parent[parent[node]]
        return node

    for a, b in pairs:
        parent[root(a)] = root(b)
    best: dict[int, int] = {}
    for node in range(len(truth.texts)):
        top = root(node)
        if top not in best or len(truth.texts[node]) > len(truth.texts[best[top]]):
            best[top] = node
    kept = set(best.values())
    return Outcome(pairs, kept, set(range(len(truth.texts))) - kept)


def outcomes(
    truth: Truth,
    peers: Mapping[str, Mapping[str, Pairs]],
    corpus: TilthCorpus,
    setting: tuple[int, int],
    threshold: float,
) -> dict[str, Outcome]:
    """Every side at one setting; peers with estimates also with pairs below it taken out."""
    found = {"tilth": corpus.outcome(*setting, threshold)}
    for peer, by_setting in peers.items():
        pairs = by_setting[f"{setting[0]} x {setting[1]}"]
        found[peer] = cluster(truth, set(pairs))
        if max(pairs.values(), default=-1) >= 0:
            likely = {pair for pair, estimate in pairs.items() if estimate >= threshold}
            found[f"{peer}, estimate"] = cluster(truth, likely)
    return found


def print_table(
    truth: Truth,
    peers: Mapping[str, Mapping[str, Pairs]],
    corpus: TilthCorpus,
    settings: Mapping[float, tuple[int, int]],
) -> None:
    print("| threshold | bands x rows | side | pairs: precision | recall | LSH formula |", end="")
    print(" decisions: precision | recall |\n|---|---|---|--:|--:|--:|--:|--:|")
    for threshold, setting in settings.items():
        true = truth.pairs_from(threshold)
        formula = np.mean(lsh.probability([truth.similarity[pair] for pair in true], *setting))
        for side, outcome in outcomes(truth, peers, corpus, setting, threshold).items():
            figures = [*pair_quality(outcome, true), formula, *decision_quality(outcome, true)]
            cells = " | ".join(f"{figure:.4f}" for figure in figures)
            print(f"| {threshold} | {setting[0]} x {setting[1]} | {side} | {cells} |")


def print_sets(truth: Truth, peers: Mapping[str, Mapping[str, Pairs]], corpus: TilthCorpus) -> None:
    true = truth.pairs_from(0.8)
    print("| set | true pairs | side | pairs found | decisions: precision | recall |")
    print("|---|--:|---|--:|--:|--:|")
    sides = outcomes(truth, peers, corpus, DEFAULT, 0.8)
    for name in Counter(truth.sets):
        here = {pair for pair in true if truth.sets[pair[0]] == truth.sets[pair[1]] == name}
        members = {number for number, own in enumerate(truth.sets) if own == name}
        for side, outcome in sides.items() if here else ():
            part = Outcome(outcome.pairs & here, outcome.kept, outcome.dropped & members)
            precision, recall = decision_quality(part, here)
            found = len(outcome.pairs & here)
            print(f"| {name} | {len(here)} | {side} | {found} | {precision:.4f} | {recall:.4f} |")


def pair_quality(outcome: Outcome, true: set[Pair]) -> tuple[float, float]:
    right = len(outcome.pairs & true)
    return share(right, len(outcome.pairs)), share(right, len(true))


def decision_quality(outcome: Outcome, true: set[Pair]) -> tuple[float, float]:
    """Drops that resemble a kept document; true pairs of which one is gone."""
    like: dict[int, set[int]] = defaultdict(set)
    for a, b in true:
        like[a].add(b)
        like[b].add(a)
    right = sum(bool(like[document] & outcome.kept) for document in outcome.dropped)
    gone = sum(not (a in outcome.kept and b in outcome.kept) for a, b in true)
    return share(right, len(outcome.dropped)), share(gone, len(true))


def share(part: int, whole: int) -> float:
    return part / whole if whole else 1.0


if __name__ == "__main__":
    main()
