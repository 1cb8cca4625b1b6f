import numpy as np
import pytest

from training.mixture import Mixture, MixtureError, Schedule, resolve_caps, resolve_weights

NAMES = ["books", "code.go", "code.rust", "web"]
WINDOWS = np.array([100, 30, 10, 1000])


def test_a_glob_divides_its_weight_by_windows():
    weights = resolve_weights({"web": 0.5, "code.*": 0.4, "books": 0.1}, NAMES, WINDOWS)
    np.testing.assert_allclose(weights, [0.1, 0.3, 0.1, 0.5])


def test_no_weights_take_the_corpus_as_it_is():
    np.testing.assert_allclose(resolve_weights(None, NAMES, WINDOWS), WINDOWS / WINDOWS.sum())


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"web": 1, "boks": 1, "code.*": 0}, "'boks' matches no stratum; did you mean 'books'"),
        ({"web": 1, "books": 1, "code.go": 1}, "'code.rust' has no weight"),
        ({"*": 1, "w*": 1}, "'\\*' and 'w\\*' both match stratum 'web'"),
        ({"*": 0}, "all mixture weights are 0"),
        ({"*": -1}, "weight of '\\*' is -1"),
        ({"*": float("nan")}, "is nan"),
    ],
)
def test_a_wrong_mixture_is_refused(weights, message):
    with pytest.raises(MixtureError, match=message):
        resolve_weights(weights, NAMES, WINDOWS)


def test_a_weight_on_an_empty_stratum_is_refused():
    with pytest.raises(MixtureError, match="'books' has weight 1\\.0 but"):
        resolve_weights({"books": 1.0, "*": 1.0}, NAMES, np.array([0, 1, 1, 1]))


def test_caps_are_whole_windows():
    caps = resolve_caps({"code.*": 1.5, "web": 0}, NAMES, WINDOWS)
    np.testing.assert_array_equal(caps, [np.iinfo(np.int64).max, 45, 15, 0])


def test_changes_out_of_order_are_refused():
    change = {"at_window": 10, "weights": {"*": 1}}
    with pytest.raises(MixtureError, match="ascending"):
        Schedule(
            Mixture.model_validate({"weights": {"*": 1}, "changes": [change, change]}),
            NAMES,
            WINDOWS,
        )
