import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage import objects
from storage.errors import ConfigError
from storage.manifest import CorpusManifest, load_manifest
from storage.objects import StorageError
from storage.shards import iter_blocks, read_blocks_table
from tests.training.corpora import exclude, flip_byte, random_documents, small_corpus, write_corpus
from training.mixture import Mixture
from training.packing import PADDING, SEPARATOR
from training.stream import RawBatch, Shares, Stream, StreamConfig
from training.stream_state import next_unskipped

T = 32


def config(**fields) -> StreamConfig:
    plan = {"raw_length": T, "num_lanes": 4, "cycle": 16, "seed": 3, **fields.pop("plan", {})}
    return StreamConfig.model_validate({"plan": plan, **fields})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> CorpusManifest:
    root = tmp_path_factory.mktemp("corpus")
    small_corpus(root)
    return load_manifest(str(root))


def rows(batches: list[RawBatch]) -> list[tuple]:
    """(g, tokens, documents) of every real row, in the order of g."""
    found = [
        (int(window["g"]), tokens.tobytes(), documents.tobytes())
        for batch in batches
        for window, tokens, documents in zip(
            batch.windows, batch.tokens, batch.documents, strict=True
        )
        if window["g"] >= 0
    ]
    return sorted(found)


def read(corpus, stream_config, *, batches=12, batch_size=6, **fields) -> list[RawBatch]:
    with Stream(corpus, stream_config, batch_size=batch_size, **fields) as stream:
        return [batch for _, batch in zip(range(batches), stream, strict=False)]


def all_tokens(corpus: CorpusManifest, split="train", stratum=None) -> list[int]:
    paths = corpus.select(split, stratum)["path"].to_pylist()
    blocks = [block for path in paths for block in iter_blocks(corpus.location(path))]
    return sorted(np.concatenate([block.tokens for block in blocks]).tolist())


def test_an_epoch_holds_every_token_exactly_once(corpus):
    batches = read(corpus, config(mixture={"max_epochs": {"*": 1}}), batches=10**6)
    tokens = np.concatenate([batch.tokens for batch in batches])
    inputs = tokens[:, :-1][tokens[:, 1:] != PADDING]
    assert sorted(inputs[inputs >= 0].tolist()) == all_tokens(corpus)
    assert (inputs == SEPARATOR).sum() == sum(corpus.select("train")["docs"].to_pylist())


@pytest.mark.parametrize("epoch", [0, 1, 2])
def test_labels_hold_every_token_and_every_end_once_per_epoch(corpus, epoch):
    mixture = {"weights": {"books": 1, "web": 0}, "max_epochs": {"*": 3}}
    batches = read(corpus, config(mixture=mixture), batches=10**6)
    labels = np.concatenate(
        [batch.tokens[batch.windows["epoch"] == epoch, 1:].ravel() for batch in batches]
    )
    assert sorted(labels[labels >= 0].tolist()) == all_tokens(corpus, stratum="books")
    pieces = sum(corpus.select("train", "books")["docs"].to_pylist())
    assert (labels == SEPARATOR).sum() == pieces


@pytest.mark.parametrize("world_size", [2, 3, 4, 7])
def test_the_union_of_ranks_is_the_same_for_any_world_size(corpus, world_size):
    alone = read(corpus, config())
    ranks = [
        read(corpus, config(), shares=Shares(rank=rank, world_size=world_size))
        for rank in range(world_size)
    ]
    for step, batch in enumerate(alone):
        parts = [rank[step] for rank in ranks]
        assert rows(parts) == rows([batch])
        assert {part.tokens.shape for part in parts} == {(-(-6 // world_size), T + 1)}
        assert {(part.first_g, part.next_g) for part in parts} == {(batch.first_g, batch.next_g)}


@pytest.mark.parametrize(("num_workers", "micro_rows"), [(2, 1), (3, 2), (4, 6)])
def test_the_union_of_workers_is_the_same_for_any_number(corpus, num_workers, micro_rows):
    alone = read(corpus, config())
    workers = [
        read(corpus, config(), shares=Shares(0, 1, worker, num_workers, micro_rows))
        for worker in range(num_workers)
    ]
    for step, batch in enumerate(alone):
        assert rows([worker[step] for worker in workers]) == rows([batch])


def test_a_row_of_padding_evens_out_the_ranks(corpus):
    parts = [read(corpus, config(), shares=Shares(r, 4), batch_size=6)[0] for r in range(4)]
    fillers = [part.windows["g"] < 0 for part in parts]
    assert np.concatenate(fillers).sum() == 2
    for part, filler in zip(parts, fillers, strict=True):
        assert (part.tokens[filler] == PADDING).all()


@settings(max_examples=15, deadline=None)
@given(committed=st.integers(0, 11), world_size=st.integers(1, 3), prefetch=st.integers(0, 4))
def test_resuming_gives_the_rest_of_the_stream(corpus, committed, world_size, prefetch):
    whole = read(corpus, config(), batches=15)
    with Stream(corpus, config(prefetch_batches=prefetch), batch_size=6) as stream:
        for _, batch in zip(range(committed), stream, strict=False):
            stream.commit(batch)
        next(stream)  # delivered, not committed: seen again after the restart
        saved = json.loads(json.dumps(stream.state_dict()))
    assert saved["g"] == 6 * committed
    ranks = [
        read(corpus, config(), batches=4, shares=Shares(rank, world_size), state=saved)
        for rank in range(world_size)
    ]
    assert rows([batch for rank in ranks for batch in rank]) == rows(
        whole[committed : committed + 4]
    )


def test_reading_ahead_does_not_move_the_state(corpus):
    with Stream(corpus, config(prefetch_batches=5), batch_size=6) as stream:
        first = next(stream)
        next(stream)
        assert stream.state_dict()["g"] == 0
        stream.commit(first)
        assert stream.state_dict()["g"] == 6


def test_another_batch_size_goes_on_from_the_same_window(corpus):
    whole = rows(read(corpus, config(), batches=10))
    with Stream(corpus, config(), batch_size=6) as stream:
        for _, batch in zip(range(2), stream, strict=False):
            stream.commit(batch)
        saved = stream.state_dict()
    assert rows(read(corpus, config(), batches=4, batch_size=12, state=saved)) == whole[12:60]


def test_weight_zero_gives_nothing(corpus):
    batches = read(corpus, config(mixture={"weights": {"books": 0, "web": 1}}), batches=40)
    assert {int(s) for batch in batches for s in batch.windows["stratum"]} == {1}


def test_a_change_of_the_mixture_starts_at_the_next_cycle(corpus):
    only_books = Mixture(weights={"books": 1, "web": 0})
    with Stream(corpus, config(), batch_size=6) as stream:
        for _, batch in zip(range(3), stream, strict=False):
            stream.commit(batch)
        stream.change_mixture(only_books)
        saved = json.loads(json.dumps(stream.state_dict()))
        changed = [next(stream) for _ in range(6)]
    resumed = read(corpus, config(), batches=6, state=saved)
    assert rows(resumed) == rows(changed)
    unchanged = read(corpus, config(), batches=9)[3:]
    for after, before in zip(changed, unchanged, strict=True):
        for row in after.windows:
            if row["g"] >= 32:
                assert row["stratum"] == 0
            else:
                assert row in before.windows


def test_an_edited_config_changes_the_mixture_once(corpus):
    edited = config(mixture={"weights": {"books": 0, "web": 1}})
    with Stream(corpus, config(), batch_size=6) as stream:
        stream.commit(next(stream))
        saved = stream.state_dict()
    with Stream(corpus, edited, batch_size=6, state=saved) as stream:
        saved = stream.state_dict()
        assert [entry["first_cycle"] for entry in saved["schedule"]] == [0, 1]
    with Stream(corpus, edited, batch_size=6, state=saved) as stream:
        assert stream.state_dict() == saved


def test_skipped_windows_are_left_out(corpus):
    whole = rows(read(corpus, config(), batches=10))
    with Stream(corpus, config(), batch_size=6) as stream:
        stream.commit(next(stream))
        stream.skip(10, 20)
        batches = [next(stream) for _ in range(4)]
    assert rows(batches) == whole[6:10] + whole[20:40]


@given(
    st.integers(0, 30),
    st.integers(1, 20),
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 15)), max_size=5),
    st.none() | st.integers(0, 60),
)
def test_next_unskipped_is_the_definition(g, count, ranges, end):
    skips = tuple(sorted((first, first + length) for first, length in ranges))
    skipped = {i for first, last in skips for i in range(first, last)}
    expected = [i for i in range(g, 200) if i not in skipped][:count]
    expected = [i for i in expected if end is None or i < end]
    assert next_unskipped(g, count, skips, end).tolist() == expected


def test_a_capped_stream_ends_with_a_short_batch(corpus):
    mixture = {"weights": {"books": 1, "web": 0}, "max_epochs": {"books": 1}}
    batches = read(corpus, config(mixture=mixture), batches=10**6, batch_size=10)
    real = [int((batch.windows["g"] >= 0).sum()) for batch in batches]
    assert real[:-1] == [10] * (len(real) - 1)
    assert batches[-1].tokens.shape == (10, T + 1)
    assert [row[0] for row in rows(batches)] == list(range(sum(real)))


def test_another_seed_is_another_plan(corpus):
    with Stream(corpus, config(), batch_size=6) as stream:
        saved = stream.state_dict()
    with pytest.raises(ConfigError, match="another plan \\(seed was 3, is 4\\)"):
        Stream(corpus, config(plan={"seed": 4}), batch_size=6, state=saved)


def test_a_state_that_is_none_is_refused(corpus):
    with pytest.raises(ConfigError, match="stream state"):
        Stream(corpus, config(), batch_size=6, state={"g": 3})


def test_packing_that_is_not_available_is_refused():
    with pytest.raises(ValueError, match="'best_fit' is not available; use packing: concat"):
        config(plan={"packing": "best_fit"})


def test_a_missing_split_is_refused(tmp_path):
    corpus = write_corpus(tmp_path, {}, {"web": [random_documents([5])]})
    with pytest.raises(ConfigError, match="no shards in its split 'train'"):
        Stream(corpus, config(), batch_size=2)


@pytest.mark.filterwarnings("ignore:4 lanes")
def test_few_fetches_per_block(tmp_path):
    documents = [random_documents(np.full(400, 60), seed) for seed in range(4)]
    corpus = write_corpus(tmp_path, {"web": documents}, block_bytes=4096)
    with Stream(
        corpus,
        config(mixture={"max_epochs": {"*": 1}}, fetch={"memory_bytes": 100_000}),
        batch_size=8,
    ) as stream:
        for _ in stream:
            pass
        num_blocks = sum(
            len(read_blocks_table(corpus.location(path)))
            for path in corpus.shards["path"].to_pylist()
        )
        assert stream.counts.blocks <= num_blocks + 4  # a lane's last window may reach on
    assert num_blocks >= 40


def test_uint32_shards_give_the_same_windows(tmp_path):
    documents = [random_documents([40, 3, 17])]
    corpora = [
        write_corpus(tmp_path / dtype, {"web": documents}, dtype=dtype, block_bytes=size)
        for dtype, size in (("uint16", 64), ("uint32", 128))
    ]
    one, two = (read(corpus, config(), batches=3) for corpus in corpora)
    assert rows(one) == rows(two)


def test_documents_that_were_taken_down_are_hidden(tmp_path):
    documents = random_documents([10, 20, 15])
    corpus = write_corpus(tmp_path, {"web": [documents]}, block_bytes=1024)
    stream_config = config(mixture={"max_epochs": {"*": 1}})
    shown = read(corpus, stream_config, batches=5)
    exclude(corpus, [2])
    hidden = read(corpus, stream_config, batches=5)
    for before, after in zip(shown, hidden, strict=True):
        kept = after.tokens != PADDING
        np.testing.assert_array_equal(before.tokens[kept], after.tokens[kept])
    text = np.concatenate([batch.tokens[:, :-1].ravel() for batch in hidden])
    expected = np.concatenate([documents[0], documents[2]]).tolist()
    assert sorted(text[text >= 0].tolist()) == sorted(expected)


def test_object_storage_gives_the_same_stream(corpus, s3_folder):
    for info in objects.list_objects(corpus.root):
        name = info.path.removeprefix(corpus.root).lstrip("/")
        objects.write(objects.join(s3_folder, "corpus", name), objects.read(info.path))
    remote = load_manifest(f"{s3_folder}/corpus")
    assert rows(read(remote, config())) == rows(read(corpus, config()))
    with Stream(corpus, config(), batch_size=6) as stream:
        saved = stream.state_dict()
    Stream(remote, config(), batch_size=6, state=saved).close()


def test_quarantine_on_several_ranks_needs_their_agreement(corpus):
    with pytest.raises(ConfigError, match="2 ranks and 1 workers needs `agree`"):
        Stream(corpus, config(on_damage="quarantine"), batch_size=2, shares=Shares(0, 2))


@pytest.fixture
def damaged(tmp_path) -> tuple[CorpusManifest, str, int]:
    """A corpus in which one byte of block 2 of a shard was flipped."""
    corpus = small_corpus(tmp_path)
    path = corpus.select("train", "web")["path"][1].as_py()
    tar = corpus.location(path)
    table = read_blocks_table(tar)
    flip_byte(Path(tar), int(table["offset"][2]) + 600)
    return corpus, path, 2


def test_damage_stops_the_stream(damaged):
    corpus, path, _ = damaged
    with pytest.raises(StorageError, match=f"block 2, read 3 times.*{path}.*quarantine"):
        read(corpus, config(), batches=100)


def test_damage_is_quarantined_and_its_neighbours_are_not(damaged, tmp_path):
    corpus, path, block = damaged
    sound = small_corpus(tmp_path / "sound")
    quarantine = config(on_damage="quarantine", mixture={"max_epochs": {"*": 1}})
    with Stream(corpus, quarantine, batch_size=6) as stream:
        batches = list(stream)
        state = stream.state_dict()
        assert (stream.counts.corrupt, stream.counts.refetched) == (1, 2)
    expected = read(sound, quarantine, batches=10**6)
    lost = 0
    for good, bad in zip(expected, batches, strict=True):
        np.testing.assert_array_equal(good.windows, bad.windows)
        changed = good.tokens != bad.tokens
        assert (bad.tokens[changed] == PADDING).all()
        assert (bad.documents[changed] == -1).all()
        np.testing.assert_array_equal(good.documents[~changed], bad.documents[~changed])
        lost += int((changed & (good.tokens >= 0))[:, :-1].sum())
    assert lost == read_blocks_table(corpus.location(path))["tokens"][block]
    (entry,) = state["quarantine"]
    assert (entry["shard"], entry["block"]) == (path, block)
    news = [batch for batch in batches if batch.quarantined]
    assert [batch.first_g for batch in news] == [entry["first_g"]]


def test_quarantine_survives_a_restart(damaged):
    corpus, *_ = damaged
    quarantine = config(on_damage="quarantine")
    with Stream(corpus, quarantine, batch_size=6) as stream:
        while True:
            batch = next(stream)
            if batch.quarantined:
                break
            stream.commit(batch)
        saved = stream.state_dict()
        rest = [batch, *(next(stream) for _ in range(30))]
    with Stream(corpus, quarantine, batch_size=6, state=saved) as stream:
        again = [next(stream) for _ in range(31)]
        assert stream.counts.corrupt == 0
    assert rows(rest) == rows(again)


def test_what_one_rank_finds_holds_for_all(damaged):
    """A rank that read the block before it was agreed to be damaged masks it as well."""
    corpus, path, block = damaged
    shard = corpus.select("train")["path"].to_pylist().index(path)
    sound_block = 1
    told = {(shard, sound_block): "another rank"}
    quarantine = config(on_damage="quarantine", mixture={"max_epochs": {"*": 1}})
    batches = read(corpus, quarantine, batches=10**6, agree=lambda found: {**found, **told})
    text = np.concatenate([batch.tokens[:, :-1].ravel() for batch in batches])
    tokens = read_blocks_table(corpus.location(path))["tokens"]
    lost = int(tokens[block] + tokens[sound_block])
    assert (text >= 0).sum() == corpus.totals["train"]["tokens"] - lost


def test_too_much_damage_stops_the_run(damaged):
    corpus, *_ = damaged
    with pytest.raises(StorageError, match="1 damaged blocks are more than stream.max_quar"):
        read(corpus, config(on_damage="quarantine", max_quarantined=0), batches=100)


def test_a_cache_smaller_than_the_open_lanes_is_said(corpus):
    with pytest.warns(RuntimeWarning, match="5 lanes over 1 ranks need about 5 MiB"):
        Stream(corpus, config(fetch={"memory_bytes": 1}), batch_size=6).close()
