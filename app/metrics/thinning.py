"""Thinning of masks to centre lines one pixel wide."""

import functools

import cv2
import numpy as np
import numpy.typing as npt

_Mask = npt.NDArray[np.uint8]

# The eight neighbours clockwise from the one above, a bit each.
_NEIGHBOUR_BITS = np.array([[128, 1, 2], [64, 0, 4], [32, 16, 8]], np.float32)


def thin(mask: _Mask) -> _Mask:
    """The centre lines of a mask, by Guo and Hall's method.

    The result is that of cv2.ximgproc.thinning in a third of its time, and right up to the image's
    border, which the library leaves thick. Not Zhang and Suen's method, the library's default: it
    erases straight lines 3 px wide that run at 135 degrees.

    Args:
        mask: (H, W) uint8, 0 or 1.

    Returns:
        (H, W) uint8, 0 or 1.

    Source:
        Guo and Hall, Parallel thinning with two-subiteration algorithms, 1989.
    """
    thinned: cv2.typing.MatLike = mask
    num_left = cv2.countNonZero(thinned)
    while num_left:
        for stays in _tables():
            neighbours = cv2.filter2D(
                thinned, cv2.CV_8U, _NEIGHBOUR_BITS, borderType=cv2.BORDER_CONSTANT
            )
            thinned = cv2.bitwise_and(thinned, cv2.LUT(neighbours, stays))
        num_before, num_left = num_left, cv2.countNonZero(thinned)
        if num_left == num_before:
            break
    return thinned.astype(np.uint8)


@functools.cache
def _tables() -> tuple[_Mask, _Mask]:
    """For each half pass (256,) uint8: whether a pixel stays, by the bits of its neighbours."""
    stays = np.ones((2, 256), np.uint8)
    for code in range(256):
        # Names as in the paper: p2 is above, p4 right, p6 below, p8 left.
        p2, p3, p4, p5, p6, p7, p8, p9 = ((code >> bit) & 1 for bit in range(8))
        num_crossings = (
            ((1 - p2) & (p3 | p4)) + ((1 - p4) & (p5 | p6))
            + ((1 - p6) & (p7 | p8)) + ((1 - p8) & (p9 | p2))
        )  # fmt: skip
        num_pairs = min(
            (p9 | p2) + (p3 | p4) + (p5 | p6) + (p7 | p8),
            (p2 | p3) + (p4 | p5) + (p6 | p7) + (p8 | p9),
        )
        if num_crossings == 1 and 2 <= num_pairs <= 3:
            stays[0, code] = (p6 | p7 | (1 - p9)) & p8
            stays[1, code] = (p2 | p3 | (1 - p5)) & p4
    return stays[0], stays[1]
