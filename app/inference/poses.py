"""Predictions averaged over quarter turns and flips of a window.

A network should say the same of a roof however the photo is laid; what differs is its doubt. A turn
takes north to east, so the classes of directions are permuted with the pixels, exactly.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

import torch
from torch import Tensor

from app.base.azimuth import turn_class
from app.base.tasks import TaskName
from app.inference.blending import to_averages, to_logits
from app.inference.predictor import Predictor

NumPoses = Literal[1, 2, 4, 8]

_QUARTERS: Final = 4


class Pose(NamedTuple):
    """How a window is laid.

    Attributes:
        quarters: Clockwise quarter turns.
        flip: Mirrored left-right after that.
    """

    quarters: int
    flip: bool

    def apply(self, images: Tensor) -> Tensor:
        """(..., H, W) turned and flipped; rot90 itself turns counterclockwise."""
        turned = images.rot90(-self.quarters, (-2, -1))
        return turned.flip(-1) if self.flip else turned

    def undo(self, predictions: Tensor) -> Tensor:
        """(..., H, W) as they lay before."""
        if self.flip:
            predictions = predictions.flip(-1)
        return predictions.rot90(self.quarters, (-2, -1))

    def turned_classes(self, azimuth_bins: int, num_classes: int) -> list[int]:
        """For each class of segments, the one that it is in this pose.

        Args:
            azimuth_bins: How many directions there are, which come first; 0 for none.
            num_classes: All classes; those that are no directions stay.
        """
        turn_bins = self.quarters * azimuth_bins // _QUARTERS
        directions = [
            turn_class(class_id, turn_bins, self.flip, azimuth_bins)
            for class_id in range(azimuth_bins)
        ]
        return [*directions, *range(azimuth_bins, num_classes)]


# The first ones are the least work that shows most.
_POSES: Final[Mapping[NumPoses, Sequence[Pose]]] = {
    1: (Pose(0, False),),
    2: (Pose(0, False), Pose(0, True)),
    4: tuple(Pose(quarters, False) for quarters in range(_QUARTERS)),
    8: tuple(Pose(quarters, flip) for flip in (False, True) for quarters in range(_QUARTERS)),
}


@dataclass
class PosesPredictor(Predictor):
    """A network that is asked about each window in several poses.

    Attributes:
        num_poses: Poses of a window.
        with_squares: Whether heights have a second channel where there are several poses.
        azimuth_bins: Directions among the classes of segments; 0 for none.
    """

    num_poses: NumPoses = field(default=1, kw_only=True)
    with_squares: bool = field(default=True, kw_only=True)
    azimuth_bins: int = field(default=0, kw_only=True)

    @torch.inference_mode()
    def predict(self, images: Tensor) -> dict[TaskName, Tensor]:
        """Logits of the mean probabilities of all poses; as Predictor, but for heights.

        With more than one pose, heights may have a second channel: the mean of their squares, in
        square metres, of which their spread follows.

        Args:
            images: (N, 3, H, W) uint8 RGB.

        Raises:
            ConfigError: If memory does not hold a single image.
        """
        if self.num_poses == 1:
            return super().predict(images)
        sums: dict[TaskName, Tensor] = {}
        for pose in _POSES[self.num_poses]:
            logits = super().predict(pose.apply(images).contiguous())
            for name in self.tasks:
                averages = self._upright(name, to_averages(name, logits.pop(name)), pose)
                sums[name] = sums[name].add_(averages) if name in sums else averages.contiguous()
        return {name: to_logits(name, sums[name].div_(self.num_poses)) for name in self.tasks}

    def _upright(self, name: TaskName, averages: Tensor, pose: Pose) -> Tensor:
        """A pose's averages as the window lies."""
        if name == "segments" and self.azimuth_bins > 0:
            averages = averages[:, pose.turned_classes(self.azimuth_bins, averages.shape[1])]
        elif name == "depth" and self.with_squares:
            averages = torch.cat((averages, averages.square()), 1)
        return pose.undo(averages)
