"""The one table of tasks. Heads, losses, metrics and reports are loops over it.

Classes stand in RID's own order, so that a RID mask needs no translation: background is the last
class of `segments`, not 0.
"""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from app.azimuth import BIN_NAMES, NUM_SQUARE_SYMMETRIES, turn_class

IGNORE_INDEX: Final = 255  # an unknown pixel of any integer target; NaN in depth

FLAT_CLASS: Final = 16
BACKGROUND_CLASS: Final = 17
# In a segments target only, never predicted: some roof plane, direction unknown.
SOME_ROOF: Final = 18

TaskName = Literal["segments", "lines", "depth"]
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Task:
    """One thing the network says about every pixel.

    Attributes:
        name: Key of the task's logits, targets, losses and metrics.
        kind: "classes" (one of class_names), "multilabel" (any of class_names) or "metres".
        class_names: What each output channel means; for "metres" the one quantity.
        colours: RGB per class name, for pictures.
        stride_px: Input pixels per pixel of the head's own grid; logits are upsampled from it.
    """

    name: TaskName
    kind: Literal["classes", "multilabel", "metres"]
    class_names: tuple[str, ...]
    colours: tuple[Colour, ...]
    stride_px: Literal[2, 4]

    @property
    def num_classes(self) -> int:
        """Output channels of the task's head."""
        return len(self.class_names)


# A colour wheel: opposite directions get opposite hues, so a wrong side is seen at once.
_AZIMUTH_COLOURS: tuple[Colour, ...] = (
    (64, 96, 255), (96, 64, 255), (144, 48, 255), (192, 40, 240), (240, 40, 200), (255, 40, 136),
    (255, 40, 72), (255, 80, 32), (255, 136, 16), (255, 184, 16), (240, 224, 16), (184, 240, 16),
    (104, 232, 32), (32, 216, 96), (24, 200, 176), (32, 152, 240),
)  # fmt: skip

TASKS: tuple[Task, ...] = (
    Task(
        name="segments",
        kind="classes",
        class_names=(*BIN_NAMES, "flat", "background"),
        colours=(*_AZIMUTH_COLOURS, (200, 200, 200), (24, 24, 24)),
        stride_px=4,
    ),
    # Lines meet and are 3 px wide, so each kind has its own channel, at half the stride of areas.
    Task(
        name="lines",
        kind="multilabel",
        class_names=("eave", "ridge", "hip", "valley"),
        colours=((230, 60, 60), (60, 230, 60), (80, 120, 255), (250, 220, 60)),
        stride_px=2,
    ),
    Task(
        name="depth",
        kind="metres",
        class_names=("height above ground",),
        colours=((255, 255, 255),),
        stride_px=4,
    ),
)


def find_task(name: TaskName) -> Task:
    """The row of the table with that name."""
    return next(task for task in TASKS if task.name == name)


def segments_after_symmetry() -> npt.NDArray[np.uint8]:
    """Look-up tables for a segments target under the symmetries of the square.

    Returns:
        (8, 256) uint8: row s maps a label to what it becomes under symmetry s (see
        `azimuth.turn_class`). Flat, background, some roof and unknown stay what they are.
    """
    tables = np.tile(np.arange(256, dtype=np.uint8), (NUM_SQUARE_SYMMETRIES, 1))
    for symmetry in range(NUM_SQUARE_SYMMETRIES):
        for class_id in range(len(BIN_NAMES)):
            tables[symmetry, class_id] = turn_class(class_id, symmetry)
    return tables
