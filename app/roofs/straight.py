"""Edges of a coverage made straight, without parting what they share.

Each straight run of edges gets the line that fits the pixels' outline and, where there is any, the
line that the network saw there. A line takes one of its building's main directions, or for an edge
between two planes one half way between these, if its ends hardly move for it. A point goes to where
its lines cross. Planes that this would spoil keep the edges they had.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from app.base.arrays import Flags, Floats, Geometries, Ints
from app.roofs.arcs import Arc, Limits, Run, find_arcs, keep_runs, straight_runs
from app.roofs.coverage import NO_PLANE, Coverage, Edges, RoughCoverage
from app.roofs.crossings import cross_lines
from app.roofs.limits import first_limits, fit_limits
from app.roofs.main_directions import snap_lines
from app.roofs.runs import Runs, fit_lines
from app.roofs.settings import RoofSettings

# (N, 2) starts and ends of N edges to (N, 6) moments of lines seen along them.
LineSums = Callable[[Floats, Floats], Floats]

_MAX_ATTEMPTS: Final = 4


def straighten(
    rough: RoughCoverage, settings: RoofSettings, pixel_m: float, sum_lines: LineSums | None = None
) -> Coverage:
    """A valid coverage of the same planes with straight edges.

    Args:
        rough: The planes as their pixels have them.
        settings: How far edges and points may move.
        pixel_m: Metres per pixel.
        sum_lines: The lines that the network saw along edges; None where it saw none.
    """
    arcs, edges = find_arcs(rough), rough.edges
    is_kept = np.zeros(rough.coverage.num_planes + 1, np.bool_)  # the last is outside
    limits = first_limits(settings, pixel_m)
    runs = _cut_arcs(rough, arcs, is_kept, limits)
    limits = fit_limits(limits, runs, settings.ragged_m, pixel_m)
    runs = _cut_arcs(rough, arcs, is_kept, limits)
    for _ in range(_MAX_ATTEMPTS):
        coverage = _place(rough, runs, settings, sum_lines)
        spoilt = find_spoilt(coverage)
        if not spoilt.any():
            return coverage
        if (spoilt <= is_kept[:-1]).all():
            spoilt = _with_neighbours(spoilt | is_kept[:-1], edges)
        is_kept[:-1] |= spoilt
        runs = _cut_arcs(rough, arcs, is_kept, limits)
    return rough.coverage


def find_spoilt(coverage: Coverage) -> Flags:
    """(P,) which planes are no valid polygons, or overlap others or leave gaps to them."""
    spoilt = np.zeros(coverage.num_planes, np.bool_)
    short = [len(ring) < 3 for ring in coverage.rings]
    if any(short):
        spoilt[coverage.owners[short]] = True
        return spoilt
    polygons = coverage.polygons()
    spoilt = ~shapely.is_valid(polygons)
    return spoilt if spoilt.any() else find_overlaps(polygons)


def find_overlaps(polygons: Geometries) -> Flags:
    """(P,) which of valid polygons are no part of a coverage."""
    return np.asarray(shapely.length(shapely.coverage_invalid_edges(polygons)) > 0, np.bool_)


def _with_neighbours(planes: Flags, edges: Edges) -> Flags:
    grown = np.append(planes, False)
    touching = planes[edges.left] | ((edges.right != NO_PLANE) & planes[edges.right])
    grown[edges.left[touching]] = True
    grown[edges.right[touching]] = True
    return grown[:-1]


def _cut_arcs(rough: RoughCoverage, arcs: list[Arc], is_kept: Flags, limits: Limits) -> Runs:
    points = [(x, y) for x, y in rough.coverage.points.tolist()]
    runs: list[Run] = []
    kept = []
    for arc in arcs:
        keep = bool(is_kept[arc.left] or (arc.right != NO_PLANE and is_kept[arc.right]))
        cut = keep_runs(arc) if keep else straight_runs(arc, points, limits)
        runs += cut
        kept += [keep] * len(cut)
    numbers = np.array([(run.start, run.end, run.left, run.right) for run in runs], np.int64)
    start, end, left, right = numbers.T
    moments = np.array([run.moments for run in runs])
    return Runs(start, end, left, right, moments, np.array(kept))


def _place(
    rough: RoughCoverage, runs: Runs, settings: RoofSettings, sum_lines: LineSums | None
) -> Coverage:
    """The coverage of some runs, its points where the lines of these cross."""
    points = rough.coverage.points
    merged = _merge_close(points, runs, settings.merge_m)
    moments = runs.moments
    if sum_lines is not None:
        # The outline of a roof is where it ends; a line along it is drawn inside.
        inner = runs.right != NO_PLANE
        moments = moments.copy()
        moments[inner] += sum_lines(points[runs.start[inner]], points[runs.end[inner]])
    step = points[runs.end] - points[runs.start]
    lines = fit_lines(moments, step)
    lines = snap_lines(lines, runs, _find_groups(rough), settings)
    start, end = merged[runs.start], merged[runs.end]
    is_line = start != end
    placed = cross_lines(
        _mean_places(points, merged), lines, (start, end), np.where(is_line, 1.0, 0.0)
    )
    fixed = np.zeros(len(points), np.bool_)
    fixed[runs.start[runs.is_kept]] = fixed[runs.end[runs.is_kept]] = True
    placed[fixed] = points[fixed]
    is_used = np.zeros(len(points), np.bool_)
    is_used[runs.start] = is_used[runs.end] = True
    rings = []
    for ring in rough.coverage.rings:
        numbers = merged[ring[is_used[ring]]]
        rings.append(numbers[numbers != np.roll(numbers, 1)])
    return Coverage(placed, tuple(rings), rough.coverage.owners)


def _merge_close(points: Floats, runs: Runs, merge_m: float) -> Ints:
    """(V,) the point that each becomes: corners of three planes or more that are close are one."""
    meeting = np.bincount(np.concatenate((runs.start, runs.end)), minlength=len(points))
    short = np.hypot(*(points[runs.end] - points[runs.start]).T) < merge_m
    short &= (meeting[runs.start] > 2) & (meeting[runs.end] > 2) & ~runs.is_kept
    kept = np.zeros(len(points), np.bool_)
    kept[runs.start[runs.is_kept]] = kept[runs.end[runs.is_kept]] = True
    short &= ~kept[runs.start] & ~kept[runs.end]
    numbers = np.arange(len(points))
    if not short.any():
        return numbers
    links = coo_array(
        (np.ones(int(short.sum())), (runs.start[short], runs.end[short])),
        shape=(len(points), len(points)),
    )
    _, group = connected_components(links, directed=False)
    _, first = np.unique(group, return_index=True)
    return np.asarray(first[group], np.int64)


def _mean_places(points: Floats, merged: Ints) -> Floats:
    """(V, 2) the points, those that were merged at their mean."""
    counts = np.maximum(np.bincount(merged, minlength=len(points)), 1)
    sums = [np.bincount(merged, points[:, i], len(points)) for i in (0, 1)]
    return np.asarray(np.stack(sums, axis=1) / counts[:, None], np.float64)


def _find_groups(rough: RoughCoverage) -> Ints:
    """(P,) a number for each plane: the same for those that share edges."""
    edges, num_planes = rough.edges, rough.coverage.num_planes
    inner = edges.right != NO_PLANE
    links = coo_array(
        (np.ones(int(inner.sum())), (edges.left[inner], edges.right[inner])),
        shape=(num_planes, num_planes),
    )
    return np.asarray(connected_components(links, directed=False)[1], np.int64)
