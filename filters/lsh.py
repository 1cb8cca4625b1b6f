"""Which pairs LSH proposes: the S-curve of banded MinHash signatures, and bands for a threshold.

A signature cut into b bands of r entries makes a pair a candidate when all entries of any band are
equal. At Jaccard similarity J this happens with probability 1 - (1 - J**r)**b (Leskovec, Rajaraman,
Ullman, Mining of Massive Datasets, 3.4).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_STEP = 0.001  # width of the intervals of the midpoint rule


def probability(jaccard: float | npt.ArrayLike, bands: int, rows: int) -> npt.NDArray[np.float64]:
    """Probability that a pair of the given Jaccard similarity becomes a candidate."""
    similarity = np.asarray(jaccard, np.float64)
    return 1.0 - (1.0 - similarity**rows) ** bands


def optimal_bands(
    threshold: float, num_perm: int, false_positive_weight: float = 0.5
) -> tuple[int, int]:
    """The (bands, rows) with bands * rows <= num_perm that separate best at `threshold`.

    Best means the smallest weighted sum of two areas: under the curve below the threshold (false
    positives) and above the curve beyond it (false negatives), weights adding to 1. This is the
    criterion of datasketch, with which it agrees. Of equally good pairs the first by bands, then
    rows, is taken. Raises ValueError for a threshold outside (0, 1).
    """
    if not 0.0 < threshold < 1.0:
        raise ValueError(f"threshold is {threshold}; it must be between 0 and 1")
    if num_perm < 1:
        raise ValueError(f"num_perm is {num_perm}; it must be at least 1")
    below = np.arange(0.5 * _STEP, threshold, _STEP)
    above = np.arange(threshold + 0.5 * _STEP, 1.0, _STEP)
    best, best_error = (1, 1), np.inf
    for bands in range(1, num_perm + 1):
        for rows in range(1, num_perm // bands + 1):
            false_positives = probability(below, bands, rows).sum()
            false_negatives = (1.0 - probability(above, bands, rows)).sum()
            error = (
                false_positive_weight * false_positives
                + (1.0 - false_positive_weight) * false_negatives
            )
            if error < best_error:
                best, best_error = (bands, rows), error
    return best
