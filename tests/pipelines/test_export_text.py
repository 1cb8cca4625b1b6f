from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines import export_text
from pipelines.export_text import ORIGIN, SUFFIXES
from storage import objects, tables
from storage.errors import ConfigError, UserError
from tests.pipelines.packed_corpus import (
    Corpus,
    Doc,
    make_config,
    write_corpus,
    write_signals,
)
from tests.pipelines.test_pack import make_docs, view


def annotated(output: Path, docs: list[Doc]) -> Corpus:
    corpus = write_corpus(output, docs)
    write_signals(corpus)
    return corpus


def load(folder: Path, file_format: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, list]:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    builder = {"parquet": "parquet", "jsonl": "json"}[file_format]
    cache = str(folder.parent / "cache")
    loaded = datasets.load_dataset(builder, data_dir=str(folder), cache_dir=cache)
    return {split: list(rows) for split, rows in loaded.items()}


@pytest.mark.parametrize("file_format", SUFFIXES)
def test_load_dataset_reads_the_kept_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file_format: str
) -> None:
    corpus = annotated(tmp_path / "corpus", make_docs())
    export_text.run(corpus.config, str(tmp_path / "text"), file_format)
    splits = load(tmp_path / "text", file_format, monkeypatch)
    assert set(splits) == {"train", "validation"}
    rows = {row["doc_id"]: row for split in splits.values() for row in split}
    assert {doc_id: row["text"] for doc_id, row in rows.items()} == {
        doc_id: view(doc) for doc_id, doc in corpus.kept.items()
    }
    for split, found in splits.items():
        assert {row["split"] for row in found} == {split}
    for doc_id, doc in corpus.kept.items():
        row = rows[doc_id]
        assert (row["source"], row["language"]) == (doc.source, doc.language)
        assert row["url"] == f"https://example.org/{doc_id}"
        assert len(row["content_hash"]) == 32
        assert row["text_bytes"] == len(view(doc).encode())


def test_signals_of_some_sources_are_null_elsewhere(tmp_path: Path) -> None:
    corpus = annotated(tmp_path / "corpus", make_docs())
    export_text.run(corpus.config, str(tmp_path / "text"), "parquet")
    exported = [
        tables.read_table(info.path) for info in objects.expand(f"{tmp_path}/text/**.parquet")
    ]
    assert len({str(table.schema) for table in exported}) == 1
    rows = [row for table in exported for row in table.to_pylist()]
    only_web = {column.name for column in export_text.signal_columns(corpus.config, "parquet")}
    only_web -= {column.name for column in export_text.signal_columns(corpus.config, "jsonl")}
    assert only_web
    for row in rows:
        assert all((row[name] is None) == (row["source"] == "books") for name in only_web)
        assert row["num_words"] is not None


@pytest.mark.parametrize("file_format", SUFFIXES)
def test_column_names_are_unique(tmp_path: Path, file_format: str) -> None:
    columns = export_text.signal_columns(make_config(tmp_path), file_format)
    names = [column.name for column in columns]
    assert len(set(names)) == len(names)
    assert not set(names) & set(ORIGIN.names)
    assert {"num_words", "language_score", "text_bytes"} <= set(names)
    assert not any(name.startswith(("signature", "band_")) for name in names)


def test_a_later_export_replaces_an_earlier_one(tmp_path: Path) -> None:
    docs = make_docs()
    folder = tmp_path / "text"
    export_text.run(annotated(tmp_path / "corpus", docs).config, str(folder), "parquet")
    docs = [doc if doc.source == "web" else Doc(doc.text, "books", reason="x") for doc in docs]
    summary = export_text.run(annotated(tmp_path / "corpus", docs).config, str(folder), "jsonl")
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.*"))
    assert files == sorted([*json.loads((folder / "export.json").read_text()), "export.json"])
    assert all(path.endswith(".jsonl.zst") and "web" in path for path in files[1:])
    assert "documents in" in summary


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    corpus = annotated(tmp_path / "corpus", make_docs())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="not empty"):
        export_text.run(corpus.config, str(tmp_path / "mine"), "parquet")
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, [Doc("a")])
    with pytest.raises(ConfigError, match="parquet, jsonl"):
        export_text.run(corpus.config, str(tmp_path / "text"), "csv")
