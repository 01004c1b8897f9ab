"""Planes fitted to heights, at 0.1 m, in a frame whose north is up."""

import numpy as np
import pytest

from app.roofs.frame import Frame
from app.roofs.slopes import fit_slopes

FRAME = Frame(np.zeros(2), np.diag([0.1, -0.1]), np.diag([10.0, -10.0]))


def roof(steepness: float = 0.7, size_px: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Heights of a plane that runs down to the south, and its label."""
    labels = np.zeros((size_px + 20, size_px + 20), np.int32)
    labels[10:-10, 10:-10] = 1
    row = np.arange(size_px + 20)[:, None] + 0.5
    return np.broadcast_to(10 - steepness * 0.1 * row, labels.shape).copy(), labels


def test_a_plane_is_found_in_metres() -> None:
    height_m, labels = roof()
    slope = fit_slopes(height_m, labels, FRAME, 1)[0]
    assert slope is not None
    assert (slope.east, slope.north) == pytest.approx((0.0, 0.7), abs=1e-6)
    assert np.degrees(slope.downhill_rad) % 360 == pytest.approx(180)
    assert slope.height_at(np.array([[2.0, -3.0]])) == pytest.approx([10 - 0.7 * 3.0])
    assert slope.down(np.pi)[0] == pytest.approx(0.7)
    assert slope.down(0.0)[0] == pytest.approx(-0.7)


def test_a_dormer_and_what_is_beyond_the_edge_do_not_count() -> None:
    height_m, labels = roof()
    height_m[20:45, 20:40] += 2.0  # 14 % of the plane
    height_m[labels == 0] = 0.0
    height_m[10, :] = 0.0  # a row of ground within the label
    slope = fit_slopes(height_m, labels, FRAME, 1)[0]
    assert slope is not None
    assert (slope.east, slope.north) == pytest.approx((0.0, 0.7), abs=0.01)


def test_noise_is_told_by_the_standard_deviation() -> None:
    rng = np.random.default_rng(0)
    errors, stated = [], []
    for _ in range(30):
        height_m, labels = roof()
        # Blobs of two metres, as a network's errors are.
        noise = rng.normal(0, 0.3, (4, 4)).repeat(20, axis=0).repeat(20, axis=1)
        slope = fit_slopes(height_m + noise, labels, FRAME, 1)[0]
        assert slope is not None
        steepness, sd = slope.down(np.pi)
        errors.append(steepness - 0.7)
        stated.append(sd)
    assert np.std(errors) == pytest.approx(np.mean(stated), rel=0.5)


def test_too_few_heights_are_no_plane() -> None:
    height_m, labels = roof()
    height_m[:] = np.nan
    height_m[30, 30:40] = 5.0
    assert fit_slopes(height_m, labels, FRAME, 1) == [None]
    # All in one row: a plane could turn about it.
    height_m[30, 12:68] = 5.0
    assert fit_slopes(height_m, labels, FRAME, 1) == [None]
