from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.packing import scatter
from pipelines.packing.scatter import (
    END,
    ROWS,
    RangeReader,
    ScatterWriter,
    Stratum,
    order_keys,
    read_index,
)
from storage.objects import StorageError
from storage.shards import ShardDocument

UINT16 = np.dtype("<u2")
WEB, BOOKS = Stratum("train", "web"), Stratum("train", "books")


def make_rows(numbers: list[int], source: str = "web") -> pa.RecordBatch:
    hashes = pa.array([xxhash.xxh3_128_digest(b"%d" % (n % 50)) for n in numbers], pa.binary(16))
    columns = {
        "order": order_keys(hashes),
        "content_hash": hashes,
        "doc_id": np.array(numbers, np.uint64),
        "source": [source] * len(numbers),
        "record": [f"r{n}" for n in numbers],
        "text_bytes": np.array(numbers, np.uint64),
        "tokens": [np.arange(n % 90 + 1, dtype=UINT16).tobytes() for n in numbers],
    }
    return pa.RecordBatch.from_pydict(columns, ROWS)


def scattered(folder: Path, tasks: list[list[pa.RecordBatch]], run_bytes: int) -> list[str]:
    paths = []
    for number, batches in enumerate(tasks):
        path = str(folder / f"{number}")
        with ScatterWriter(path, run_bytes) as writer:
            for batch in batches:
                writer.add(WEB, batch)
                writer.add(BOOKS, batch.slice(0, batch.num_rows // 2))
        paths.append(path)
    return paths


def read_all(paths: list[str], stratum: Stratum, num_ranges: int) -> list[ShardDocument]:
    reader = RangeReader(paths, stratum)
    bounds = [number * END // num_ranges for number in range(num_ranges + 1)]
    found = []
    for low, high in pairwise(bounds):
        found += reader.read(low, high, UINT16)
    return found


def plain(documents: list[ShardDocument]) -> list[tuple]:
    return [(*document[:4], document.tokens.tobytes()) for document in documents]


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 40), min_size=1, max_size=6),
    num_tasks=st.integers(1, 4),
    run_bytes=st.sampled_from([1, 2000, 1 << 20]),
    num_ranges=st.integers(1, 9),
)
def test_order_ignores_tasks_runs_and_ranges(
    tmp_path_factory, monkeypatch_module, sizes, num_tasks, run_bytes, num_ranges
) -> None:
    batches, first = [], 0
    for size in sizes:
        batches.append(make_rows(list(range(first, first + size))))
        first += size
    tasks = [batches[number::num_tasks] for number in range(num_tasks)]
    one = scattered(tmp_path_factory.mktemp("one"), [batches], 1 << 30)
    many = scattered(tmp_path_factory.mktemp("many"), tasks, run_bytes)
    for stratum in (WEB, BOOKS):
        expected = plain(read_all(one, stratum, 1))
        assert plain(read_all(many, stratum, num_ranges)) == expected
    assert sorted(row[0] for row in plain(read_all(many, WEB, 1))) == list(range(first))


@pytest.fixture(scope="module")
def monkeypatch_module():
    """Groups of a few documents, so that ranges cut through them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scatter, "GROUP_BYTES", 300)
        yield patch


def test_documents_come_back_with_their_tokens(tmp_path: Path) -> None:
    (path,) = scattered(tmp_path, [[make_rows([7, 3, 81])]], 1 << 20)
    documents = read_all([path], WEB, 2)
    assert {document.doc_id for document in documents} == {3, 7, 81}
    for document in documents:
        np.testing.assert_array_equal(document.tokens, np.arange(document.doc_id % 90 + 1))
        assert (document.source, document.record) == ("web", f"r{document.doc_id}")
    assert int(read_index(path).of(WEB)["token_bytes"].sum()) == 2 * (8 + 4 + 82)
    assert read_all([path], Stratum("validation", "web"), 3) == []


def test_order_keys_use_both_halves_and_are_spread() -> None:
    hashes = [bytes([a]) + bytes(14) + bytes([b]) for a in range(8) for b in range(8)]
    keys = order_keys(pa.array(hashes, pa.binary(16)))
    assert len(set(keys.tolist())) == 64
    assert len(np.unique(keys >> np.uint64(61))) == 8


def test_order_keys_ignore_where_an_array_starts() -> None:
    hashes = pa.array([bytes([n]) * 16 for n in range(4)], pa.binary(16))
    np.testing.assert_array_equal(order_keys(hashes.slice(2)), order_keys(hashes)[2:])


@pytest.mark.parametrize("place", [5, -30])
def test_damage_is_found(tmp_path: Path, place: int) -> None:
    scattered(tmp_path, [[make_rows(list(range(20)))]], 1 << 20)
    path = tmp_path / "0"
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(StorageError, match="damaged"):
        read_all([str(path)], BOOKS, 1)  # the first in the object


def test_a_cut_object_is_an_error(tmp_path: Path) -> None:
    scattered(tmp_path, [[make_rows(list(range(20)))]], 1 << 20)
    path = tmp_path / "0"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(StorageError):
        read_index(str(path))


def test_nothing_scattered_reads_as_nothing(tmp_path: Path) -> None:
    (path,) = scattered(tmp_path, [[]], 1 << 20)
    assert read_index(path).strata == []
    assert read_all([path], WEB, 4) == []


def test_a_reader_of_a_range_ignores_the_rest(tmp_path: Path) -> None:
    paths = scattered(tmp_path, [[make_rows(list(range(60)))]], 1 << 20)
    whole = RangeReader(paths, WEB).read(END // 3, END // 2, UINT16)
    part = RangeReader(paths, WEB, END // 3, END // 2).read(END // 3, END // 2, UINT16)
    assert whole
    assert plain(part) == plain(whole)
