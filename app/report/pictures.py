"""Pictures of the report: photos with coloured overlays.

A photo is encoded once per panel as JPEG; everything drawn on it is a transparent PNG laid over it,
which stays sharp and small.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from app.base.tasks import IGNORE_INDEX, Colour, Task, find_task
from app.report.legend import MISTAKES
from app.report.strokes import draw_arrows, draw_strokes

Image8 = npt.NDArray[np.uint8]

# Longest side of what is shown; panels may be larger.
MAX_SIDE_PX: Final = 640
# Noise of heights does not compress: at full size two such tiles weigh more than all the others.
_MAX_DEPTH_SIDE_PX: Final = 256
_JPEG_QUALITY: Final = 88
_PLANE_ALPHA: Final = 140
_BACKGROUND_ALPHA: Final = 90
_SET_COLOUR: Final[Colour] = (255, 255, 255)
# Five steps of viridis: read as dark = low by everyone, colour-blind people included.
_HEIGHT_COLOURS: Final[tuple[Colour, ...]] = (
    (68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37),
)  # fmt: skip


@dataclass(frozen=True)
class Panel:
    """One validation image with what is true and what the model said.

    Attributes:
        dataset: Title of the dataset it is from.
        sample_id: The name by which a person finds the file.
        image: (H, W, 3) uint8 RGB.
        segments_target: (H, W) uint8, labels of the task.
        segments_prediction: (H, W) uint8, classes; None where planes were not trained.
        lines_target: (4, H, W) uint8: 1 on a line, 0 off it, 255 unknown.
        lines_prediction: (4, H, W) uint8, 0 or 1; None where lines were not trained.
        depth_target: (H, W) float32, metres, NaN where unknown; None without any truth.
        depth_prediction: (H, W) float32, metres; None where heights were not trained.
        superstructures_target: (H, W) uint8, classes, 255 unknown; None without any truth.
        superstructures_prediction: (H, W) uint8; None where they were not trained.
    """

    dataset: str
    sample_id: str
    image: Image8
    segments_target: Image8
    segments_prediction: Image8 | None
    lines_target: Image8
    lines_prediction: Image8 | None
    depth_target: npt.NDArray[np.float32] | None = None
    depth_prediction: npt.NDArray[np.float32] | None = None
    superstructures_target: Image8 | None = None
    superstructures_prediction: Image8 | None = None


@dataclass(frozen=True)
class Tile:
    """A drawing over a panel's photo.

    Attributes:
        caption: What it shows.
        source: Data URI of the drawing.
        css_class: "lone" beside the photo, for what is no pair of truth and prediction; "begins"
            where a row does.
    """

    caption: str
    source: str
    css_class: str = ""


@dataclass(frozen=True)
class PanelView:
    """A panel as the templates take it.

    Attributes:
        name: The name by which a person finds the file.
        agreement: How much of the planes is right, in a sentence.
        photo: Data URI.
        ratio: Width / height, as CSS writes it.
        tiles: Drawings over the photo.
    """

    name: str
    agreement: str
    photo: str
    ratio: str
    tiles: Sequence[Tile]


def view_panel(panel: Panel, tasks: Sequence[Task], dataset: str = "") -> PanelView:
    """One image as a block of pictures: photo and mistakes, then truth beside prediction.

    Args:
        panel: The image.
        tasks: Tasks of the network.
        dataset: What its dataset is called; empty for the panel's own title of it.
    """
    height, width = panel.image.shape[:2]
    return PanelView(
        name=f"{dataset or panel.dataset} {panel.sample_id}",
        agreement=_agreement(panel, find_task("segments", tasks)),
        photo=encode_photo(panel.image),
        ratio=f"{width}/{height}",
        tiles=_place(
            [
                *_planes_tiles(panel, tasks),
                _lines_tiles(panel),
                _superstructures_tiles(panel, tasks),
                _depth_tiles(panel),
            ]
        ),
    )


def _place(groups: Sequence[Sequence[Tile]]) -> list[Tile]:
    """The tiles in rows of three: one that is no pair, the photo first, then truth and prediction.

    Args:
        groups: Of one tile, or of truth and prediction.
    """
    lone = [replace(group[0], css_class="lone") for group in groups if len(group) == 1]
    pairs = [group for group in groups if len(group) == 2]
    placed: list[Tile] = []
    for row, (truth, prediction) in enumerate(pairs):
        if row > 0 and lone:
            placed.append(lone.pop(0))
        elif row > 0:
            truth = replace(truth, css_class="begins")
        placed += [truth, prediction]
    return placed + lone


def _planes_tiles(panel: Panel, tasks: Sequence[Task]) -> list[list[Tile]]:
    """Mistakes; truth and prediction. What nobody labelled is left out."""
    segments = find_task("segments", tasks)
    target, prediction = panel.segments_target, panel.segments_prediction
    mistakes, planes = [], []
    if (target != IGNORE_INDEX).any():
        planes.append(_tile("Planes, truth", _draw_planes(target, segments)))
        if prediction is not None:
            drawn = _draw_mistakes(target, prediction, segments)
            mistakes.append(_tile("Where planes differ", drawn))
    if prediction is not None:
        planes.append(_tile("Planes, prediction", _draw_planes(prediction, segments)))
    return [mistakes, planes]


def _lines_tiles(panel: Panel) -> list[Tile]:
    """Truth and prediction; what nobody labelled is left out."""
    target, prediction = panel.lines_target, panel.lines_prediction
    tiles = []
    if (target != IGNORE_INDEX).any():
        tiles.append(_tile("Lines, truth", _draw_lines(target)))
    if prediction is not None:
        is_empty = not (prediction == 1).any()
        caption = "Lines, prediction" + (": none above a probability of 0.5" if is_empty else "")
        tiles.append(_tile(caption, _draw_lines(prediction)))
    return tiles


def encode_photo(image: Image8, max_side_px: int = MAX_SIDE_PX) -> str:
    """Data URI of a photo as JPEG.

    Args:
        image: (H, W, 3) uint8 RGB.
        max_side_px: A larger one is made smaller.
    """
    shrunk = _shrunk(image, max_side_px=max_side_px)
    return _data_uri(".jpg", cv2.cvtColor(shrunk, cv2.COLOR_RGB2BGR))


def _tile(caption: str, overlay: Image8) -> Tile:
    return Tile(caption, _data_uri(".png", cv2.cvtColor(overlay, cv2.COLOR_RGBA2BGRA)))


def _data_uri(extension: str, image_bgr: npt.NDArray[Any]) -> str:
    parameters = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if extension == ".jpg" else []
    done, encoded = cv2.imencode(extension, image_bgr, parameters)
    assert done
    kind = {".jpg": "jpeg", ".png": "png"}[extension]
    return f"data:image/{kind};base64,{base64.b64encode(encoded.tobytes()).decode()}"


def _shrunk(
    array: Image8, interpolation: int = cv2.INTER_AREA, max_side_px: int = MAX_SIDE_PX
) -> Image8:
    """At most max_side_px long; labels need interpolation=INTER_NEAREST.

    Args:
        array: (H, W) or (H, W, C) uint8.
        interpolation: OpenCV's.
        max_side_px: Longest side of the result.
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


def _colour_table(task: Task) -> Image8:
    """(256, 4) uint8 RGBA by label; white where it admits several classes."""
    table = np.zeros((256, 4), np.uint8)
    table[: task.num_labels] = (*_SET_COLOUR, _PLANE_ALPHA)
    table[: task.num_classes, :3] = task.colours
    table[task.background_class] = (0, 0, 0, _BACKGROUND_ALPHA)
    return table


def _draw(labels: Image8, task: Task) -> Image8:
    """(h, w, 4) uint8 RGBA: areas tinted by class with a solid outline."""
    labels = _shrunk(labels, cv2.INTER_NEAREST)
    overlay = _colour_table(task)[labels]
    inner = cv2.erode(labels, np.ones((3, 3), np.uint8)) == cv2.dilate(labels, np.ones((3, 3)))
    drawn = (labels < task.num_labels) & (labels != task.background_class)
    overlay[~inner & drawn, 3] = 255
    overlay[(labels == IGNORE_INDEX) & _hatch(labels.shape)] = (255, 255, 255, 120)
    return overlay


def _draw_planes(labels: Image8, segments: Task) -> Image8:
    """(h, w, 4) uint8 RGBA: areas tinted by direction, each with an arrow that points downhill."""
    overlay = _draw(labels, segments)
    draw_arrows(overlay, _shrunk(labels, cv2.INTER_NEAREST), segments)
    return overlay


def _draw_lines(lines: Image8) -> Image8:
    """(h, w, 4) uint8 RGBA: centre lines, as they are scored, by kind; unknown areas striped."""
    masks = np.stack([_shrunk((line == 1).astype(np.uint8) * 255) > 64 for line in lines])
    overlay = np.zeros((*masks.shape[1:], 4), np.uint8)
    unknown = _shrunk((lines == IGNORE_INDEX).all(0).astype(np.uint8), cv2.INTER_NEAREST) == 1
    overlay[unknown & _hatch(unknown.shape)] = (255, 255, 255, 120)
    draw_strokes(overlay, masks)
    return overlay


def _draw_mistakes(segments_target: Image8, segments_prediction: Image8, task: Task) -> Image8:
    """(h, w, 4) uint8 RGBA: clear where right, else the colour of the kind of mistake."""
    target = _shrunk(segments_target, cv2.INTER_NEAREST)
    prediction = _shrunk(segments_prediction, cv2.INTER_NEAREST)
    known = target != IGNORE_INDEX
    target_roof, predicted_roof = (
        target != task.background_class,
        prediction != task.background_class,
    )
    steps = _steps_off(task)[target, prediction]
    both = known & target_roof & predicted_roof
    kinds = (
        both & (steps == 1),
        both & (steps > 1),
        known & target_roof & ~predicted_roof,
        known & ~target_roof & predicted_roof,
    )
    overlay = np.zeros((*target.shape, 4), np.uint8)
    overlay[known & ~target_roof] = (0, 0, 0, _BACKGROUND_ALPHA // 2)
    for mask, (_, colour) in zip(kinds, MISTAKES, strict=True):
        overlay[mask] = (*colour, 190)
    overlay[~known & _hatch(target.shape)] = (255, 255, 255, 120)
    return overlay


def _steps_off(task: Task) -> npt.NDArray[np.int64]:
    """(256, 256), by label and predicted class: steps from the nearest direction that is admitted.

    0 where the class is admitted, num_classes where one of the two is no direction.
    """
    num_bins = task.azimuth_bins
    table = np.full((256, 256), task.num_classes)
    for label, classes in enumerate(task.label_sets):
        for predicted in range(task.num_classes):
            if predicted in classes:
                table[label, predicted] = 0
            elif predicted < num_bins and max(classes) < num_bins:
                steps = [(one - predicted) % num_bins for one in classes]
                table[label, predicted] = min(min(step, num_bins - step) for step in steps)
    return table


def _agreement(panel: Panel, task: Task) -> str:
    """How much of the planes is right, in a sentence."""
    target, prediction = panel.segments_target, panel.segments_prediction
    if prediction is None:
        return "Planes were not trained."
    if (target == IGNORE_INDEX).all():
        return "Planes are not labelled in this image."
    roof = (target != IGNORE_INDEX) & (target != task.background_class)
    if not roof.any():
        return "No roof is labelled in this image."
    found = np.mean(prediction[roof] != task.background_class)
    text = f"{100 * found:.0f} % of the roof area found"
    is_direction = np.zeros(256, bool)
    for label, classes in enumerate(task.label_sets):
        is_direction[label] = max(classes) < task.azimuth_bins
    pitched = is_direction[target]
    if pitched.any():
        near = np.mean(_steps_off(task)[target[pitched], prediction[pitched]] <= 1)
        step_deg = 360 / task.azimuth_bins
        text += f"; direction right to within {step_deg:g}° on {100 * near:.0f} % of pitched roof"
    return text + "."


def _superstructures_tiles(panel: Panel, tasks: Sequence[Task]) -> list[Tile]:
    """Truth where there is any, prediction where they were trained."""
    target, prediction = panel.superstructures_target, panel.superstructures_prediction
    if prediction is None:
        return []
    task = find_task("superstructures", tasks)
    sides = [("prediction", prediction)]
    if target is not None and (target != IGNORE_INDEX).any():
        sides.insert(0, ("truth", target))
    return [_tile(f"Superstructures, {side}", _draw(labels, task)) for side, labels in sides]


def _depth_tiles(panel: Panel) -> list[Tile]:
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
        tiles.append(_tile(caption, overlay))
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
