from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.kept import kept_parts
from pipelines.packing import tokenizer
from pipelines.packing.tokenizer import choose_sample, prepare, read_sample
from tests.pipelines.packed_corpus import Doc, write_corpus
from tests.pipelines.test_pack import make_docs, view

MAX_DOCUMENT = 150


def sample_of(folder: Path, docs: list[Doc], num_bytes: int, part_docs: int = 7) -> list[str]:
    config = write_corpus(folder, docs, part_docs=part_docs).config
    chosen = choose_sample(config, kept_parts(config), num_bytes, MAX_DOCUMENT)
    return list(read_sample(config, chosen, MAX_DOCUMENT))


@pytest.mark.parametrize("num_bytes", [1, 300, 1000, 10**6])
def test_a_sample_is_bounded_and_of_kept_training_documents(tmp_path: Path, num_bytes: int) -> None:
    docs = make_docs()
    texts = sample_of(tmp_path, docs, num_bytes)
    training = [view(doc) for doc in docs if not doc.reason and doc.split == "train" and view(doc)]
    assert set(texts) <= {text[:MAX_DOCUMENT] for text in training}
    assert len(texts) == 1 or sum(len(text.encode()) for text in texts) <= num_bytes
    if num_bytes == 10**6:
        assert len(texts) == len(training)


def test_a_sample_does_not_depend_on_parts(tmp_path: Path) -> None:
    docs = make_docs()
    few = sample_of(tmp_path / "few", docs, 800, part_docs=100)
    many = sample_of(tmp_path / "many", docs, 800, part_docs=2)
    assert sorted(few) == sorted(many)
    assert 1 < len(few) < len(docs) // 2


def test_a_huge_corpus_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "POOL", 2)
    config = write_corpus(tmp_path, make_docs(), part_docs=2).config
    read: list[str] = []
    candidates = tokenizer._candidates

    def watched(config, part):
        read.append(part.name)
        return candidates(config, part)

    monkeypatch.setattr(tokenizer, "_candidates", watched)
    parts = kept_parts(config)
    choose_sample(config, parts, 200, MAX_DOCUMENT)
    assert 0 < len(read) < len(parts) // 2


def test_the_tokenizer_is_trained_once(tmp_path: Path) -> None:
    docs = make_docs()
    config = write_corpus(tmp_path, docs).config
    first = prepare(config, kept_parts(config))
    path = tmp_path / "tokenizer.json"
    written = path.stat().st_mtime_ns
    assert prepare(config, kept_parts(config)).entry == first.entry
    assert path.stat().st_mtime_ns == written
    config = write_corpus(tmp_path, [*docs, Doc("one more document, unlike others")]).config
    assert prepare(config, kept_parts(config)).marker.recipe_id != first.marker.recipe_id
    assert path.stat().st_mtime_ns != written
