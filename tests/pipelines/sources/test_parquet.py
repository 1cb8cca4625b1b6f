from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.sources import load_source
from storage.settings import ConfigError
from tests.pipelines.sources.outcomes import read, read_parts

SOURCE = load_source("parquet", {}, "corpus")


def write(folder: Path, columns: dict[str, Any], rows_per_group: int = 1_000) -> Path:
    path = folder / "a.parquet"
    pq.write_table(pa.table(columns), path, row_group_size=rows_per_group)
    return path


def test_rows_become_documents(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {
            "text": ["one", None, "  ", "four"],
            "url": ["http://a", None, None, None],
            "timestamp": [datetime.datetime(2020, 1, 2, 3)] * 4,
            "metadata": [{"language": "de", "other": 1}] * 4,
            "unused": [b"\0" * 1000] * 4,
        },
    )
    outcomes = read(SOURCE, path)
    assert outcomes.counts == {"document": 2, "skip:empty": 2}
    one, four = outcomes.documents
    assert (one.url, one.created, one.meta) == (
        "http://a",
        "2020-01-02 03:00:00",
        {"language": "de"},
    )
    assert (four.text, four.url, four.record) == ("four", "", "file#row=3")


@pytest.mark.parametrize("type", [pa.large_string(), pa.binary(), pa.string_view()])
def test_all_string_types_are_text(type: pa.DataType, tmp_path: Path) -> None:
    path = write(tmp_path, {"content": pa.array([b"caf\xc3\xa9", b"x\xffy"]).cast(pa.binary())})
    if type != pa.binary():
        table = pa.table({"content": pa.array(["caf\u00e9", "x\ufffdy"]).cast(type)})
        pq.write_table(table, path)
    assert read(SOURCE, path).texts == ["caf\u00e9", "x\ufffdy"]


def test_strings_that_are_not_utf8_are_repaired(tmp_path: Path) -> None:
    binary = pa.array([b"x\xffy"])
    column = pa.StringArray.from_buffers(1, binary.buffers()[1], binary.buffers()[2])
    [document] = read(SOURCE, write(tmp_path, {"text": column})).documents
    assert (document.text, document.meta) == ("x\ufffdy", {"utf8_repaired": "1"})


def test_no_text_column_is_the_users_mistake(tmp_path: Path) -> None:
    path = write(tmp_path, {"body": ["x"]})
    with pytest.raises(ConfigError, match=r"no column 'text' or .*has body\); name it with"):
        read(SOURCE, path)
    source = load_source("parquet", {"text_field": "body"}, "corpus")
    assert read(source, path).texts == ["x"]


def test_a_large_text_is_a_casualty(tmp_path: Path) -> None:
    path = write(tmp_path, {"text": ["x" * (2 << 20), "small"]})
    assert read(SOURCE, path).counts == {"too_large": 1, "document": 1}


def test_a_file_without_footer_is_a_casualty(tmp_path: Path) -> None:
    path = write(tmp_path, {"text": ["x"]})
    path.write_bytes(path.read_bytes()[:-50])
    assert read(SOURCE, path).counts == {"corrupt": 1}
    path.write_bytes(b"")
    assert read(SOURCE, path).counts == {"corrupt": 1}


def test_a_damaged_row_group_costs_its_rows(tmp_path: Path) -> None:
    texts = [f"{i} " * 50 for i in range(300)]
    path = write(tmp_path, {"text": texts}, rows_per_group=100)
    start = pq.read_metadata(path).row_group(1).column(0).dictionary_page_offset
    data = bytearray(path.read_bytes())
    data[start : start + 30] = b"\xff" * 30
    path.write_bytes(data)
    outcomes = read(SOURCE, path)
    assert outcomes.texts == texts[:100] + texts[200:]
    [casualty] = outcomes.casualties
    assert casualty.record == "file#row=100"
    assert "100 rows of row group 1 are lost" in casualty.message


def test_no_flipped_bit_ends_the_process(tmp_path: Path) -> None:
    """pyarrow aborts on some damaged footers when their column metadata is looked at."""
    path = write(tmp_path, {"text": [f"row {i}" for i in range(30)]}, rows_per_group=10)
    data = path.read_bytes()
    for position in range(0, 8 * len(data), 23):
        flipped = bytearray(data)
        flipped[position // 8] ^= 1 << position % 8
        path.write_bytes(flipped)
        try:
            assert len(read(SOURCE, path)) >= 1
        except ConfigError as error:  # the name of the column is what was hit
            assert "no column 'text'" in str(error)  # noqa: PT017


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20
)
@given(
    num_rows=st.integers(1, 40), rows_per_group=st.integers(1, 9), part_bytes=st.integers(50, 900)
)
def test_parts_hold_each_record_once(
    tmp_path: Path, num_rows: int, rows_per_group: int, part_bytes: int
) -> None:
    path = write(tmp_path, {"text": [f"row {i}" for i in range(num_rows)]}, rows_per_group)
    whole = read(SOURCE, path)
    assert whole.texts == [f"row {i}" for i in range(num_rows)]
    assert read_parts(SOURCE, path, path.stat().st_size, part_bytes) == whole
