"""Thinning of many masks at once, against OpenCV's of one."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from app.metrics.thinning import thin_bits

Mask = npt.NDArray[np.uint8]


def thin(mask: Mask) -> Mask:
    return thin_bits(np.pad(mask, 1).astype(np.uint64))[1:-1, 1:-1].astype(np.uint8)


def reference(mask: Mask) -> Mask:
    padded = np.pad(255 * mask, 1)
    thinned = cv2.ximgproc.thinning(padded, thinningType=cv2.ximgproc.THINNING_GUOHALL)
    return (thinned[1:-1, 1:-1] // 255).astype(np.uint8)


@pytest.mark.parametrize("sigma_px", [0.3, 1.0, 3.0, 6.0])
def test_every_bit_is_thinned_as_opencv_thins_it_alone(sigma_px: float) -> None:
    rng = np.random.default_rng(0)
    for _ in range(8):
        height, width = rng.integers(1, 50, 2)
        heat = cv2.GaussianBlur(rng.normal(size=(height, width)), (0, 0), sigma_px)
        masks = [heat > threshold for threshold in np.quantile(heat, np.linspace(0.02, 0.98, 62))]
        # And two that have nothing to do with the others.
        masks += [rng.random((height, width)) < share for share in (0.3, 0.8)]
        packed = np.zeros((height + 2, width + 2), np.uint64)
        for bit, mask in enumerate(masks):
            packed[1:-1, 1:-1] |= mask.astype(np.uint64) << np.uint64(bit)
        before = packed.copy()
        thinned = thin_bits(packed)[1:-1, 1:-1]
        np.testing.assert_array_equal(packed, before)
        for bit, mask in enumerate(masks):
            found = (thinned >> np.uint64(bit) & np.uint64(1)).astype(np.uint8)
            np.testing.assert_array_equal(found, reference(mask.astype(np.uint8)))


@pytest.mark.parametrize("value", [0, 1])
def test_all_or_nothing(value: int) -> None:
    mask = np.full((40, 60), value, np.uint8)
    np.testing.assert_array_equal(thin(mask), reference(mask))


@pytest.mark.parametrize("angle_deg", range(0, 180, 15))
def test_thinning_keeps_lines_of_every_direction(angle_deg: int) -> None:
    y, x = np.mgrid[:100, :100] - 50.3
    angle = np.radians(angle_deg)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    centre = thin(((abs(along) <= 40) & (abs(across) <= 1.5)).astype(np.uint8)) == 1
    assert np.abs(across[centre]).max() < 1.5
    # One pixel wide, and from end to end.
    assert 0.7 * 80 - 4 <= centre.sum() <= 80 + 2
    assert along[centre].max() - along[centre].min() > 76


def test_a_line_along_the_border_is_thinned_too() -> None:
    mask = np.zeros((9, 30), np.uint8)
    mask[:3] = 1
    assert thin(mask).sum(axis=0).max() == 1
