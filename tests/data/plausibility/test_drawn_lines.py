"""Lines that are nothing, nearly everything, or something in between."""

import numpy as np
import pytest

from app.data.plausibility.drawn_lines import LineFacts, find_lines, judge_lines


def draw(drawn=1.0, other=0.0):
    lines = np.full((3, 40, 40), other, np.float32)
    lines[0, 10:19] = drawn
    lines[1, :, 20:29] = drawn
    return lines


def judge(*lines):
    return judge_lines({str(i): find_lines(values) for i, values in enumerate(lines)})


def test_facts_of_lines_in_blocks():
    assert find_lines(draw()) == LineFacts(drawn_share=pytest.approx(9 / 40), soft_share=0)
    assert judge(*[draw()] * 6) == []


def test_lines_with_soft_edges_are_lines():
    soft = draw()
    soft[0, 9] = soft[0, 19] = 0.4
    assert judge(*[soft] * 6) == []


@pytest.mark.parametrize(
    ("lines", "severity", "words"),
    [
        (draw(0.01), "error", "no line is drawn in any of 6 samples"),
        (draw(0.0, 1.0), "error", "covers more than half of 6 of 6 samples (0, 1, 2, 3, 4, 5), "),
        (draw(0.6), "warning", "are neither line nor not, 0.1 to 0.9 of the highest"),
    ],
)
def test_other_values_are_named(lines, severity, words):
    [found] = judge(*[lines] * 6)
    assert (found.severity, found.kind) == (severity, "unusual lines")
    assert words in found.what


def test_photos_without_roofs_have_no_lines():
    assert judge(draw(), *[np.zeros((3, 40, 40), np.float32)] * 5) == []
