"""N-gram models against a plain Kneser-Ney, what perplexity tells apart, and files of models."""

from __future__ import annotations

import gzip
import importlib.util
import json
import math
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters import kenlm_model, kneser_ney, ngram_model, perplexity
from filters.ngram_model import Entries, NgramModel, gram_hashes, log_scores, make_model
from filters.perplexity import PerplexityParams, compute, perplexities
from filters.shingles import Ragged, word_hashes

BEGIN = "<s>"
STEP = 0.5 / ngram_model.STEPS_PER_DECADE
WORDS = st.sampled_from("abcdefg")
TEXTS = st.lists(st.lists(WORDS, max_size=12).map(" ".join), min_size=1, max_size=8)
BOOK, GERMAN = "1342-0.txt.gz", "c4-de.tfrecord-00000-of-00001.json.gz"


def large(texts: list[str]) -> pa.Array:
    return pa.array(texts, pa.large_string())


def train(texts: list[str], order: int) -> NgramModel:
    return kneser_ney.train(word_hashes(large(texts)), order)


class PlainKneserNey:
    """Chen and Goodman's recursion over dictionaries of tuples, no back-off form, no table."""

    def __init__(self, texts: list[str], order: int) -> None:
        self.order = order
        self.counts: dict[int, Counter[tuple[str, ...]]] = {order: Counter()}
        for text in texts:
            words = [BEGIN] * (order - 1) + text.split()
            for end in range(order, len(words) + 1):
                self.counts[order][tuple(words[end - order : end])] += 1
        for n in range(order - 1, 0, -1):
            self.counts[n] = Counter(gram[1:] for gram in self.counts[n + 1])
        self.followers = {n: self._followers(self.counts[n]) for n in range(1, order + 1)}
        self.discount = {
            n: (0.0, *kneser_ney.discounts(np.array(list(counts.values()))))
            for n, counts in self.counts.items()
        }

    @staticmethod
    def _followers(counts: Counter[tuple[str, ...]]) -> dict[tuple[str, ...], Counter[str]]:
        followers: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
        for gram, count in counts.items():
            followers[gram[:-1]][gram[-1]] = count
        return followers

    def probability(self, word: str, history: tuple[str, ...]) -> float:
        n = len(history) + 1
        lower = self.probability(word, history[1:]) if history else 1 / (len(self.counts[1]) + 1)
        following = self.followers[n].get(history)
        if not following:
            return lower
        discount = self.discount[n]
        total = sum(following.values())
        taken = sum(discount[min(count, 3)] for count in following.values())
        own = following[word] - discount[min(following[word], 3)] if word in following else 0.0
        return own / total + taken / total * lower

    def log_score(self, text: str) -> float:
        words = [BEGIN] * (self.order - 1) + text.split()
        return sum(
            math.log10(self.probability(words[i], tuple(words[i - self.order + 1 : i])))
            for i in range(self.order - 1, len(words))
        )


@settings(max_examples=150, deadline=None)
@given(TEXTS, st.lists(st.lists(st.sampled_from("abcdefgxy"), max_size=9)), st.integers(1, 4))
def test_scores_equal_plain_kneser_ney(
    texts: list[str], others: list[list[str]], order: int
) -> None:
    if not any(texts):
        with pytest.raises(ValueError, match="no words"):
            train(texts, order)
        return
    plain = PlainKneserNey(texts, order)
    asked = [*texts, *map(" ".join, others)]
    found = log_scores(train(texts, order), word_hashes(large(asked)))
    for text, score in zip(asked, found.tolist(), strict=True):
        steps = order * len(text.split())  # a probability and at most order - 1 weights a word
        assert score == pytest.approx(plain.log_score(text), abs=STEP * steps + 1e-9)


@settings(max_examples=50, deadline=None)
@given(TEXTS.filter(any), st.lists(st.sampled_from("abcdefgxy"), max_size=4), st.integers(1, 4))
def test_probabilities_of_all_words_sum_to_one(
    texts: list[str], history: list[str], order: int
) -> None:
    model = train(texts, order)
    known = sorted({word for text in texts for word in text.split()})
    asked = [" ".join([*history, word]) for word in [*known, "unknown"]]
    before = log_scores(model, word_hashes(large([" ".join(history)])))
    logs = log_scores(model, word_hashes(large(asked))) - before
    assert (10.0**logs).sum() == pytest.approx(1, rel=2e-3)


def test_discounts_follow_their_formula_and_fall_back() -> None:
    counts = np.repeat([1, 2, 3, 4, 9], [100, 40, 20, 10, 7])
    y = 100 / 180
    expected = (1 - 2 * y * 40 / 100, 2 - 3 * y * 20 / 40, 3 - 4 * y * 10 / 20)
    assert kneser_ney.discounts(counts) == pytest.approx(expected)
    assert kneser_ney.discounts(np.array([1, 1, 2])) == kneser_ney.FALLBACK


def test_backing_off_adds_the_weights_of_the_histories_that_are_known() -> None:
    """Values chosen by hand, in steps of the table, as an ARPA file would give them."""
    words = word_hashes(large(["a b"])).values
    unit = 1 / ngram_model.STEPS_PER_DECADE
    singles = Entries(words, np.array([-10, -20]) * unit, np.array([-3, -4]) * unit)
    pair = Entries(gram_hashes(words, 2)[1][1:], np.array([-5]) * unit, np.array([-7]) * unit)
    triple = Entries(np.empty(0, np.uint64), np.empty(0), np.empty(0))
    model = make_model([singles, pair, triple], -100 * unit)
    asked = {
        "a": -10,
        "a b": -10 - 5,
        "a b a": -10 - 5 + (-7 - 4 - 10),  # "a b" and "b" are known histories
        "b b": -20 + (-4 - 20),
        "a x": -10 + (-3 - 100),
        "x a": -100 - 10,  # nothing is known of a history "x"
    }
    found = log_scores(model, word_hashes(large(list(asked))))
    assert (found / unit).round(6).tolist() == list(asked.values())


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(max_size=60), min_size=1, max_size=8), st.integers(0, 8))
def test_any_text_in_any_batches(texts: list[str], cut: int) -> None:
    model = train(["some words, as in a text", "the words of a text"], 3)
    whole = perplexities(model, large(texts))
    pieces = [perplexities(model, large(part)) for part in (texts[:cut], texts[cut:])]
    assert np.array_equal(whole, np.concatenate(pieces), equal_nan=True)
    without_words = np.diff(word_hashes(large(texts)).offsets) == 0
    assert np.isnan(whole).tolist() == without_words.tolist()


def test_a_text_longer_than_a_window_is_the_sum_of_its_words() -> None:
    texts = ["a b a c b a", "b c a"]
    long = " ".join(["a b c b"] * 1000)
    expected = PlainKneserNey(texts, 3).log_score(long)
    assert log_scores(train(texts, 3), word_hashes(large([long])))[0] == pytest.approx(
        expected, rel=1e-3
    )


def test_prose_is_less_perplexing_than_disorder_other_languages_and_junk() -> None:
    folder = Path("examples/quickstart/data")
    book = gzip.decompress((folder / "books" / BOOK).read_bytes()).decode("utf-8", "replace")
    pages = gzip.decompress((folder / "mc4" / GERMAN).read_bytes()).decode().splitlines()
    german = [json.loads(page)["text"] for page in pages]
    pieces = [book[k : k + 3000] for k in range(20_000, 620_000, 3000)]
    model = train(pieces[::2], 3)
    random = np.random.default_rng(0)
    shuffled = [" ".join(random.permutation(piece.split())) for piece in pieces[1::2]]
    junk = ["".join(random.choice(list("abcdefgh ijkl"), 3000)) for _ in range(20)]
    prose, disorder, other, noise = (
        perplexities(model, large(texts)) for texts in (pieces[1::2], shuffled, german, junk)
    )
    assert (prose < disorder).all()
    assert np.median(disorder) > 1.5 * np.median(prose)
    assert prose.max() < np.nanmin(other)
    assert prose.max() < noise.min()
    seen = perplexities(model, large(pieces[::2]))
    assert seen.max() < prose.min()


def test_each_language_has_its_model(tmp_path: Path) -> None:
    paths = {}
    for name, texts in (("en", ["the house of the words"]), ("*", ["das Haus der Worte"])):
        paths[name] = str(tmp_path / f"{len(paths)}.npz")
        ngram_model.save(train(texts, 2), Path(paths[name]))
    batch = pa.record_batch(
        {"text": large(["the house"] * 3 + [""]), "language": ["en", "de", "fr", "en"]}
    )
    both = compute(batch, PerplexityParams(tuple(paths.items()))).column(0).to_pylist()
    assert both[0] < both[1] == both[2]
    assert math.isnan(both[3])
    only = compute(batch, PerplexityParams((("en", paths["en"]),))).column(0).to_pylist()
    assert only[0] == both[0]
    assert all(math.isnan(value) for value in only[1:])


def test_models_are_files_without_code(tmp_path: Path) -> None:
    texts = ["a b c a b", "b c"]
    first, second = tmp_path / "a.npz", tmp_path / "b.npz"
    ngram_model.save(train(texts, 3), first)
    ngram_model.save(train(texts, 3), second)
    assert first.read_bytes() == second.read_bytes()
    words = word_hashes(large(["a c b x"]))
    assert log_scores(ngram_model.load(str(first)), words) == log_scores(train(texts, 3), words)
    damaged = tmp_path / "c.npz"
    damaged.write_bytes(first.read_bytes()[:300])
    pickled = tmp_path / "d.npz"
    np.savez(pickled, format=1, slots=np.array([print], object), order=3, unknown=9)
    full = tmp_path / "e.npz"
    np.savez(full, format=1, slots=np.ones(4, np.uint64), order=3, unknown=9)
    for path in (damaged, pickled, full, tmp_path / "missing.npz"):
        with pytest.raises(ValueError, match=path.name):
            ngram_model.load(str(path))


def test_an_empty_batch_has_no_scores() -> None:
    model = train(["a b"], 3)
    assert log_scores(model, Ragged(np.zeros(1, np.int64), np.empty(0, np.uint64))).tolist() == []


def test_kenlm_is_optional_and_chosen_by_the_end_of_the_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must end in one of \.npz, \.arpa"):
        perplexity.load(str(tmp_path / "model.zip"))
    if importlib.util.find_spec("kenlm") is None:
        with pytest.raises(ValueError, match=r"pip install 'tilth\[kenlm\]'"):
            perplexity.load(str(tmp_path / "en.arpa.bin"))


def test_kenlm_lines_are_normalised() -> None:
    assert (
        kenlm_model.normalised(" \u00c7a co\u00fbte 17\uff0c \uff21bc\u0301 ") == "ca coute 00, abc"
    )


def test_kenlm_scores_are_those_of_the_arpa_file(tmp_path: Path) -> None:
    pytest.importorskip("kenlm")
    path = tmp_path / "small.arpa"
    path.write_text(ARPA)
    model = perplexity.load(str(path))
    found = perplexities(model, large(["The house\nhouse", ""]))
    # <s> the house </s>: bigrams -0.3, -0.4, then back-off of house -0.2 and </s> -0.7;
    # <s> house </s>: back-off of <s> -0.5 and house -0.9, then -0.2 and -0.7
    total = -0.3 - 0.4 - 0.2 - 0.7 - 0.5 - 0.9 - 0.2 - 0.7
    assert found[0] == pytest.approx(10 ** (-total / 5), rel=1e-5)
    assert math.isnan(found[1])


ARPA = """\\data\\
ngram 1=5
ngram 2=2

\\1-grams:
-2.0\t<unk>\t0
0\t<s>\t-0.5
-0.7\t</s>\t0
-0.8\tthe\t-0.1
-0.9\thouse\t-0.2

\\2-grams:
-0.3\t<s> the
-0.4\tthe house

\\end\\
"""
