"""Windows of a photo at another sampling distance, the same whichever window a pixel comes with.

A new pixel is the mean of the old ones around its middle, with weights that fall off linearly: to
the next old pixel's middle where pixels become smaller, which is bilinear interpolation, and to the
next new one's where they become larger, so that nothing aliases. It is what torch's `interpolate`
does with antialias=True. What shows nothing has no weight.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from app.base.arrays import Flags

_Pixels = npt.NDArray[np.uint8]

# A new pixel shows something where at least half of its weight does.
_LEAST_SEEN = 0.5


@dataclass(frozen=True)
class Axis:
    """Rows or columns of a photo, as they are and as they should be.

    Attributes:
        own_px: How many there are.
        wanted_px: How many there should be.
    """

    own_px: int
    wanted_px: int

    @property
    def _ratio(self) -> float:
        return self.own_px / self.wanted_px

    def needed(self, wanted: slice) -> slice:
        """Which of its pixels have weight in wanted ones."""
        if self.own_px == self.wanted_px:
            return wanted
        reach = max(self._ratio, 1.0)
        first = int(np.floor((wanted.start + 0.5) * self._ratio - reach))
        last = int(np.ceil((wanted.stop - 0.5) * self._ratio + reach))
        return slice(max(0, first), min(self.own_px, last))

    def weights(self, wanted: slice, needed: slice) -> sparse.csr_array:
        """(wanted, needed) float32: how much each pixel counts; rows add up to 1."""
        reach = max(self._ratio, 1.0)
        middles = (np.arange(wanted.start, wanted.stop) + 0.5) * self._ratio
        first = np.floor(middles - reach).astype(np.int64)
        candidates = first[:, None] + np.arange(int(np.ceil(2 * reach)) + 2)
        falling = 1 - np.abs(candidates + 0.5 - middles[:, None]) / reach
        is_used = (falling > 0) & (candidates >= 0) & (candidates < self.own_px)
        falling = np.where(is_used, falling, 0)
        falling /= falling.sum(axis=1, keepdims=True)
        rows = np.broadcast_to(np.arange(len(middles))[:, None], candidates.shape)
        places = (rows[is_used], candidates[is_used] - needed.start)
        shape = (len(middles), needed.stop - needed.start)
        return sparse.csr_array((falling[is_used].astype(np.float32), places), shape)


def resample(
    values: _Pixels,
    seen: Flags | None,
    of_rows: sparse.csr_array,
    of_columns: sparse.csr_array,
) -> tuple[_Pixels, Flags | None]:
    """A window made of the pixels around it.

    Args:
        values: (C, h, w).
        seen: (h, w), which of them show something; None is all.
        of_rows: (H, h), from Axis.weights.
        of_columns: (W, w).

    Returns:
        (C, H, W) uint8, 0 where nothing is seen, and (H, W); None where all is seen.
    """
    if seen is None:
        planes = [_average(plane, of_rows, of_columns) for plane in values]
        return _round(planes), None
    share = _average(seen, of_rows, of_columns)
    now_seen = share >= _LEAST_SEEN
    divisor = np.where(now_seen, share, 1)
    sums = [_average(plane * seen, of_rows, of_columns) for plane in values]
    means = [np.where(now_seen, plane / divisor, 0) for plane in sums]
    return _round(means), None if now_seen.all() else now_seen


def _average(
    plane: npt.NDArray[np.generic], of_rows: sparse.csr_array, of_columns: sparse.csr_array
) -> npt.NDArray[np.float32]:
    """(H, W) of (h, w)."""
    fewer_rows = of_rows @ plane.astype(np.float32)
    average: npt.NDArray[np.float32] = (of_columns @ np.ascontiguousarray(fewer_rows.T)).T
    return average


def _round(planes: Sequence[npt.NDArray[np.float32]]) -> _Pixels:
    return np.stack([np.rint(plane).clip(0, 255).astype(np.uint8) for plane in planes])
