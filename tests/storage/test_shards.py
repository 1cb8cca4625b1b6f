from __future__ import annotations

import hashlib
import itertools
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from webdataset.compat import WebDataset

from storage import objects, shards, tables
from storage.shards import BlockCorrupt, ShardDocument, ShardWriter, decode_block, read_block

BLOCK_BYTES = 64  # 32 uint16 tokens: cuts appear with tiny documents


def make_documents(sizes: list[int], seed: int = 0) -> list[ShardDocument]:
    random = np.random.default_rng(seed)
    return [
        ShardDocument(
            doc_id=(1 << 62) + index,
            source="web",
            record=f"a.warc.gz#{index}+10",
            text_bytes=3 * size,
            tokens=random.integers(0, 1 << 16, size, dtype=np.uint16),
        )
        for index, size in enumerate(sizes)
    ]


def write_shard(prefix: str, documents: list[ShardDocument], block_bytes: int = BLOCK_BYTES):
    with ShardWriter(prefix, np.dtype(np.uint16), block_bytes) as writer:
        for document in documents:
            writer.add(document)
    return writer.stats


def rebuild(tar_path: str) -> dict[int, np.ndarray]:
    """Tokens per document, its pieces joined in their order."""
    pieces: dict[int, dict[int, np.ndarray]] = {}
    for block in shards.iter_blocks(tar_path):
        parts = np.split(block.tokens, np.cumsum(block.lengths)[:-1])
        for doc, tokens in zip(block.docs, parts, strict=True):
            pieces.setdefault(doc["doc_id"], {})[doc["piece"]] = tokens
    return {
        doc_id: np.concatenate([numbered[piece] for piece in range(len(numbered))])
        for doc_id, numbered in pieces.items()
    }


def read_samples(url: str) -> list[dict[str, Any]]:
    dataset: Any = WebDataset([url], shardshuffle=False).decode()
    return list(dataset)


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 100), max_size=30))
def test_documents_come_back_whole_and_in_order(tmp_path_factory, sizes: list[int]) -> None:
    prefix = str(tmp_path_factory.mktemp("shard") / "web-00000")
    documents = make_documents(sizes)
    stats = write_shard(prefix, documents)
    rebuilt = rebuild(f"{prefix}.tar")
    assert list(rebuilt) == [document.doc_id for document in documents]
    for document in documents:
        np.testing.assert_array_equal(rebuilt[document.doc_id], document.tokens)
    assert stats.documents == len(sizes)
    assert stats.tokens == sum(sizes)
    assert stats.text_bytes == 3 * sum(sizes)


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 100), min_size=1, max_size=30))
def test_blocks_are_full_and_only_large_documents_are_cut(tmp_path_factory, sizes) -> None:
    prefix = str(tmp_path_factory.mktemp("shard") / "web-00000")
    write_shard(prefix, make_documents(sizes))
    blocks = list(shards.iter_blocks(f"{prefix}.tar"))
    limit = BLOCK_BYTES // 2
    assert all(0 < len(block.tokens) <= limit and block.lengths.all() for block in blocks)
    for before, after in itertools.pairwise(blocks):
        assert len(before.tokens) + after.lengths[0] > limit
    pieces = sum(len(block.lengths) for block in blocks)
    assert pieces == sum(-(-size // limit) for size in sizes)


def test_tables_agree_with_the_tar(tmp_path: Path) -> None:
    prefix = str(tmp_path / "web-00003")
    stats = write_shard(prefix, make_documents([5, 90, 7, 31, 1]))
    tar = (tmp_path / "web-00003.tar").read_bytes()
    blocks = shards.read_blocks_table(f"{prefix}.tar")
    docs = tables.read_table(shards.docs_path(f"{prefix}.tar"))
    assert stats.bytes == len(tar)
    assert stats.sha256 == hashlib.sha256(tar).hexdigest()
    assert int(blocks["offset"][0]) == 0
    ends = blocks["offset"] + blocks["bytes"]
    np.testing.assert_array_equal(ends[:-1], blocks["offset"][1:])
    assert stats.docs == docs.num_rows == int(blocks["docs"].sum())
    for doc in docs.to_pylist():
        block = read_block(f"{prefix}.tar", blocks[int(doc["block"])])
        index = int(np.searchsorted(np.cumsum(block.lengths), doc["offset"], side="right"))
        assert block.lengths[index] == doc["count"]
        origin = block.docs[index]
        assert {name: doc[name] for name in origin} == origin


def test_plain_webdataset_reads_a_shard(tmp_path: Path) -> None:
    documents = make_documents([20, 70, 3])
    write_shard(str(tmp_path / "web.en-00000"), documents)
    url = str(tmp_path / "web.en-00000.tar")
    samples = read_samples(url)
    assert [sample["__key__"] for sample in samples[:2]] == [
        "web-en-00000-000000",
        "web-en-00000-000001",
    ]
    tokens = np.concatenate([sample["tokens.npy"] for sample in samples])
    np.testing.assert_array_equal(tokens, np.concatenate([doc.tokens for doc in documents]))
    assert samples[0]["docs.json"][0] == {
        "doc_id": 1 << 62,
        "piece": 0,
        "record": "a.warc.gz#0+10",
        "source": "web",
        "text_bytes": 60,
    }
    assert samples[0]["lengths.npy"].dtype == np.uint32


def test_tar_is_plain_ustar_without_times_or_owners(tmp_path: Path) -> None:
    write_shard(str(tmp_path / "web-00000"), make_documents([5, 40]))
    with tarfile.open(tmp_path / "web-00000.tar", "r:") as tar:
        for info in tar:
            assert (info.mtime, info.uid, info.gid, info.uname, info.mode) == (0, 0, 0, "", 0o644)
    assert (tmp_path / "web-00000.tar").read_bytes()[257:263] == b"ustar\0"


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        write_shard(str(tmp_path / folder / "web-00000"), make_documents([50, 2, 33]))
    for name in ("web-00000.tar", "web-00000.blocks.npy", "web-00000.docs.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


@pytest.mark.parametrize("place", [0.0, 0.3, 0.7, 0.999])
def test_a_flipped_bit_is_found(tmp_path: Path, place: float) -> None:
    path = tmp_path / "web-00000.tar"
    write_shard(str(tmp_path / "web-00000"), make_documents([9, 9, 9]))
    row = shards.read_blocks_table(str(path))[0]
    data = bytearray(path.read_bytes())
    data[int(place * int(row["bytes"]))] ^= 4
    path.write_bytes(data)
    with pytest.raises(BlockCorrupt, match=r"web-00000\.tar.*is damaged"):
        read_block(str(path), row)


def test_a_cut_shard_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "web-00000.tar"
    write_shard(str(tmp_path / "web-00000"), make_documents([9, 9, 9]))
    row = shards.read_blocks_table(str(path))[0]
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(objects.StorageError):
        read_block(str(path), row)


@pytest.mark.parametrize("data", [b"", b"x" * 100, bytes(512), b"\xff" * 2048])
def test_bytes_that_are_no_block_are_refused(data: bytes) -> None:
    with pytest.raises(BlockCorrupt):
        decode_block(data)


def test_a_block_table_that_holds_objects_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "web-00000.blocks.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(BlockCorrupt):
        shards.read_blocks_table(str(tmp_path / "web-00000.tar"))


def test_nothing_is_visible_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no tokens"):
        write_shard(str(tmp_path / "web-00000"), make_documents([4, 0]))
    assert list(objects.list_objects(str(tmp_path))) == []


def test_an_empty_shard_reads_as_no_blocks(tmp_path: Path) -> None:
    stats = write_shard(str(tmp_path / "web-00000"), [])
    assert (stats.docs, stats.tokens) == (0, 0)
    assert list(shards.iter_blocks(str(tmp_path / "web-00000.tar"))) == []


def test_hostile_records_and_long_names_are_safe(tmp_path: Path) -> None:
    record = "a\0b\x1b[31m/../\u202e" + "x" * 5000
    document = make_documents([3])[0]._replace(record=record)
    prefix = str(tmp_path / ("s" * 120 + ".zz.x-00000"))
    write_shard(prefix, [document])
    (block,) = shards.iter_blocks(f"{prefix}.tar")
    assert block.docs[0]["record"] == record
    assert json.loads(block.docs_json.decode("ascii"))[0]["record"] == record
    (sample,) = read_samples(f"{prefix}.tar")
    assert "." not in sample["__key__"]


def test_short_documents_do_not_swell_a_block(tmp_path: Path) -> None:
    documents = make_documents([1]) * (shards.MAX_BLOCK_DOCS + 5)
    write_shard(str(tmp_path / "web-00000"), documents, block_bytes=1 << 20)
    table = shards.read_blocks_table(str(tmp_path / "web-00000.tar"))
    assert table["docs"].tolist() == [shards.MAX_BLOCK_DOCS, 5]
