"""Tables: content digests that see values only, atomic writes, bounded batches."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import objects, tables
from storage.digest import table_digest
from storage.tables import DOCUMENTS, TableWriter

SCHEMA = pa.schema(
    [
        ("id", pa.uint64()),
        ("text", pa.large_string()),
        ("flag", pa.bool_()),
        ("hash", pa.binary(2)),
        ("meta", pa.map_(pa.string(), pa.string())),
        ("signature", pa.list_(pa.uint32(), 2)),
        ("score", pa.float32()),
    ]
)
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.integers(0, 2**64 - 1),
            "text": st.none() | st.text(),
            "flag": st.none() | st.booleans(),
            "hash": st.binary(min_size=2, max_size=2),
            "meta": st.dictionaries(st.text(max_size=3), st.text(max_size=3), max_size=3).map(
                lambda mapping: list(mapping.items())
            ),
            "signature": st.lists(st.integers(0, 2**32 - 1), min_size=2, max_size=2),
            "score": st.floats(width=32, allow_nan=False),
        }
    ),
    max_size=12,
)


def batch_of(rows: list[dict]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(rows, schema=SCHEMA)


@given(rows=ROWS, cuts=st.lists(st.integers(0, 12), max_size=4))
def test_digest_does_not_see_batch_boundaries(rows, cuts):
    whole = batch_of(rows)
    edges = [0, *sorted(min(cut, len(rows)) for cut in cuts), len(rows)]
    pieces = [whole.slice(a, b - a) for a, b in pairwise(edges)]
    assert table_digest(SCHEMA, pieces) == table_digest(SCHEMA, [whole])


@given(rows=ROWS.filter(bool), data=st.data())
def test_digest_sees_every_value(rows, data):
    row = data.draw(st.integers(0, len(rows) - 1))
    column = data.draw(st.sampled_from(["id", "text", "flag", "hash", "signature"]))
    changed = [dict(one) for one in rows]
    old = changed[row][column]
    other = {
        "id": lambda: (old + 1) % 2**64,
        "text": lambda: (old or "") + "x",
        "flag": lambda: None if old is not None else False,
        "hash": lambda: bytes([old[0] ^ 1, old[1]]),
        "signature": lambda: [old[0] ^ 1, old[1]],
    }
    changed[row][column] = other[column]()
    assert table_digest(SCHEMA, [batch_of(changed)]) != table_digest(SCHEMA, [batch_of(rows)])


def test_digest_tells_where_a_string_ends():
    def digest(texts: list[str]) -> str:
        schema = pa.schema([("text", pa.string())])
        return table_digest(schema, [pa.record_batch([pa.array(texts)], schema=schema)])

    assert digest(["ab", "c"]) != digest(["a", "bc"])


@given(
    words=st.lists(st.none() | st.sampled_from(["", "a", "bb"]) | st.text()),
    cut=st.integers(0, 9),
)
def test_a_dictionary_is_stored_as_its_values(tmp_path_factory, words, cut):
    plain = pa.schema([("word", pa.string()), ("row", pa.uint64())])
    encoded = plain.set(0, pa.field("word", pa.dictionary(pa.int32(), pa.string())))
    rows = pa.table({"word": words, "row": range(len(words))}, plain)
    pieces = [rows.slice(0, cut).cast(encoded), rows.slice(cut).cast(encoded)]
    path = str(tmp_path_factory.mktemp("tables") / "t.parquet")
    batches = (batch for piece in pieces for batch in piece.to_batches())
    stats = tables.write_table(path, batches, encoded, layout=tables.NUMBERS)
    assert stats.digest == table_digest(plain, rows.to_batches())
    assert tables.read_table(path).equals(rows)
    again = tables.read_table(path, ["word"], encoded=["word"])
    assert pa.types.is_dictionary(again.schema.field("word").type) or not words
    assert again["word"].to_pylist() == words


@given(rows=ROWS)
def test_round_trip(tmp_path_factory, rows):
    path = str(tmp_path_factory.mktemp("tables") / "a" / "t.parquet")
    stats = tables.write_table(path, [batch_of(rows)], SCHEMA)
    table = tables.read_table(path)
    assert table.schema.equals(SCHEMA)
    assert stats.rows == len(rows)
    assert stats.digest == table_digest(SCHEMA, table.to_batches())
    assert stats.bytes == objects.size(path)


def test_an_exception_leaves_nothing(tmp_path):
    path = str(tmp_path / "t.parquet")
    with pytest.raises(KeyError), TableWriter(path, SCHEMA) as writer:
        writer.write(batch_of([]))
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_batches_are_bounded_in_rows_and_bytes(tmp_path):
    path = str(tmp_path / "t.parquet")
    schema = pa.schema([("text", pa.large_string())])
    texts = ["x" * 1000] * 50 + ["y" * 30_000]
    tables.write_table(path, pa.table({"text": texts}, schema=schema), schema)
    batches = list(tables.iter_batches(path, max_rows=20, max_bytes=8000))
    assert sum(batch.num_rows for batch in batches) == 51
    assert all(batch.num_rows == 1 or batch.nbytes <= 8000 for batch in batches)


@settings(deadline=None, max_examples=30)
@given(wanted=st.sets(st.integers(0, 99), max_size=6).map(sorted))
def test_row_groups_without_wanted_rows_are_not_read(tmp_path_factory, wanted):
    path = str(tmp_path_factory.mktemp("groups") / "t.parquet")
    schema = pa.schema([("id", pa.uint64())])
    batches = (pa.record_batch([pa.array([k], pa.uint64())], schema) for k in range(100))
    tables.write_table(path, batches, schema, layout=tables.Layout("zstd", 80))  # ten numbers
    rows = np.array(wanted, np.int64)
    read = list(tables.iter_batches_with(path, rows, ["id"]))
    found = [start + k for start, batch in read for k in range(batch.num_rows)]
    assert found == [row for row in range(100) if row // 10 in {one // 10 for one in wanted}]
    assert found == [number for _, batch in read for number in batch["id"].to_pylist()]


def test_a_damaged_table_is_one_clear_line(tmp_path):
    path = tmp_path / "t.parquet"
    path.write_bytes(b"PAR1 nonsense")
    with pytest.raises(objects.StorageError, match=r"t\.parquet is not a readable Parquet"):
        tables.read_table(str(path))


def test_documents_schema_is_the_published_one():
    assert DOCUMENTS.names == [
        "doc_id", "text", "source", "record", "url", "title", "license", "created", "meta",
    ]  # fmt: skip


@pytest.mark.parametrize("layout", [tables.TEXT, tables.NUMBERS])
@pytest.mark.parametrize("nullable", [True, False])
def test_a_flipped_bit_of_the_pages_is_an_error_or_changes_nothing(tmp_path, layout, nullable):
    """Headers of pages have no checksum, but none of their bits gives other values in silence."""
    rows = pa.table({"id": range(40), "name": ["some", "text"] * 20, "score": [0.5] * 40})
    rows = rows.cast(pa.schema([field.with_nullable(nullable) for field in rows.schema]))
    path = str(tmp_path / "table.parquet")
    tables.write_table(path, rows, rows.schema, layout=layout)
    whole = (tmp_path / "table.parquet").read_bytes()
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    num_errors = 0
    for place in range(4, len(whole) - footer):
        damaged = whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :]
        (tmp_path / "table.parquet").write_bytes(damaged)
        try:
            assert tables.read_table(path).to_pylist() == rows.to_pylist()
        except objects.StorageError:
            num_errors += 1
    assert num_errors > (len(whole) - footer) / 2
