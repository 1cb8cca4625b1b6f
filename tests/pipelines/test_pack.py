from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from webdataset.compat import WebDataset

from pipelines import pack
from pipelines.pack import EmptyCorpusError
from pipelines.stages import Slice
from storage import manifest, objects, shards, tables
from storage.manifest import CorpusManifest, load_manifest
from tests.pipelines.packed_corpus import Corpus, Doc, write_corpus

CONTROL = "<|eos|>"


def make_docs() -> list[Doc]:
    words = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta"]
    docs = [
        Doc(
            f"Document {n}: " + " ".join(words[(n * k) % 8] for k in range(5 + 7 * n)),
            source="books" if n % 3 == 0 else "web",
            split="validation" if n % 10 == 4 else "train",
            reason="near_duplicate" if n % 11 == 5 else "",
            language="de" if n % 4 == 0 else "en",
        )
        for n in range(40)
    ]
    docs.append(Doc("keep this. CUT THIS. keep that.", cut=(10, 20)))
    docs.append(Doc(f"hostile {CONTROL} text\x00\x1b[31m"))
    docs.append(Doc("", source="books"))
    docs.append(Doc("cut away", cut=(0, 8)))
    return docs


def run_pack(corpus: Corpus) -> CorpusManifest:
    """Packs without Beam, which takes a second per pipeline."""
    packed = pack.run(corpus.config, Slice(0, 1))
    assert packed is not None
    return packed


def texts_of(corpus: Corpus) -> dict[int, str]:
    """Text of each packed document, decoded from the shards with plain webdataset."""
    corpus_manifest = load_manifest(corpus.config.output)
    tokenizer = Tokenizer.from_file(corpus_manifest.location(corpus_manifest.tokenizer.path))
    pieces: dict[int, dict[int, np.ndarray]] = {}
    urls = [corpus_manifest.location(path) for path in corpus_manifest.shards["path"].to_pylist()]
    for sample in WebDataset(urls, shardshuffle=False).decode():  # pyright: ignore
        parts = np.split(sample["tokens.npy"], np.cumsum(sample["lengths.npy"])[:-1])
        for doc, tokens in zip(sample["docs.json"], parts, strict=True):
            pieces.setdefault(doc["doc_id"], {})[doc["piece"]] = tokens
    return {
        doc_id: tokenizer.decode(np.concatenate([part[n] for n in sorted(part)]).tolist(), False)
        for doc_id, part in pieces.items()
    }


def view(doc: Doc) -> str:
    data = doc.text.encode()
    return (data[: doc.cut[0]] + data[doc.cut[1] :]).decode() if doc.cut else doc.text


def contents(folder: Path | str) -> dict[str, bytes]:
    """Every file of the packed corpus but markers, whose seconds differ."""
    names = ("shards/", "manifest.json", "shards.parquet", "tokenizer.json")
    return {
        path: objects.read(info.path)
        for info in objects.list_objects(str(folder))
        if (path := info.path[len(str(folder)) + 1 :]).startswith(names)
    }


def test_shards_hold_the_view_of_every_kept_document(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, make_docs())
    pack.run(corpus.config)
    expected = {doc_id: view(doc) for doc_id, doc in corpus.kept.items() if view(doc)}
    assert texts_of(corpus) == expected


def test_manifest_adds_up(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, make_docs())
    packed = run_pack(corpus)
    assert packed == load_manifest(str(tmp_path))
    kept = [doc for doc in corpus.kept.values() if view(doc)]
    for split, total in packed.totals.items():
        mine = [view(doc) for doc in kept if doc.split == split]
        assert total["documents"] == len(mine)
        assert total["text_bytes"] == sum(len(text.encode()) for text in mine)
    assert {row["stratum"] for row in packed.strata} == {"web", "books"}
    for row in packed.shards.to_pylist():
        tar = packed.location(row["path"])
        blocks, docs = shards.read_blocks_table(tar), tables.read_table(shards.docs_path(tar))
        assert objects.size(tar) == row["bytes"]
        assert row["tokens"] == int(blocks["tokens"].sum())
        assert row["docs"] == docs.num_rows == int(blocks["docs"].sum())


def test_control_tokens_in_text_do_not_reach_shards(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, make_docs())
    packed = run_pack(corpus)
    assert packed.tokenizer.encoder == "fastokens"
    assert CONTROL in packed.tokenizer.special_tokens
    for path in packed.shards["path"].to_pylist():
        for block in shards.iter_blocks(packed.location(path)):
            assert block.tokens.dtype == np.uint16
            assert block.tokens.max() < packed.tokenizer.vocab_size


def test_parts_and_tasks_do_not_show(tmp_path: Path, monkeypatch) -> None:
    docs = make_docs()
    one = write_corpus(tmp_path / "one", docs, part_docs=100)
    run_pack(one)
    monkeypatch.setattr(pack, "MIN_SCATTER_BYTES", 1)
    many = write_corpus(tmp_path / "many", docs, part_docs=3)
    run_pack(many)
    # Addresses differ with the parts, tokens and their order must not.
    tokens = [
        [
            np.concatenate([block.tokens for block in shards.iter_blocks(info.path)]).tolist()
            for info in objects.expand(f"{corpus.config.output}/shards/**/*.tar")
        ]
        for corpus in (one, many)
    ]
    assert tokens[0] == tokens[1]


def test_a_second_run_and_another_folder_give_equal_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run_pack(write_corpus(tmp_path / name, make_docs()))
    first = contents(tmp_path / "a")
    assert first == contents(tmp_path / "b")
    for data in first.values():
        assert str(tmp_path).encode() not in data
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*.tar")}
    run_pack(write_corpus(tmp_path / "a", make_docs()))
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_work_is_removed_and_old_shards_too(tmp_path: Path) -> None:
    docs = make_docs()
    corpus = write_corpus(tmp_path, docs, partition_by=["source", "language"])
    first = run_pack(corpus)
    assert {row["stratum"] for row in first.strata} >= {"web.en", "web.de", "books.en"}
    (tmp_path / "shards" / "train" / "stale-00000.tar").write_bytes(b"x")
    second = run_pack(write_corpus(tmp_path, docs))
    assert second.fingerprint != first.fingerprint
    assert not list((tmp_path / ".work").rglob("*"))
    tars = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.tar")}
    assert tars == set(second.shards["path"].to_pylist())
    assert len(list((tmp_path / "shards").rglob("*"))) == 3 * len(tars) + 2


def test_a_changed_decision_packs_again(tmp_path: Path) -> None:
    docs = make_docs()
    first = run_pack(write_corpus(tmp_path, docs))
    docs[0] = Doc(docs[0].text, source=docs[0].source, reason="gopher_min_words")
    corpus = write_corpus(tmp_path, docs)
    second = run_pack(corpus)
    assert second.fingerprint != first.fingerprint
    assert len(texts_of(corpus)) == sum(bool(view(doc)) for doc in corpus.kept.values())


def test_local_and_s3_give_equal_bytes(tmp_path: Path, s3_folder: str) -> None:
    local = write_corpus(tmp_path, make_docs())
    remote = write_corpus(f"{s3_folder}/corpus", make_docs())
    assert run_pack(local).fingerprint == run_pack(remote).fingerprint
    assert contents(tmp_path) == contents(f"{s3_folder}/corpus")
    assert not list(objects.list_objects(f"{s3_folder}/corpus/.work"))


def test_a_killed_pack_goes_on(tmp_path: Path, monkeypatch) -> None:
    whole = write_corpus(tmp_path / "whole", make_docs())
    run_pack(whole)
    killed = write_corpus(tmp_path / "killed", make_docs())

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pack, "_finish", die)
        with pytest.raises(KeyboardInterrupt):
            run_pack(killed)
    assert not (tmp_path / "killed" / "manifest.json").exists()
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "killed").rglob("*.tar")}
    run_pack(killed)
    assert contents(tmp_path / "whole") == contents(tmp_path / "killed")
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_slices_do_the_same_without_beam(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(pack, "MIN_SCATTER_BYTES", 1)
    whole = write_corpus(tmp_path / "whole", make_docs())
    pack.run(whole.config)
    sliced = write_corpus(tmp_path / "sliced", make_docs())
    results = [pack.run(sliced.config, Slice(n, 2)) for _ in range(2) for n in range(2)]
    assert results[0] is None
    assert results[-1] is not None
    assert contents(tmp_path / "whole") == contents(tmp_path / "sliced")


def test_many_shards_are_equal_ranges_of_one_order(tmp_path: Path, monkeypatch) -> None:
    docs = [Doc(f"number {n} " + "lorem ipsum " * 40) for n in range(300)]
    one = write_corpus(tmp_path / "one", docs, shard_bytes=1 << 20, part_docs=50)
    many = write_corpus(tmp_path / "many", docs, part_docs=50)
    object.__setattr__(many.config.pack, "shard_bytes", 8000)
    monkeypatch.setattr(pack, "MAX_TASKS", 3)
    orders = []
    for corpus in (one, many):
        packed = run_pack(corpus)
        tars = [packed.location(path) for path in packed.shards["path"].to_pylist()]
        orders.append(
            [d["doc_id"] for tar in tars for b in shards.iter_blocks(tar) for d in b.docs]
        )
    assert len(orders[0]) == 300
    assert orders[0] == orders[1]
    assert orders[0] != sorted(orders[0])
    assert len(tars) > 5


def test_an_empty_corpus_is_one_clear_line(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path, [Doc("a", reason="c4_short"), Doc("b", reason="c4_short")])
    with pytest.raises(EmptyCorpusError, match="no document is kept"):
        run_pack(corpus)


def test_a_given_tokenizer_is_used_and_hashed(tmp_path: Path) -> None:
    first = write_corpus(tmp_path / "a", make_docs())
    run_pack(first)
    given = first.config.tokenizer.model_copy(update={"path": str(tmp_path / "given.json")})
    fields = json.loads((tmp_path / "a" / "tokenizer.json").read_text())
    fields["added_tokens"] = fields["added_tokens"][:1]
    (tmp_path / "given.json").write_text(json.dumps(fields))
    second = write_corpus(tmp_path / "b", make_docs())
    packed = run_pack(Corpus(second.config.model_copy(update={"tokenizer": given})))
    before = load_manifest(first.config.output)
    assert packed.tokenizer.encoding_hash == before.tokenizer.encoding_hash
    assert packed.tokenizer.specials_hash != before.tokenizer.specials_hash
    assert manifest.special_tokens(fields) == packed.tokenizer.special_tokens


@pytest.mark.parametrize("content", [b"{}", b"\xff\xfe", None])
def test_an_unreadable_tokenizer_is_one_clear_line(tmp_path: Path, content: bytes | None) -> None:
    corpus = write_corpus(tmp_path, make_docs())
    path = tmp_path / "given.json"
    if content is not None:
        path.write_bytes(content)
    given = corpus.config.tokenizer.model_copy(update={"path": str(path)})
    with pytest.raises((objects.StorageError, ValueError), match=r"given\.json"):
        pack.run(corpus.config.model_copy(update={"tokenizer": given}))
