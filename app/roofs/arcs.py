"""Edges between two corners of a coverage, cut into straight runs.

An arc is a chain of edges from one corner where three planes or more meet to the next; its two
sides are the same all along. Its edges are joined from the bottom up (Keogh, Chu, Hart and Pazzani,
An online algorithm for segmenting time series, 2001): the two whose common line, fitted to the
pixels' outline, leaves their corners least apart come first, until a corner would be too far off.
A short edge at the end of a long one, such as the eave of a dormer at its valley, moves no corner
far; that it is there shows in the outline, which leaves the common line by more than pixels do.
"""

import math
from collections import defaultdict
from collections.abc import Sequence
from typing import Final, NamedTuple

from app.roofs.coverage import NO_PLANE, RoughCoverage

Point = tuple[float, float]
Moments = tuple[float, ...]
# A point of a straight line, and its unit vector.
Line = tuple[float, float, float, float]

# Of how far a corner may leave its line: what is cut off a corner by less comes from the raster.
_CHAMFER_FACTOR: Final = 1.5
# How far the corners of a run may be off its line, as a share of its length.
_OFF_PER_LENGTH: Final = 0.07
_MIN_CORNER_SINE: Final = math.sin(math.radians(20.0))
# Only of edges so short it is asked whether they bend away: jogs of long walls are straightened.
_SHORT_EDGE_M: Final = 0.8


class Arc(NamedTuple):
    """A chain of edges with the same planes on both sides.

    Attributes:
        points: Numbers of its points, k + 1; the first is also the last of one that is closed.
        moments: Of its k edges, as `RoughCoverage.moments`.
        left: The plane to its left.
        right: The plane to its right, -1 where there is none.
    """

    points: list[int]
    moments: list[Moments]
    left: int
    right: int


class Limits(NamedTuple):
    """How far corners and outline may leave the straight line that stands for them.

    Attributes:
        short_m: Corners within a short run.
        long_m: Corners within a long one.
        bend_m3: What two runs as one may add to the squared distances of the outline, summed along
            it, where one of them is short.
    """

    short_m: float
    long_m: float
    bend_m3: float


class Run(NamedTuple):
    """A straight piece of an arc.

    Attributes:
        start: Number of its first point.
        end: Number of its last.
        moments: Sums along the outline.
        left: As of its arc.
        right: As of its arc.
    """

    start: int
    end: int
    moments: Moments
    left: int
    right: int


def find_arcs(rough: RoughCoverage) -> list[Arc]:
    """All arcs of a coverage."""
    edges = rough.edges
    starts, ends, lefts, rights = (values.tolist() for values in edges)
    moments = [tuple(row) for row in rough.moments.tolist()]
    meeting: dict[int, list[int]] = defaultdict(list)
    for edge, (start, end) in enumerate(zip(starts, ends, strict=True)):
        meeting[start].append(edge)
        meeting[end].append(edge)
    used = [False] * len(starts)
    arcs = []

    def walk(start: int, first_edge: int) -> None:
        points, of_edges = [start], []
        edge, point = first_edge, start
        while not used[edge]:
            used[edge] = True
            point = ends[edge] if starts[edge] == point else starts[edge]
            points.append(point)
            of_edges.append(moments[edge])
            others = meeting[point]
            if len(others) != 2 or point == start:
                break
            edge = others[0] if others[1] == edge else others[1]
        is_forward = starts[first_edge] == start
        sides = (lefts[first_edge], rights[first_edge])
        left, right = sides if is_forward else sides[::-1]
        if left == NO_PLANE:
            points, of_edges, left, right = points[::-1], of_edges[::-1], right, left
        arcs.append(Arc(points, of_edges, left, right))

    for point, edges_here in meeting.items():
        if len(edges_here) != 2:
            for edge in edges_here:
                if not used[edge]:
                    walk(point, edge)
    for edge, start in enumerate(starts):
        if not used[edge]:
            walk(start, edge)
    return arcs


def straight_runs(arc: Arc, points: Sequence[Point], limits: Limits) -> list[Run]:
    """The straight runs of an arc, in its order.

    Args:
        arc: The chain.
        points: (x, y) by number.
        limits: What is straight.
    """
    if arc.points[0] == arc.points[-1]:
        arc = _turn_to_corner(arc, points)
    runs = [
        Run(start, end, moments, arc.left, arc.right)
        for start, end, moments in zip(arc.points[:-1], arc.points[1:], arc.moments, strict=True)
    ]
    within = [[points[number] for number in run[:2]] for run in runs]

    def cost(i: int) -> float:
        return _cost(runs[i : i + 2], within[i : i + 2], limits)

    costs = [cost(i) for i in range(len(runs) - 1)]
    while costs and min(costs) <= 1.0:
        i = costs.index(min(costs))
        runs[i : i + 2] = [_join(*runs[i : i + 2])]
        within[i : i + 2] = [within[i] + within[i + 1][1:]]
        costs.pop(i)
        for j in (i - 1, i):
            if 0 <= j < len(costs):
                costs[j] = cost(j)
    return _close_chamfers(runs, points, _CHAMFER_FACTOR * limits.long_m)


def keep_runs(arc: Arc) -> list[Run]:
    """Each edge of an arc as a run."""
    return [
        Run(start, end, moments, arc.left, arc.right)
        for start, end, moments in zip(arc.points[:-1], arc.points[1:], arc.moments, strict=True)
    ]


def fit_line(moments: Moments) -> Line:
    """The line with the least squares of distances: its middle, and its direction."""
    length, x, y, xx, xy, yy = moments
    length = max(length, 1e-12)
    x, y = x / length, y / length
    angle = math.atan2(2 * (xy / length - x * y), xx / length - x * x - yy / length + y * y) / 2
    return x, y, math.cos(angle), math.sin(angle)


def _turn_to_corner(arc: Arc, points: Sequence[Point]) -> Arc:
    """A closed arc that begins at its sharpest corner."""
    ring = arc.points[:-1]

    def height(i: int) -> float:
        (ax, ay), (bx, by), (cx, cy) = (points[ring[(i + step) % len(ring)]] for step in (-1, 0, 1))
        return abs((bx - ax) * (cy - ay) - (by - ay) * (cx - ax))

    first = max(range(len(ring)), key=height)
    ring = ring[first:] + ring[:first]
    return arc._replace(points=[*ring, ring[0]], moments=arc.moments[first:] + arc.moments[:first])


def _add(one: Moments, other: Moments) -> Moments:
    a, b, c, d, e, f = one
    u, v, w, x, y, z = other
    return a + u, b + v, c + w, d + x, e + y, f + z


def _join(one: Run, other: Run) -> Run:
    return Run(one.start, other.end, _add(one.moments, other.moments), one.left, one.right)


def _cost(pair: Sequence[Run], within: Sequence[Sequence[Point]], limits: Limits) -> float:
    """How far two runs are from being one, as a share of what is allowed."""
    one, other = pair[0].moments, pair[1].moments
    moments = _add(one, other)
    x, y, dx, dy = fit_line(moments)
    level = x * dy - y * dx
    off_m = 0.0
    for corners in within:  # no generator: this is where most of the time of arcs goes
        for px, py in corners:
            off = px * dy - py * dx - level
            if off > off_m:
                off_m = off
            elif -off > off_m:
                off_m = -off
    cost = off_m / max(limits.short_m, min(limits.long_m, _OFF_PER_LENGTH * moments[0]))
    if cost <= 1.0 and min(one[0], other[0]) < _SHORT_EDGE_M:
        added_m3 = _scatter_m3(moments) - _scatter_m3(one) - _scatter_m3(other)
        cost = max(cost, added_m3 / limits.bend_m3)
    return cost


def _scatter_m3(moments: Moments) -> float:
    """The squared distances of an outline from its own line, summed along it."""
    length, x, y, xx, xy, yy = moments
    if length <= 0.0:
        return 0.0
    across_x, across_y, both = xx - x * x / length, yy - y * y / length, xy - x * y / length
    return (across_x + across_y - math.hypot(across_x - across_y, 2 * both)) / 2


def _close_chamfers(runs: list[Run], points: Sequence[Point], max_m: float) -> list[Run]:
    """Runs without the short ones that cut off the corner of two longer ones."""
    i = 1
    while i < len(runs) - 1:
        before, run, after = runs[i - 1 : i + 2]
        length = run.moments[0]
        if length < min(max_m, before.moments[0], after.moments[0]):
            corner = _crossing(fit_line(before.moments), fit_line(after.moments))
            ends = [points[run.start], points[run.end]]
            if corner is not None and max(math.dist(corner, end) for end in ends) < max_m:
                nearest = min((run.start, run.end), key=lambda p: math.dist(points[p], corner))
                runs[i - 1 : i + 2] = [before._replace(end=nearest), after._replace(start=nearest)]
                continue
        i += 1
    return runs


def _crossing(one: Line, other: Line) -> Point | None:
    """Where two lines cross; None where they are nearly parallel."""
    x, y, dx, dy = one
    u, v, du, dv = other
    sine = dx * dv - dy * du
    if abs(sine) < _MIN_CORNER_SINE:
        return None
    along = ((u - x) * dv - (v - y) * du) / sine
    return x + along * dx, y + along * dy
