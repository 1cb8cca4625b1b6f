"""The whole stage on small corpora: traps, splits, and independence of everything incidental."""

from __future__ import annotations

import importlib
import random
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from filters import hashing
from pipelines import dedup
from pipelines.config import CorpusConfig
from pipelines.duplicates import band_shuffle, fuzzy
from pipelines.duplicates.candidates import ROW
from pipelines.duplicates.ranking import split_hashes
from pipelines.stages import FINISHED
from pipelines.workplace import Workplace
from storage import commit, objects, tables
from storage.commit import PartMarker, WrittenObject
from storage.errors import ConfigError, UserError
from tests.pipelines.dedup_corpus import (
    Doc,
    corpus_config,
    kept_records,
    read_final,
    with_dedup,
    with_validation,
    write_corpus,
    write_selection,
)

PART = "web/0000000-0000"


def words(seed: int, count: int) -> list[str]:
    rng = random.Random(seed)
    return ["".join(rng.choices("abcdefghijklmnop", k=7)) for _ in range(count)]


def page(seed: int, count: int = 300) -> str:
    return " ".join(words(seed, count))


def edited(text: str, seed: int, num_changes: int) -> str:
    """The text with some words replaced: each change breaks up to five shingles."""
    rng = random.Random(seed)
    changed = text.split()
    for place in rng.sample(range(len(changed)), num_changes):
        changed[place] = f"new{rng.randrange(10**6)}x"
    return " ".join(changed)


def dedup_of(output: Path, docs: list[Doc], **settings) -> CorpusConfig:
    config = corpus_config(output, ["web"], **settings)
    write_corpus(config, {PART: docs})
    dedup.run(config)
    return config


def test_duplicates_of_both_kinds(tmp_path: Path) -> None:
    text = page(1)
    docs = [
        Doc(text, "a"),
        Doc(page(2), "other"),
        Doc(text, "b"),
        Doc(edited(text, 3, 2) + " longer", "near"),
        Doc("junk", "junk", drop="too_short"),
    ]
    config = dedup_of(tmp_path, docs)
    final = read_final(config)
    fates = {record: (row["kept"], row["stage"], row["reason"]) for record, row in final.items()}
    assert fates == {
        "a": (False, "fuzzy", "near_duplicate"),
        "b": (False, "exact", "exact_duplicate"),
        "near": (True, "", ""),
        "other": (True, "", ""),
        "junk": (False, "select", "too_short"),
    }
    assert {record: row["survivor"] for record, row in final.items()} == {
        "a": "near",
        "b": "near",
        "near": "near",
        "other": "other",
        "junk": "junk",
    }
    assert final["b"]["similarity"] == final["a"]["similarity"] > 0.9
    assert {row["cluster"] for record, row in final.items() if record in "a b near"} == {"near"}


def test_accounting_is_in_the_markers(tmp_path: Path) -> None:
    text = page(1)
    docs = [Doc(text, "a"), Doc(text, "b"), Doc(edited(text, 1, 1), "c"), Doc("x", "d", "short")]
    config = dedup_of(tmp_path, docs)
    counts = {
        stage: commit.read_markers(config.output, f"decisions/{stage}")[0].counts
        for stage in ("exact", "fuzzy", "final")
    }
    assert counts["exact"] == {"documents": 3, "kept": 2, "drop:exact_duplicate": 1}
    assert counts["fuzzy"] == {"documents": 2, "kept": 1, "drop:near_duplicate": 1}
    assert counts["final"] == {
        "documents": 4,
        "kept": 1,
        "kept_validation": 0,
        "drop:exact_duplicate": 1,
        "drop:near_duplicate": 1,
        "drop:short": 1,
    }


def test_a_chain_keeps_both_ends(tmp_path: Path) -> None:
    """A ~ B ~ C without A ~ C, and B in the middle is dropped for the better of its neighbours."""
    start = words(5, 400)
    middle = start[:375] + words(6, 25)
    end = middle[25:] + words(7, 25)
    docs = [Doc(" ".join(text), name) for name, text in (("a", start), ("b", middle), ("c", end))]
    config = dedup_of(tmp_path, docs, threshold=0.85, survivor="source_priority")
    final = read_final(config)
    by_policy = {name for name, row in final.items() if row["kept"]}
    assert by_policy in ({"a", "c"}, {"b"})  # by content hash: the middle one is best, or an end
    assert len({row["cluster"] for row in final.values()}) == 1


def test_digits_decide_too(tmp_path: Path) -> None:
    """Pages of one template that differ in their numbers alone are different documents."""
    rng = random.Random(4)
    template = [f"row {{}} of the table says {{}} and {{}} in {word}" for word in words(1, 40)]
    docs = [
        Doc("\n".join(line.format(*rng.sample(range(10**6), 3)) for line in template), f"page{k}")
        for k in range(40)
    ]
    config = dedup_of(tmp_path, docs)
    assert len(kept_records(config)) == 40


def test_ten_thousand_copies_of_a_page(tmp_path: Path) -> None:
    """Exact copies leave before the shuffle; near copies fill one large bucket per band."""
    text = page(1, 120)
    docs = [Doc(text, f"copy{k:05d}") for k in range(10_000)]
    docs += [Doc(edited(text, k, 1), f"near{k:03d}") for k in range(300)]
    config = dedup_of(tmp_path, docs)
    final = read_final(config)
    assert sum(row["kept"] for row in final.values()) <= 10
    assert sum(row["stage"] == "exact" for row in final.values()) >= 9_999
    counts = commit.read_markers(config.output, fuzzy.SUMMARY)[0].counts
    assert counts["large_buckets"] > 0
    assert counts["unexamined_pairs"] > 0


def test_empty_and_one_word_documents(tmp_path: Path) -> None:
    """Without shingles nothing is a near-duplicate; equal texts are exact duplicates still."""
    docs = [Doc("", "empty1"), Doc("", "empty2"), Doc("... !", "marks"), Doc("?!", "other marks")]
    docs += [Doc("word", "word1"), Doc("word", "word2"), Doc("Word.", "word3"), Doc("else", "else")]
    config = dedup_of(tmp_path, docs)
    final = read_final(config)
    assert {r for r, row in final.items() if row["stage"] == "exact"} == {"empty2", "word2"}
    assert {r for r, row in final.items() if row["stage"] == "fuzzy"} == {"word1"}
    assert final["word2"]["survivor"] == "word3"


@pytest.mark.parametrize("drop", ["", "bad"])
def test_nothing_to_compare(tmp_path: Path, drop: str) -> None:
    """A corpus of one document, and one of which every document is dropped before."""
    config = dedup_of(tmp_path, [Doc(page(1), "a", drop)])
    assert kept_records(config) == (set() if drop else {"a"})


def test_a_corpus_without_documents(tmp_path: Path) -> None:
    config = corpus_config(tmp_path, ["web"])
    with pytest.raises(UserError, match="tilth select"):
        dedup.run(config)
    commit.write_marker(config.output, PartMarker(FINISHED, "decisions/select", "r"))
    assert dedup.run(config)["kept"] == 0


def test_an_unfinished_earlier_stage_is_named(tmp_path: Path) -> None:
    config = corpus_config(tmp_path, ["web"])
    write_corpus(config, {PART: [Doc("a", "a")]})
    commit.delete_marker(config.output, "decisions/select", PART)
    with pytest.raises(UserError, match=r"web/0000000-0000.*tilth select"):
        dedup.run(config)


def near_pages(num_pages: int, copies: int) -> list[Doc]:
    docs = []
    for k in range(num_pages):
        text = page(k, 150 + k)
        docs.append(Doc(text, f"p{k}"))
        docs += [Doc(edited(text, 100 * k + c, 1 + c), f"p{k}v{c}") for c in range(copies)]
    return docs


def in_parts(docs: list[Doc], num_parts: int, seed: int) -> dict[str, list[Doc]]:
    docs = list(docs)
    random.Random(seed).shuffle(docs)
    return {f"web/{part:07d}-0000": docs[part::num_parts] for part in range(num_parts)}


def test_parts_and_their_order_do_not_matter(tmp_path: Path) -> None:
    docs = [*near_pages(8, 5), Doc(page(3, 153), "again")]
    outcomes = []
    for num_parts in (1, 2, 7):
        config = corpus_config(tmp_path / str(num_parts), ["web"])
        write_corpus(config, in_parts(docs, num_parts, seed=num_parts))
        dedup.run(config)
        outcomes.append(read_final(config))
    assert outcomes[0] == outcomes[1] == outcomes[2]


def fingerprint(config: CorpusConfig) -> str:
    stages = ("decisions/exact", "decisions/fuzzy", "decisions/final", "pairs")
    return commit.fingerprint(m for s in stages for m in commit.read_markers(config.output, s))


def test_workers_passes_and_shuffled_groups_do_not_matter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = in_parts(near_pages(12, 5), 3, seed=1)
    configs = [corpus_config(tmp_path / name, ["web"]) for name in ("one", "two", "tight")]
    for config in configs:
        write_corpus(config, parts)
    dedup.run(configs[0])
    runner = configs[1].runner.model_copy(update={"workers": 2})
    with monkeypatch.context() as patch:  # map-only steps stay here: each pipeline costs seconds
        patch.setattr("pipelines.duplicates.band_shuffle.is_in_files", lambda _: False)
        dedup.run(configs[1].model_copy(update={"runner": runner}))
    monkeypatch.setattr("pipelines.duplicates.candidates.MAX_PASS_BYTES", 10_000)
    monkeypatch.setattr("pipelines.duplicates.candidates.KEY_BYTES", 500)
    monkeypatch.setattr("pipelines.duplicates.band_shuffle.write_pairs", shuffled_write_pairs)
    dedup.run(configs[2])
    assert len({fingerprint(config) for config in configs}) == 1


WRITE_PAIRS = band_shuffle.write_pairs


def shuffled_write_pairs(place: Workplace, part: str, values: Iterable[bytes]) -> commit.PartMarker:
    """The reducer, with its values and the rows of each in another order."""
    rng = np.random.default_rng(7)
    shuffled = [
        data[:8] + rng.permutation(np.frombuffer(data, ROW, offset=8)).tobytes() for data in values
    ]
    rng.shuffle(shuffled)
    return WRITE_PAIRS(place, part, shuffled)


@pytest.mark.parametrize("scope", ["global", "source"])
def test_resolution_in_rounds_decides_the_same_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scope: str
) -> None:
    parts = in_parts(near_pages(12, 5), 3, seed=1)
    configs = [
        corpus_config(tmp_path / str(limit), ["web"], scope=scope, max_resolve_edges=limit)
        for limit in (1000, 0)
    ]
    for config in configs:
        write_corpus(config, parts)
    dedup.run(configs[0])
    memory = configs[1].dedup.memory_bytes
    monkeypatch.setattr("pipelines.duplicates.edges.BYTES_PER_EDGE", memory // 20)
    monkeypatch.setattr("pipelines.duplicates.fuzzy.resolve", None)
    dedup.run(configs[1])
    assert fingerprint(configs[0]) == fingerprint(configs[1])


class KilledError(Exception):
    pass


KILLED_PARTS = in_parts([*near_pages(4, 3), Doc(page(2, 152), "again")], 2, seed=1)


@pytest.fixture(scope="module")
def fingerprint_of_a_whole_run(tmp_path_factory: pytest.TempPathFactory) -> str:
    config = corpus_config(tmp_path_factory.mktemp("whole"), ["web"])
    write_corpus(config, KILLED_PARTS)
    dedup.run(config)
    return fingerprint(config)


@pytest.mark.parametrize(
    "point",
    [
        "pipelines.duplicates.exact.write_decisions",
        "pipelines.duplicates.band_shuffle.write_pairs",
        "pipelines.duplicates.pair_steps.unique_pairs",
        "pipelines.duplicates.pair_steps.read_signatures",
        "pipelines.duplicates.pair_steps.estimated_jaccard",
        "pipelines.duplicates.pair_steps.read_shingles",
        "pipelines.duplicates.pair_steps.metadata_of",
        "pipelines.duplicates.fuzzy.resolve",
        "pipelines.duplicates.decisions.write_decisions",
        "pipelines.duplicates.band_shuffle.bucket_counts",
        "pipelines.duplicates.decide.final_table",
    ],
)
def test_a_killed_run_goes_on_and_ends_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fingerprint_of_a_whole_run: str, point: str
) -> None:
    config = corpus_config(tmp_path, ["web"])
    write_corpus(config, KILLED_PARTS)
    module, _, name = point.rpartition(".")
    function = getattr(importlib.import_module(module), name)
    calls = []

    def dies_at_the_second_call(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        if len(calls) == 2 or name in ("resolve", "unique_pairs", "bucket_counts"):
            raise KilledError
        return function(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(point, dies_at_the_second_call)
        with pytest.raises((KilledError, RuntimeError)):
            dedup.run(config)
    dedup.run(config)
    assert fingerprint(config) == fingerprint_of_a_whole_run
    assert commit.read_marker(config.output, fuzzy.SUMMARY, "all") is not None
    assert not (tmp_path / ".work" / "dedup").exists()


def test_what_a_killed_run_under_another_recipe_left_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = corpus_config(tmp_path, ["web"])
    write_corpus(config, {PART: near_pages(3, 2)})
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.duplicates.fuzzy.resolve", None)
        with pytest.raises(TypeError):
            dedup.run(config)
        (killed,) = (tmp_path / ".work" / "dedup").iterdir()
        with pytest.raises(TypeError):
            dedup.run(with_dedup(config, threshold=0.7))
        assert not killed.exists()


def test_a_second_run_does_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = dedup_of(tmp_path, near_pages(3, 2))
    before = fingerprint(config)
    for function in (
        "pipelines.duplicates.exact.find_duplicates",
        "pipelines.duplicates.fuzzy.rank_documents",
    ):
        monkeypatch.setattr(function, None)
    dedup.run(config)
    assert fingerprint(config) == before


def test_verified_pairs_are_not_verified_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a change of select no text and no signature is read for pairs that are known."""
    docs = near_pages(8, 4)
    config = dedup_of(tmp_path / "a", docs)
    reasons = ["changed" if doc.record in ("p1", "p5v2") else "" for doc in docs]
    write_selection(config, PART, reasons)
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.duplicates.pair_steps.read_shingles", None)
        patch.setattr("pipelines.duplicates.pair_steps.read_signatures", None)
        dedup.run(config)
    changed = [Doc(doc.text, doc.record, drop) for doc, drop in zip(docs, reasons, strict=True)]
    assert fingerprint(config) == fingerprint(dedup_of(tmp_path / "b", changed))


@pytest.mark.parametrize("threshold", [0.5, 0.85])
def test_another_threshold_gives_what_a_first_run_gives(tmp_path: Path, threshold: float) -> None:
    docs = near_pages(8, 4)
    config = with_dedup(dedup_of(tmp_path / "a", docs), threshold=threshold)
    dedup.run(config)
    assert fingerprint(config) == fingerprint(dedup_of(tmp_path / "b", docs, threshold=threshold))


def test_changed_texts_are_verified_anew(tmp_path: Path) -> None:
    """Row k of a part holds another text than before: what `pairs/` says of it is void."""
    docs = near_pages(6, 3)
    config = dedup_of(tmp_path / "a", docs)
    write_corpus(config, {PART: docs[::-1]})
    dedup.run(config)
    assert fingerprint(config) == fingerprint(dedup_of(tmp_path / "b", docs[::-1]))


def test_no_pair_of_kept_documents_is_similar_and_every_survivor_is_kept(tmp_path: Path) -> None:
    config = dedup_of(tmp_path, near_pages(15, 6))
    final = read_final(config)
    kept = {record for record, row in final.items() if row["kept"]}
    for row in final.values():
        assert row["survivor"] in kept
        if row["reason"] == "near_duplicate":
            assert row["similarity"] >= 0.8
    table = tables.read_table(config.path("pairs", f"{PART}.parquet"))
    fates = tables.read_table(config.path("decisions/final", f"{PART}.parquet"))
    alive = dict(zip(fates["doc_id"].to_pylist(), fates["kept"].to_pylist(), strict=True))
    for pair in table.to_pylist():
        both = alive[pair["doc_a"]] and alive[pair["doc_b"]]
        assert not (both and pair["jaccard"] >= 0.8)
    assert table.num_rows > 100
    assert set(table["method"].to_pylist()) == {"estimate", "exact"}


def test_validation_outranks_training(tmp_path: Path) -> None:
    """A longer training page goes when a page held out resembles it; its copies share its fate."""
    one, other = page(1), edited(page(1), 2, 2)
    held_out, training = sorted([one, other], key=content_hash_of)
    training_longer = training if len(training) > len(held_out) else training + " and more words"
    docs = [Doc(held_out, "held out"), Doc(held_out, "copy"), Doc(page(9), "else")]
    docs += [Doc(training_longer, "training"), Doc(training_longer, "training copy")]
    config = corpus_config(tmp_path, ["web"])
    config = with_validation(config, (content_hash_of(held_out) + 1) / 2**64)
    write_corpus(config, {PART: docs})
    dedup.run(config)
    final = read_final(config)
    reasons = {record: row["reason"] for record, row in final.items()}
    assert reasons.pop("held out") + reasons.pop("copy") == "exact_duplicate"
    if content_hash_of(training_longer) > content_hash_of(held_out):
        assert sorted([reasons["training"], reasons["training copy"]]) == [
            "exact_duplicate",
            "near_validation",
        ]
        assert {row["split"] for row in final.values()} == {"train", "validation"}


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("longest", "long"), ("shortest", "short"), ("source_priority", "first")],
)
def test_survivor_policies(tmp_path: Path, policy: str, expected: str) -> None:
    text = page(1)
    config = corpus_config(tmp_path, ["web", "books"], survivor=policy)
    docs = {
        "books/0000000-0000": [Doc(text + " longer", "long"), Doc(text, "same, books")],
        "web/0000001-0000": [Doc(text, "first"), Doc(text[:-8], "short")],
    }
    write_corpus(config, docs)
    dedup.run(config)
    kept = kept_records(config)
    if policy == "source_priority":
        assert kept <= {"first", "short"}
    else:
        assert kept == {expected}
    assert len(kept) == 1


def with_column(config: CorpusConfig, part: str, name: str, values: list[str]) -> None:
    """Sets a string column of `documents/`."""
    path = config.path("documents", f"{part}.parquet")
    table = tables.read_table(path)
    place = table.schema.get_field_index(name)
    table = table.set_column(place, name, pa.array(values, pa.string()))
    tables.write_table(path, table, table.schema)


def test_the_newest_survives(tmp_path: Path) -> None:
    """Of near and of exact duplicates; what is no ISO date counts as oldest."""
    text = page(1)
    docs = [Doc(text, "a"), Doc(text, "b"), Doc(edited(text, 1, 1), "c"), Doc(text, "d")]
    config = corpus_config(tmp_path, ["web"], survivor="newest")
    write_corpus(config, {PART: docs})
    dates = ["July, 2031", "2023-05-01T10:00:00Z", "2021", "2023-05-01T09:59:59Z"]
    with_column(config, PART, "created", dates)
    dedup.run(config)
    assert kept_records(config) == {"b"}


def test_the_highest_signal_survives(tmp_path: Path) -> None:
    text = page(1)
    docs = [Doc(text, "a"), Doc(edited(text, 1, 1), "b"), Doc(edited(text, 2, 1), "c")]
    config = corpus_config(tmp_path, ["web"], survivor="signal", survivor_signal="language_score")
    write_corpus(config, {PART: docs})
    scores = pa.table({"language_score": pa.array([0.25, 0.75, 0.5], pa.float32())})
    stats = tables.write_table(
        config.path("signals/language", f"{PART}.parquet"), scores, scores.schema
    )
    written = WrittenObject.of_table("signals/language", PART, stats)
    commit.write_marker(config.output, PartMarker("signals/language", PART, "r", [written]))
    dedup.run(config)
    assert kept_records(config) == {"b"}
    unknown = with_dedup(config, survivor_signal="beauty")
    with pytest.raises(ConfigError, match=r"'beauty'.*num_words"):
        dedup.run(unknown)


def test_copies_add_up_to_the_documents(tmp_path: Path) -> None:
    """Each kept document counts itself and those dropped for it, whichever stage dropped them."""
    docs = [*near_pages(6, 4), *[Doc(page(k, 150 + k), f"again{k}") for k in range(6)]]
    docs += [Doc("", "empty"), Doc("", "empty too"), Doc("junk", "junk", drop="short")]
    config = dedup_of(tmp_path, docs)
    final = read_final(config)
    stands_for = Counter(row["survivor"] for row in final.values())
    for record, row in final.items():
        copies = stands_for[record] if row["kept"] else 0
        assert row["num_copies"] == copies, record
    assert sum(row["num_copies"] for row in final.values()) == len(docs) - 1
    exact_only = with_dedup(config, fuzzy=False)
    dedup.run(exact_only)
    assert sum(row["num_copies"] for row in read_final(exact_only).values()) == len(docs) - 1


def test_a_source_that_would_vanish_stops_the_run(tmp_path: Path) -> None:
    """The final decisions of the run before stay as they were."""
    docs = [Doc(edited(page(1), k, 1), f"near{k}") for k in range(9)] + [Doc(page(2), "other")]
    config = dedup_of(tmp_path, docs)
    before = read_final(config)
    with pytest.raises(UserError, match=r"drop \d of the 10 documents of source 'web'"):
        dedup.run(with_dedup(config, survivor="shortest", max_removed_per_source=0.5))
    assert read_final(config) == before
    dedup.run(with_dedup(config, survivor="shortest", max_removed_per_source=0.9))
    assert read_final(config) != before


def test_stages_can_be_switched_off(tmp_path: Path) -> None:
    text = page(1)
    docs = [Doc(text, "a"), Doc(text, "b"), Doc(edited(text, 1, 1) + " longer", "c")]
    config = dedup_of(tmp_path, docs)
    assert kept_records(config) == {"c"}
    exact_only = with_dedup(config, fuzzy=False)
    dedup.run(exact_only)
    assert kept_records(exact_only) == {"a", "c"}
    assert not (tmp_path / "decisions" / "fuzzy").exists()
    fuzzy_only = with_dedup(config, exact=False)
    dedup.run(fuzzy_only)
    final = read_final(fuzzy_only)
    assert {row["reason"] for row in final.values()} == {"", "near_duplicate"}
    assert kept_records(fuzzy_only) == {"c"}
    neither = with_dedup(config, exact=False, fuzzy=False)
    dedup.run(neither)
    assert kept_records(neither) == {"a", "b", "c"}


def content_hash_of(text: str) -> int:
    """The part of the content hash that decides the split."""
    column = hashing.content_hash(pa.array([text], pa.large_string()))
    return int(split_hashes(column).high[0])


def test_s3_and_local_give_one_fingerprint(tmp_path: Path, s3_folder: str) -> None:
    parts = in_parts(near_pages(6, 3), 2, seed=1)
    local = corpus_config(tmp_path, ["web"])
    remote = local.model_copy(update={"output": f"{s3_folder}/corpus"})
    for config in (local, remote):
        write_corpus(config, parts)
        dedup.run(config)
    assert fingerprint(local) == fingerprint(remote)
    assert not list(objects.list_objects(remote.path(".work")))
