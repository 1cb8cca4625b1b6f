import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.schedule import ScheduleConfig, learning_rate_factor


def factor(step: int, num_steps: int = 100, **settings: object) -> float:
    return learning_rate_factor(ScheduleConfig.model_validate(settings), step, num_steps)


def test_cosine_values():
    settings = {"name": "cosine", "warmup_steps": 20, "final_ratio": 0.1}
    assert factor(0, **settings) == pytest.approx(1 / 20)
    assert factor(19, **settings) == 1.0
    assert factor(20, **settings) == 1.0
    assert factor(60, **settings) == pytest.approx(0.55)
    assert factor(100, **settings) == pytest.approx(0.1)


def test_wsd_values():
    settings = {"name": "wsd", "warmup_steps": 10, "final_ratio": 0.0, "decay_fraction": 0.4}
    assert [factor(step, **settings) for step in (9, 10, 59, 60)] == [1.0] * 4
    assert factor(80, **settings) == pytest.approx(0.5)
    assert factor(100, **settings) == 0.0


def test_wsd_before_its_decay_does_not_depend_on_the_length():
    """What allows a run to be prolonged from a checkpoint of its stable part."""
    for step in range(80):
        assert factor(step, 100, name="wsd") == factor(step, 1000, name="wsd")


@given(
    name=st.sampled_from(["cosine", "wsd", "constant"]),
    warmup=st.integers(0, 50),
    final=st.floats(0, 1),
    num_steps=st.integers(1, 300),
)
def test_rises_then_never_rises_again(name: str, warmup: int, final: float, num_steps: int):
    values = [
        factor(step, num_steps, name=name, warmup_steps=warmup, final_ratio=final)
        for step in range(num_steps)
    ]
    rising, falling = values[:warmup], values[warmup:]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)
    assert all(0 <= value <= 1 for value in values)
