"""Growth: an append flips nothing, a rebuild equals one run, and a take-down frees duplicates."""

from __future__ import annotations

import importlib
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines import dedup
from pipelines.config import CorpusConfig
from pipelines.duplicates import generations
from pipelines.duplicates.candidates import unpack_rows
from pipelines.duplicates.ranking import ContentHashes, Ranking
from pipelines.duplicates.resolution import NONE, Pairs, resolve
from storage import commit, tables
from storage.commit import PartMarker, WrittenObject
from storage.tables import DECISION
from tests.pipelines.dedup_corpus import (
    Doc,
    corpus_config,
    read_final,
    with_dedup,
    with_validation,
    write_corpus,
    write_selection,
)
from tests.pipelines.test_dedup import KilledError, edited, near_pages, page

STAGES = ("decisions/exact", "decisions/fuzzy", "decisions/final", "pairs")


def fingerprint(config: CorpusConfig) -> str:
    return commit.fingerprint(
        marker for stage in STAGES for marker in commit.read_markers(config.output, stage)
    )


def crawls(num_crawls: int, seed: int) -> list[list[Doc]]:
    """Near and exact duplicates of a few pages, dealt out at random."""
    docs = near_pages(7, 4)
    docs += [Doc(page(k, 150 + k), f"again{k}") for k in range(7)]
    docs += [Doc("", "empty"), Doc("", "empty too")]
    random.Random(seed).shuffle(docs)
    return [docs[k::num_crawls] for k in range(num_crawls)]


def part_name(number: int) -> str:
    return f"web/{number:07d}-0000"


def append(config: CorpusConfig, number: int, docs: list[Doc]) -> dict[str, dict[str, Any]]:
    write_corpus(config, {part_name(number): docs})
    dedup.run(with_dedup(config, mode="append"))
    return read_final(config)


def fates(final: dict[str, dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    names = ("kept", "reason", "stage", "survivor", "similarity")
    return {record: tuple(row[name] for name in names) for record, row in final.items()}


@pytest.mark.parametrize("seed", [1, 2])
def test_appends_flip_nothing_and_a_rebuild_is_one_run(tmp_path: Path, seed: int) -> None:
    config = with_validation(corpus_config(tmp_path / "grown", ["web"]), 0.2)
    parts = crawls(3, seed)
    before: dict[str, tuple[Any, ...]] = {}
    final: dict[str, dict[str, Any]] = {}
    for number, docs in enumerate(parts):
        final = append(config, number, docs)
        now = fates(final)
        assert {record: now[record] for record in before} == before
        before = now
    check(config, final)
    history = generations.fingerprint_markers(config)
    assert history
    dedup.run(config)
    whole = with_validation(corpus_config(tmp_path / "whole", ["web"]), 0.2)
    write_corpus(whole, {part_name(number): docs for number, docs in enumerate(parts)})
    dedup.run(whole)
    assert fingerprint(config) == fingerprint(whole)
    assert generations.fingerprint_markers(config) == []


def test_the_order_of_appends_is_history_and_a_rebuild_forgets_it(tmp_path: Path) -> None:
    parts = crawls(3, 4)
    orders = ([0, 1, 2], [2, 0, 1])
    rebuilt, histories = [], []
    for order in orders:
        config = corpus_config(tmp_path / str(order[0]), ["web"])
        finals = [append(config, number, parts[crawl]) for number, crawl in enumerate(order)]
        check(config, finals[-1])
        histories.append(commit.fingerprint(generations.fingerprint_markers(config)))
        dedup.run(config)
        rebuilt.append(fates(read_final(config)))
    assert histories[0] != histories[1]
    assert rebuilt[0] == rebuilt[1]


def check(config: CorpusConfig, final: dict[str, dict[str, Any]]) -> None:
    """What holds after any run: survivors are kept, nothing kept is similar, copies add up."""
    kept = {record for record, row in final.items() if row["kept"]}
    decided = [row for row in final.values() if row["stage"] not in ("select", "takedown")]
    assert all(row["survivor"] in kept for row in decided)
    alive = {}
    ids = {}
    for marker in commit.read_markers(config.output, "decisions/final"):
        table = tables.read_table(config.path("decisions/final", f"{marker.part}.parquet"))
        alive |= dict(zip(table["doc_id"].to_pylist(), table["kept"].to_pylist(), strict=True))
        records = tables.read_table(config.path("documents", f"{marker.part}.parquet"), ["record"])
        ids |= dict(zip(table["doc_id"].to_pylist(), records["record"].to_pylist(), strict=True))
    for marker in commit.read_markers(config.output, "pairs"):
        for pair in tables.read_table(config.path("pairs", f"{marker.part}.parquet")).to_pylist():
            both = alive[pair["doc_a"]] and alive[pair["doc_b"]]
            assert not (both and pair["jaccard"] >= config.dedup.threshold)
            rows = final[ids[pair["doc_a"]]], final[ids[pair["doc_b"]]]
            if pair["jaccard"] >= config.dedup.threshold and "takedown" not in (
                rows[0]["stage"],
                rows[1]["stage"],
            ):
                assert rows[0]["cluster"] == rows[1]["cluster"]
    assert sum(row["num_copies"] for row in final.values()) == len(decided)


def test_old_text_is_read_for_pairs_with_new_documents_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = corpus_config(tmp_path, ["web"])
    append(config, 0, near_pages(6, 3))
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.duplicates.pair_steps.read_shingles", None)
        patch.setattr("pipelines.duplicates.pair_steps.read_signatures", None)
        final = append(config, 1, [Doc(page(99), "new"), Doc(page(98), "newer")])
    assert final["new"]["kept"]
    assert final["newer"]["kept"]


def test_few_rows_of_old_documents_are_shuffled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = corpus_config(tmp_path, ["web"])
    old = [Doc(page(k), f"old{k}") for k in range(60)]
    append(config, 0, old)
    shuffled = []
    function = importlib.import_module("pipelines.duplicates.band_shuffle").write_pairs

    def watch(place: Any, part: str, values: Any) -> Any:
        values = list(values)
        shuffled.append(len(unpack_rows(values).hashes))
        return function(place, part, values)

    monkeypatch.setattr("pipelines.duplicates.band_shuffle.write_pairs", watch)
    final = append(config, 1, [Doc(edited(page(5), 1, 1), "near"), Doc(page(99), "new")])
    assert final["near"]["survivor"] == "old5"
    assert final["new"]["kept"]
    bands = config.dedup.bands
    assert 2 * bands < sum(shuffled) <= 3 * bands  # two new documents and the one they resemble


def test_a_new_validation_page_yields_to_an_old_training_page(tmp_path: Path) -> None:
    """Nothing old is flipped, and still no kept validation page resembles a training page."""
    config = corpus_config(tmp_path, ["web"])
    append(config, 0, [Doc(page(1), "old")])
    config = with_validation(config, 0.999999)
    write_corpus(config, {part_name(1): [Doc(edited(page(1), 1, 1) + " longer", "new")]})
    dedup.run(with_dedup(config, mode="append"))
    final = read_final(config)
    assert final["old"]["kept"]
    assert final["new"]["survivor"] == "old"


def take_down(config: CorpusConfig, number: int, reasons: list[str]) -> None:
    first = number << 40
    ids = pa.array(range(first, first + len(reasons)), pa.uint64())
    columns = [ids, pa.array([bool(reason) for reason in reasons]), pa.array(reasons)]
    table = pa.Table.from_arrays(columns, schema=DECISION)
    stage, part = "decisions/takedown", part_name(number)
    stats = tables.write_table(config.path(stage, f"{part}.parquet"), table, DECISION)
    written = WrittenObject.of_table(stage, part, stats)
    commit.write_marker(config.output, PartMarker(stage, part, stats.digest, [written]))


def test_a_take_down_frees_the_duplicates_of_what_it_removed(tmp_path: Path) -> None:
    """They compete again: one comes back, unless it resembles something that is kept."""
    text = page(1)
    docs = [
        Doc(text + " the longest one", "best"),
        Doc(text, "copy"),
        Doc(text, "exact copy"),
        Doc(page(2) + " far longer", "other"),
        Doc(page(2), "other copy"),
    ]
    config = corpus_config(tmp_path, ["web"])
    before = append(config, 0, docs)
    assert {record for record, row in before.items() if row["kept"]} == {"best", "other"}
    take_down(config, 0, ["asked", "", "", "", ""])
    dedup.run(with_dedup(config, mode="append"))
    final = read_final(config)
    assert {record for record, row in final.items() if row["kept"]} == {"copy", "other"}
    assert final["exact copy"]["survivor"] == "copy"
    assert fates(final)["other copy"] == fates(before)["other copy"]
    check(config, final)
    take_down(config, 0, ["asked", "asked", "asked", "", ""])
    dedup.run(with_dedup(config, mode="append"))
    assert {r for r, row in read_final(config).items() if row["kept"]} == {"other"}


def test_what_select_lets_in_later_is_new(tmp_path: Path) -> None:
    config = corpus_config(tmp_path, ["web"])
    docs = [Doc(page(1), "kept"), Doc(page(1) + " longer", "dropped", drop="low")]
    append(config, 0, docs)
    write_selection(config, part_name(0), ["", ""])
    dedup.run(with_dedup(config, mode="append"))
    final = read_final(config)
    assert final["kept"]["kept"]
    assert final["dropped"]["survivor"] == "kept"


def test_the_same_append_twice_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = corpus_config(tmp_path, ["web"])
    for number, docs in enumerate(crawls(2, 5)):
        append(config, number, docs)
    before = fingerprint(config), generations.fingerprint_markers(config)
    for function in ("exact.find_duplicates", "fuzzy.rank_documents"):
        monkeypatch.setattr(f"pipelines.duplicates.{function}", None)
    dedup.run(with_dedup(config, mode="append"))
    assert (fingerprint(config), generations.fingerprint_markers(config)) == before


@pytest.mark.parametrize(
    "point",
    [
        "pipelines.duplicates.exact.write_decisions",
        "pipelines.duplicates.new_documents.write_hashes",
        "pipelines.duplicates.pair_steps.metadata_of",
        "pipelines.duplicates.fuzzy.resolve",
        "pipelines.duplicates.decide.final_table",
        "pipelines.duplicates.generations.commit.write_marker",
    ],
)
def test_a_killed_append_goes_on_and_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    config = corpus_config(tmp_path / "killed", ["web"])
    whole = corpus_config(tmp_path / "whole", ["web"])
    parts = crawls(3, 3)
    for number, docs in enumerate(parts):
        append(whole, number, docs)
    for number, docs in enumerate(parts[:2]):
        append(config, number, docs)
    write_corpus(config, {part_name(2): parts[2]})
    owner, _, name = point.rpartition(".")
    try:
        module = importlib.import_module(owner)
    except ModuleNotFoundError:
        outer, _, inner = owner.rpartition(".")
        module = getattr(importlib.import_module(outer), inner)
    function = getattr(module, name)
    calls = []

    def dies(*args: Any, **kwargs: Any) -> Any:
        last = name != "write_marker" or args[1].part == "dedup"
        calls.append(args)
        if last and (len(calls) >= 2 or name in ("resolve", "write_hashes")):
            raise KilledError
        return function(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, dies)
        with pytest.raises((KilledError, RuntimeError)):
            dedup.run(with_dedup(config, mode="append"))
    dedup.run(with_dedup(config, mode="append"))
    assert fingerprint(config) == fingerprint(whole)
    assert generations.fingerprint_markers(config) == generations.fingerprint_markers(whole)


graphs = st.integers(1, 30).flatmap(
    lambda n: st.tuples(
        st.just(n),
        st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=60),
        st.lists(st.integers(0, 3), min_size=n, max_size=n),
        st.permutations(range(n)),
    )
)


@settings(deadline=None)
@given(graphs)
def test_the_rule_of_appends_on_any_graph_of_pairs(graph: Any) -> None:
    """Documents come in up to four crawls. Those kept stay kept, in each crawl the outcome is that
    of the rule, and after all no two kept documents are a pair."""
    num_docs, edges, crawl_of, quality = graph
    pairs = {frozenset(edge) for edge in edges if edge[0] != edge[1]}
    kept: set[int] = set()
    dropped: set[int] = set()
    for crawl in range(4):
        new = [doc for doc in range(num_docs) if crawl_of[doc] == crawl]
        competing = sorted(kept) + sorted(new)
        if not competing:
            continue
        ids = np.array(sorted(competing), np.uint64)
        policy = np.array([quality[doc] for doc in ids], np.uint64)
        none = np.zeros(len(ids), np.uint64)
        standing = np.array([int(doc) in kept for doc in ids])
        ranking = Ranking.of(
            ids, none.astype(bool), policy, ContentHashes(none, none), none, standing
        )
        assert set(ranking.doc_ids[: ranking.num_standing].tolist()) == kept
        rank = {int(doc): k for k, doc in enumerate(ranking.doc_ids)}
        ranked = sorted(
            tuple(sorted((rank[a], rank[b])))
            for a, b in (sorted(pair) for pair in pairs)
            if a in rank and b in rank and max(rank[a], rank[b]) >= ranking.num_standing
        )
        better = np.array([pair[0] for pair in ranked], np.uint32)
        worse = np.array([pair[1] for pair in ranked], np.uint32)
        found = resolve(len(ids), [Pairs(better, worse, np.ones(len(ranked)))])
        alive = {
            int(doc) for doc, s in zip(ranking.doc_ids, found.survivor, strict=True) if s == NONE
        }
        assert kept <= alive
        assert not dropped & alive
        for doc in set(new) - alive:
            survivor = int(ranking.doc_ids[found.survivor[rank[doc]]])
            assert survivor in alive
            assert frozenset((doc, survivor)) in pairs
        kept, dropped = alive, dropped | (set(new) - alive)
    assert not any(pair <= kept for pair in pairs)
