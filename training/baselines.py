"""Unigram and Kneser-Ney bigram models: what a trained model must beat, on the same labels.

Both predict the labels of validation strips (training/validation.py): text tokens and separators,
each from the one token before it, over a vocabulary of `vocab_size` ids and the separator. They are
estimated on the training split, document by document, each between two separators.

Unigram: absolute discounting towards the uniform distribution over the V words,

    p(w) = max(c(w) - d, 0) / c + d t / (c V)                       t: words with c(w) > 0

Bigram: interpolated Kneser-Ney (Ney, Essen and Kneser 1994; Chen and Goodman 1999, section 2.7),

    p(w | v) = max(c(v, w) - D, 0) / c(v) + D N(v, .) / c(v) p_c(w)
    p_c(w)   = max(N(., w) - D', 0) / N(., .) + D' t' / (N(., .) V) t': words with N(., w) > 0

where N(v, .) and N(., w) count distinct successors and predecessors. p_c is the unigram formula
applied to N(., w), and stands alone for a v that was never seen. Each discount is n1 / (n1 + 2 n2)
from the counts equal to 1 and 2, or 1/2 where there are none. All of these sum to 1 over the words.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storage import shards
from storage.manifest import CorpusManifest
from training.bigram_counts import MAX_PAIRS, BigramCounts, count_bigrams, pack_pairs
from training.order import hash64
from training.packing import SEPARATOR
from training.validation import ValidationStrip


@dataclass(frozen=True, slots=True)
class BaselineScore:
    """Sums over the labels of one stratum; nll in nats."""

    stratum: str
    num_labels: int
    num_bytes: int
    unigram_nll: float
    bigram_nll: float

    @property
    def unigram_bits_per_byte(self) -> float:
        return self.unigram_nll / math.log(2) / max(1, self.num_bytes)

    @property
    def bigram_bits_per_byte(self) -> float:
        return self.bigram_nll / math.log(2) / max(1, self.num_bytes)


def score_baselines(
    corpus: CorpusManifest,
    strips: Iterable[ValidationStrip],
    max_train_tokens: int | None = None,
    max_pairs: int = MAX_PAIRS,
) -> list[BaselineScore]:
    """Both models on the validation strips, estimated on the training split.

    max_train_tokens takes whole shards, in the order of a hash, until they hold so many tokens.
    """
    num_words = corpus.tokenizer.vocab_size + 1
    labels = [(strip, _words(strip.tokens, num_words)) for strip in strips]
    queries = np.unique(np.concatenate([pack_pairs(words[:-1], words[1:]) for _, words in labels]))
    tars = _training_shards(corpus, max_train_tokens)
    counts = count_bigrams(lambda: _read_words(tars, num_words), num_words, queries, max_pairs)
    return [
        BaselineScore(
            strip.stratum,
            strip.num_labels,
            strip.num_bytes,
            float(-np.log(unigram_probability(counts.unigrams)[words[1:]]).sum()),
            float(-np.log(bigram_probability(counts, words[:-1], words[1:])).sum()),
        )
        for strip, words in labels
    ]


def unigram_probability(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """p(w) of all words, float64[V], by absolute discounting towards the uniform distribution."""
    total = counts.sum()
    if total == 0:
        return np.full(counts.size, 1.0 / counts.size)
    discount = _discount(int((counts == 1).sum()), int((counts == 2).sum()))
    spared = discount * np.count_nonzero(counts) / total
    return np.maximum(counts - discount, 0.0) / total + spared / counts.size


def bigram_probability(
    counts: BigramCounts, contexts: NDArray[np.int64], words: NDArray[np.int64]
) -> NDArray[np.float64]:
    """p(w | v) for pairs of words whose keys were asked for in `count_bigrams`."""
    keys = pack_pairs(contexts, words)
    place = np.searchsorted(counts.keys, keys)
    assert (counts.keys[place] == keys).all(), "a pair that was not asked for"
    lower = unigram_probability(counts.predecessors)[words]
    discount = _discount(counts.num_singletons, counts.num_doubletons)
    seen = counts.unigrams[contexts]
    scale = np.maximum(seen, 1)
    spared = np.where(seen > 0, discount * counts.successors[contexts] / scale, 1.0)
    return np.maximum(counts.pairs[place] - discount, 0.0) / scale + spared * lower


def _discount(num_singletons: int, num_doubletons: int) -> float:
    if num_singletons == 0:
        return 0.5
    return num_singletons / (num_singletons + 2 * num_doubletons)


def _words(tokens: NDArray[np.int32], num_words: int) -> NDArray[np.int64]:
    """Word ids: text ids as they are, the separator as the last word."""
    return np.where(tokens == SEPARATOR, num_words - 1, tokens).astype(np.int64)


def _training_shards(corpus: CorpusManifest, max_tokens: int | None) -> list[str]:
    table = corpus.select("train")
    order = np.argsort(hash64(0, np.arange(table.num_rows)), kind="stable")
    before = np.cumsum(table["tokens"].to_numpy()[order]) - table["tokens"].to_numpy()[order]
    chosen = order if max_tokens is None else order[before < max_tokens]
    return [corpus.location(table["path"][int(row)].as_py()) for row in np.sort(chosen)]


def _read_words(tars: list[str], num_words: int) -> Iterator[NDArray[np.int64]]:
    """One array per block: its pieces, each behind a separator, and a separator at the end."""
    for tar in tars:
        for block in shards.iter_blocks(tar):
            ends = np.cumsum(block.lengths, dtype=np.int64)
            separators = np.concatenate([[0], ends])
            yield np.insert(block.tokens.astype(np.int64), separators, num_words - 1)
