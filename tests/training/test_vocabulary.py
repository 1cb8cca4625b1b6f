from dataclasses import replace
from pathlib import Path

import pytest

from storage.errors import ConfigError
from tests.training.runs import byte_level_tokenizer, text_corpus
from training.vocabulary import (
    check_same_encoding,
    choose_vocabulary,
    read_tokenizer,
    tokenizer_with_separator,
)


def test_a_tokenizer_without_a_separator_gets_a_new_id(tmp_path: Path):
    corpus = text_corpus(tmp_path)
    vocabulary = choose_vocabulary(corpus.tokenizer)
    assert vocabulary.separator_id == corpus.tokenizer.num_ids
    assert vocabulary.num_ids == corpus.tokenizer.num_ids + 1
    tokenizer = tokenizer_with_separator(read_tokenizer(corpus), vocabulary)
    assert tokenizer.id_to_token(vocabulary.separator_id) == "<|endoftext|>"


def test_a_separator_that_the_tokenizer_has_is_taken(tmp_path: Path):
    entry = replace(text_corpus(tmp_path).tokenizer, special_tokens={"</s>": 2, "<unk>": 0})
    vocabulary = choose_vocabulary(entry)
    assert (vocabulary.separator, vocabulary.separator_id) == ("</s>", 2)
    assert vocabulary.num_ids == entry.num_ids


def test_a_changed_tokenizer_is_refused(tmp_path: Path):
    corpus = text_corpus(tmp_path)
    (tmp_path / "tokenizer.json").write_text(byte_level_tokenizer(290).to_str())
    with pytest.raises(ConfigError, match="encodes otherwise than the shards"):
        read_tokenizer(corpus)
    (tmp_path / "tokenizer.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"is no tokenizer\.json"):
        read_tokenizer(corpus)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ConfigError, match="lost its tokenizer"):
        read_tokenizer(corpus)


def test_a_checkpoint_of_another_tokenizer_is_refused(tmp_path: Path):
    corpus = text_corpus(tmp_path)
    vocabulary = replace(choose_vocabulary(corpus.tokenizer), encoding_hash="other")
    with pytest.raises(ConfigError, match="different tokenizers"):
        check_same_encoding(vocabulary, corpus, "run/step-1")


def test_a_separator_at_another_id_is_refused(tmp_path: Path):
    corpus = text_corpus(tmp_path)
    vocabulary = replace(choose_vocabulary(corpus.tokenizer), separator_id=7)
    with pytest.raises(ConfigError, match="not the one of this checkpoint"):
        tokenizer_with_separator(read_tokenizer(corpus), vocabulary)
