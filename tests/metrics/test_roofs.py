"""Metrics of shapes on roofs that can be worked out by hand, and truth against moved truth."""

import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import shapely
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import affinity

from app.metrics.definitions import MetricValue
from app.metrics.matched import find_right
from app.metrics.roof_definitions import LENGTH_KINDS, SHAPE_TASKS, define_shape_metrics
from app.metrics.roofs import FoundRoofs, PhotoMeasures, ShapeMetrics, TrueRoofs

NAN = math.nan
GSD_M = 0.1
# Metres of eaves and rakes are not told apart.
NO_LENGTHS = np.full((2, len(LENGTH_KINDS)), NAN)

Floats = npt.NDArray[np.float64]


def gable(x: float, y: float, turn_deg: float = 0.0) -> list[Any]:
    """Two planes of 10 x 5 m, of which the first faces north."""
    planes = [shapely.box(x, y, x + 100, y + 50), shapely.box(x, y + 50, x + 100, y + 100)]
    # With y down, affinity turns clockwise.
    return [affinity.rotate(plane, turn_deg, (x + 50, y + 50)) for plane in planes]


def truth(
    planes: list[Any],
    azimuth_deg: list[float],
    pitch_deg: list[float] | None = None,
    is_vague: list[bool] | None = None,
    known: Any = None,
    half_width_deg: float = 0.0,
) -> TrueRoofs:
    return TrueRoofs(
        np.array(planes, np.object_),
        np.array(azimuth_deg, np.float64),
        np.array(pitch_deg or [NAN] * len(planes), np.float64),
        np.array(is_vague or [False] * len(planes), np.bool_),
        np.array([shapely.union_all(planes)] if planes else [], np.object_),
        known,
        half_width_deg,
    )


def find(
    planes: list[Any],
    azimuth_deg: list[float],
    azimuth_sd_deg: list[float] | None = None,
    pitch_deg: list[float] | None = None,
    pitch_sd_deg: list[float] | None = None,
    confidence: list[float] | None = None,
) -> FoundRoofs:
    none = [NAN] * len(planes)
    angles = (azimuth_deg, azimuth_sd_deg or none, pitch_deg or none, pitch_sd_deg or none)
    angles = (*angles, confidence or none)
    return FoundRoofs(
        np.array(planes, np.object_),
        *(np.array(each, np.float64) for each in angles),
        np.array([shapely.union_all(planes)] if planes else [], np.object_),
        np.array([], np.object_),
        (),
    )


def measures(true: TrueRoofs, lengths_m: Floats = NO_LENGTHS) -> PhotoMeasures:
    return PhotoMeasures(lengths_m, np.full((2, len(true.planes)), NAN))


def score(true: TrueRoofs, found: FoundRoofs, **given: Any) -> dict[str, MetricValue]:
    metrics = ShapeMetrics()
    metrics.update(true, found, GSD_M, given.get("measures", measures(true)))
    return {
        name.removeprefix("val/"): value for name, value in metrics.compute("val", "own").items()
    }


def test_two_planes_one_of_them_found_narrower() -> None:
    north, south = gable(0, 0)
    narrow = shapely.box(0, 50, 80, 100)  # 8 m of 10
    stray = shapely.box(300, 300, 350, 350)
    values = score(truth([north, south], [0, 180]), find([north, narrow, stray], [4, 170, 90]))
    assert values["planes/precision"].value == pytest.approx(2 / 3)
    assert values["planes/precision"].support == 3
    assert (values["planes/recall"].value, values["planes/recall"].support) == (1.0, 2)
    assert values["planes/f1"].value == pytest.approx(4 / 5)
    assert values["planes/iou"].value == pytest.approx((1 + 0.8) / 2, abs=1e-6)
    assert values["planes/pq"].value == pytest.approx((1 + 0.8) / 2.5, abs=1e-6)
    assert values["planes/pq"].value == pytest.approx(
        values["planes/f1"].value * values["planes/iou"].value, abs=1e-6
    )
    # Of the narrow one, two corners of each are 2 m from the other's outline, or on it.
    distance = values["planes/boundary_distance_m"]
    assert distance.value == pytest.approx((0 + (2 / 2 + 0) / 2) / 2, abs=1e-5)
    assert (distance.unit, distance.support, distance.support_unit) == ("m", 2, "matched planes")
    assert values["planes/azimuth_error_deg"].value == 7.0
    assert values["planes/azimuth_error_median_deg"].value == 7.0
    assert values["planes/azimuth_within_11_25_deg"].value == 1.0
    # The building is what the planes cover: 8 of 10 m by half, and a part elsewhere.
    assert values["buildings/iou"].value == pytest.approx(9000 / (10000 + 2500), abs=1e-6)
    assert values["buildings/recall"].support == 1


def test_azimuths_count_around_north() -> None:
    planes = [plane for x in (0, 200, 400, 600) for plane in gable(x, 0)[:1]]
    true = truth(planes, [355, 10, 200, 100])
    values = score(true, find(planes, [5, 0, 177, 140]))
    assert values["planes/azimuth_coverage"].value == 1.0
    assert values["planes/azimuth_error_deg"].value == (10 + 10 + 23 + 40) / 4
    assert values["planes/azimuth_error_median_deg"].value == pytest.approx((10 + 23) / 2)
    assert values["planes/azimuth_within_11_25_deg"].value == 0.5
    assert values["planes/azimuth_within_22_5_deg"].value == 0.5
    assert values["planes/azimuth_within_22_5_deg"].support == 4


def test_flat_planes_have_no_azimuth_and_are_planes() -> None:
    flat, north, south = [gable(x, 0)[0] for x in (0, 200, 400)]
    # Flat in truth and found pitched; pitched and found flat; right.
    values = score(
        truth([flat, north, south], [NAN, 0, 180]), find([flat, north, south], [90, NAN, 180])
    )
    assert values["planes/recall"].value == 1.0
    assert (values["planes/azimuth_coverage"].value, values["planes/azimuth_coverage"].support) == (
        0.5,
        2,
    )
    assert (
        values["planes/azimuth_error_deg"].value,
        values["planes/azimuth_error_deg"].support,
    ) == (0.0, 1)


def test_stated_intervals_of_90_percent() -> None:
    planes = [gable(x, 0)[0] for x in (0, 200, 400, 600)]
    true = truth(planes, [0, 0, 0, 0], pitch_deg=[30, 30, 30, NAN])
    # 1.645 times 10 is 16.45; nothing stated says nothing.
    found = find(planes, [16, 17, -16, 0], [10, 10, 10, NAN], [33, 27.5, NAN, 9], [2, 1, 3, 1])
    values = score(true, found)
    interval = values["planes/azimuth_in_interval_90"]
    assert (interval.value, interval.support) == (pytest.approx(2 / 3), 3)
    assert (values["planes/pitch_coverage"].value, values["planes/pitch_coverage"].support) == (
        pytest.approx(2 / 3),
        3,
    )
    assert values["planes/pitch_error_deg"].value == 2.75
    assert values["planes/pitch_error_median_deg"].value == 2.75
    # 3 of 3.29, and 2.5 of 1.64.
    assert (
        values["planes/pitch_in_interval_90"].value,
        values["planes/pitch_in_interval_90"].support,
    ) == (0.5, 2)
    by_class = score(true._replace(half_width_deg=11.25), found)
    assert (
        by_class["planes/azimuth_in_interval_90"].value,
        by_class["planes/azimuth_in_interval_90"].support,
    ) == (None, 0)
    assert by_class["planes/azimuth_error_deg"].value == (16 + 17 + 16 + 0) / 4


def test_intervals_are_of_right_directions_and_confidence_says_how_many_are() -> None:
    planes = [gable(x, 0)[0] for x in (0, 200, 400, 600, 800)]
    # Three are right, of which one is flat; one is wrong by a side; one is flat and found pitched.
    true = truth(planes, [0, 0, NAN, 0, NAN])
    found = find(
        planes, [5, 20, NAN, 90, 40], [10, 10, NAN, 10, 10], confidence=[0.9, 0.95, 0.6, 0.3, 0.35]
    )
    values = score(true, found)
    interval = values["planes/azimuth_in_interval_90"]
    assert (interval.value, interval.support) == (0.5, 2)  # 20 is more than 1.645 times 10
    error = values["planes/confidence_error"]
    assert error.value == pytest.approx((0.9 + 0.95 + 0.6 + 0.3 + 0.35) / 5 - 3 / 5, abs=1e-6)
    assert error.support == 5
    # By tenths: 1.85 of 2 that are right, 0.6 of 1, and 0.65 of 2 of which none is.
    gap = values["planes/confidence_gap"]
    assert gap.value == pytest.approx((0.15 + 0.4 + 0.65) / 5, abs=1e-6)


@pytest.mark.parametrize(
    ("off_deg", "half_width_deg", "expected"),
    [
        (22.5, 0.0, 1.0), (22.6, 0.0, 0.0),
        # The truth lies in 11.25 degrees on either side of what is known of it.
        (11.25, 11.25, 1.0), (22.5, 11.25, 0.5), (28.125, 11.25, 0.25), (34.0, 11.25, 0.0),
    ],
)  # fmt: skip
def test_what_is_right(off_deg: float, half_width_deg: float, expected: float) -> None:
    found = find_right(np.array([350.0]), np.array([350.0 + off_deg]), half_width_deg)
    assert found.tolist() == [pytest.approx(expected)]


def test_flat_is_right_where_it_is_flat() -> None:
    true, found = np.array([NAN, NAN, 10.0]), np.array([NAN, 10.0, NAN])
    assert find_right(true, found, 11.25).tolist() == [1.0, 0.0, 0.0]


def test_what_pixels_say_of_the_same_planes() -> None:
    planes = [gable(x, 0)[0] for x in (0, 200, 400, 600)]
    true = truth(planes, [0, 0, 0, NAN])
    found = find(planes[:2] + planes[3:], [5, 9, 0])  # one is missed
    # Nothing of the second plane's pixels is pitched.
    errors = np.array([[20.0, NAN, 50.0, NAN], [10.0, NAN, 50.0, NAN]])
    given = PhotoMeasures(NO_LENGTHS, errors)
    values = score(true, found, measures=given)
    assert values["planes/azimuth_error_deg"].value == 7.0
    assert (
        values["planes/azimuth_error_pixels_deg"].value,
        values["planes/azimuth_error_pixels_deg"].support,
    ) == (20.0, 1)
    assert values["planes/azimuth_error_votes_deg"].value == 10.0


def test_roof_of_unknown_direction_has_buildings_and_no_planes() -> None:
    north, south = gable(0, 0)
    whole = shapely.union_all([north, south])
    vague = truth([whole], [NAN], is_vague=[True])
    stray = shapely.box(300, 0, 350, 50)
    values = score(vague, find([north, south, stray], [0, 180, 90]))
    for name, value in values.items():
        if name.startswith("planes/"):
            assert (value.value, value.support) == (None, 0), name
    assert values["buildings/recall"].value == 1.0
    # Beside planes of known direction, what is found on it is neither right nor wrong.
    other = gable(0, 200)[0]
    mixed = truth([whole, other], [NAN, 0], is_vague=[True, False])
    values = score(mixed, find([north, south, stray, other], [0, 180, 90, 0]))
    assert (values["planes/precision"].value, values["planes/precision"].support) == (0.5, 2)
    assert (values["planes/recall"].value, values["planes/recall"].support) == (1.0, 1)


def test_where_nothing_is_known_nothing_is_wrong() -> None:
    nowhere = truth([], [], known=shapely.Polygon())
    values = score(nowhere, find(gable(0, 0), [0, 180]))
    assert all(value.value is None and value.support == 0 for value in values.values())


def test_background_alone_makes_found_planes_wrong_once_there_is_a_true_one() -> None:
    metrics = ShapeMetrics()
    empty = truth([], [])
    metrics.update(empty, find(gable(0, 0), [0, 180]), GSD_M, measures(empty))
    assert metrics.compute("val", "rid")["val/planes/precision"].value is None
    true = truth(gable(0, 0), [0, 180])
    metrics.update(true, find(gable(0, 0), [0, 180]), GSD_M, measures(true))
    values = metrics.compute("val", "rid")
    assert (values["val/planes/precision"].value, values["val/planes/precision"].support) == (
        0.5,
        4,
    )
    assert values["val/planes/pq"].value == pytest.approx(4 / 6, abs=1e-6)


def test_nothing_found() -> None:
    values = score(truth(gable(0, 0), [0, 180]), find([], []))
    assert (values["planes/recall"].value, values["planes/pq"].value) == (0.0, 0.0)
    assert values["planes/f1"].value == 0.0
    assert (values["planes/precision"].value, values["planes/iou"].value) == (None, None)
    assert values["planes/azimuth_error_deg"].value is None


def lengths(**kinds: tuple[float, float]) -> Floats:
    pairs = [kinds.get(kind, (NAN, NAN)) for kind in LENGTH_KINDS]
    return np.array(pairs).T


def test_lengths_of_lines() -> None:
    metrics = ShapeMetrics()
    true = truth(gable(0, 0), [0, 180])
    found = find(gable(0, 0), [0, 180])
    for photo in (
        lengths(ridge=(10, 12), hip=(0, 3), eave=(20, 20)),
        lengths(ridge=(30, 26), hip=(0, 0), valley=(8, 0)),
    ):
        metrics.update(true, found, GSD_M, measures(true, photo))
    values = metrics.compute("val", "own")
    ridge = values["val/lengths/ridge_error"]
    assert (ridge.value, ridge.support, ridge.support_unit) == (
        (2 + 4) / 40,
        40,
        "metres of true lines",
    )
    assert values["val/lengths/ridge_total_error"].value == -2 / 40
    assert values["val/lengths/valley_total_error"].value == -1.0
    assert values["val/lengths/eave_error"].value == 0.0
    for kind in ("hip", "rake", "outline"):  # none there, and two that nobody labelled
        assert values[f"val/lengths/{kind}_error"].value is None
        assert values[f"val/lengths/{kind}_error"].support == 0


@settings(max_examples=30)
@given(st.floats(0, 360), st.floats(-4, 4), st.floats(-90, 90))
def test_truth_against_moved_truth(turn_deg: float, moved_px: float, off_deg: float) -> None:
    planes = [*gable(0, 0, turn_deg), *gable(300, 40, turn_deg)]
    azimuths = [(turn_deg + side) % 360 for side in (0, 180, 0, 180)]
    true = truth(planes, azimuths, pitch_deg=[30.0] * 4)
    found = find(
        [affinity.translate(plane, moved_px, 0) for plane in planes],
        [azimuth + off_deg for azimuth in azimuths],
        pitch_deg=[30.0] * 4,
    )
    values = {name: value.value for name, value in score(true, found).items()}
    assert values["planes/recall"] == values["planes/precision"] == 1.0
    # A plane is 50 px wide and 100 px long.
    assert 1 - 3 * abs(moved_px) / 50 - 1e-5 <= values["planes/iou"] <= 1 + 1e-6
    assert values["planes/boundary_distance_m"] <= abs(moved_px) * GSD_M + 1e-5
    assert values["planes/azimuth_error_deg"] == pytest.approx(abs(off_deg), abs=2e-3)
    assert values["planes/azimuth_error_median_deg"] == pytest.approx(abs(off_deg), abs=0.06)
    assert values["planes/pitch_error_deg"] == 0.0


def test_states_add_up_to_those_of_all_photos() -> None:
    parts, together = [], ShapeMetrics()
    for number in range(3):
        planes = gable(0, 0, 10.0 * number)
        true = truth(planes, [10.0 * number, 10.0 * number + 180], pitch_deg=[30, 35])
        moved = [affinity.translate(plane, number, 1) for plane in planes]
        found = find(moved, [3.0, 170.0], [5, 8], [31.3, 33.1], [1, 2], [0.7, 0.9 - number / 3])
        given = PhotoMeasures(lengths(ridge=(10, 9 + number)), np.full((2, 2), 3.0 * number))
        one = ShapeMetrics()
        one.update(true, found, GSD_M, given)
        together.update(true, found, GSD_M, given)
        parts.append(one.state())
    for order in ([0, 1, 2], [2, 0, 1]):
        pooled = ShapeMetrics()
        pooled.load_state(torch.stack([parts[i] for i in order]).sum(0))
        assert torch.equal(pooled.state(), together.state())
        assert pooled.compute("val", "own") == together.compute("val", "own")
    with pytest.raises(AssertionError, match="too many"):
        ShapeMetrics().load_state(torch.cat([parts[0], torch.zeros(1)]))


def test_names_are_those_of_the_table_and_plain_json() -> None:
    true = truth(gable(0, 0), [0, 180])
    computed = score(true, find(gable(0, 0), [0, 180]))
    names = [f"{row.task}/{name}" for row in define_shape_metrics() for name, _ in row.expand()]
    assert list(computed) == names
    assert len(names) == len(set(names))
    assert {name.split("/")[0] for name in names} == set(SHAPE_TASKS)
    for name, metric in computed.items():
        entry = metric.to_json()
        assert json.loads(json.dumps(entry, allow_nan=False)) == entry, name
        assert entry["split"] == "val"
        assert metric.definition.endswith(".")
        assert not set("{}<>") & set(metric.definition)
