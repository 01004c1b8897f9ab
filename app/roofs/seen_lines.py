"""What the network's lines say along the edges of planes."""

from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from app.base.arrays import Floats, Ints
from app.roofs.coverage import NUM_MOMENTS
from app.roofs.evidence import as_shares
from app.roofs.frame import Frame

_STEP_M: Final = 0.3
_MAX_STEPS: Final = 60
_MIN_PROBABILITY: Final = 0.3
_REACH_M: Final = 0.4
# Where the lines are looked up across an edge.
_OFFSETS_M: Final = np.linspace(-_REACH_M, _REACH_M, 9)


class _Samples(NamedTuple):
    """Places along N edges, T in all, and to both sides of them.

    Attributes:
        edge: (T,) the edge.
        points: (T, 2) metres, on the edge.
        normals: (T, 2) unit vectors across it.
        steps_m: (T,) length of edge that each stands for.
        to_end_m: (T,) how far off the nearer end of the edge is.
        shares: (4, T, 9) probabilities of the kinds of line across the edge.
    """

    edge: Ints
    points: Floats
    normals: Floats
    steps_m: Floats
    to_end_m: Floats
    shares: npt.NDArray[np.float32]


class SeenLines:
    """The lines of a part of a photo."""

    def __init__(self, lines: npt.NDArray[Any], frame: Frame) -> None:
        """Keep them.

        Args:
            lines: (4, h, w) uint8 as of `RoofEvidence`.
            frame: From its columns and rows to metres.
        """
        self._lines, self._frame = lines, frame

    def shares(self, starts: Floats, ends: Floats) -> npt.NDArray[np.float32]:
        """(N, 4) mean probability of each kind along N edges, of the likeliest pixel across."""
        samples = self._sample(starts, ends)
        across = samples.shares.max(axis=2)
        counts = np.maximum(np.bincount(samples.edge, minlength=len(starts)), 1)
        return np.stack(
            [np.bincount(samples.edge, kind, len(starts)) / counts for kind in across], axis=1
        ).astype(np.float32)

    def moments(self, starts: Floats, ends: Floats, weight: float) -> Floats:
        """(N, 6) moments of the lines along N edges, as of `line_moments`.

        Of each edge the kind counts that is likeliest along it, and of that not its ends, where
        others begin.

        Args:
            starts: (N, 2) metres.
            ends: (N, 2) metres.
            weight: What a metre of line of probability 1 counts.
        """
        samples = self._sample(starts, ends)
        kinds = [
            np.bincount(samples.edge, kind.max(axis=1), len(starts)) for kind in samples.shares
        ]
        likeliest = np.argmax(np.stack(kinds), axis=0)[samples.edge]
        share = samples.shares[likeliest, np.arange(len(samples.edge))].astype(np.float64)
        peak = share.max(axis=1)
        # The flanks of the line on the edge, and not what else is near.
        share[share < peak[:, None] / 2] = 0.0
        seen = np.flatnonzero((peak >= _MIN_PROBABILITY) & (samples.to_end_m >= _REACH_M))
        offset = (share[seen] @ _OFFSETS_M) / share[seen].sum(axis=1)
        points = samples.points[seen] + offset[:, None] * samples.normals[seen]
        x, y = points.T
        length = weight * peak[seen] * samples.steps_m[seen]
        values = (np.ones(len(x)), x, y, x * x, x * y, y * y)
        sums = [np.bincount(samples.edge[seen], length * v, len(starts)) for v in values]
        assert len(sums) == NUM_MOMENTS
        return np.stack(sums, axis=1)

    def _sample(self, starts: Floats, ends: Floats) -> _Samples:
        step = ends - starts
        length = np.hypot(*step.T)
        counts = np.clip(np.ceil(length / _STEP_M).astype(np.int64), 1, _MAX_STEPS)
        edge = np.repeat(np.arange(len(starts)), counts)
        first = np.repeat(np.cumsum(counts) - counts, counts)
        along = (np.arange(len(edge)) - first + 0.5) / counts[edge]
        points = starts[edge] + along[:, None] * step[edge]
        unit = step / np.maximum(length, 1e-9)[:, None]
        normals = np.stack((-unit[:, 1], unit[:, 0]), axis=1)[edge]
        across = points[:, None] + _OFFSETS_M[None, :, None] * normals[:, None]
        column, row = np.floor(self._frame.pixels(across.reshape(-1, 2))).astype(np.int64).T
        height, width = self._lines.shape[1:]
        inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
        values = self._lines[:, row.clip(0, height - 1), column.clip(0, width - 1)]
        shares = as_shares(values) * inside
        shape = len(self._lines), len(edge), len(_OFFSETS_M)
        to_end_m = np.minimum(along, 1 - along) * length[edge]
        return _Samples(
            edge, points, normals, (length / counts)[edge], to_end_m, shares.reshape(shape)
        )
