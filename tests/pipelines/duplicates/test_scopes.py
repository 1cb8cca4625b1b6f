"""Scopes: duplicates are looked for within one, and validation is guarded in all of them."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from pipelines import dedup
from storage import tables
from tests.pipelines.dedup_corpus import (
    Doc,
    corpus_config,
    kept_records,
    read_final,
    with_validation,
    write_corpus,
)
from tests.pipelines.test_dedup import content_hash_of, edited, page

WEB, BOOKS = "web/0000000-0000", "books/0000001-0000"


@pytest.mark.parametrize("mode", ["rebuild", "append"])
@pytest.mark.parametrize("exact", [True, False])
def test_duplicates_of_another_source_stay(tmp_path: Path, exact: bool, mode: str) -> None:
    text = page(1)
    config = corpus_config(tmp_path, ["web", "books"], scope="source", exact=exact, mode=mode)
    web = [Doc(text + " is longest", "web best"), Doc(text, "web copy"), Doc(text, "web equal")]
    books = [Doc(text, "books copy"), Doc(edited(text, 1, 2), "books near"), Doc(text, "books eq")]
    write_corpus(config, {WEB: web, BOOKS: books})
    dedup.run(config)
    kept = kept_records(config)
    assert "web best" in kept
    assert len(kept) == 2
    assert kept - {"web best"} < {"books copy", "books near", "books eq"}


def test_validation_competes_in_every_scope(tmp_path: Path) -> None:
    one, other = sorted([page(1), edited(page(1), 2, 2)], key=content_hash_of)
    config = corpus_config(tmp_path, ["web", "books"], scope="source")
    config = with_validation(config, (content_hash_of(one) + 1) / 2**64)
    write_corpus(config, {WEB: [Doc(one, "held out")], BOOKS: [Doc(other, "training")]})
    dedup.run(config)
    final = read_final(config)
    assert final["held out"]["split"] == "validation"
    assert final["training"]["reason"] == "near_validation"


def test_a_dump_is_named_by_meta_or_record(tmp_path: Path) -> None:
    text = page(1)
    config = corpus_config(tmp_path, ["web"], scope="dump")
    records = ["CC-MAIN-2024-10/a", "x/CC-MAIN-2024-10/b", "CC-MAIN-2024-18/c", "d", "e"]
    write_corpus(config, {WEB: [Doc(text, record) for record in records]})
    path = config.path("documents", f"{WEB}.parquet")
    table = tables.read_table(path)
    place = table.schema.get_field_index("meta")
    meta = [[], [], [], [("dump", "CC-MAIN-2024-18")], []]
    column = pa.array(meta, table.schema.field("meta").type)
    tables.write_table(path, table.set_column(place, "meta", column), table.schema)
    dedup.run(config)
    kept = kept_records(config)
    assert len(kept & {records[0], records[1]}) == 1
    assert len(kept & {records[2], records[3]}) == 1
    assert records[4] in kept
