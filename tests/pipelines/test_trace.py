from __future__ import annotations

from pathlib import Path

import pytest

from pipelines import pack, trace
from pipelines.stages import Slice
from storage.addresses import pack_doc_id
from storage.errors import ConfigError, UserError
from storage.manifest import load_manifest
from tests.pipelines.packed_corpus import Corpus, Doc, write_corpus

BLOCK_TOKENS = 4096 // 2


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    survivor = pack_doc_id(0, 0, 0)
    docs = [
        Doc("the original page", record="a.warc.gz#0+10"),
        Doc("the original page!", record="a.warc.gz#10+10", reason="near", survivor=survivor),
        Doc("a page that a rule drops \x1b[31m", reason="gopher_too_short"),
        Doc("x9 " * 5000, source="books", record="moby.txt"),
        Doc("", source="books", record="empty.txt"),
    ]
    written = write_corpus(tmp_path_factory.mktemp("corpus"), docs)
    pack.run(written.config, Slice(0, 1))
    return written


def url_of(corpus: Corpus, text: str) -> str:
    doc_id = next(key for key, doc in corpus.docs.items() if doc.text.startswith(text))
    return f"https://example.org/{doc_id}"


def test_a_url_that_was_kept_leads_to_its_tokens(corpus: Corpus) -> None:
    text = trace.run(corpus.config, url=url_of(corpus, "the original page"))
    assert "fate       kept, split train" in text
    assert "shards/train/web-00000.tar --sample 0: block 0" in text
    assert '"a.warc.gz#0+10"' in text


def test_a_duplicate_names_its_survivor(corpus: Corpus) -> None:
    text = trace.run(corpus.config, url=url_of(corpus, "the original page!"))
    assert "dropped by fuzzy: near" in text
    assert "survivor   document 0, similarity 0.900" in text
    assert '"a.warc.gz#0+10"' in text


def test_a_rule_is_named_and_escapes_are_harmless(corpus: Corpus) -> None:
    text = trace.run(corpus.config, doc_id=2)
    assert "gopher_too_short" in text
    assert "survivor" not in text
    assert "\x1b" not in text


def test_a_large_document_is_found_in_all_its_pieces(corpus: Corpus) -> None:
    text = trace.run(corpus.config, url=url_of(corpus, "x9"))
    packed = load_manifest(corpus.config.output)
    tokens = packed.select("train", "books")["tokens"][0].as_py()
    assert text.count("  packed  ") == -(-tokens // BLOCK_TOKENS) > 1
    assert f"piece 1, tokens 0 to {min(tokens - BLOCK_TOKENS, BLOCK_TOKENS)}" in text


def test_every_sample_leads_back_to_its_document(corpus: Corpus) -> None:
    shard = "shards/train/books-00000.tar"
    for sample in range(2):
        text = trace.run(corpus.config, shard=shard, sample=sample)
        assert f"piece {sample}" in text
        assert '"moby.txt"' in text
        assert '"x9 x9' in text
    by_path = trace.run(corpus.config, shard=corpus.config.path(shard), sample=0)
    assert '"moby.txt"' in by_path


def test_an_empty_document_is_packed_nowhere(corpus: Corpus) -> None:
    text = trace.run(corpus.config, doc_id=pack_doc_id(1, 0, 1))
    assert "packed     nowhere" in text


def test_a_raw_file_is_located(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "a.jsonl").write_bytes(b"x")
    written = write_corpus(tmp_path / "corpus", [Doc("text", record="a.jsonl#0+10")])
    source = written.config.sources[0].model_copy(update={"paths": [str(tmp_path / "raw")]})
    sources = [source, *written.config.sources[1:]]
    config = written.config.model_copy(update={"sources": sources})
    text = trace.run(config, doc_id=0)
    assert f"raw file   {tmp_path}/raw/a.jsonl" in text
    assert "packed     not yet" in text


def test_unknown_things_are_one_clear_line(corpus: Corpus) -> None:
    with pytest.raises(UserError, match="none of .* documents has the URL"):
        trace.run(corpus.config, url="https://example.org/nowhere")
    with pytest.raises(UserError, match="no document has the id"):
        trace.run(corpus.config, doc_id=pack_doc_id(7, 0, 0))
    with pytest.raises(UserError, match="has documents 0 to"):
        trace.run(corpus.config, shard="shards/train/web-00000.tar", sample=9)


@pytest.mark.parametrize("both", [{}, {"url": "a", "doc_id": 0}, {"doc_id": 0, "shard": "b"}])
def test_exactly_one_thing_is_traced(corpus: Corpus, both: dict) -> None:
    with pytest.raises(ConfigError, match="exactly one"):
        trace.run(corpus.config, **both)
