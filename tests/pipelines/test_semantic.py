"""Semantic duplicates: the whole stage against all pairs in plain Python, and what must not matter.

The embedding is a real one: the words of a text, hashed into 64 dimensions. The decisions before
are the true ones of the stages before.
"""

from __future__ import annotations

import importlib
import math
import random
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from filters import kmeans
from pipelines import dedup, embedding
from pipelines.config import CorpusConfig
from pipelines.duplicates import clusters, semantic
from pipelines.duplicates.cluster_pairs import STAGE as PAIRS_STAGE
from storage import commit, tables
from storage.commit import PartMarker, WrittenObject
from storage.errors import ConfigError
from tests.pipelines.dedup_corpus import (
    Doc,
    corpus_config,
    read_final,
    with_dedup,
    with_validation,
    write_corpus,
)
from tests.pipelines.test_dedup import KilledError

DIMENSIONS = 64
FUNCTION = {"function": f"{__name__}:bag_of_words", "dimensions": DIMENSIONS}


def bag_of_words(batch: pa.RecordBatch) -> np.ndarray:
    """Counts of hashed words, half of them with a minus; their order does not count."""
    vectors = np.zeros((batch.num_rows, DIMENSIONS), np.float32)
    for row, text in enumerate(batch.column("text").to_pylist()):
        for word in text.split():
            code = zlib.crc32(word.encode())
            vectors[row, code % DIMENSIONS] += 1 if code & 1024 else -1
    return vectors


def topic_page(rng: random.Random, topic: int, count: int = 80) -> list[str]:
    return [f"t{topic}w{min(int(rng.expovariate(0.05)), 60)}" for _ in range(count)]


def pages(num_topics: int, per_topic: int, seed: int = 1) -> list[Doc]:
    """Pages of topics; half of them are others with all words in another order and some new.

    To MinHash a shuffled page is a new one; to a bag of words it is the same.
    """
    rng = random.Random(seed)
    docs: list[Doc] = []
    for topic in range(num_topics):
        words = topic_page(rng, topic)
        for number in range(per_topic):
            if number % 2:
                words = rng.sample(words, len(words))[rng.randrange(12) :]
            else:
                words = topic_page(rng, topic)
            docs.append(Doc(" ".join(words), f"topic{topic}-{number}"))
    docs.append(Doc(docs[0].text, "again"))
    docs.append(Doc("", "empty"))
    return docs


def in_parts(docs: list[Doc], num_parts: int, seed: int) -> dict[str, list[Doc]]:
    docs = list(docs)
    random.Random(seed).shuffle(docs)
    return {f"web/{part:07d}-0000": docs[part::num_parts] for part in range(num_parts)}


def semantic_config(output: Path, **settings: Any) -> CorpusConfig:
    """`settings` of `dedup.semantic`, others of `dedup` below `dedup`."""
    others = settings.pop("dedup", {})
    values = {**FUNCTION, "threshold": 0.9, **settings}
    return corpus_config(output, ["web", "books"], semantic=values, **others)


def write_embedded(config: CorpusConfig, parts: dict[str, list[Doc]]) -> None:
    """A corpus as annotate leaves it, with its embeddings."""
    write_corpus(config, parts)
    settings = config.dedup.semantic
    assert settings is not None
    for part, docs in parts.items():
        texts = pa.array([doc.text for doc in docs], pa.large_string())
        rows = embedding.compute(pa.record_batch({"text": texts}), settings)
        table = pa.Table.from_batches([rows])
        path = config.path(clusters.EMBEDDING, f"{part}.parquet")
        stats = tables.write_table(path, table, table.schema)
        written = WrittenObject.of_table(clusters.EMBEDDING, part, stats)
        marker = PartMarker(clusters.EMBEDDING, part, stats.digest, [written])
        commit.write_marker(config.output, marker)


def decided(config: CorpusConfig, parts: dict[str, list[Doc]]) -> dict[str, dict[str, Any]]:
    write_embedded(config, parts)
    dedup.run(config)
    return read_final(config)


def unit(text: str) -> list[int]:
    rows = bag_of_words(pa.record_batch({"text": pa.array([text], pa.large_string())}))
    length = math.sqrt(sum(float(x) ** 2 for x in rows[0]))
    return [round(float(x) / length * 4000) for x in rows[0]] if length else []


def cosine(left: list[int], right: list[int]) -> float:
    squares = sum(x * x for x in left) * sum(x * x for x in right)
    return sum(map(int.__mul__, left, right)) / math.sqrt(squares)


def by_definition(
    docs: list[Doc], ranked: list[str], threshold: float, cluster_of: Callable[[str], int]
) -> dict[str, tuple[str, float]]:
    """Survivor and cosine of each dropped document, all pairs looked at in rank order."""
    texts = {doc.record: doc.text for doc in docs}
    vectors = {record: unit(texts[record]) for record in ranked}
    kept: list[str] = []
    dropped: dict[str, tuple[str, float]] = {}
    for record in ranked:
        for better in kept:
            value = cosine(vectors[record], vectors[better])
            if cluster_of(record) == cluster_of(better) and value >= threshold:
                dropped[record] = (better, value)
                break
        else:
            kept.append(record)
    return dropped


def ranked_before(config: CorpusConfig, docs: list[Doc]) -> list[str]:
    """Records that the stages before keep and that have a vector, longest first."""
    before = with_dedup(config, semantic=None)
    dedup.run(before)
    final = read_final(before)
    kept = [doc for doc in docs if final[doc.record]["kept"] and unit(doc.text)]
    lengths = [len(doc.text) for doc in kept]
    assert len(set(lengths)) > 1
    hashes = {doc.record: content_hash(doc.text) for doc in kept}
    kept.sort(key=lambda doc: (-len(doc.text.encode()), hashes[doc.record]))
    return [doc.record for doc in kept]


def content_hash(text: str) -> bytes:
    from filters.hashing import content_hash as hashes

    return hashes(pa.array([text], pa.large_string()))[0].as_py()


def test_what_minhash_cannot_see_is_found(tmp_path: Path) -> None:
    words = [f"word{k}" for k in range(200)]
    shuffled = random.Random(1).sample(words, len(words))
    docs = [
        Doc(" ".join(words) + " longer", "page"),
        Doc(" ".join(shuffled), "shuffled"),
        Doc(" ".join(f"else{k}" for k in range(200)), "other"),
    ]
    config = semantic_config(tmp_path)
    final = decided(config, {"web/0000000-0000": docs})
    fates = {
        record: (row["stage"], row["reason"], row["survivor"]) for record, row in final.items()
    }
    assert fates == {
        "page": ("", "", "page"),
        "shuffled": ("semantic", "semantic_duplicate", "page"),
        "other": ("", "", "other"),
    }
    assert 0.9 < final["shuffled"]["similarity"] < 1
    assert final["page"]["num_copies"] == 2
    markers = commit.read_markers(config.output, semantic.STAGE)
    assert markers[0].counts == {"documents": 3, "kept": 2, "drop:semantic_duplicate": 1}
    pairs = tables.read_table(config.path(PAIRS_STAGE, "web/0000000-0000.parquet")).to_pylist()
    assert [row["method"] for row in pairs] == ["embedding"]
    assert pairs[0]["jaccard"] == final["shuffled"]["similarity"]


@pytest.mark.parametrize("threshold", [0.8, 0.95])
def test_all_pairs_in_plain_python_say_the_same(tmp_path: Path, threshold: float) -> None:
    docs = pages(8, 10)
    config = semantic_config(tmp_path, threshold=threshold)
    final = decided(config, in_parts(docs, 3, seed=1))
    expected = by_definition(docs, ranked_before(config, docs), threshold, lambda _: 0)
    assert expected
    found = {
        record: (row["survivor"], row["similarity"])
        for record, row in final.items()
        if row["stage"] == "semantic"
    }
    assert found == expected


def test_pairs_are_those_within_clusters(tmp_path: Path) -> None:
    """With clusters asked for: those of k-means over all vectors in the order of hashes."""
    docs = pages(8, 10)
    config = semantic_config(tmp_path, threshold=0.6, clusters=5)
    final = decided(config, in_parts(docs, 2, seed=1))
    ranked = ranked_before(config, docs)
    texts = {doc.record: doc.text for doc in docs}
    by_hash = sorted(ranked, key=lambda record: content_hash(texts[record])[8:])
    vectors = np.array([unit(texts[record]) for record in by_hash], np.int16)
    centroids = kmeans.train(vectors, 5, config.dedup.seed)
    found = dict(zip(by_hash, kmeans.assign(vectors, centroids).tolist(), strict=True))
    expected = by_definition(docs, ranked, 0.6, found.__getitem__)
    everywhere = by_definition(docs, ranked, 0.6, lambda _: 0)
    dropped = {record for record, row in final.items() if row["stage"] == "semantic"}
    assert dropped == set(expected)
    assert len(set(found.values())) == 5
    assert expected != everywhere  # some pairs are lost between clusters


def fingerprint(config: CorpusConfig) -> str:
    stages = ("decisions/semantic", "decisions/final", PAIRS_STAGE)
    return commit.fingerprint(m for s in stages for m in commit.read_markers(config.output, s))


def test_parts_and_their_order_do_not_matter(tmp_path: Path) -> None:
    docs = pages(6, 8)
    outcomes = []
    for num_parts in (1, 2, 7):
        config = semantic_config(tmp_path / str(num_parts), clusters=4)
        outcomes.append(decided(config, in_parts(docs, num_parts, seed=num_parts)))
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert any(row["stage"] == "semantic" for row in outcomes[0].values())


def test_workers_buckets_blocks_and_row_groups_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = in_parts(pages(6, 8), 3, seed=1)
    configs = [semantic_config(tmp_path / name, clusters=3) for name in "abc"]
    for config in configs:
        write_embedded(config, parts)
        dedup.run(with_dedup(config, semantic=None))
    dedup.run(configs[0])
    runner = configs[1].runner.model_copy(update={"workers": 2})
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.workplace.is_alone", lambda *_: False)
        dedup.run(configs[1].model_copy(update={"runner": runner}))
    monkeypatch.setattr(clusters, "MAX_ROWS", 5)
    monkeypatch.setattr(clusters, "BUCKET_BYTES", 1000)
    monkeypatch.setattr("pipelines.duplicates.cluster_pairs.COPIES_OF_ROWS", 1 << 17)
    dedup.run(with_dedup(configs[2], memory_bytes=64 << 20))
    assert fingerprint(configs[0]) == fingerprint(configs[1]) == fingerprint(configs[2])
    counts = commit.read_markers(configs[2].output, semantic.SUMMARY)[0].counts
    assert counts["clusters_in_blocks"] > 0
    assert counts["largest_cluster"] > 3


@pytest.mark.parametrize(
    "point",
    [
        "pipelines.duplicates.clusters.train",
        "pipelines.duplicates.clusters.read_vectors",
        "pipelines.duplicates.cluster_pairs.match_each_other",
        "pipelines.duplicates.cluster_pairs.view_name",
        "pipelines.duplicates.fuzzy.resolve_layer",
        "pipelines.duplicates.decisions.write_decisions",
    ],
)
def test_a_killed_run_goes_on_and_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    parts = in_parts(pages(4, 6), 2, seed=1)
    whole, killed = (semantic_config(tmp_path / name, clusters=3) for name in ("a", "b"))
    decided(whole, parts)
    write_embedded(killed, parts)
    dedup.run(with_dedup(killed, semantic=None))
    module, _, name = point.rpartition(".")
    function = getattr(importlib.import_module(module), name)
    calls = []

    def dies_at_the_second_call(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) == 2 or name in ("train", "resolve_layer"):
            raise KilledError
        return function(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(point, dies_at_the_second_call)
        with pytest.raises((KilledError, RuntimeError)):
            dedup.run(killed)
    dedup.run(killed)
    assert fingerprint(killed) == fingerprint(whole)
    assert not (tmp_path / "b" / ".work" / "semantic").exists()


def test_a_second_run_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = semantic_config(tmp_path)
    decided(config, in_parts(pages(3, 4), 2, seed=1))
    before = fingerprint(config)
    monkeypatch.setattr(clusters, "train", None)
    dedup.run(config)
    assert fingerprint(config) == before
    monkeypatch.undo()
    dedup.run(with_dedup(config, semantic=None))
    assert not (tmp_path / "decisions" / "semantic").exists()
    assert not (tmp_path / PAIRS_STAGE).exists()


def test_validation_outranks_training(tmp_path: Path) -> None:
    docs = pages(8, 10)
    config = with_validation(semantic_config(tmp_path), 0.3)
    final = decided(config, in_parts(docs, 3, seed=1))
    rows = [row for row in final.values() if row["stage"] == "semantic"]
    assert {row["reason"] for row in rows} == {"semantic_duplicate", "near_validation"}
    for row in rows:
        near = row["split"] == "train" and final[row["survivor"]]["split"] == "validation"
        assert row["reason"] == ("near_validation" if near else "semantic_duplicate")
    texts = {doc.record: unit(doc.text) for doc in docs}
    kept = [record for record, row in final.items() if row["kept"] and texts[record]]
    held_out = [record for record in kept if final[record]["split"] == "validation"]
    assert held_out
    for one in held_out:
        others = (other for other in kept if other != one)
        assert all(cosine(texts[one], texts[other]) < 0.9 for other in others)


def test_sources_do_not_meet_in_their_own_scope(tmp_path: Path) -> None:
    words = [f"word{k}" for k in range(200)]
    rng = random.Random(3)
    texts = [" ".join(rng.sample(words, 200)) for _ in range(4)]
    parts = {
        "books/0000000-0000": [Doc(texts[0], "b0"), Doc(texts[1], "b1")],
        "web/0000001-0000": [Doc(texts[2], "w0"), Doc(texts[3], "w1")],
    }
    config = semantic_config(tmp_path / "source", dedup={"scope": "source"})
    final = decided(config, parts)
    kept = {record[0] for record, row in final.items() if row["kept"]}
    assert kept == {"b", "w"}
    assert sum(row["kept"] for row in final.values()) == 2
    everywhere = decided(semantic_config(tmp_path / "global"), parts)
    assert sum(row["kept"] for row in everywhere.values()) == 1


def test_copies_add_up_and_survivors_are_kept(tmp_path: Path) -> None:
    """Through all stages: what an exact copy stood for goes to the one that is kept in the end."""
    docs = [*pages(5, 8), *[Doc(doc.text, f"{doc.record} copy") for doc in pages(5, 8)[:20]]]
    final = decided(semantic_config(tmp_path), in_parts(docs, 2, seed=2))
    assert sum(row["num_copies"] for row in final.values()) == len(docs)
    for record, row in final.items():
        assert final[row["survivor"]]["kept"], record
        assert final[row["cluster"]]["kept"], record
        assert row["cluster"] == final[row["survivor"]]["cluster"], record


def test_it_works_without_the_stages_before(tmp_path: Path) -> None:
    docs = pages(4, 6)
    config = semantic_config(tmp_path, dedup={"exact": False, "fuzzy": False})
    final = decided(config, in_parts(docs, 2, seed=1))
    assert {row["stage"] for row in final.values()} == {"", "semantic"}
    assert not (final["again"]["kept"] and final["topic0-0"]["kept"])


def test_an_append_flips_nothing(tmp_path: Path) -> None:
    docs = [doc for doc in pages(6, 9) if doc.record != "again"]
    random.Random(5).shuffle(docs)
    config = with_validation(semantic_config(tmp_path), 0.1)
    before: dict[str, tuple[Any, ...]] = {}
    final: dict[str, dict[str, Any]] = {}
    for number in range(3):
        write_embedded(config, {f"web/{number:07d}-0000": docs[number::3]})
        dedup.run(with_dedup(config, mode="append"))
        final = read_final(config)
        now = {
            record: (row["kept"], row["stage"], row["reason"], row["survivor"])
            for record, row in final.items()
        }
        assert {record: now[record] for record in before} == before
        before = now
    assert sum(row["num_copies"] for row in final.values()) == len(docs)
    texts = {doc.record: unit(doc.text) for doc in docs}
    kept = [record for record, row in final.items() if row["kept"] and texts[record]]
    for number, one in enumerate(kept):
        assert all(cosine(texts[one], texts[other]) < 0.9 for other in kept[:number])


def test_nothing_to_compare(tmp_path: Path) -> None:
    docs = [Doc("", "empty"), Doc("a b", "short", drop="too_short")]
    final = decided(semantic_config(tmp_path), {"web/0000000-0000": docs})
    assert final["empty"]["kept"]


def test_the_number_of_clusters() -> None:
    settings = semantic_config(Path("x")).dedup.semantic
    assert settings is not None
    found = [
        clusters.num_clusters(settings, n) for n in (0, 19_999, 50_000, 1_000_000, 400_000_000)
    ]
    assert found == [1, 1, 5, 100, 20_000]
    given = settings.model_copy(update={"clusters": 30})
    assert [clusters.num_clusters(given, n) for n in (7, 10**6)] == [7, 30]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give the folder of a model"),
        ({"model": "m", **FUNCTION}, "and not both"),
        ({"function": "a.b:c"}, "a function needs the length of its vectors"),
        ({"model": "m", "dimensions": 8}, "a model's folder tells it"),
        ({"function": "bag", "dimensions": 8}, "expected package.module:function"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        corpus_config(Path("x"), ["web"], semantic=settings)


def test_auto_is_the_default() -> None:
    config = corpus_config(Path("x"), ["web"], semantic={**FUNCTION, "clusters": "auto"})
    assert config.dedup.semantic == semantic_config(Path("x"), threshold=0.95).dedup.semantic


def integers(batch: pa.RecordBatch) -> np.ndarray:
    return np.ones((batch.num_rows, 4), np.int64)


def not_numbers(batch: pa.RecordBatch) -> np.ndarray:
    return np.full((batch.num_rows, 4), np.nan)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("integers", r"returned int64\[3, 4\] for 3 rows; expected floats \[3, 4\]"),
        ("not_numbers", "not finite"),
        ("bag_of_words", r"returned float32\[3, 64\]"),
        ("missing", "has no attribute 'missing'"),
    ],
)
def test_a_function_of_no_use_is_one_line(name: str, message: str) -> None:
    values = {"function": f"{__name__}:{name}", "dimensions": 4}
    settings = corpus_config(Path("x"), ["web"], semantic=values).dedup.semantic
    assert settings is not None
    with pytest.raises(ConfigError, match=message) as raised:
        embedding.check(settings)
    assert "\n" not in str(raised.value)
