import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.corpora import VOCAB_SIZE, random_documents, write_corpus
from training.baselines import bigram_probability, score_baselines, unigram_probability
from training.bigram_counts import count_bigrams, pack_pairs
from training.validation import read_validation

V = 6
END = V - 1

documents_strategy = st.lists(
    st.lists(st.integers(0, V - 2), min_size=1, max_size=12), min_size=1, max_size=8
)


def texts_of(documents: list[list[int]]) -> list[np.ndarray]:
    return [np.array([END, *document, END]) for document in documents]


def discount(counts: Counter) -> float:
    ones, twos = (sum(count == n for count in counts.values()) for n in (1, 2))
    return ones / (ones + 2 * twos) if ones else 0.5


def plain_unigram(counts: Counter, word: int, num_words: int = V) -> float:
    total = sum(counts.values())
    d = discount(counts)
    return max(counts[word] - d, 0) / total + d * len(counts) / total / num_words


def plain_bigram(documents: list[list[int]], context: int, word: int, num_words: int = V) -> float:
    """Interpolated Kneser-Ney, from its definition over Counters."""
    pairs = Counter(
        pair
        for document in documents
        for pair in pairwise([num_words - 1, *document, num_words - 1])
    )
    contexts = Counter()
    for (v, _), count in pairs.items():
        contexts[v] += count
    lower = plain_unigram(Counter(w for _, w in pairs), word, num_words)
    if contexts[context] == 0:
        return lower
    d = discount(pairs)
    successors = sum(v == context for v, _ in pairs)
    return (max(pairs[context, word] - d, 0) + d * successors * lower) / contexts[context]


def all_pairs() -> tuple[np.ndarray, np.ndarray]:
    contexts, words = np.divmod(np.arange(V * V), V)
    return contexts, words


@settings(deadline=None)
@given(documents_strategy, st.sampled_from([1, 3, 10, 10**6]))
def test_the_bigram_model_is_its_definition_and_sums_to_one(documents, max_pairs):
    contexts, words = all_pairs()
    texts = texts_of(documents)
    counts = count_bigrams(lambda: iter(texts), V, pack_pairs(contexts, words), max_pairs)
    probabilities = bigram_probability(counts, contexts, words)
    expected = [plain_bigram(documents, *pair) for pair in zip(contexts, words, strict=True)]
    np.testing.assert_allclose(probabilities, expected, rtol=1e-12)
    np.testing.assert_allclose(probabilities.reshape(V, V).sum(axis=1), 1.0, rtol=1e-12)
    assert (probabilities > 0).all()


@settings(deadline=None)
@given(documents_strategy)
def test_the_unigram_model_is_its_definition_and_sums_to_one(documents):
    counted = Counter(word for document in documents for word in [*document, END])
    counts = np.array([counted[word] for word in range(V)])
    probabilities = unigram_probability(counts)
    expected = [plain_unigram(counted, word) for word in range(V)]
    np.testing.assert_allclose(probabilities, expected, rtol=1e-12)
    assert probabilities.sum() == pytest.approx(1.0, rel=1e-12)
    assert (probabilities > 0).all()


def test_without_any_text_all_words_are_equally_likely():
    np.testing.assert_allclose(unigram_probability(np.zeros(4, np.int64)), 0.25)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    rng = np.random.default_rng(5)

    def chain(size: int, seed: int) -> np.ndarray:
        """Words that mostly count upwards modulo 50: a bigram model can learn it."""
        jumps = np.where(rng.random(size) < 0.8, 1, rng.integers(0, 50, size))
        return ((seed + np.cumsum(jumps)) % 50).astype(np.uint16)

    train = {
        name: [[chain(int(size), 1) for size in rng.integers(1, 150, 40)] for _ in range(3)]
        for name in ("books", "web")
    }
    validation = {"books": [[chain(100, 1)]], "web": [[chain(60, 2), chain(5, 3)]]}
    return write_corpus(tmp_path_factory.mktemp("corpus"), train, validation)


@pytest.mark.parametrize("max_pairs", [3000, 10**6])
def test_scores_are_sums_over_the_labels_of_the_strips(corpus, max_pairs):
    strips = read_validation(corpus)
    scores = score_baselines(corpus, strips, max_pairs=max_pairs)
    for strip, score in zip(strips, scores, strict=True):
        assert (score.stratum, score.num_labels) == (strip.stratum, strip.num_labels)
        assert score.num_bytes == strip.num_bytes
        assert 0 < score.bigram_nll < 0.8 * score.unigram_nll
        assert score.unigram_nll < score.num_labels * math.log(VOCAB_SIZE)
        bits = score.bigram_nll / math.log(2)
        assert score.bigram_bits_per_byte == pytest.approx(bits / strip.num_bytes)
    again = score_baselines(corpus, strips)
    np.testing.assert_allclose([s.bigram_nll for s in scores], [s.bigram_nll for s in again])


def test_scores_are_the_definition_over_the_documents(tmp_path):
    train, held_out = [[1, 2, 1, 2, 3], [2, 1], [4]], [[1, 2, 9], [4, 1]]
    as_tokens = [[np.array(d, np.uint16) for d in documents] for documents in (train, held_out)]
    corpus = write_corpus(tmp_path, {"web": [as_tokens[0]]}, {"web": [as_tokens[1]]})
    (score,) = score_baselines(corpus, read_validation(corpus))
    num_words = VOCAB_SIZE + 1
    unigrams = Counter(word for document in train for word in [*document, VOCAB_SIZE])
    labels = [p for d in held_out for p in pairwise([VOCAB_SIZE, *d, VOCAB_SIZE])]
    bigram = [plain_bigram(train, *label, num_words) for label in labels]
    unigram = [plain_unigram(unigrams, word, num_words) for _, word in labels]
    assert score.bigram_nll == pytest.approx(-sum(map(math.log, bigram)))
    assert score.unigram_nll == pytest.approx(-sum(map(math.log, unigram)))
    assert score.num_labels == len(labels)


def test_fewer_training_tokens_take_whole_shards(corpus):
    strips = read_validation(corpus)
    num_tokens = corpus.totals["train"]["tokens"]
    one, most, everything = (
        [score.bigram_nll for score in score_baselines(corpus, strips, limit)]
        for limit in (1, num_tokens, None)
    )
    assert one != everything
    assert most == everything


def test_words_that_training_never_saw_have_a_finite_cost(tmp_path):
    corpus = write_corpus(
        tmp_path,
        {"web": [[np.array([1, 2, 1, 2], np.uint16)]]},
        {"web": [random_documents([50])]},
    )
    (score,) = score_baselines(corpus, read_validation(corpus))
    assert math.isfinite(score.unigram_nll)
    assert math.isfinite(score.bigram_nll)
