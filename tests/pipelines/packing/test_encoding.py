from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from pipelines.packing import encoding
from pipelines.packing.encoding import (
    EXACT,
    FAST,
    Encoder,
    TokenizerError,
    choose_engine,
    split_text,
)
from storage import manifest

WORDS = "the quick brown fox don't jump over 12 lazy dogs, and 345 cats; na\u00efve caf\u00e9 "
CONTROL = "<|endoftext|>"


def byte_level(control: str | None = CONTROL) -> dict[str, Any]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=alphabet, show_progress=False, min_frequency=1
    )
    tokenizer.train_from_iterator([WORDS * 3, "end of text endoftext"], trainer)
    if control:
        tokenizer.add_special_tokens([control])
    return json.loads(tokenizer.to_str())


def word_piece() -> dict[str, Any]:
    vocab = {"[UNK]": 0, "[CLS]": 1, "[": 2, "]": 3, "CLS": 4, "hello": 5}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(["[CLS]", "[UNK]"])
    return json.loads(tokenizer.to_str())


def unigram() -> dict[str, Any]:
    pieces = [("<unk>", -20.0), ("<s>", 0.0), ("<", -1.0), ("s", -1.0), (">", -1.0), ("a", -1.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.add_special_tokens(["<s>", "<unk>"])
    return json.loads(tokenizer.to_str())


def column(*texts: str) -> pa.LargeStringArray:
    return pa.array(texts, pa.large_string())


def decode(tokenizer: dict[str, Any], ids: np.ndarray) -> str:
    return Tokenizer.from_str(json.dumps(tokenizer)).decode(ids.tolist(), skip_special_tokens=False)


@pytest.mark.parametrize("engine", [FAST, EXACT])
def test_the_text_of_a_control_token_is_text(engine: str) -> None:
    tokenizer = byte_level()
    text = f"before {CONTROL} after{CONTROL}"
    encoder = Encoder(tokenizer, engine)
    ids = encoder.encode(column(text)).ids
    assert manifest.special_tokens(tokenizer)[CONTROL] not in ids
    assert decode(tokenizer, ids) == text
    # The tokenizer itself does make the control token: the danger is real.
    tempted = Tokenizer.from_str(json.dumps(tokenizer)).encode(text, add_special_tokens=False)
    assert manifest.special_tokens(tokenizer)[CONTROL] in tempted.ids


@pytest.mark.parametrize(
    ("tokenizer", "text", "control"), [(word_piece(), "[CLS]", 1), (unigram(), "<s>a", 1)]
)
def test_control_tokens_of_a_models_own_vocabulary_are_out_of_reach(
    tokenizer: dict[str, Any], text: str, control: int
) -> None:
    assert control not in Encoder(tokenizer, EXACT).encode(column(text)).ids


def test_control_tokens_that_merges_build_are_out_of_reach() -> None:
    tokenizer = byte_level(None)
    built = ("".join(merge) for merge in tokenizer["model"]["merges"])
    control = next(
        token for token in built if len(token) == 3 and token.isalpha() and token.isascii()
    )
    number = tokenizer["model"]["vocab"][control]
    assert number in Encoder(tokenizer, EXACT).encode(column(control)).ids
    tokenizer["added_tokens"] = [{**json.loads(ADDED), "id": number, "content": control}]
    for engine in (FAST, EXACT):
        ids = Encoder(tokenizer, engine).encode(column(f"{control} a{control}")).ids
        assert number not in ids


ADDED = '{"single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}'


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(st.text(max_size=60) | st.just(CONTROL), max_size=8))
def test_both_engines_agree_and_decode_to_the_text(texts: list[str]) -> None:
    tokenizer = TOKENIZER
    fast, exact = (encoder.encode(column(*texts)) for encoder in ENCODERS)
    np.testing.assert_array_equal(fast.ids, exact.ids)
    np.testing.assert_array_equal(fast.lengths, exact.lengths)
    ends = np.cumsum(fast.lengths)
    for text, end, length in zip(texts, ends, fast.lengths, strict=True):
        assert decode(tokenizer, fast.ids[end - length : end]) == text


TOKENIZER = byte_level()
ENCODERS = (Encoder(TOKENIZER, FAST), Encoder(TOKENIZER, EXACT))


@settings(max_examples=200, deadline=None)
@given(
    text=st.text(st.sampled_from("ab1 \n\u00e9\u4e2d\U0001f600\u0301'(,"), max_size=200),
    piece_bytes=st.integers(8, 64),
)
def test_pieces_are_bounded_and_make_the_text(text: str, piece_bytes: int) -> None:
    pieces = list(split_text(memoryview(text.encode()), piece_bytes))
    assert "".join(pieces) == text
    assert all(len(piece.encode()) <= piece_bytes for piece in pieces)
    assert all(pieces) or not text


SPLIT_PATTERNS = {
    "gpt2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "gpt2_prefix": pre_tokenizers.ByteLevel(add_prefix_space=True),
    "bert": pre_tokenizers.BertPreTokenizer(),
    "metaspace": pre_tokenizers.Metaspace(),
}


@pytest.mark.parametrize("name", SPLIT_PATTERNS)
@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_cuts_fall_where_pre_tokenizers_cut_in_any_case(name: str, data: st.DataObject) -> None:
    words = st.sampled_from(["ab", "don't", "12", "x,y", "\u00e9t\u00e9", "(a)", "\u4e2d\u6587"])
    gaps = st.sampled_from([" ", " ", "  ", " \n", "\n\n"])
    parts = data.draw(st.lists(st.tuples(words, gaps), min_size=12, max_size=30))
    text = "".join(word + gap for word, gap in parts)
    pieces = list(split_text(memoryview(text.encode()), 40))
    if any(not _is_space_cut(left, right) for left, right in itertools.pairwise(pieces)):
        return  # no place before a single space: the bound is documented, not equality
    splitter = SPLIT_PATTERNS[name]
    whole = [piece for piece, _ in splitter.pre_tokenize_str(text)]
    cut = [word for piece in pieces for word, _ in splitter.pre_tokenize_str(piece)]
    assert cut == whole


def _is_space_cut(left: str, right: str) -> bool:
    return left[-1].isalnum() and right[0] == " "


@pytest.mark.parametrize("engine", [FAST, EXACT])
def test_a_long_document_encodes_as_if_whole(monkeypatch, engine: str) -> None:
    text = WORDS * 500
    whole = ENCODERS[0].encode(column(text, "b"))
    monkeypatch.setattr(encoding.split_text, "__defaults__", (1000,))
    monkeypatch.setattr(encoding, "BATCH_BYTES", 3000)
    pieces = Encoder(TOKENIZER, engine).encode(column(text, "b"))
    np.testing.assert_array_equal(pieces.ids, whole.ids)
    np.testing.assert_array_equal(pieces.lengths, whole.lengths)


def test_engine_falls_back_and_says_so(monkeypatch, caplog) -> None:
    assert choose_engine(TOKENIZER, column(WORDS)) == (FAST, "")
    exact = encoding._load_exact

    def wrong(text: str) -> encoding.EncodeBatch:
        encode = exact(text)
        return lambda texts: encode([text + "x" for text in texts])

    monkeypatch.setattr(encoding, "_load_fast", wrong)
    engine, reason = choose_engine(TOKENIZER, column(WORDS))
    assert engine == EXACT
    assert "differs" in reason
    assert reason in caplog.text


def test_a_model_that_fastokens_lacks_falls_back() -> None:
    engine, reason = choose_engine(unigram(), column("aaa"))
    assert (engine, bool(reason)) in {(EXACT, True), (FAST, False)}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"model": {}}', "\x1b[31m"])
def test_an_unreadable_tokenizer_is_one_clear_line(text: str) -> None:
    with pytest.raises(TokenizerError, match=r"t\.json is not a readable"):
        encoding.parse_tokenizer(text, "t.json")


def test_a_tokenizer_that_no_engine_loads_is_one_clear_line() -> None:
    broken = {**TOKENIZER, "model": {**TOKENIZER["model"], "type": "Telepathy"}}
    with pytest.raises(TokenizerError, match="cannot load the tokenizer"):
        choose_engine(broken, column("a"))


def test_vocabulary_size_leaves_control_tokens_out() -> None:
    assert encoding.ordinary_vocab_size(TOKENIZER) == TOKENIZER["added_tokens"][0]["id"]
    assert encoding.id_dtype(1 << 16) == np.uint16
    assert encoding.id_dtype((1 << 16) + 1) == np.uint32
