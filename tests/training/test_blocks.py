import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from storage import objects
from storage.manifest import CorpusManifest
from storage.objects import ObjectNotFound, StorageError
from storage.shards import BlockCorrupt, iter_blocks, read_blocks_table
from tests.training.corpora import flip_byte, random_documents, write_corpus
from training.block_cache import BlockCache, CachedBlock, DiskCache
from training.blocks import BlockStore, FetchConfig


@pytest.fixture
def corpus(tmp_path) -> CorpusManifest:
    documents = [random_documents(np.full(30, 50), seed) for seed in range(2)]
    return write_corpus(tmp_path / "corpus", {"web": documents})


def make_store(corpus: CorpusManifest, **config) -> BlockStore:
    return BlockStore(corpus, corpus.select("train"), FetchConfig.model_validate(config))


def tar_of(corpus: CorpusManifest, shard: int) -> str:
    return corpus.location(corpus.shards["path"][shard].as_py())


def tear(corpus: CorpusManifest, shard: int, block: int) -> None:
    tar = tar_of(corpus, shard)
    flip_byte(Path(tar), int(read_blocks_table(tar)["offset"][block]) + 700)


def test_a_block_is_what_was_written(corpus):
    store = make_store(corpus)
    for shard in range(2):
        for number, block in enumerate(iter_blocks(tar_of(corpus, shard))):
            cached = store.get(shard, number)
            np.testing.assert_array_equal(cached.tokens, block.tokens)
            np.testing.assert_array_equal(np.diff(cached.offsets), block.lengths)
            assert not cached.hidden.any()


def test_a_block_is_read_once_and_counted(corpus):
    store = make_store(corpus)
    assert store.cached(0, 1) is None
    block = store.get(0, 1)
    assert store.get(0, 1) is block
    assert store.cached(0, 1) is block
    assert (store.counts.blocks, store.counts.memory_hits) == (1, 1)
    assert store.counts.bytes == store.table(0)[1]["bytes"]


def test_damage_that_passes_is_mended_by_reading_again(corpus, monkeypatch):
    good = objects.read_range
    answers = iter([True, False])

    def flaky(path: str, offset: int, length: int) -> bytes:
        data = good(path, offset, length)
        return bytes([data[0] ^ 1]) + data[1:] if next(answers) else data

    monkeypatch.setattr(objects, "read_range", flaky)
    store = make_store(corpus)
    store.get(0, 0)
    assert (store.counts.blocks, store.counts.refetched, store.counts.corrupt) == (1, 1, 0)


def test_damage_that_stays_is_given_up_after_bounded_reads(corpus):
    tear(corpus, 0, 1)
    store = make_store(corpus, attempts=4)
    for _ in range(2):
        with pytest.raises(BlockCorrupt, match="block 1, read 4 times: .*xxh3"):
            store.get(0, 1)
    assert (store.counts.blocks, store.counts.refetched, store.counts.corrupt) == (0, 3, 1)
    for neighbour in (0, 2):
        store.get(0, neighbour)
    assert store.counts.blocks == 2


def test_a_shard_that_was_cut_short_is_damage(corpus):
    path = Path(tar_of(corpus, 0))
    path.write_bytes(path.read_bytes()[: int(read_blocks_table(str(path))["offset"][2]) + 10])
    store = make_store(corpus)
    store.get(0, 1)
    with pytest.raises(BlockCorrupt, match="ends before byte"):
        store.get(0, 2)


def test_a_missing_shard_is_no_damage(corpus):
    store = make_store(corpus)
    Path(tar_of(corpus, 0)).unlink()
    with pytest.raises(ObjectNotFound):
        store.get(0, 0)
    assert store.counts.corrupt == 0


def test_trouble_with_the_storage_is_no_damage(corpus, monkeypatch):
    def broken(path: str, offset: int, length: int) -> bytes:
        raise StorageError(f"{path}: connection refused")

    store = make_store(corpus)
    monkeypatch.setattr(objects, "read_range", broken)
    with pytest.raises(StorageError, match="connection refused") as caught:
        store.get(0, 0)
    assert not isinstance(caught.value, BlockCorrupt)
    assert store.counts.corrupt == 0


@pytest.mark.parametrize("field", ["tokens", "docs"])
def test_a_block_table_that_does_not_fit_the_manifest_stops(corpus, field):
    path = Path(tar_of(corpus, 0).replace(".tar", ".blocks.npy"))
    table = np.load(path)
    table[field][1] += 1
    np.save(path, table)
    with pytest.raises(StorageError, match="block table of .* is damaged: its .tokens, docs."):
        make_store(corpus).table(0)


def test_a_block_table_that_is_no_array_stops(corpus):
    path = Path(tar_of(corpus, 0).replace(".tar", ".blocks.npy"))
    path.write_bytes(b"\x93NUMPY" + bytes(100))
    with pytest.raises(StorageError, match="restore it") as caught:
        make_store(corpus).table(0)
    assert not isinstance(caught.value, BlockCorrupt)


def test_the_disk_cache_serves_another_process(corpus, tmp_path):
    folder = str(tmp_path / "cache")
    first, second = (make_store(corpus, disk_folder=folder) for _ in range(2))
    tokens = first.get(0, 0).tokens
    np.testing.assert_array_equal(second.get(0, 0).tokens, tokens)
    assert (first.counts.blocks, second.counts.blocks) == (1, 0)
    assert second.counts.disk_hits == 1


def test_a_damaged_file_in_the_disk_cache_is_replaced(corpus, tmp_path):
    folder = tmp_path / "cache"
    make_store(corpus, disk_folder=str(folder)).get(0, 0)
    (cached,) = folder.iterdir()
    flip_byte(cached, 600)
    store = make_store(corpus, disk_folder=str(folder))
    store.get(0, 0)
    assert (store.counts.blocks, store.counts.disk_hits, store.counts.corrupt) == (1, 0, 0)
    assert make_store(corpus, disk_folder=str(folder)).get(0, 0).tokens.size
    assert [path.name for path in folder.iterdir()] == [cached.name]


def block_of(num_tokens: int, corpus: CorpusManifest) -> CachedBlock:
    block = next(iter_blocks(tar_of(corpus, 0)))
    cached = CachedBlock(block, np.zeros(0, np.uint64))
    cached.num_bytes = num_tokens
    return cached


def test_the_memory_cache_drops_the_least_recently_used(corpus):
    cache = BlockCache(100)
    loads = []

    def get(key: int) -> CachedBlock:
        def load() -> CachedBlock:
            loads.append(key)
            return block_of(40, corpus)

        return cache.get((0, key), load)

    for key in (1, 2, 1, 3, 1, 2):
        get(key)
    assert loads == [1, 2, 3, 2]


def test_a_block_is_loaded_once_for_all_threads(corpus):
    cache = BlockCache(1 << 20)
    started, loads = threading.Event(), []

    def load() -> CachedBlock:
        loads.append(threading.get_ident())
        started.wait(5)
        return block_of(10, corpus)

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(cache.get, (0, 0), load) for _ in range(4)]
        started.set()
        blocks = {id(future.result()) for future in futures}
    assert len(loads) == len(blocks) == 1


def test_an_error_while_loading_reaches_the_caller_and_is_not_kept(corpus):
    cache = BlockCache(1 << 20)

    def fail() -> CachedBlock:
        raise StorageError("no network")

    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(cache.get, (0, 0), fail) for _ in range(8)]
        for future in futures:
            with pytest.raises(StorageError, match="no network"):
                future.result()
    assert cache.get((0, 0), lambda: block_of(10, corpus)) is not None


ROW = np.dtype([("xxh3", "<u8"), ("bytes", "<u8")])


def row_of(number: int, size: int) -> np.void:
    return np.array([(number, size)], ROW)[0]


def test_the_disk_cache_stays_below_its_limit(tmp_path):
    cache = DiskCache(str(tmp_path), 1000)
    for number in range(50):
        cache.write(row_of(number, 100), bytes(100))
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1000
        assert cache.read(row_of(number, 100)) is not None
    kept = [number for number in range(50) if cache.read(row_of(number, 100)) is not None]
    assert kept == list(range(50 - len(kept), 50))
    assert len(kept) >= 8


def test_ranks_that_share_a_folder_share_its_limit(tmp_path):
    caches = [DiskCache(str(tmp_path), 16_000) for _ in range(3)]
    for number in range(600):
        caches[number % 3].write(row_of(number, 100), bytes(100))
        assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 16_000 * (1 + 3 / 16)
    assert caches[599 % 3].read(row_of(599, 100)) is not None
    assert caches[0].read(row_of(1, 100)) is None


def test_a_disk_cache_that_cannot_write_is_only_slower(corpus, tmp_path, monkeypatch):
    def full(self: Path, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    store = make_store(corpus, disk_folder=str(tmp_path / "cache"))
    monkeypatch.setattr(Path, "write_bytes", full)
    assert store.get(0, 0).tokens.size
    assert list((tmp_path / "cache").iterdir()) == []
