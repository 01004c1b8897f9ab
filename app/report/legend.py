"""What the colours of the report's pictures mean: the compass, and names beside swatches."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from app.base.tasks import Colour, Task, find_task

# Kinds of mistake, in words and in colours that no plane has, told apart by any colour vision.
MISTAKES: Final[tuple[tuple[str, Colour], ...]] = (
    ("direction one step off ({step_deg:g} degrees)", (132, 141, 254)),
    ("direction further off, or flat and pitched mixed up", (255, 95, 148)),
    ("roof that was missed", (0, 0, 0)),
    ("roof where there is none", (71, 255, 169)),
)
_NUM_MISTAKES_OF_DIRECTION: Final = 2


@dataclass(frozen=True)
class Stroke:
    """How a kind of line is drawn, so that it is known without its colour.

    Attributes:
        width_px: Of the line.
        dashes: Pixels drawn, left out, drawn and so on; empty for a solid line.
    """

    width_px: int
    dashes: tuple[int, ...] = ()


# As on take-off pages and in the styles for QGIS.
LINE_STROKES: Final[Mapping[str, Stroke]] = {
    "eave": Stroke(3),
    "ridge": Stroke(5),
    "hip": Stroke(3, (10, 7, 1, 7)),
    "valley": Stroke(3, (2, 7)),
}


@dataclass(frozen=True)
class Sector:
    """A direction of the compass.

    Attributes:
        corners: Points of a polygon, as SVG writes them.
        colour: As CSS writes it.
        css_class: "main" for N, E, S and W, else "minor".
        x: Position of its name, to the right.
        y: Position of its name, downwards.
        name: Name of the direction.
    """

    corners: str
    colour: str
    css_class: str
    x: str
    y: str
    name: str


@dataclass(frozen=True)
class Compass:
    """The colour wheel of directions, north up.

    Attributes:
        sectors: One for each direction, clockwise from north.
        flat: Colour of flat roof, as CSS writes it.
    """

    sectors: Sequence[Sector]
    flat: str


@dataclass(frozen=True)
class Key:
    """What the colours of one kind of drawing mean.

    Attributes:
        title: Title of the kind.
        text: In words; empty where swatches tell.
        swatches: Names, each with the CSS of its swatch.
        strokes: Names of lines, each with the CSS of the stroke in SVG.
    """

    title: str
    text: str = ""
    swatches: Sequence[tuple[str, str]] = ()
    strokes: Sequence[tuple[str, str]] = ()


def draw_compass(segments: Task) -> Compass | None:
    """The compass of a network; None for one that knows no directions."""
    num_bins = segments.azimuth_bins
    if not num_bins:
        return None
    sectors = []
    for index, name in enumerate(segments.class_names[:num_bins]):
        low, high = ((index + side) * 2 * math.pi / num_bins for side in (-0.5, 0.5))
        outer = [(78, angle) for angle in np.linspace(low, high, 2 + 32 // num_bins)]
        inner = [(34, angle) for angle in np.linspace(high, low, 2 + 32 // num_bins)]
        corners = " ".join(
            f"{radius * math.sin(angle):.1f},{-radius * math.cos(angle):.1f}"
            for radius, angle in (*outer, *inner)
        )
        centre = (low + high) / 2
        sectors.append(
            Sector(
                corners=corners,
                colour=css(segments.colours[index]),
                css_class="main" if len(name) == 1 else "minor",
                x=f"{94 * math.sin(centre):.1f}",
                y=f"{-94 * math.cos(centre) + 3:.1f}",
                name=name,
            )
        )
    return Compass(sectors, css(segments.colours[segments.class_names.index("flat")]))


def keys(tasks: Sequence[Task]) -> list[Key]:
    """What the colours of planes, lines, superstructures and mistakes mean."""
    segments, lines = find_task("segments", tasks), find_task("lines", tasks)
    if segments.azimuth_bins:
        planes = (
            "The colour is the compass direction in which the plane runs down, as on the wheel; an "
            "arrow on larger planes points the same way. Every photo has north at the top. Dark is "
            "not roof, white is roof of a direction that is not known exactly, stripes are "
            "unlabelled."
        )
    else:
        planes = "Orange is roof, dark is not, stripes are unlabelled."
    found = [
        Key("Planes", planes),
        Key("Lines", strokes=_strokes(zip(lines.class_names, lines.colours, strict=True))),
        Key(
            "Where planes differ",
            "Without a colour: right, or not roof in both.",
            swatches=_swatches(_mistakes(segments)),
        ),
    ]
    for task in tasks:
        if task.name == "superstructures":
            items = list(zip(task.class_names, task.colours, strict=True))
            del items[task.background_class]
            found.append(Key("Superstructures", swatches=_swatches(items)))
    return found


def _mistakes(segments: Task) -> list[tuple[str, Colour]]:
    """Those that a network of these directions can make."""
    if not segments.azimuth_bins:
        return list(MISTAKES[_NUM_MISTAKES_OF_DIRECTION:])
    step_deg = 360 / segments.azimuth_bins
    return [(text.format(step_deg=step_deg), colour) for text, colour in MISTAKES]


def _swatches(items: Iterable[tuple[str, Colour]]) -> list[tuple[str, str]]:
    return [(text, f"background:{css(colour)}") for text, colour in items]


def _strokes(items: Iterable[tuple[str, Colour]]) -> list[tuple[str, str]]:
    return [
        (
            name,
            f"stroke:{css(colour)};stroke-width:{LINE_STROKES[name].width_px};"
            f"stroke-dasharray:{' '.join(map(str, LINE_STROKES[name].dashes)) or 'none'}",
        )
        for name, colour in items
    ]


def css(colour: Colour) -> str:
    """The colour as CSS writes it."""
    return f"rgb({colour[0]} {colour[1]} {colour[2]})"
