"""What pictures of roofs consist of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rasterio import Affine

from app.roofs.model import LineKind


@dataclass(frozen=True)
class PhotoView:
    """The photo that roofs are drawn over.

    Attributes:
        image: (H, W, 3) uint8 RGB, about MAX_PHOTO_SIDE_PX long.
        to_px: From the coordinates of the roofs to those of `image`: x is the column, y the row,
            (0, 0) the upper left corner of its upper left pixel.
        gsd_m: Metres on the ground per pixel of `image`.
    """

    image: npt.NDArray[np.uint8]
    to_px: Affine
    gsd_m: float


@dataclass(frozen=True)
class _Drawn:
    """What pictures show.

    Attributes:
        path: As SVG writes it.
        title: What it is, in a few words.
    """

    path: str
    title: str


@dataclass(frozen=True)
class DrawnPlane(_Drawn):
    """A plane, in a colour as CSS writes it."""

    colour: str


@dataclass(frozen=True)
class DrawnLine(_Drawn):
    """A line of a kind."""

    kind: LineKind


@dataclass(frozen=True)
class Label:
    """A text on a picture.

    Attributes:
        x: Its middle, as SVG writes it.
        y: Its middle, as SVG writes it.
        text: The text.
        turn: Degrees clockwise, as SVG writes them.
    """

    x: str
    y: str
    text: str
    turn: str = "0"


@dataclass(frozen=True)
class Frame:
    """A part of the photo, in its pixels.

    Attributes:
        x: Left edge.
        y: Upper edge.
        width: From there to the right edge.
        height: From there to the lower edge.
        bar: Length of the scale bar.
        bar_text: What the scale bar says.
        text_size: Height of large text.
        planes: Numbers of planes.
        lengths: Lengths of lines, along them.
    """

    x: float
    y: float
    width: float
    height: float
    bar: float
    bar_text: str
    text_size: float
    planes: Sequence[Label] = ()
    lengths: Sequence[Label] = ()

    @property
    def view_box(self) -> str:
        """As SVG writes it."""
        return f"{self.x:g} {self.y:g} {self.width:g} {self.height:g}"


@dataclass(frozen=True)
class BuildingDrawing:
    """A building on the photo.

    Attributes:
        building_id: Its id.
        planes: Its planes.
        lines: Its lines.
        rim: The dark rim of all its lines, as SVG writes it; empty without lines.
        number: Its number on the whole photo; None where it would hide the building.
        frame: Its own picture.
    """

    building_id: int
    planes: Sequence[DrawnPlane]
    lines: Sequence[DrawnLine]
    rim: str
    number: Label | None
    frame: Frame


@dataclass(frozen=True)
class Drawing:
    """The photo with its roofs.

    Attributes:
        photo: Data URI.
        whole: All of the photo.
        north: Where true north is, degrees clockwise from up, as SVG writes it.
        stroke: Width of lines over all of the photo, of their width elsewhere.
        buildings: In the order of their ids.
    """

    photo: str
    whole: Frame
    north: str
    stroke: str
    buildings: Sequence[BuildingDrawing]
