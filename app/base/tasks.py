"""The one table of tasks. Heads, losses, metrics and reports are loops over it.

Samples carry segments in RID's own order of classes (background is the last class, not 0), so that
a RID mask needs no translation. `relabelling` takes them to the classes a network is built for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from app.base.azimuth import BIN_NAMES, NUM_BINS, bins_of_class, turn_class

IGNORE_INDEX: Final = 255  # an unknown pixel of any integer target; NaN in depth

# RID's labels, which the segments of every Sample use: 0..15 are the directions.
FLAT_CLASS: Final = 16
BACKGROUND_CLASS: Final = 17
# In a target only, never predicted: some roof plane, direction unknown.
SOME_ROOF: Final = 18
# Heights above ground outside of it are mistakes of measurement.
DEPTH_RANGE_M: Final = (-0.5, 60.0)

TaskName = Literal["segments", "lines", "depth", "superstructures"]
# The order of sums, counts and metric states, whichever tasks a network has.
TASK_NAMES: Final[tuple[TaskName, ...]] = ("segments", "lines", "depth", "superstructures")
AzimuthBins = Literal[16, 8, 4, 1]
Colour = tuple[int, int, int]

BACKGROUND_NAME: Final = "background"
LINE_KINDS: Final = ("eave", "ridge", "hip", "valley")


@dataclass(frozen=True)
class Task:
    """One thing the network says about every pixel.

    Attributes:
        name: Key of the task's logits, targets, losses and metrics.
        kind: "classes" (one of class_names), "multilabel" (any of class_names) or "metres".
        class_names: What each output channel means; for "metres" the one quantity.
        colours: RGB per class name, for pictures.
        stride_px: Input pixels per pixel of the head's own grid; logits are upsampled from it.
        label_sets: For kind "classes": the classes that each label of a target admits. The first
            num_classes labels are the classes themselves; others stand for one of several classes.
        azimuth_bins: Compass directions among the classes, which come first; 0 for none.
    """

    name: TaskName
    kind: Literal["classes", "multilabel", "metres"]
    class_names: tuple[str, ...]
    colours: tuple[Colour, ...]
    stride_px: Literal[2, 4]
    label_sets: tuple[tuple[int, ...], ...] = ()
    azimuth_bins: int = 0

    @property
    def num_classes(self) -> int:
        """Output channels of the task's head."""
        return len(self.class_names)

    @property
    def num_labels(self) -> int:
        """Labels a target may hold beside unknown."""
        return len(self.label_sets)

    @property
    def vague_labels(self) -> tuple[int, ...]:
        """Labels that say nothing about classes, such as some roof; not "one of two directions"."""
        return tuple(i for i, classes in enumerate(self.label_sets) if len(classes) > 2)

    @property
    def background_class(self) -> int:
        """Index of background; it is the last class of every task of kind "classes"."""
        return self.class_names.index(BACKGROUND_NAME)


# A colour wheel, blue in the north, orange in the south. Hues alone are not told apart by everyone,
# so neighbours differ in lightness, too: between any two colours, flat and white (roof of unknown
# direction) among them, lies a difference (CIE76) of 20 or more for any kind of colour vision.
_AZIMUTH_COLOURS: tuple[Colour, ...] = (
    (146, 82, 255), (105, 23, 253), (124, 1, 184), (170, 64, 191),
    (219, 97, 192), (172, 0, 130), (193, 0, 18), (121, 65, 55),
    (234, 87, 0), (244, 188, 60), (129, 129, 71), (249, 233, 0),
    (129, 197, 102), (156, 255, 128), (1, 136, 109), (113, 184, 248),
)  # fmt: skip
_FLAT_COLOUR: Colour = (186, 194, 205)
_ROOF_COLOUR: Colour = (234, 87, 0)
_BACKGROUND_COLOUR: Colour = (24, 24, 24)

# Lines meet and are 3 px wide, so each kind has its own channel, at half the stride of areas.
_LINES = Task(
    name="lines",
    kind="multilabel",
    class_names=LINE_KINDS,
    colours=((252, 88, 36), (72, 239, 110), (80, 120, 255), (251, 231, 61)),
    stride_px=2,
)
_DEPTH = Task(
    name="depth",
    kind="metres",
    class_names=("height above ground",),
    colours=((255, 255, 255),),
    stride_px=4,
)
# A chimney is 5 px wide: drawn at stride 4 the exact label keeps an IoU of 0.65, at stride 2 of
# 0.87, and the head of stride 2 costs no more, since it is narrower.
_SUPERSTRUCTURES = Task(
    name="superstructures",
    kind="classes",
    class_names=(
        "pvmodule", "dormer", "window", "ladder", "chimney", "shadow", "tree", "unknown",
        BACKGROUND_NAME,
    ),
    colours=(
        (38, 89, 254), (252, 136, 33), (59, 220, 255), (251, 240, 70), (231, 42, 41),
        (129, 78, 178), (23, 182, 89), (217, 114, 189), _BACKGROUND_COLOUR,
    ),
    stride_px=2,
    label_sets=tuple((class_id,) for class_id in range(9)),
)  # fmt: skip


def build_tasks(
    azimuth_bins: AzimuthBins = 16, *, superstructures: bool = False
) -> tuple[Task, ...]:
    """The tasks of a network, in the order of TASK_NAMES.

    Args:
        azimuth_bins: Directions that segments tells apart: N first, clockwise, then flat and
            background; 1 tells only roof from background.
        superstructures: Whether objects on roofs are a task too.
    """
    tasks = (_build_segments(azimuth_bins), _LINES, _DEPTH)
    return (*tasks, _SUPERSTRUCTURES) if superstructures else tasks


def relabelling(azimuth_bins: AzimuthBins) -> npt.NDArray[np.uint8]:
    """Look-up table from RID's segments labels to those of `build_tasks(azimuth_bins)`.

    A direction that one coarser bin covers becomes that bin. A direction on the border of two
    coarser bins becomes the label "one of these two", since its exact degrees are not known. Own
    roofs have none of these: their degrees are known (data/own/drawing.py).

    Returns:
        (256,) uint8. What is no label of RID is unknown.
    """
    table = np.full(256, IGNORE_INDEX, np.uint8)
    if azimuth_bins == 1:
        table[: FLAT_CLASS + 1] = 0
        table[SOME_ROOF] = 0
        table[BACKGROUND_CLASS] = 1
        return table
    labels = {classes: label for label, classes in enumerate(_segments_label_sets(azimuth_bins))}
    for class_id in range(NUM_BINS):
        table[class_id] = labels[bins_of_class(class_id, azimuth_bins)]
    flat = azimuth_bins
    table[FLAT_CLASS], table[BACKGROUND_CLASS], table[SOME_ROOF] = flat, flat + 1, flat + 2
    return table


def segments_after_turns() -> npt.NDArray[np.uint8]:
    """Look-up tables for RID's labels when the image's content is turned and flipped.

    Returns:
        (2, 16, 256) uint8: entry [int(flip), m] maps a label to what it becomes when the content is
        rotated clockwise by m * 22.5 degrees and then, if flip, mirrored left-right. Flat,
        background, some roof and unknown stay unchanged.
    """
    tables = np.tile(np.arange(256, dtype=np.uint8), (2, NUM_BINS, 1))
    for flip in (False, True):
        for turn_bins in range(NUM_BINS):
            for class_id in range(NUM_BINS):
                tables[int(flip), turn_bins, class_id] = turn_class(class_id, turn_bins, flip)
    return tables


def _build_segments(azimuth_bins: AzimuthBins) -> Task:
    if azimuth_bins == 1:
        class_names: tuple[str, ...] = ("roof", BACKGROUND_NAME)
        colours: tuple[Colour, ...] = (_ROOF_COLOUR, _BACKGROUND_COLOUR)
    else:
        step = NUM_BINS // azimuth_bins
        class_names = (*BIN_NAMES[::step], "flat", BACKGROUND_NAME)
        colours = (*_AZIMUTH_COLOURS[::step], _FLAT_COLOUR, _BACKGROUND_COLOUR)
    return Task(
        name="segments",
        kind="classes",
        class_names=class_names,
        colours=colours,
        stride_px=4,
        label_sets=_segments_label_sets(azimuth_bins),
        azimuth_bins=azimuth_bins if azimuth_bins > 1 else 0,
    )


def _segments_label_sets(azimuth_bins: AzimuthBins) -> tuple[tuple[int, ...], ...]:
    """Each class by itself, then some roof, then pairs of neighbours where 16 bins straddle."""
    if azimuth_bins == 1:
        return ((0,), (1,))
    classes = tuple((class_id,) for class_id in range(azimuth_bins + 2))
    some_roof = tuple(range(azimuth_bins + 1))
    pairs = {bins_of_class(class_id, azimuth_bins) for class_id in range(NUM_BINS)}
    neighbours = sorted(pair for pair in pairs if len(pair) == 2)
    return (*classes, some_roof, *neighbours)


# Every task, with segments in RID's own classes, for readers and for pictures of targets.
ALL_TASKS: Final = build_tasks(superstructures=True)


def find_task(name: TaskName, tasks: Sequence[Task] = ALL_TASKS) -> Task:
    """The task of that name.

    Raises:
        KeyError: If it is not among the tasks.
    """
    return {task.name: task for task in tasks}[name]
