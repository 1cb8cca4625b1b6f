"""Unit vectors in whole numbers, so that cosines are the same on every processor.

A vector is divided by its length and stored as round(4000 * x), int16. Products of two such
vectors are whole numbers, and every partial sum of them is at most the product of the two lengths
(Cauchy-Schwarz), below 2**24 for up to 36,000 dimensions: float32 holds all of them exactly. So a
matrix product in float32 is exact, whatever the order of its sums, the threads or the processor,
and what is decided by cosines depends on the stored vectors alone.

Rounding moves a cosine by about 1e-4 (standard deviation 1 / (4000 * sqrt(6)), whatever the number
of dimensions).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

SCALE = 4000
MAX_LENGTH = 4096  # SCALE and half a unit of rounding in each dimension; its square is 2**24
MAX_DIMENSIONS = 16_384
_GRID = 1 << 19  # steps of the largest number of a vector: 16,384 squares add up to 2**52 at most

Vectors = npt.NDArray[np.int16]


def quantise(vectors: npt.NDArray[Any]) -> Vectors:
    """Floats [rows, dimensions] of any length as unit vectors; a row of zeros stays zeros.

    Raises ValueError for a number that is not finite.
    """
    if vectors.shape[1] > MAX_DIMENSIONS:
        raise ValueError(f"{vectors.shape[1]} dimensions; at most {MAX_DIMENSIONS} are allowed")
    if not np.isfinite(vectors).all():
        raise ValueError("a vector holds a number that is not finite")
    largest = np.abs(vectors).max(axis=1, initial=0.0, keepdims=True).astype(np.float64)
    whole = np.rint(vectors / np.where(largest > 0, largest, 1.0) * _GRID)
    lengths = np.sqrt(np.square(whole).sum(axis=1, keepdims=True))  # of an exact sum
    return np.rint(whole * (SCALE / np.where(lengths > 0, lengths, 1.0))).astype(np.int16)


def squared_lengths(vectors: Vectors) -> npt.NDArray[np.uint32]:
    """Of each row, in stored units; 0 says that there is no vector."""
    return np.square(vectors, dtype=np.int64).sum(axis=1).astype(np.uint32)


def products(left: Vectors, right: Vectors) -> npt.NDArray[np.float32]:
    """All scalar products, float32[left, right]: whole numbers, exact."""
    return left.astype(np.float32) @ right.astype(np.float32).T
