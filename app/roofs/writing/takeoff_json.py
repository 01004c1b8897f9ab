"""NAME_takeoff.json: the sums of each building and of the photo, with names as Hover's.

docs/takeoff.schema.json describes it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from app.base.errors import printable
from app.base.storage import replacing
from app.roofs.model import LineKind, Roofs
from app.roofs.takeoff import Sums, take_off
from app.roofs.writing.columns import round_value
from app.roofs.writing.lengths import (
    KindLength,
    Lengths,
    add_lengths,
    add_lengths_of_buildings,
    find_pitched,
)
from app.roofs.writing.origin import Origin

FORMAT_VERSION: Final = 1
_PLURALS: Final[Mapping[LineKind, str]] = {
    "ridge": "ridges",
    "hip": "hips",
    "valley": "valleys",
    "rake": "rakes",
    "eave": "eaves",
}


def write_takeoff_json(path: Path, roofs: Roofs, origin: Origin) -> None:
    """Write the sums; equal input makes equal bytes.

    Raises:
        OSError: If it cannot be written.
    """
    with replacing(path) as file:
        file.write(render_takeoff_json(roofs, origin))


def render_takeoff_json(roofs: Roofs, origin: Origin) -> bytes:
    """The content of the file."""
    sums, lengths = take_off(roofs), add_lengths_of_buildings(roofs)
    document = {
        "format": "roof-takeoff",
        "format_version": FORMAT_VERSION,
        "photo": printable(roofs.photo),
        "crs": roofs.crs,
        "gsd_m": roofs.gsd_m,
        "origin": origin.as_texts(),
        "totals": _describe(sums.total, add_lengths(roofs.lines, find_pitched(roofs.planes))),
        "buildings": [
            {
                "building_id": building.building_id,
                "cut": roof.is_cut,
                **_describe(building.sums, lengths[building.building_id]),
            }
            for building, roof in zip(sums.buildings, roofs.buildings, strict=True)
        ],
    }
    return (json.dumps(document, indent=2, allow_nan=False) + "\n").encode()


def _describe(sums: Sums, lengths: Lengths) -> dict[str, Any]:
    """The sums as JSON has them, each rounded after it was added up."""
    unknown_m2 = sums.unknown_pitch_ground_area_m2
    return {
        "main_azimuth_degrees": round_value("main_azimuth_degrees", sums.main_azimuth_degrees),
        "roof_facets": {
            "total": sums.roof_facets,
            "area_m2": round_value("area_m2", sums.area_m2),
            "ground_area_m2": round_value("ground_area_m2", sums.ground_area_m2),
            "unknown_pitch_ground_area_m2": round_value("area_m2", unknown_m2),
        },
        **{plural: _describe_kind(lengths[kind]) for kind, plural in _PLURALS.items()},
        "pitch": [
            {
                "degrees": round_value("degrees", one.degrees),
                "rise_per_12": one.rise_per_12,
                "area_m2": round_value("area_m2", one.area_m2),
                "share": round_value("share", one.share),
            }
            for one in sums.pitch
        ],
    }


def _describe_kind(lines: KindLength) -> dict[str, Any]:
    return {
        "total": lines.total,
        "in_plan": lines.in_plan,
        "length_m": round_value("length_m", lines.length_m),
        "ground_length_m": round_value("ground_length_m", lines.ground_length_m),
    }
