from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from pipelines.packing import encoding
from pipelines.packing.bpe import CONTROL_TOKENS, MAX_WORD_CHARS, break_long_words, train
from storage import manifest

TEXTS = [
    "The fox jumps over the dog; the dog sleeps. 1234 foxes!\n" * 3,
    "def main():\n    return [x for x in range(10)]\n" * 3,
    "\u0939\u093f\u0928\u094d\u0926\u0940 \u092e\u0947\u0902 \u0932\u093f\u0916\u093e " * 4,
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002 caf\u00e9 na\u00efve \U0001f600" * 3,
]

TRAIN = """
import sys, json
from pipelines.packing.bpe import train
texts = json.load(sys.stdin)
sys.stdout.write(train(texts, 700, 1))
"""


def run_training(texts: list[str], **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", TRAIN],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[3],
        env={**os.environ, **environment},
    )
    return result.stdout


def test_training_ignores_threads_hash_seed_and_order() -> None:
    many = [f"{text} {number * 7919}" for number in range(60) for text in TEXTS]
    one = run_training(many, PYTHONHASHSEED="1", RAYON_NUM_THREADS="1")
    other = run_training(many[::-1], PYTHONHASHSEED="2", RAYON_NUM_THREADS="4")
    assert one == other
    assert train(many, 700, 1) == one


def test_control_tokens_lie_above_the_vocabulary() -> None:
    trained = json.loads(train(TEXTS, 300, 1))
    assert encoding.ordinary_vocab_size(trained) == 300
    specials = manifest.special_tokens(trained)
    assert specials == {name: 300 + n for n, name in enumerate(CONTROL_TOKENS)}


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=80))
def test_a_trained_tokenizer_is_lossless(text: str) -> None:
    assert LOADED.decode(LOADED.encode(text, add_special_tokens=False).ids) == text


LOADED = Tokenizer.from_str(train(TEXTS, 320, 1))


def test_marks_stay_with_letters_and_digits_are_single() -> None:
    split = Tokenizer.from_str(train(TEXTS, 257, 1)).pre_tokenizer
    assert split is not None
    words = [
        word for word, _ in split.pre_tokenize_str("\u0939\u093f\u0928\u094d\u0926\u0940 1234")
    ]
    assert len(words) == 6  # one Hindi word, a space, four digits


@given(st.text(st.sampled_from("ab1 \n"), max_size=400))
def test_breaking_words_only_adds_line_breaks(text: str) -> None:
    broken = break_long_words(text)
    assert broken.replace("\n", "") == text.replace("\n", "")
    assert max(map(len, broken.split()), default=0) <= MAX_WORD_CHARS


@pytest.mark.parametrize("text", ["", "\n", "a\x00b" * 3, "\ufffd" * 100])
def test_odd_samples_train(text: str) -> None:
    assert encoding.ordinary_vocab_size(json.loads(train([text], 300, 2))) >= 256


def test_an_empty_sample_still_has_all_bytes() -> None:
    assert encoding.ordinary_vocab_size(json.loads(train([], 300, 2))) == 256
