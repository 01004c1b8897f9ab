"""One procedural aerial photo of a village part, with exact labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from app.synthetic.canvas import blank_canvas
from app.synthetic.geometry import Wing
from app.synthetic.ground import paint_ground
from app.synthetic.labels import lines_from, segments_from
from app.synthetic.light import photograph
from app.synthetic.roof_cover import paint_roofs
from app.synthetic.roofs import Grid, draw_street, place_buildings

# To be raised with every change that alters a scene: samples on disk of another version are not
# reused.
GENERATOR_VERSION = 1


@dataclass(frozen=True)
class Scene:
    """An image and its labels. North is up.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        segments: (H, W) uint8: 0..15 azimuth class, 16 flat, 17 background.
        lines: (4, H, W) uint8: 1 on eaves, ridges, hips and valleys, 3 px wide.
        height_m: (H, W) float32, height above ground of roofs, trees, hedges and cars, metres.
            Chimneys are not in it, so that a roof plane is a plane.
        superstructures: (H, W) uint8, RID's codes: 0 pvmodule, 1 dormer, 2 window, 4 chimney,
            8 background.
        buildings: Wings of every building of which at least a part is in the image.
    """

    image: npt.NDArray[np.uint8]
    segments: npt.NDArray[np.uint8]
    lines: npt.NDArray[np.uint8]
    height_m: npt.NDArray[np.float32]
    superstructures: npt.NDArray[np.uint8]
    buildings: tuple[tuple[Wing, ...], ...]


def make_scene(seed: int | Sequence[int], size_px: int = 512, gsd_m: float = 0.1) -> Scene:
    """The scene of a seed: the same bytes every time, in every process.

    Args:
        seed: A number, or several (such as a sample's seed and the index of the scene in it).
        size_px: Rows and columns.
        gsd_m: Metres per pixel; things keep their size in metres.

    Returns:
        A scene with at least one roof.
    """
    rng = np.random.default_rng(seed)
    grid = Grid.square(size_px, gsd_m)
    street = draw_street(rng, grid)
    roofs = place_buildings(rng, grid, street)
    lines = lines_from(roofs)

    canvas = blank_canvas(rng, grid, roofs.height_m)
    paint_ground(rng, canvas, roofs, street)
    height_m = canvas.surface_m.copy()
    superstructures = paint_roofs(rng, canvas, roofs, lines, street)
    image = photograph(rng, canvas, roofs, superstructures)
    return Scene(
        image, segments_from(roofs), lines, height_m, superstructures, tuple(roofs.buildings)
    )
