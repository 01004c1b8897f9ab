"""Colours that people with any colour vision tell apart."""

import itertools
import re
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from app.base.tasks import build_tasks, find_task
from app.report.legend import MISTAKES
from app.report.page import read_style
from app.roofs.writing.colours import line_colours

# Of linear RGB, at full severity. Source: Machado, Oliveira and Fernandes, A Physiologically-based
# Model for Simulation of Color Vision Deficiency, 2009.
VISIONS = {
    "normal": np.eye(3),
    "protan": np.array([
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ]),
    "deutan": np.array([
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]),
    "tritan": np.array([
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ]),
}  # fmt: skip
# Linear sRGB to XYZ of D65.
TO_XYZ = np.array([
    [0.4124564, 0.3575761, 0.1804375],
    [0.2126729, 0.7151522, 0.0721750],
    [0.0193339, 0.1191920, 0.9503041],
])  # fmt: skip
LEAST_DIFFERENCE = 20.0
WHITE, BLACK = (255, 255, 255), (0, 0, 0)  # roof of unknown direction; the rim around lines

Colours = Sequence[tuple[int, int, int]]


def to_lab(colours: Colours, vision: str) -> npt.NDArray[np.float64]:
    """(N, 3): CIE L*a*b* of what a vision sees of sRGB colours."""
    encoded = np.array(colours) / 255
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    xyz = np.clip(linear @ VISIONS[vision].T, 0, 1) @ TO_XYZ.T / TO_XYZ.sum(axis=1)
    f = np.where(xyz > 216 / 24389, np.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    x, y, z = f.T
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)


def find_alike(colours: Colours) -> list[str]:
    """Every two colours that some vision hardly tells apart, with their difference."""
    return [
        f"{vision}: {colours[i]} and {colours[j]}: {difference:.1f}"
        for vision in VISIONS
        for i, j in itertools.combinations(range(len(colours)), 2)
        if (difference := np.linalg.norm(np.subtract(*to_lab([colours[i], colours[j]], vision))))
        < LEAST_DIFFERENCE
    ]


def series_colours(scheme: str) -> Colours:
    """Colours of charts on a light or a dark page."""
    found = re.findall(r"--series-\d: #(..)(..)(..);", read_style())
    assert len(found) == 18
    rows = [(int(red, 16), int(green, 16), int(blue, 16)) for red, green, blue in found]
    return rows[:9] if scheme == "light" else rows[9:]


def test_the_measure_knows_what_is_alike() -> None:
    # Of the values of black and white the first is lightness: 0 and 100.
    assert np.allclose(to_lab([BLACK, WHITE], "normal"), [[0, 0, 0], [100, 0, 0]], atol=0.01)
    # Red and a dark green differ for most people, and hardly for a protanope.
    assert find_alike([(190, 60, 0), (90, 92, 0)])[0].startswith("protan")


def test_directions_flat_unknown_and_mistakes() -> None:
    *planes, _background = find_task("segments").colours
    assert len(planes) == 17
    assert find_alike([*planes, WHITE, *(colour for _, colour in MISTAKES)]) == []


def test_roof_without_directions_and_its_mistakes() -> None:
    roof = find_task("segments", build_tasks(1)).colours[0]
    assert find_alike([roof, WHITE, *(colour for _, colour in MISTAKES)]) == []


def test_lines_and_their_rim() -> None:
    assert find_alike([*line_colours().values(), BLACK]) == []


def test_superstructures() -> None:
    assert find_alike(find_task("superstructures").colours[:-1]) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_lines_and_areas_of_charts(scheme: str) -> None:
    assert find_alike(series_colours(scheme)) == []
