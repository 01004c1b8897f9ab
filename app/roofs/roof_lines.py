"""Lines of roofs: the edges of the coverage, those that go on in one direction joined.

Planes and lines cannot contradict each other, since lines are what planes share or end at.
"""

import math
from collections import defaultdict
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from app.base.arrays import Floats
from app.roofs.coverage import NO_PLANE, Coverage, Edges
from app.roofs.kinds import Neighbour, find_kind, is_upper
from app.roofs.model import LineKind
from app.roofs.slope import Slope

_MAX_BEND: Final = math.radians(20.0)
# Shorter ones are where three planes do not quite meet in a point.
_MIN_LENGTH_M: Final = 0.15


class EdgeEvidence(NamedTuple):
    """What lines are found from: the planes and edges of a coverage.

    Attributes:
        coverage: P planes.
        edges: E edges.
        is_line: (E,) which are lines, and not where the photo or what is known of it ends.
        downhill: P, (2,) metres down per metre east and north, of planes whose pitch is not known
            as of a usual one; (0, 0) where flat, None where the direction is not known.
        has_pitch: (P,) whose pitch is known.
        slopes: P, of the heights.
        line_shares: (E, 4) probability of eave, ridge, hip, valley; or None.
        confidence: (P,) of the planes.
    """

    coverage: Coverage
    edges: Edges
    is_line: npt.NDArray[np.bool_]
    downhill: list[Floats | None]
    has_pitch: npt.NDArray[np.bool_]
    slopes: list[Slope | None]
    line_shares: npt.NDArray[np.float32] | None
    confidence: Floats


class FoundLine(NamedTuple):
    """A line.

    Attributes:
        kind: What it is.
        points: (K, 2) metres east and north.
        length_m: On the slope.
        ground_length_m: In plan.
        left: The plane to its left.
        right: The plane to its right, -1 where there is none.
        confidence: Probability that it is there.
        kind_confidence: Probability of its kind.
    """

    kind: LineKind
    points: Floats
    length_m: float
    ground_length_m: float
    left: int
    right: int
    confidence: float
    kind_confidence: float


class _Edge(NamedTuple):
    """An edge that is a line, or a piece of one."""

    start: int
    end: int
    left: int
    right: int
    kind: LineKind
    kind_confidence: float
    confidence: float
    ground_length_m: float
    length_m: float
    bearing: float

    def reversed(self) -> "_Edge":
        """The same, seen from its end."""
        return self._replace(
            start=self.end,
            end=self.start,
            left=self.right,
            right=self.left,
            bearing=self.bearing + math.pi,
        )


def find_lines(evidence: EdgeEvidence) -> list[FoundLine]:
    """The lines of a coverage."""
    edges = _name_edges(evidence)
    meeting: dict[int, int] = defaultdict(int)
    for number in (*evidence.edges.start.tolist(), *evidence.edges.end.tolist()):
        meeting[number] += 1
    ends: dict[int, list[int]] = defaultdict(list)
    for number, edge in enumerate(edges):
        for point in (edge.start, edge.end):
            if meeting[point] == 2:
                ends[point].append(number)
    used = [False] * len(edges)
    lines = []
    for number, edge in enumerate(edges):
        if not used[number]:
            used[number] = True
            after = _follow(edge, edges, ends, used)
            before = _follow(edge.reversed(), edges, ends, used)
            chain = [piece.reversed() for piece in reversed(before)] + [edge, *after]
            lines.append(_join(chain, evidence.coverage.points))
    return [line for line in lines if line.ground_length_m >= _MIN_LENGTH_M]


def _name_edges(evidence: EdgeEvidence) -> list[_Edge]:
    edges, points = evidence.edges, evidence.coverage.points
    step = points[edges.end] - points[edges.start]
    length = np.hypot(*step.T)
    middle = (points[edges.start] + points[edges.end]) / 2
    along = step / np.maximum(length, 1e-9)[:, None]
    outward = np.stack((along[:, 1], -along[:, 0]), axis=1)
    named = []
    for number in np.flatnonzero(evidence.is_line & (length > 0)).tolist():
        left, right = int(edges.left[number]), int(edges.right[number])
        sides = [left] if right == NO_PLANE else [left, right]
        neighbours = [_neighbour(evidence, plane, middle[number]) for plane in sides]
        shares = None if evidence.line_shares is None else evidence.line_shares[number]
        other = neighbours[1] if len(neighbours) > 1 else None
        kind, kind_confidence = find_kind(outward[number], neighbours[0], other, shares)
        confidence = float(evidence.confidence[sides].min() if shares is None else shares.max())
        ground_m = float(length[number])
        if other is not None and kind in ("eave", "rake"):
            # One plane ends there; that the other begins says nothing of the edge.
            sides = sides[:1] if is_upper(outward[number], *neighbours) else sides[1:]
        rises = [
            float(downhill @ along[number])
            for plane in sides
            if evidence.has_pitch[plane] and (downhill := evidence.downhill[plane]) is not None
        ]
        rise = sum(rises) / len(rises) if rises else 0.0
        named.append(
            _Edge(
                int(edges.start[number]),
                int(edges.end[number]),
                left,
                right,
                kind,
                kind_confidence,
                confidence,
                ground_m,
                ground_m * math.hypot(1.0, rise),
                math.atan2(along[number, 1], along[number, 0]),
            )
        )
    return named


def _neighbour(evidence: EdgeEvidence, plane: int, place: Floats) -> Neighbour:
    slope = evidence.slopes[plane]
    height_m = None if slope is None else float(slope.height_at(place[None])[0])
    return Neighbour(evidence.downhill[plane], height_m)


def _follow(
    edge: _Edge, edges: list[_Edge], ends: dict[int, list[int]], used: list[bool]
) -> list[_Edge]:
    """What goes on at the end of an edge as the same line."""
    chain: list[_Edge] = []
    while True:
        going = [number for number in ends.get(edge.end, ()) if not used[number]]
        if len(going) != 1:
            return chain
        following = edges[going[0]]
        if following.start != edge.end:
            following = following.reversed()
        bend = (following.bearing - edge.bearing + math.pi) % (2 * math.pi) - math.pi
        if following.kind != edge.kind or abs(bend) > _MAX_BEND:
            return chain
        used[going[0]] = True
        chain.append(following)
        edge = following


def _join(chain: list[_Edge], points: Floats) -> FoundLine:
    if chain[0].left == NO_PLANE:
        chain = [edge.reversed() for edge in reversed(chain)]
    ground_m = math.fsum(edge.ground_length_m for edge in chain)

    def mean(values: list[float]) -> float:
        weights = [edge.ground_length_m for edge in chain]
        return math.fsum(v * w for v, w in zip(values, weights, strict=True)) / ground_m

    return FoundLine(
        chain[0].kind,
        points[[chain[0].start, *(edge.end for edge in chain)]],
        math.fsum(edge.length_m for edge in chain),
        ground_m,
        chain[0].left,
        chain[0].right,
        mean([edge.confidence for edge in chain]),
        mean([edge.kind_confidence for edge in chain]),
    )
