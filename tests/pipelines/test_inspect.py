from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from pipelines import pack
from pipelines.inspect import MAX_VALUE_CHARS, describe, show
from pipelines.stages import Slice
from storage import objects, tables
from storage.errors import UserError
from storage.objects import StorageError
from tests.pipelines.packed_corpus import Doc, write_corpus

HOSTILE = "\x1b[31mred\x1b]0;title\x07 \u202e\x9b2J\r\n<script>\x00"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> str:
    docs = [Doc(f"first {HOSTILE}"), Doc("second text"), Doc("third", source="books")]
    corpus = write_corpus(tmp_path_factory.mktemp("corpus"), docs)
    pack.run(corpus.config, Slice(0, 1))
    return corpus.config.output


def is_safe(text: str) -> bool:
    return all(char.isprintable() or char == "\n" for char in text)


def test_every_object_of_a_corpus_can_be_shown(packed: str) -> None:
    for info in objects.list_objects(packed):
        if "/_done/" not in info.path and not info.path.endswith(".txt"):
            text = describe(info.path, rows=5)
            assert is_safe(text), info.path
            assert text


def test_a_table_shows_schema_numbers_and_rows(packed: str) -> None:
    text = describe(f"{packed}/documents/web/0000000-0000.parquet", rows=1)
    assert "2 rows" in text
    assert "large_string" in text
    assert "<script>" in text
    assert "row 0" in text
    assert "row 1" not in text
    assert "row 0" not in describe(f"{packed}/documents/web/0000000-0000.parquet", rows=0)


def test_a_shard_shows_decoded_documents(packed: str) -> None:
    text = describe(f"{packed}/shards/train/web-00000.tar", rows=9)
    assert '"second text"' in text
    assert "1 blocks" in text
    assert is_safe(text)


@pytest.mark.parametrize("path", ["", "/", "/manifest.json"])
def test_a_manifest_shows_totals(packed: str, path: str) -> None:
    text = describe(f"{packed}{path}")
    assert "corpus small" in text
    assert "fastokens" in text
    assert "books" in text


def test_a_folder_lists_and_shows_its_first_table(packed: str) -> None:
    text = describe(f"{packed}/documents")
    assert "2 objects" in text
    assert "web/0000000-0000.parquet" in text
    assert "row 0" in text


@pytest.mark.parametrize("name", ["missing", "missing.parquet"])
def test_nothing_there_is_one_clear_line(tmp_path: Path, name: str) -> None:
    with pytest.raises(StorageError, match="nothing at"):
        describe(str(tmp_path / name))


def test_a_file_of_another_kind_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8")
    with pytest.raises(UserError, match=r"photo\.jpg: inspect reads"):
        describe(str(tmp_path / "photo.jpg"))


def test_a_damaged_table_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(StorageError, match=r"a\.parquet is not a readable"):
        describe(str(tmp_path / "a.parquet"))


def test_hostile_names_and_metadata_are_safe(tmp_path: Path) -> None:
    schema = pa.schema([(HOSTILE, pa.string())])
    table = pa.table({HOSTILE: [HOSTILE]}, schema=schema)
    path = str(tmp_path / "a.parquet")
    tables.write_table(path, table, schema, {"note": HOSTILE})
    assert is_safe(describe(path))


@pytest.mark.parametrize("value", ["x" * 10**6, b"\x1b" * 10**6, list(range(10**5)), None, 1.5])
def test_values_are_bounded(value: object) -> None:
    assert len(show(value)) <= MAX_VALUE_CHARS + 3
    assert is_safe(show(value))
