"""Pictures of the report: photos with coloured overlays, the compass, and what the colours mean.

A photo is encoded once per panel as JPEG; everything drawn on it is a transparent PNG laid over it,
which stays sharp and small.
"""

import base64
import math
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from app.azimuth import BIN_NAMES, NUM_BINS
from app.tasks import (
    BACKGROUND_CLASS,
    FLAT_CLASS,
    IGNORE_INDEX,
    SOME_ROOF,
    Colour,
    find_task,
)

Image8 = npt.NDArray[np.uint8]

_MAX_SIDE_PX: Final = 640
# Noise of heights does not compress: at full size two such tiles weigh more than all the others.
_MAX_DEPTH_SIDE_PX: Final = 256
_JPEG_QUALITY: Final = 88
_PLANE_ALPHA: Final = 140
_BACKGROUND_ALPHA: Final = 90
_SOME_ROOF_COLOUR: Final[Colour] = (255, 255, 255)
# Five steps of viridis: read as dark = low by everyone, colour-blind people included.
_HEIGHT_COLOURS: Final[tuple[Colour, ...]] = (
    (68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37),
)  # fmt: skip

# Kinds of mistake, in words and in colours that colour-blind people tell apart.
_MISTAKES: Final[tuple[tuple[str, Colour], ...]] = (
    ("direction one step off (22.5 degrees)", (240, 228, 66)),
    ("direction further off, or flat and pitched mixed up", (213, 94, 0)),
    ("roof that was missed", (204, 60, 200)),
    ("roof where there is none", (60, 190, 255)),
)


@dataclass(frozen=True)
class Panel:
    """One validation image with what is true and what the model said.

    Attributes:
        sample_id: The name by which a person finds the file.
        image: (H, W, 3) uint8 RGB.
        segments_target: (H, W) uint8, as in Sample.
        segments_prediction: (H, W) uint8 in [0, 18); None where planes were not trained.
        lines_target: (4, H, W) uint8: 1 on a line, 0 off it, 255 unknown.
        lines_prediction: (4, H, W) uint8, 0 or 1; None where lines were not trained.
        depth_target: (H, W) float32, metres, NaN where unknown; None without any truth.
        depth_prediction: (H, W) float32, metres; None where heights were not trained.
    """

    sample_id: str
    image: Image8
    segments_target: Image8
    segments_prediction: Image8 | None
    lines_target: Image8
    lines_prediction: Image8 | None
    depth_target: npt.NDArray[np.float32] | None = None
    depth_prediction: npt.NDArray[np.float32] | None = None


def panel_html(panel: Panel) -> str:
    """One image as a block of pictures: photo and mistakes, then truth beside prediction."""
    name = escape(panel.sample_id)
    height, width = panel.image.shape[:2]
    photo = _data_uri(".jpg", cv2.cvtColor(_shrunk(panel.image), cv2.COLOR_RGB2BGR))
    tiles = [
        f'<figure class="t-photo"><div class="photo" role="img" aria-label="Aerial photo {name}">'
        "</div><figcaption>Photo</figcaption></figure>",
        _tile("t-planes-truth", "Planes, truth", name, _draw_segments(panel.segments_target)),
        _tile("t-lines-truth", "Lines, truth", name, _draw_lines(panel.lines_target)),
    ]
    if panel.segments_prediction is not None:
        prediction = panel.segments_prediction
        mistakes = _draw_mistakes(panel.segments_target, prediction)
        tiles.append(_tile("t-diff", "Where planes differ", name, mistakes))
        tiles.append(
            _tile("t-planes-prediction", "Planes, prediction", name, _draw_segments(prediction))
        )
    if panel.lines_prediction is not None:
        lines = _draw_lines(panel.lines_prediction)
        tiles.append(_tile("t-lines-prediction", "Lines, prediction", name, lines))
    tiles.extend(_depth_tiles(panel, name))
    return (
        f'<article class="panel" style="--photo:url({photo});--ratio:{width}/{height}">'
        f'<h3>{name}</h3><p class="soft">{_agreement(panel)}</p>'
        f'<div class="tiles">{"".join(tiles)}</div></article>'
    )


def compass_svg() -> str:
    """The colour wheel of directions as a drawing: north up, a sector per azimuth class."""
    colours = find_task("segments").colours
    parts = []
    for index, name in enumerate(BIN_NAMES):
        low, high = ((index + side) * 2 * math.pi / NUM_BINS for side in (-0.5, 0.5))
        corners = " ".join(
            f"{radius * math.sin(angle):.1f},{-radius * math.cos(angle):.1f}"
            for radius, angle in (
                (34, low),
                (78, low),
                (80, (low + high) / 2),
                (78, high),
                (34, high),
            )
        )
        parts.append(f'<polygon points="{corners}" fill="{_css(colours[index])}"/>')
        centre = (low + high) / 2
        x, y = 94 * math.sin(centre), -94 * math.cos(centre)
        weight = "main" if len(name) == 1 else "minor"
        parts.append(f'<text class="{weight}" x="{x:.1f}" y="{y + 3:.1f}">{name}</text>')
    flat = _css(colours[FLAT_CLASS])
    return (
        '<svg class="compass" viewBox="-108 -106 216 212" role="img" '
        'aria-label="Compass: colour of each direction in which a roof plane runs down, north up">'
        f'{"".join(parts)}<circle r="22" fill="{flat}"/>'
        '<text class="flat" y="4">flat</text></svg>'
    )


def legend_html() -> str:
    """What the colours of planes, lines and mistakes mean."""
    lines = find_task("lines")
    line_items = zip(lines.class_names, lines.colours, strict=True)
    return (
        '<div class="keys">'
        "<div><h4>Planes</h4><p>The colour is the compass direction in which the plane runs down, "
        "as on the wheel. Every photo has north at the top. Dark is not roof, white is roof of "
        "unknown direction, stripes are unlabelled.</p></div>"
        f"<div><h4>Lines</h4>{_swatches(line_items)}</div>"
        f"<div><h4>Where planes differ</h4>{_swatches(_MISTAKES)}</div></div>"
    )


def _swatches(items: Iterable[tuple[str, Colour]]) -> str:
    rows = (
        f'<li><i style="background:{_css(colour)}"></i>{escape(text)}</li>'
        for text, colour in items
    )
    return f'<ul class="swatches">{"".join(rows)}</ul>'


def _css(colour: Colour) -> str:
    return f"rgb({colour[0]} {colour[1]} {colour[2]})"


def _tile(css_class: str, caption: str, name: str, overlay: Image8) -> str:
    """One drawing over the panel's photo; `name` is escaped already."""
    source = _data_uri(".png", cv2.cvtColor(overlay, cv2.COLOR_RGBA2BGRA))
    return (
        f'<figure class="{css_class}"><div class="photo">'
        f'<img src="{source}" alt="{caption}: {name}"></div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _data_uri(extension: str, image_bgr: npt.NDArray[Any]) -> str:
    parameters = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if extension == ".jpg" else []
    done, encoded = cv2.imencode(extension, image_bgr, parameters)
    assert done
    kind = {".jpg": "jpeg", ".png": "png"}[extension]
    return f"data:image/{kind};base64,{base64.b64encode(encoded.tobytes()).decode()}"


def _shrunk(
    array: Image8, interpolation: int = cv2.INTER_AREA, max_side_px: int = _MAX_SIDE_PX
) -> Image8:
    """At most max_side_px long; labels need interpolation=INTER_NEAREST.

    Args:
        array: (H, W) or (H, W, C) uint8.
        interpolation: OpenCV's.
        max_side_px: Of the result.
    """
    longer_px = max(array.shape[:2])
    if longer_px <= max_side_px:
        return np.ascontiguousarray(array)
    scale = max_side_px / longer_px
    return cv2.resize(array, None, fx=scale, fy=scale, interpolation=interpolation).astype(np.uint8)


def _hatch(shape: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    """Diagonal stripes, True on every other one."""
    y, x = np.indices(shape[:2])
    striped: npt.NDArray[np.bool_] = (x + y) % 12 < 4
    return striped


def _segments_table() -> Image8:
    """(256, 4) uint8 RGBA by label."""
    table = np.zeros((256, 4), np.uint8)
    for class_id, colour in enumerate(find_task("segments").colours):
        table[class_id] = (*colour, _PLANE_ALPHA)
    table[BACKGROUND_CLASS] = (0, 0, 0, _BACKGROUND_ALPHA)
    table[SOME_ROOF] = (*_SOME_ROOF_COLOUR, _PLANE_ALPHA)
    return table


def _draw_segments(segments: Image8) -> Image8:
    """(h, w, 4) uint8 RGBA: planes tinted by direction with a solid outline."""
    labels = _shrunk(segments, cv2.INTER_NEAREST)
    overlay = _segments_table()[labels]
    inner = cv2.erode(labels, np.ones((3, 3), np.uint8)) == cv2.dilate(labels, np.ones((3, 3)))
    roof = (labels <= SOME_ROOF) & (labels != BACKGROUND_CLASS)
    overlay[~inner & roof, 3] = 255
    overlay[(labels == IGNORE_INDEX) & _hatch(labels.shape)] = (255, 255, 255, 120)
    return overlay


def _draw_lines(lines: Image8) -> Image8:
    """(h, w, 4) uint8 RGBA: lines by kind with a dark rim, so that they show on any roof."""
    masks = [_shrunk((line == 1).astype(np.uint8) * 255) > 64 for line in lines]
    overlay = np.zeros((*masks[0].shape, 4), np.uint8)
    unknown = _shrunk((lines == IGNORE_INDEX).all(0).astype(np.uint8), cv2.INTER_NEAREST) == 1
    overlay[unknown & _hatch(unknown.shape)] = (255, 255, 255, 120)
    any_line = np.logical_or.reduce(masks).astype(np.uint8)
    rim = cv2.dilate(any_line, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))) == 1
    overlay[rim] = (0, 0, 0, 150)
    for mask, colour in zip(masks, find_task("lines").colours, strict=True):
        overlay[mask] = (*colour, 255)
    return overlay


def _draw_mistakes(segments_target: Image8, segments_prediction: Image8) -> Image8:
    """(h, w, 4) uint8 RGBA: clear where right, else the colour of the kind of mistake."""
    target = _shrunk(segments_target, cv2.INTER_NEAREST).astype(np.int64)
    prediction = _shrunk(segments_prediction, cv2.INTER_NEAREST).astype(np.int64)
    known = target != IGNORE_INDEX
    target_roof, predicted_roof = target != BACKGROUND_CLASS, prediction != BACKGROUND_CLASS
    wrong = known & target_roof & predicted_roof & (target != SOME_ROOF) & (target != prediction)
    steps = (target - prediction) % NUM_BINS
    one_step = (
        ((steps == 1) | (steps == NUM_BINS - 1)) & (target < NUM_BINS) & (prediction < NUM_BINS)
    )
    kinds = (
        wrong & one_step,
        wrong & ~one_step,
        known & target_roof & ~predicted_roof,
        known & ~target_roof & predicted_roof,
    )
    overlay = np.zeros((*target.shape, 4), np.uint8)
    overlay[known & ~target_roof] = (0, 0, 0, _BACKGROUND_ALPHA // 2)
    for mask, (_, colour) in zip(kinds, _MISTAKES, strict=True):
        overlay[mask] = (*colour, 190)
    overlay[~known & _hatch(target.shape)] = (255, 255, 255, 120)
    return overlay


def _agreement(panel: Panel) -> str:
    """How much of the planes is right, in a sentence."""
    target, prediction = panel.segments_target, panel.segments_prediction
    if prediction is None:
        return "Planes were not trained."
    roof = (target != IGNORE_INDEX) & (target != BACKGROUND_CLASS)
    if not roof.any():
        return "No roof is labelled in this image."
    pitched = target < NUM_BINS
    found = np.mean(prediction[roof] != BACKGROUND_CLASS)
    text = f"{100 * found:.0f} % of the roof area found"
    if pitched.any():
        steps = (prediction[pitched].astype(np.int64) - target[pitched]) % NUM_BINS
        near = (prediction[pitched] < NUM_BINS) & ((steps <= 1) | (steps == NUM_BINS - 1))
        text += f"; direction right to within 22.5° on {100 * np.mean(near):.0f} % of pitched roof"
    return text + "."


def _depth_tiles(panel: Panel, name: str) -> list[str]:
    """Heights, both sides on one scale, only where the truth is known."""
    target, prediction = panel.depth_target, panel.depth_prediction
    if target is None or not np.isfinite(target).any():
        return []
    known = np.isfinite(target)
    top_m = max(float(np.percentile(target[known], 99.5)), 1.0)
    sides = [("truth", target)] + ([] if prediction is None else [("prediction", prediction)])
    tiles = []
    for side, depth_m in sides:
        caption = f"Height, {side} (dark 0 m, yellow {top_m:.0f} m)"
        overlay = _draw_depth(depth_m, known, top_m)
        overlay = _shrunk(overlay, cv2.INTER_NEAREST, _MAX_DEPTH_SIDE_PX)
        tiles.append(_tile(f"t-depth-{side}", caption, name, overlay))
    return tiles


def _draw_depth(
    depth_m: npt.NDArray[np.float32], known: npt.NDArray[np.bool_], top_m: float
) -> Image8:
    """(H, W, 4) uint8 RGBA: height from 0 to top_m as colour, clear where unknown."""
    position = np.clip(np.nan_to_num(depth_m) / top_m, 0, 1) * (len(_HEIGHT_COLOURS) - 1)
    steps = np.arange(len(_HEIGHT_COLOURS))
    overlay = np.zeros((*depth_m.shape, 4), np.uint8)
    for band in range(3):
        values = [colour[band] for colour in _HEIGHT_COLOURS]
        overlay[..., band] = np.interp(position, steps, values).round()
    overlay[..., 3] = np.where(known, 235, 0)
    return overlay
