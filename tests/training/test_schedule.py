import pytest

from app.training.schedule import learning_rate_factor


@pytest.mark.parametrize(
    ("step", "factor"), [(0, 0.1), (9, 1.0), (10, 1.0), (60, 0.505), (110, 0.01), (500, 0.01)]
)
def test_learning_rate_rises_then_falls_along_a_cosine(step, factor):
    assert learning_rate_factor(step, 10, 110) == pytest.approx(factor)
