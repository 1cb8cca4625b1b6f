"""Perplexity of a document under an n-gram model of its language, as cc_net has it.

    perplexity    float32, 10 ** (-log10 P / words), rounded to 1e-4; NaN where there is no word, or
                  no model for the language

Text like that of the training corpus, Wikipedia in cc_net (Wenzek et al., arXiv:1911.00359), is
predictable: low. Lists, boilerplate and machine output are high; so are poems and dialects. Values
of different models, and of different languages, cannot be compared.

A file that ends in .npz is a model of `tilth perplexity train`, whose words are those of
shingles.py: lower case, without accents and punctuation; digits stay. Others are KenLM's
(kenlm_model.py), with the words, sentences and unit of cc_net.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from filters import kenlm_model, ngram_model
from filters.kenlm_model import KenlmModel
from filters.ngram_model import NgramModel
from filters.shingles import word_hashes

VERSION = 1
ANY_LANGUAGE = "*"
DECIMALS = 4
SCHEMA = pa.schema([pa.field("perplexity", pa.float32(), nullable=False)])


@dataclass(frozen=True, slots=True)
class PerplexityParams:
    """Settings of the `perplexity` signal group: (language, path of its model) by language.

    ANY_LANGUAGE stands for all that have no model of their own.
    """

    models: tuple[tuple[str, str], ...]


def compute(batch: pa.RecordBatch, params: PerplexityParams) -> pa.RecordBatch:
    """The perplexity of each text of a batch with columns `text` and `language`."""
    languages = batch.column("language").to_pylist()
    paths = dict(params.models)
    chosen = np.array([paths.get(one, paths.get(ANY_LANGUAGE, "")) for one in languages], object)
    values = np.full(batch.num_rows, np.nan)
    for path in sorted(set(chosen.tolist()) - {""}):
        rows = np.flatnonzero(chosen == path)
        values[rows] = perplexities(load(path), batch.column("text").take(pa.array(rows)))
    rounded = np.round(values, DECIMALS).astype(np.float32)
    return pa.record_batch([pa.array(rounded, from_pandas=False)], schema=SCHEMA)


def perplexities(model: NgramModel | KenlmModel, text: pa.Array) -> npt.NDArray[np.float64]:
    """Perplexity of each text, float64[texts], not rounded; NaN for a text without words."""
    if isinstance(model, KenlmModel):
        log_scores, num_words = kenlm_model.log_scores(model, text)
    else:
        words = word_hashes(text)
        log_scores, num_words = ngram_model.log_scores(model, words), np.diff(words.offsets)
    found = 10.0 ** (-log_scores / np.maximum(num_words, 1))
    return np.where(num_words > 0, found, np.nan)


@functools.lru_cache(maxsize=64)
def load(path: str) -> NgramModel | KenlmModel:
    """A model, read once per process. Raises ValueError when it cannot be."""
    return ngram_model.load(path) if path.endswith(".npz") else kenlm_model.load(path)
