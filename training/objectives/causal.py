"""Causal language modelling: predict each token from those before it.

Row by row, with T = raw_length; S is the separator, which ends one document and begins the next:

    raw window    S  a  b  c  S  d  e  .        T + 1 positions, `.` padding
    input_ids     S  a  b  c  S  d  e
    labels        a  b  c  S  d  e  -
    loss_weights  1  1  1  1  1  1  0
    document_ids  0  0  0  0  4  4  4           where the document begins in the row
    positions     0  1  2  3  0  1  2

A separator as an input belongs to the document that it begins: under a document mask its label, the
first token, is predicted from nothing of the document before. Padding is neither predicted nor
predicted from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.objectives import IGNORED
from training.packing import PADDING


@dataclass(frozen=True, slots=True)
class CausalExamples:
    """int64[R, T] but for loss_weights, float32[R, T].

    labels: -100 where loss_weights is 0. document_ids: equal for tokens of one document, -1 on
    padding. positions: from the beginning of the document in the row, 0 on padding.
    """

    input_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    loss_weights: NDArray[np.float32]
    document_ids: NDArray[np.int64]
    positions: NDArray[np.int64]


def causal(
    tokens: NDArray[np.int32], documents: NDArray[np.int32], separator_id: int
) -> CausalExamples:
    """Examples of raw windows (tokens, documents: int32[R, T + 1], see training/windows.py).

    separator_id: what stands for the separator, and for padding in the inputs.
    """
    ids = np.where(tokens < 0, separator_id, tokens).astype(np.int64)
    real = tokens != PADDING
    weights = real[:, :-1] & real[:, 1:]
    document_ids = documents[:, :-1].astype(np.int64)
    positions = np.arange(document_ids.shape[1]) - document_ids
    return CausalExamples(
        input_ids=ids[:, :-1],
        labels=np.where(weights, ids[:, 1:], IGNORED),
        loss_weights=weights.astype(np.float32),
        document_ids=document_ids,
        positions=np.where(real[:, :-1], positions, 0),
    )


def cut_rows(
    tokens: NDArray[np.int32], documents: NDArray[np.int32], parts: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Length warm-up: each raw window of T + 1 as `parts` windows of T / parts + 1, in order.

    The cuts share a token, as windows of the stream do, so the labels are the same. Raises
    ValueError when T is not a multiple of `parts`.
    """
    length, rest = divmod(tokens.shape[1] - 1, parts)
    if rest:
        raise ValueError(f"windows of {tokens.shape[1] - 1} tokens cannot be cut in {parts} rows")
    places = np.arange(parts)[:, None] * length + np.arange(length + 1)
    starts = np.maximum(documents[:, places] - places[:, :1], 0)
    cut = np.where(documents[:, places] < 0, -1, starts).astype(np.int32)
    return tokens[:, places].reshape(-1, length + 1), cut.reshape(-1, length + 1)
