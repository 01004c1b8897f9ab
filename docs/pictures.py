"""The picture at the top of the README: `python -m docs.pictures` in the root writes it.

A photo of a synthetic village, and the planes, lines and take-off that are found in its labels. So
the picture shows what comes out, and not how right a network is.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
import shapely
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline

from app.base.tasks import Colour
from app.roofs.evidence import PROBABILITY_SCALE, RoofEvidence
from app.roofs.find import find_roofs
from app.roofs.model import Plane, RoofLine, Roofs
from app.roofs.takeoff import take_off
from app.roofs.writing.colours import direction_colours, line_colours, name_direction
from app.roofs.writing.lengths import add_lengths, find_pitched
from app.roofs.writing.texts import describe_pitch, line_rows, number, percent
from app.synthetic.scene import Scene, make_scene

PATH: Final = Path(__file__).parent / "images/roofs.jpg"
# A village with hips, valleys and a flat roof.
SEED: Final = 8
GSD_M: Final = 0.1
_SIZE_IN: Final = (16.6, 6.0)
_WIDTHS: Final = (1.0, 1.0, 0.74)
_DPI: Final = 100
_TEXT: Final = "#1d1d1b"
_LINE_PX: Final = 2.6
# Smaller planes have no room for an arrow.
_MIN_ARROW_M: Final = 1.0
_ROW: Final = 0.052
_MAX_PITCHES: Final = 4


def find_scene_roofs(scene: Scene) -> Roofs:
    """What is found in the labels of a scene, in pixels.

    Args:
        scene: North up, GSD_M metres a pixel.
    """
    return find_roofs(
        RoofEvidence(
            photo="village",
            classes=scene.segments,
            gsd_m=GSD_M,
            lines=scene.lines * np.uint8(PROBABILITY_SCALE),
            height_m=scene.height_m,
        )
    )


def draw_picture(scene: Scene, roofs: Roofs) -> Figure:
    """The photo, the photo with its roofs, and their take-off, side by side.

    Args:
        scene: The photo.
        roofs: As find_scene_roofs found them in it.
    """
    figure = Figure(_SIZE_IN, dpi=_DPI, layout="constrained", facecolor="white")
    photo, drawing, table = figure.subplots(1, 3, width_ratios=_WIDTHS)
    for axes, title in ((photo, "A photo"), (drawing, "Its planes and lines")):
        axes.imshow(scene.image, interpolation="lanczos")
        axes.set_title(title, color=_TEXT, fontsize=15, loc="left")
        axes.set_axis_off()
    for plane in roofs.planes:
        _draw_plane(drawing, plane)
    for line in roofs.lines:
        _draw_line(drawing, line)
    for plane in roofs.planes:
        _draw_arrow(drawing, plane)
    height_px, width_px = scene.segments.shape
    drawing.set(xlim=(-0.5, width_px - 0.5), ylim=(height_px - 0.5, -0.5))
    table.set_title("Its take-off", color=_TEXT, fontsize=15, loc="left")
    _write_takeoff(table, roofs)
    return figure


def _css(colour: Colour) -> str:
    return "#" + "".join(f"{value:02x}" for value in colour)


def _draw_plane(axes: Axes, plane: Plane) -> None:
    rings = (plane.polygon.exterior, *plane.polygon.interiors)
    outline = Outline.make_compound_path(
        *(Outline(np.array(ring.coords) - 0.5, closed=True) for ring in rings)
    )
    colour = direction_colours()[name_direction(plane.azimuth_degrees)]
    axes.add_patch(PathPatch(outline, facecolor=_css(colour), alpha=0.62, linewidth=0))


def _draw_line(axes: Axes, line: RoofLine) -> None:
    x, y = (np.array(line.line.coords) - 0.5).T
    rim = patheffects.Stroke(linewidth=_LINE_PX + 2, foreground=_TEXT)
    axes.plot(
        x, y, color=_css(line_colours()[line.kind]), linewidth=_LINE_PX,
        path_effects=[rim, patheffects.Normal()],
    )  # fmt: skip


def _draw_arrow(axes: Axes, plane: Plane) -> None:
    """An arrow in the middle of a plane, in the direction in which it runs down."""
    if plane.azimuth_degrees is None:
        return
    circle = shapely.maximum_inscribed_circle(plane.polygon)
    x, y = circle.coords[0]
    if circle.length * GSD_M < _MIN_ARROW_M:
        return
    reach = 0.6 * circle.length
    azimuth = math.radians(plane.azimuth_degrees)
    step_x, step_y = reach * math.sin(azimuth), -reach * math.cos(azimuth)
    arrow = axes.annotate(
        "",
        (x + step_x, y + step_y),
        (x - step_x, y - step_y),
        arrowprops={"arrowstyle": "-|>", "color": "white", "linewidth": 2, "mutation_scale": 14},
    )
    assert arrow.arrow_patch is not None
    arrow.arrow_patch.set_path_effects(
        [patheffects.Stroke(linewidth=3.6, foreground=_TEXT), patheffects.Normal()]
    )


def _write_takeoff(axes: Axes, roofs: Roofs) -> None:
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_axis_off()
    sums = take_off(roofs).total
    planes = f"{sums.roof_facets} planes on {len(roofs.buildings)} buildings"
    rows: list[tuple[str, str, str]] = [
        (planes, "", ""),
        ("Roof area on the slope", f"{number(sums.area_m2)} m²", ""),
        ("Area in plan", f"{number(sums.ground_area_m2)} m²", ""),
        ("", "", ""),
    ]
    colours = line_colours()
    lengths = add_lengths(roofs.lines, find_pitched(roofs.planes))
    kinds = [kind for kind, lines in lengths.items() if lines.total]
    rows += [
        (f"{row.cells[0]} {row.head.lower()}", f"{row.cells[1]} m", _css(colours[kind]))
        for kind, row in zip(kinds, line_rows(lengths), strict=True)
    ]
    rows.append(("", "", ""))
    commonest = sorted(sums.pitch, key=lambda one: one.area_m2, reverse=True)[:_MAX_PITCHES]
    rows += [
        (f"Pitch {describe_pitch(one)}", f"{number(one.area_m2)} m², {percent(one.share)}", "")
        for one in commonest
    ]
    for index, (head, value, colour) in enumerate(rows):
        y = 0.96 - _ROW * index
        if colour:
            axes.plot([0.0, 0.07], [y, y], color=_TEXT, linewidth=6, solid_capstyle="butt")
            axes.plot([0.003, 0.067], [y, y], color=colour, linewidth=4, solid_capstyle="butt")
        axes.text(0.1 if colour else 0, y, head, color=_TEXT, fontsize=13, va="center")
        axes.text(1, y, value, color=_TEXT, fontsize=13, va="center", ha="right")


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED, help="which village is drawn")
    parser.add_argument("--out", type=Path, default=PATH, help="the file to write")
    options = parser.parse_args(arguments)
    scene = make_scene(options.seed, gsd_m=GSD_M)
    with mpl.rc_context({"font.family": "DejaVu Sans"}):
        draw_picture(scene, find_scene_roofs(scene)).savefig(options.out)


if __name__ == "__main__":
    main()
