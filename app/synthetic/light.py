"""From a painted canvas to a photograph: sun, cast shadows, lens, sensor, JPEG."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from app.synthetic.canvas import Canvas
from app.synthetic.labels import CHIMNEY
from app.synthetic.roofs import FloatImage, Roofs

_SKY: Final = np.array([0.27, 0.29, 0.31], np.float32)
_SUN: Final = np.array([1.02, 0.99, 0.92], np.float32)
_PENUMBRA_M = 0.3  # this far below the shadow's edge it is fully dark


@dataclass(frozen=True)
class Sun:
    """Where the light comes from.

    Attributes:
        azimuth_rad: Compass direction, clockwise from north.
        elevation_rad: Above the horizon.
    """

    azimuth_rad: float
    elevation_rad: float

    @property
    def towards(self) -> tuple[float, float, float]:
        """Unit vector to the sun: east, south, up."""
        level = np.cos(self.elevation_rad)
        return (
            float(level * np.sin(self.azimuth_rad)),
            float(-level * np.cos(self.azimuth_rad)),
            float(np.sin(self.elevation_rad)),
        )


def photograph(
    rng: np.random.Generator,
    canvas: Canvas,
    roofs: Roofs,
    superstructures: npt.NDArray[np.uint8],
) -> npt.NDArray[np.uint8]:
    """The image: (H, W, 3) uint8, RGB.

    The sun stands in any direction, even north: a network shall compare the brightness of planes
    within a picture, not learn the sun of one hemisphere.
    """
    sun = Sun(rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(25, 62)))
    lit = _facing(canvas, roofs, superstructures != CHIMNEY, sun)
    lit *= 1 - 0.94 * _shadow(canvas.surface_m, canvas.grid.gsd_m, sun)
    sky = _SKY * rng.uniform(0.75, 1.3)
    # A low sun is weaker, but the camera is exposed for it.
    direct = _SUN * rng.uniform(0.55, 0.85) / np.sqrt(np.sin(sun.elevation_rad))
    weights = np.stack([sky, direct], 1).astype(np.float32)
    light = cv2.transform(cv2.merge([canvas.texture, canvas.texture * lit]), weights)
    exposed = cv2.multiply(canvas.colour, light, dtype=cv2.CV_8U)
    return _develop(rng, np.asarray(exposed, np.uint8))


def _facing(canvas: Canvas, roofs: Roofs, is_plane: npt.NDArray[np.bool_], sun: Sun) -> FloatImage:
    """(H, W) cosine between the surface's normal and the sun, at least 0."""
    smooth = cv2.GaussianBlur(canvas.surface_m, (0, 0), 1.0)
    scale = 1 / (2 * canvas.grid.gsd_m)
    east = np.clip(cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=1, scale=scale), -2, 2)
    south = np.clip(cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=1, scale=scale), -2, 2)
    # Roof planes have their exact slope, up to the very edge.
    pixels = np.flatnonzero(roofs.mask & is_plane)
    facet_index = roofs.facet_map.take(pixels)
    east_slope, south_slope = roofs.slopes()
    east.reshape(-1)[pixels] = east_slope.take(facet_index)
    south.reshape(-1)[pixels] = south_slope.take(facet_index)

    to_east, to_south, up = (np.float32(part) for part in sun.towards)
    cosine = (up - to_east * east - to_south * south) / np.sqrt(east * east + south * south + 1)
    return np.asarray(np.maximum(cosine, 0), np.float32)


def _shadow(surface_m: FloatImage, gsd_m: float, sun: Sun) -> FloatImage:
    """(H, W) share of the sun that is hidden by something higher, 0..1.

    The surface is turned so that the sun stands at the top; then the height at which a ray still
    passes is a running maximum down each column.
    """
    size_px = surface_m.shape[0]
    turned_px = int(np.ceil(size_px * np.sqrt(2)))
    # Compass azimuth to the sun; turned rows run away from it.
    sine, cosine = np.sin(sun.azimuth_rad), np.cos(sun.azimuth_rad)
    turn = np.array([[-cosine, -sine], [-sine, cosine]])  # turned (x, y) to image (x, y)
    shift = (size_px - 1) / 2 - turn @ np.full(2, (turned_px - 1) / 2)
    to_image = np.column_stack([turn, shift])
    turned = cv2.warpAffine(
        surface_m, to_image, (turned_px, turned_px), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    # A ray falls as it goes down the rows; on this slant it is level.
    fall_m = np.float32(np.tan(sun.elevation_rad) * gsd_m)
    slanted = np.asarray(turned, np.float32)
    slanted += np.arange(turned_px, dtype=np.float32)[:, None] * fall_m
    hidden_m = np.maximum.accumulate(slanted, axis=0) - slanted
    share = np.clip(hidden_m / _PENUMBRA_M, 0, 1)
    return np.asarray(cv2.warpAffine(share, to_image, (size_px, size_px)), np.float32)


def _develop(rng: np.random.Generator, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Blur, sharpen, grain, tone curve, JPEG: the marks that cameras and map services leave."""
    soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 1.0))
    sharpening = rng.uniform(0.0, 1.2)
    wide = cv2.GaussianBlur(soft, (0, 0), 1.6)
    sharp = cv2.addWeighted(soft, 1 + sharpening, wide, -sharpening, 0)

    grain = rng.standard_normal(image.shape[:2], dtype=np.float32) * rng.uniform(1.5, 5.0)
    grain_u8 = np.clip(grain + 128, 0, 255).astype(np.uint8)
    # Saturating uint8 sums: image + grain - 128, the same grain in every channel.
    grainy = cv2.addWeighted(sharp, 1.0, cv2.merge([grain_u8] * 3), 1.0, -128)

    level = np.arange(256) / 255
    exposure = rng.uniform(0.85, 1.15) + rng.normal(0.0, 0.02, 3)
    curve = np.clip(level[:, None] * exposure, 0, 1) ** rng.uniform(0.85, 1.15)
    toned = cv2.LUT(grainy, np.round(curve * 255).astype(np.uint8)[None])

    # OpenCV's JPEG takes blue first.
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(60, 95))]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(toned, cv2.COLOR_RGB2BGR), quality)
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)
