"""The LSH curve and the choice of bands."""

from __future__ import annotations

import numpy as np
import pytest
from datasketch.lsh import _optimal_param

from filters import lsh


def test_published_points_of_the_curve() -> None:
    """14 x 8 (FineWeb) and 20 x 13 (NeMo Curator) at J = .5 ... .9."""
    similarity = [0.5, 0.6, 0.7, 0.8, 0.9]
    np.testing.assert_allclose(
        lsh.probability(similarity, 14, 8), [0.053, 0.211, 0.565, 0.924, 1.0], atol=6e-4
    )
    np.testing.assert_allclose(
        lsh.probability(similarity, 20, 13), [0.002, 0.026, 0.177, 0.677, 0.997], atol=6e-4
    )


def test_curve_runs_from_zero_to_one() -> None:
    curve = lsh.probability(np.linspace(0, 1, 101), 14, 8)
    assert curve[0] == 0.0
    assert curve[-1] == 1.0
    assert (np.diff(curve) >= 0).all()


@pytest.mark.parametrize("num_perm", [16, 112, 128])
@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9])
@pytest.mark.parametrize("weight", [0.5, 0.2])
def test_optimal_bands_agree_with_datasketch(
    num_perm: int, threshold: float, weight: float
) -> None:
    expected = _optimal_param(threshold, num_perm, weight, 1 - weight)
    assert lsh.optimal_bands(threshold, num_perm, weight) == expected


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.5, float("nan")])
def test_threshold_outside_the_open_interval_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold is"):
        lsh.optimal_bands(threshold, 112)
