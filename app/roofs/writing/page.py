"""NAME_takeoff.html: the photo with its roofs, and what they take, as one file to show or print.

It needs no network and no script; names of photos and models are escaped.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.base.azimuth import NUM_BINS
from app.base.errors import printable
from app.base.storage import replacing
from app.base.tasks import find_task
from app.report.legend import css, draw_compass
from app.report.page import render_page
from app.roofs.model import Roofs
from app.roofs.takeoff import BuildingSums, Sums, take_off
from app.roofs.writing.colours import line_colours
from app.roofs.writing.drawing import draw
from app.roofs.writing.drawn import BuildingDrawing, Drawing, PhotoView
from app.roofs.writing.lengths import (
    Lengths,
    add_lengths,
    add_lengths_of_buildings,
    find_pitched,
)
from app.roofs.writing.origin import Origin
from app.roofs.writing.texts import (
    BUILDING_HEADERS,
    LINE_HEADERS,
    PITCH_HEADERS,
    PLANE_HEADERS,
    PLURALS,
    Row,
    building_row,
    count,
    describe_plane,
    direction,
    line_rows,
    number,
    percent,
    pitch_rows,
    plane_row,
)

_TEMPLATE: Final = Path(__file__).parent / "templates/takeoff.html.j2"
# More buildings than these are folded, and then those that are unfolded are printed.
MAX_UNFOLDED: Final = 12


@dataclass(frozen=True)
class Card:
    """A number that matters.

    Attributes:
        title: What it is.
        number: The number; None if it is not known.
        unit: Its unit.
        explanation: Of what it is.
    """

    title: str
    number: str | None
    unit: str
    explanation: str


@dataclass(frozen=True)
class BuildingView:
    """A building as the template takes it.

    Attributes:
        drawing: Its picture.
        summary: What it is, in a line.
        planes: Rows under PLANE_HEADERS.
        lines: Rows under LINE_HEADERS.
    """

    drawing: BuildingDrawing
    summary: str
    planes: Sequence[Row]
    lines: Sequence[Row]


def write_page(path: Path, roofs: Roofs, view: PhotoView, origin: Origin) -> None:
    """Write the page; equal input makes equal bytes.

    Args:
        path: The HTML file; it is replaced as a whole.
        roofs: What it shows.
        view: The photo below them.
        origin: What it says of where they come from.

    Raises:
        OSError: If it cannot be written.
    """
    sums, lengths = take_off(roofs), add_lengths_of_buildings(roofs)
    all_lengths = add_lengths(roofs.lines, find_pitched(roofs.planes))
    segments = find_task("segments")
    drawing = draw(roofs, view, describe_plane)
    values = {
        "wheel": ", ".join(map(css, segments.colours[:NUM_BINS])),
        "photo_name": printable(roofs.photo),
        "lead": _describe_all(roofs),
        "caveats": _describe_caveats(roofs, sums.total, origin),
        "cards": _cards(sums.total),
        "drawing": drawing,
        "compass": draw_compass(segments),
        "line_css": {kind: css(colour) for kind, colour in line_colours().items()},
        "line_names": PLURALS,
        "line_headers": LINE_HEADERS,
        "line_rows": line_rows(all_lengths),
        "pitch_headers": PITCH_HEADERS,
        "pitch_rows": pitch_rows(sums.total),
        "building_headers": BUILDING_HEADERS,
        "building_rows": [
            building_row(one.building_id, one.sums, lengths[one.building_id])
            for one in sums.buildings
        ],
        "plane_headers": PLANE_HEADERS,
        "buildings": _view_buildings(roofs, drawing, sums.buildings, lengths),
        "is_folded": len(roofs.buildings) > MAX_UNFOLDED,
        "has_georeference": roofs.crs is not None,
        "gsd": f"{roofs.gsd_m:.2g}",
        "origin": origin.as_texts(),
    }
    with replacing(path) as file:
        file.write(render_page(values, _TEMPLATE).encode())


def _view_buildings(
    roofs: Roofs,
    drawing: Drawing,
    sums: Sequence[BuildingSums],
    lengths: dict[int, Lengths],
) -> list[BuildingView]:
    rows: defaultdict[int, list[Row]] = defaultdict(list)
    for plane in roofs.planes:
        rows[plane.building_id].append(plane_row(plane))
    views = []
    for of_building, drawn, building in zip(sums, drawing.buildings, roofs.buildings, strict=True):
        number_of = of_building.building_id
        main = direction(of_building.sums.main_azimuth_degrees)
        summary = (
            f"{count(of_building.sums.roof_facets, 'plane')}, "
            f"{number(of_building.sums.ground_area_m2)} m² in plan, {main}"
            f"{'; cut by the end of the photo' if building.is_cut else ''}"
        )
        views.append(BuildingView(drawn, summary, rows[number_of], line_rows(lengths[number_of])))
    return views


def _describe_all(roofs: Roofs) -> str:
    if not roofs.planes:
        return "No roof was found on this photo."
    planes = count(len(roofs.planes), "roof plane")
    return f"{planes} on {count(len(roofs.buildings), 'building')}."


def _cards(sums: Sums) -> list[Card]:
    if not sums.roof_facets:
        return []
    unknown_m2 = sums.unknown_pitch_ground_area_m2
    is_part = sums.area_m2 is not None and unknown_m2
    rest = f" Without {number(unknown_m2)} m² in plan, of unknown pitch." if is_part else ""
    pitched = [one for one in sums.pitch if one.rise_per_12] or sums.pitch
    commonest = max(pitched, key=lambda one: one.area_m2, default=None)
    return [
        Card("Roof area", number(sums.area_m2), "m²", f"On the slope.{rest}"),
        Card("Area in plan", number(sums.ground_area_m2), "m²", "As seen from above."),
        Card(
            "Commonest pitch",
            None if commonest is None else f"{commonest.rise_per_12}",
            "in 12",
            ""
            if commonest is None
            else f"{commonest.degrees:.0f} degrees; {percent(commonest.share)} of the roof area.",
        ),
    ]


def _describe_caveats(roofs: Roofs, sums: Sums, origin: Origin) -> list[tuple[str, str]]:
    """What the numbers do not say, each with a title."""
    caveats = []
    unknown_m2 = sums.unknown_pitch_ground_area_m2
    if sums.roof_facets and sums.area_m2 is None:
        reason = printable(origin.no_heights) or "heights say nothing about these planes"
        caveats.append(
            (
                "Pitch, height and area on the slope are not known",
                f"{reason[:1].upper()}{reason[1:]}. Lengths of rakes, hips and valleys are in plan "
                "only; those of eaves and ridges, which are level, are whole.",
            )
        )
    elif unknown_m2:
        caveats.append(
            (
                f"{number(unknown_m2)} m² in plan without a pitch",
                "Heights say nothing about some planes. Sums on the slope say what they leave out.",
            )
        )
    if num_cut := sum(building.is_cut for building in roofs.buildings):
        caveats.append(
            (
                f"{count(num_cut, 'building')} cut by the end of the photo",
                "Areas and lengths are of what is seen; where a roof is cut there is no line.",
            )
        )
    if roofs.crs is None and roofs.planes:
        caveats.append(
            ("The photo has no georeference", "Its top is taken for north in all directions.")
        )
    return caveats
