"""What must not be in a corpus, as a user asks for it: take-downs, licences, personal data."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import xxhash

from storage import commit, shards, tables
from storage.manifest import EXCLUSIONS_TABLE, load_manifest
from tests.command_line import CommandLine, documents, write_corpus, write_documents
from training.exclusions import read_exclusions

PART = "one/0000000-0000.parquet"
FARM = "Number {0}: the {1} hens of farm {0}7 lay {1}3 eggs a day, says page {1}31 of the book."


@pytest.fixture
def tilth(capsys: pytest.CaptureFixture[str]) -> CommandLine:
    return CommandLine(capsys)


def write_rows(folder: Path, rows: list[dict[str, Any]]) -> None:
    path = folder / "raw" / "a.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def fates(folder: Path) -> list[tuple[str, str]]:
    rows = tables.read_table(str(folder / "out" / "decisions" / "final" / PART)).to_pylist()
    assert Counter(row["kept"] for row in rows)[True] == sum(row["reason"] == "" for row in rows)
    return [(row["stage"], row["reason"]) for row in rows]


def packed_ids(folder: Path) -> set[int]:
    corpus = load_manifest(str(folder / "out"))
    return {
        doc_id
        for path in corpus.shards["path"].to_pylist()
        for doc_id in tables.read_table(shards.docs_path(corpus.location(path)))[
            "doc_id"
        ].to_pylist()
    }


def write_lists(folder: Path, texts: list[str]) -> dict[str, str]:
    """Lists that name rows 1, 2 and 3 of the default documents."""
    digest = xxhash.xxh3_128_hexdigest(texts[3].encode())
    (folder / "urls.txt").write_text("# asked for on Monday\nhttp://www.example.org/1#top\n")
    (folder / "domains.txt").write_text("gone.example\n")
    (folder / "hashes.txt").write_text(f"{digest}\n")
    return {"urls": "urls.txt", "domains": "domains.txt", "hashes": "hashes.txt"}


def write_farm(folder: Path) -> list[str]:
    texts = [FARM.format(n, n * n) for n in range(8)]
    rows = [{"text": text, "url": f"https://example.org/{n}"} for n, text in enumerate(texts)]
    rows[2]["url"] = "https://shop.gone.example/2"
    write_rows(folder, rows)
    return texts


def test_take_downs_win_over_every_other_decision(tilth: CommandLine, tmp_path: Path) -> None:
    lists = write_lists(tmp_path, write_farm(tmp_path))
    rules = {"languages": ["de"]}
    corpus = write_corpus(tmp_path, takedown=lists, select=rules, license={"unknown": "drop"})
    assert tilth.call("run", corpus).code == 1  # nothing is kept
    expected = [("license", "license_unknown")] * 8
    expected[1:4] = [("takedown", f"takedown_{kind}") for kind in ("url", "domain", "hash")]
    assert fates(tmp_path) == expected
    assert "hens of farm 17" not in (tmp_path / "out" / "report.html").read_text()


def test_a_take_down_after_packing_hides_documents_and_then_removes_them(
    tilth: CommandLine, tmp_path: Path
) -> None:
    texts = write_farm(tmp_path)
    corpus = write_corpus(tmp_path)
    tilth.succeeds("run", corpus)
    ids = [row["doc_id"] for row in documents(tmp_path)]
    assert packed_ids(tmp_path) == set(ids)

    corpus = write_corpus(tmp_path, takedown=write_lists(tmp_path, texts))
    said = tilth.succeeds("takedown", corpus)
    assert "3 documents taken down: takedown_domain 1, takedown_hash 1, takedown_url 1" in said
    assert "shards/train/one-00000.tar: 3 documents" in said
    excluded = read_exclusions(load_manifest(str(tmp_path / "out")))
    assert excluded.tolist() == ids[1:4]
    assert "run `tilth dedup`" in tilth.fails(1, "pack", corpus)
    assert "run `tilth dedup`" in tilth.fails(1, "export-text", corpus)

    tilth.succeeds("run", corpus)
    assert packed_ids(tmp_path) == set(ids) - set(ids[1:4])
    before = commit.fingerprint(commit.read_markers(str(tmp_path / "out"), ""))
    tilth.succeeds("run", corpus)
    assert commit.fingerprint(commit.read_markers(str(tmp_path / "out"), "")) == before
    assert not (tmp_path / "out" / EXCLUSIONS_TABLE).exists()


def test_a_list_that_grows_is_noticed_and_one_that_is_given_up_forgotten(
    tilth: CommandLine, tmp_path: Path
) -> None:
    texts = write_farm(tmp_path)
    corpus = write_corpus(tmp_path, takedown=write_lists(tmp_path, texts))
    tilth.succeeds("run", corpus)
    with (tmp_path / "urls.txt").open("a") as lines:
        lines.write("https://example.org/5\n")
    assert "run `tilth takedown`" in tilth.fails(1, "pack", corpus)
    tilth.succeeds("run", corpus)
    assert fates(tmp_path)[5] == ("takedown", "takedown_url")
    tilth.succeeds("run", write_corpus(tmp_path))
    assert fates(tmp_path) == [("", "")] * 8


def test_mistakes_in_lists_and_policies_are_one_line(tilth: CommandLine, tmp_path: Path) -> None:
    write_documents(tmp_path / "raw" / "a.jsonl")
    (tmp_path / "domains.txt").write_text("# all of them\n\ncom\n")
    corpus = write_corpus(tmp_path, takedown={"domains": "domains.txt"})
    said = tilth.fails(2, "run", corpus)
    assert said.endswith(
        "domains.txt, line 3: 'com' is no domain: expected a name such as example.org"
    )
    corpus = write_corpus(tmp_path, takedown={"urls": "nowhere.txt"})
    assert "nowhere.txt" in tilth.fails(2, "run", corpus)
    corpus = write_corpus(tmp_path, license={"allow": ["CC-BI-4.0"]})
    assert "license: 'CC-BI-4.0' is no SPDX id" in tilth.fails(2, "run", corpus)


def test_licences_decide_and_have_shards_of_their_own(tilth: CommandLine, tmp_path: Path) -> None:
    names = ["MIT", "CC BY-SA 4.0", "CC-BY-NC-4.0", "", "GPL-3.0-only OR MIT"]
    rows = [{"text": FARM.format(n, n * n), "license": name} for n, name in enumerate(names)]
    rows.append({"text": FARM.format(9, 81), "license": "MIT", "tdm_reservation": "1"})
    write_rows(tmp_path, rows)
    policy = {"deny": ["non-commercial"], "unknown": "drop", "reserved": "drop"}
    corpus = write_corpus(
        tmp_path,
        {"options": {"meta_fields": ["tdm_reservation"]}},
        license=policy,
        pack={"validation_fraction": 0.0, "partition_by": ["source", "license"]},
    )
    tilth.succeeds("run", corpus)
    reasons = ["", "", "license_denied", "license_unknown", "", "rights_reserved"]
    assert [reason for _, reason in fates(tmp_path)] == reasons
    corpus = load_manifest(str(tmp_path / "out"))
    strata = {row["stratum"]: row["documents"] for row in corpus.strata}
    assert strata == {"one.permissive": 2, "one.share-alike": 1}


def test_masked_text_is_what_is_hashed_and_packed(tilth: CommandLine, tmp_path: Path) -> None:
    texts = [f"{FARM.format(n, n * n)} Write to hen{n}@farm.org." for n in range(8)]
    write_documents(tmp_path / "raw" / "a.jsonl", texts)
    corpus = write_corpus(tmp_path, {"recipe": "pii-mask"}, report={"samples": 20})
    tilth.succeeds("run", corpus)
    assert documents(tmp_path)[1]["text"] == texts[1]  # stored text does not change
    tilth.succeeds("export-text", corpus)
    folder = tmp_path / "out" / "text" / "train"
    for path in folder.glob("*.parquet"):
        for text in tables.read_table(str(path))["text"].to_pylist():
            assert text.endswith("Write to <EMAIL>.")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "@farm.org" not in page
    assert "&lt;EMAIL&gt;" in page


def test_redacted_data_is_nowhere_in_the_output(tilth: CommandLine, tmp_path: Path) -> None:
    rows = [
        {"text": f"{FARM.format(n, n * n)} Write to hen{n}@farm.org.", "title": f"t{n}@farm.org"}
        for n in range(8)
    ]
    write_rows(tmp_path, rows)
    tilth.succeeds("run", write_corpus(tmp_path, ingest={"redact": True}))
    stored = documents(tmp_path)[3]
    assert stored["text"] == rows[3]["text"].replace("hen3@farm.org", "<EMAIL>")
    assert stored["title"] == "<EMAIL>"
    tables_written = list((tmp_path / "out").rglob("*.parquet"))
    assert len(tables_written) > 5
    for path in tables_written:
        assert "@farm.org" not in str(tables.read_table(str(path)).to_pylist()), path


def test_a_rule_on_personal_data_adds_its_group_only(tilth: CommandLine, tmp_path: Path) -> None:
    texts = [FARM.format(n, n * n) for n in range(8)]
    texts[4] += " IBAN DE89 3704 0044 0532 0130 00"
    write_documents(tmp_path / "raw" / "a.jsonl", texts)
    tilth.succeeds("run", write_corpus(tmp_path))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/signals").rglob("*.par*")}
    tilth.succeeds("run", write_corpus(tmp_path, {"recipe": "pii-drop"}))
    assert fates(tmp_path)[4] == ("select", "pii_ibans")
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/signals").rglob("*.par*")}
    assert {path: after[path] for path in before} == before
    assert [path.parent.parent.name for path in after.keys() - before.keys()] == ["pii"]


def test_listed_urls_are_dropped_with_reasons_of_their_own(
    tilth: CommandLine, tmp_path: Path
) -> None:
    write_farm(tmp_path)
    category = tmp_path / "ut1" / "adult"
    category.mkdir(parents=True)
    (category / "domains").write_text("gone.example\n# a comment\n")
    (category / "urls").write_text("example.org/4\n")
    (tmp_path / "words.txt").write_text("7\n")
    lists = {"categories": "ut1/adult", "words": "words.txt"}
    tilth.succeeds("run", write_corpus(tmp_path))
    before = commit.read_markers(str(tmp_path / "out"), "signals")
    tilth.succeeds("run", write_corpus(tmp_path, urls=lists))
    expected = [("", "")] * 8
    expected[2], expected[4] = ("select", "url_domain"), ("select", "url_address")
    expected[7] = ("select", "url_word")
    assert fates(tmp_path) == expected
    after = commit.read_markers(str(tmp_path / "out"), "signals")
    assert {one.stage for one in after} - {one.stage for one in before} == {"signals/url"}
    assert "words.txt, line 1" in tilth.fails(
        2, "run", write_corpus(tmp_path / "b", urls=bad_words(tmp_path / "b"))
    )


def bad_words(folder: Path) -> dict[str, str]:
    folder.mkdir()
    (folder / "words.txt").write_text("two words\n")
    return {"words": "words.txt"}


def test_terms_are_counted_and_shown_and_drop_where_a_rule_says_so(
    tilth: CommandLine, tmp_path: Path
) -> None:
    texts = [FARM.format(n, n * n) for n in range(8)]
    texts[6] = "Hens, hens, hens! My hens, he says: she has hens."
    write_documents(tmp_path / "raw" / "a.jsonl", texts)
    (tmp_path / "hens.txt").write_text("hens\nof farm\n")
    (tmp_path / "rules.yaml").write_text(
        "rules:\n  - {signal: hens_terms / num_words, max: 0.2, reason: hens}\n"
    )
    terms = {"terms": {"hens": "hens.txt"}}
    tilth.succeeds("run", write_corpus(tmp_path, {"recipe": "rules.yaml"}, annotate=terms))
    assert [reason for _, reason in fates(tmp_path)] == [""] * 6 + ["hens", ""]
    page = (tmp_path / "out" / "report.html").read_text()
    assert '<td class="text">hens</td><td>8</td><td>19</td><td>7</td><td>14</td>' in page
