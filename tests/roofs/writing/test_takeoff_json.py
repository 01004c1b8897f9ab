"""NAME_takeoff.json: sums worked out by hand, and its schema."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from app.roofs.model import Roofs
from app.roofs.writing.takeoff_json import write_takeoff_json
from tests.support.paths import ROOT
from tests.support.roof_outputs import (
    ORIGIN,
    make_roofs,
    no_roofs,
    with_cut_garage,
    without_heights,
)


def write(folder: Path, roofs: Roofs) -> Any:
    path = folder / "a.json"
    write_takeoff_json(path, roofs, ORIGIN)
    return json.loads(path.read_text())


def lines(total: int, length_m: float | None, ground_m: float, in_plan: int = 0) -> dict[str, Any]:
    return {"total": total, "in_plan": in_plan, "length_m": length_m, "ground_length_m": ground_m}


def test_totals(tmp_path: Path) -> None:
    totals = write(tmp_path, make_roofs())["totals"]
    assert totals["roof_facets"] == {
        "total": 7,
        "area_m2": 220.05,
        "ground_area_m2": 171.0,
        "unknown_pitch_ground_area_m2": 0.0,
    }
    assert totals["eaves"] == lines(10, 76.0, 76.0)
    assert totals["rakes"] == lines(4, 13.86, 12.0)
    assert totals["ridges"] == lines(2, 14.0, 14.0)
    assert totals["hips"] == lines(4, 27.71, 22.63)
    assert totals["valleys"] == lines(0, 0.0, 0.0)
    # 30 degrees are 6.93 in 12.
    assert totals["pitch"] == [
        {"degrees": 0.0, "rise_per_12": 0, "area_m2": 15.0, "share": 0.0682},
        {"degrees": 30.3, "rise_per_12": 7, "area_m2": 69.28, "share": 0.3149},
        {"degrees": 45.0, "rise_per_12": 12, "area_m2": 135.76, "share": 0.617},
    ]


def test_each_building_has_its_own_sums(tmp_path: Path) -> None:
    buildings = write(tmp_path, make_roofs())["buildings"]
    assert [one["building_id"] for one in buildings] == [1, 2, 3]
    assert [one["roof_facets"]["area_m2"] for one in buildings] == [135.76, 69.28, 15.0]
    assert buildings[0]["hips"] == lines(4, 27.71, 22.63)
    assert buildings[1]["hips"] == lines(0, 0.0, 0.0)
    assert buildings[2]["main_azimuth_degrees"] is None


def test_says_which_building_is_cut(tmp_path: Path) -> None:
    buildings = write(tmp_path, with_cut_garage(make_roofs()))["buildings"]
    assert [one["cut"] for one in buildings] == [False, False, True]


def test_without_heights_only_level_lines_have_lengths(tmp_path: Path) -> None:
    totals = write(tmp_path, without_heights(make_roofs()))["totals"]
    assert totals["roof_facets"]["area_m2"] is None
    assert totals["roof_facets"]["unknown_pitch_ground_area_m2"] == 171.0
    assert totals["pitch"] == []
    assert totals["eaves"] == lines(10, 76.0, 76.0)
    assert totals["rakes"] == lines(4, None, 12.0, in_plan=4)
    assert totals["hips"] == lines(4, None, 22.63, in_plan=4)


def test_sums_say_what_they_leave_out(tmp_path: Path) -> None:
    # Planes 1 and 2, which share a hip.
    totals = write(tmp_path, without_heights(make_roofs(), range(1, 3)))["totals"]
    assert totals["roof_facets"]["area_m2"] == 152.16
    assert totals["roof_facets"]["unknown_pitch_ground_area_m2"] == 48.0
    assert totals["hips"] == lines(4, 26.44, 22.63, in_plan=1)


@pytest.mark.parametrize(
    "roofs", [make_roofs(), make_roofs(crs=None), without_heights(make_roofs()), no_roofs()]
)
def test_keeps_its_schema(roofs: Roofs, tmp_path: Path) -> None:
    schema = json.loads((ROOT / "docs/takeoff.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    document = write(tmp_path, roofs)
    jsonschema.validate(document, schema)
    document["totals"]["eaves"]["length_ft"] = 1.0
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, schema)
