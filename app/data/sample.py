"""Sample: what every reader returns, and the one table of the planes it consists of."""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, NamedTuple, NotRequired, Protocol, Self, TypedDict, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from app.base.dataset_names import DatasetName
from app.base.errors import SampleError, printable
from app.base.tasks import IGNORE_INDEX, TASK_NAMES, TaskName

PlaneName = Literal["image", TaskName]


@dataclass(frozen=True)
class Plane:
    """An image or a target: what all tensors under one key of a Sample have in common.

    Attributes:
        dtype: Type of its values.
        num_channels: Channels in front of rows and columns; None for a plane without channels.
        unknown: Its value where nothing is known.
    """

    dtype: torch.dtype
    num_channels: int | None
    unknown: float

    def filled(self, value: float, height: int, width: int, *, num_samples: int = 1) -> Tensor:
        """The same value everywhere.

        Returns:
            (N, H, W), or (N, C, H, W) where the plane has channels.
        """
        channels = () if self.num_channels is None else (self.num_channels,)
        return torch.full((num_samples, *channels, height, width), value, dtype=self.dtype)

    def blank(self, height: int, width: int) -> Tensor:
        """(H, W), or (C, H, W) where the plane has channels; all unknown."""
        return self.filled(self.unknown, height, width)[0]

    def nowhere_known(self, height: int, width: int) -> Tensor:
        """As blank, of one value in memory that is seen everywhere: not to be written to."""
        one = _one_unknown(self)
        return one.expand(*one.shape[:-2], height, width)


@functools.cache
def _one_unknown(plane: Plane) -> Tensor:
    return plane.blank(1, 1)


# Further than lines are wide, so that none is drawn into what is unknown.
_UNSEEN_REACH_M: Final = 0.5
_MIN_UNSEEN_REACH_PX: Final = 4

_LABELS: Final = Plane(torch.uint8, None, IGNORE_INDEX)
PLANES: Final[Mapping[PlaneName, Plane]] = {
    # An image is never unknown; where there is none, it is black.
    "image": Plane(torch.uint8, 3, 0),
    "segments": _LABELS,
    "lines": Plane(torch.uint8, 4, IGNORE_INDEX),
    "depth": Plane(torch.float32, None, torch.nan),
    "superstructures": _LABELS,
}
TARGETS: Final[Mapping[TaskName, Plane]] = {name: PLANES[name] for name in TASK_NAMES}


class View(NamedTuple):
    """A window of a photo, as labels are drawn for it.

    Attributes:
        to_photo: (2, 3): window (x, y, 1) to photo (x, y), pixels counted from their corners.
        size: Rows and columns of the window.
        turn_deg: Clockwise degrees by which its content was turned.
        flip: Whether it was mirrored left-right after that.
        gsd_m: Metres per pixel of the window.
    """

    to_photo: npt.NDArray[np.float64]
    size: tuple[int, int]
    turn_deg: float
    flip: bool
    gsd_m: float


class DrawnShapes(NamedTuple):
    """Roofs of a window as shapes, cut to it, in its columns and rows.

    Attributes:
        planes: (N,) polygons; where two overlap, the later one stands on the other.
        azimuth_deg: (N,) degrees clockwise from the window's up in which each runs down; NaN where
            it is flat or nobody knows.
        pitch_deg: (N,) tilt against the horizontal; NaN where nobody knows.
        is_flat: (N,).
        hidden: Polygons of which something is wrong: nothing is known there, but of planes.
        areas: Polygons in which every roof is labelled; None where nobody said.
        lengths_m: Metres in plan of the lines that people drew, by kind: outline (eaves and rakes),
            eave, rake, ridge, hip, valley. Kinds that nobody drew on every roof are absent.
    """

    planes: npt.NDArray[np.object_]
    azimuth_deg: npt.NDArray[np.float64]
    pitch_deg: npt.NDArray[np.float64]
    is_flat: npt.NDArray[np.bool_]
    hidden: npt.NDArray[np.object_]
    areas: npt.NDArray[np.object_] | None
    lengths_m: Mapping[str, float]


class Drawing(Protocol):
    """Labels that are shapes, and become pixels when it is known how a window lies.

    So they are exact at any turn and zoom. Can be sent to another process.
    """

    def draw(self, view: View) -> Mapping[TaskName, Tensor]:
        """Classes and lines, or one of them, as Sample has them, of the window's size."""

    def shapes(self, view: View) -> DrawnShapes:
        """The shapes themselves, which the targets are drawn from."""


class LineBits(TypedDict, total=False):
    """Lines once more, for what can use them so.

    Attributes:
        line_bits: (H, W) uint8, as `app.data.line_bits` packs them; absent where they were not at
            hand so.
    """

    line_bits: Tensor


class Planes(LineBits):
    """An image and a target for every task; see Sample and Batch.

    Attributes:
        drawing: Draws targets; absent where all of them are pixels.
        shapes: What the targets were drawn from; absent where it was not asked for.
    """

    image: Tensor
    segments: Tensor
    lines: Tensor
    depth: Tensor
    superstructures: Tensor
    drawing: NotRequired[Drawing]
    shapes: NotRequired[DrawnShapes]


class Sample(Planes):
    """An image and a target for every task; a task its dataset does not label is all unknown.

    Where there is a drawing, the transforms draw the targets; those that are there say only where
    nothing is known, such as beyond a photo's border. `drawn` draws them with no transform.

    Attributes:
        image: (3, H, W) uint8, RGB.
        segments: (H, W) uint8: 0..15 azimuth class, 16 flat, 17 background, 18 some roof,
            255 unknown.
        lines: (4, H, W) uint8: 1 on the centre of a line of that kind, one pixel thick, 0 off it,
            255 unknown. The transforms give lines their width.
        depth: (H, W) float32, metres above ground; NaN where unknown.
        superstructures: (H, W) uint8: RID's 0..7, 8 background, 255 unknown.
        dataset: Which dataset it is from; nothing after the readers asks.
        sample_id: The name by which a person finds the file.
        gsd_m: Ground sampling distance, metres per pixel.
    """

    dataset: DatasetName
    sample_id: str
    gsd_m: float


class PhotoPixels(NamedTuple):
    """A photo, north up, and what of it is there.

    Attributes:
        image: (3, H, W) uint8, RGB.
        seen: (H, W) bool: false where its file, or its label's, says that nothing is known:
            transparent, nodata, masked. None if all is seen.
        gsd_m: Metres per pixel.
    """

    image: npt.NDArray[np.uint8]
    seen: npt.NDArray[np.bool_] | None
    gsd_m: float


def make_planes(make: Callable[[PlaneName], Tensor]) -> Planes:
    """All planes, each made by its name."""
    # The one place where the keys of PLANES are taken for those of the class above.
    return cast("Planes", {name: make(name) for name in PLANES})


def with_unknown(photo: PhotoPixels | Tensor, targets: Mapping[TaskName, Tensor]) -> Planes:
    """A photo with the targets that are known; the others are all unknown.

    Where nothing is seen, every target is unknown and the image black, whatever labels say. Lines
    are unknown for half a metre around it, too: a roof that is cut off has no edge there.

    Args:
        photo: As read from a file; or (3, H, W) uint8, all of which is seen.
        targets: Some of Sample's, of the photo's size.
    """
    image = torch.from_numpy(photo.image) if isinstance(photo, PhotoPixels) else photo
    height, width = image.shape[-2:]

    def find(name: PlaneName) -> Tensor:
        if name == "image":
            return image
        return targets[name] if name in targets else PLANES[name].nowhere_known(height, width)

    planes = make_planes(find)
    if not isinstance(photo, PhotoPixels) or photo.seen is None:
        return planes
    unseen = torch.from_numpy(~photo.seen)
    hidden = hide_unseen({name: planes[name] for name in TASK_NAMES}, photo.seen, photo.gsd_m)
    black = torch.where(unseen, torch.zeros((), dtype=image.dtype), image)
    return make_planes(lambda name: black if name == "image" else hidden[name])


def hide_unseen(
    targets: Mapping[TaskName, Tensor], seen: npt.NDArray[np.bool_] | None, gsd_m: float
) -> dict[TaskName, Tensor]:
    """Targets that are unknown where nothing is seen, and lines also half a metre around it.

    Args:
        targets: Some of Sample's.
        seen: (H, W); None if all is seen.
        gsd_m: Metres per pixel.
    """
    if seen is None:
        return dict(targets)
    unseen = torch.from_numpy(~seen)
    radius_px = max(_MIN_UNSEEN_REACH_PX, math.ceil(_UNSEEN_REACH_M / gsd_m))
    around = F.max_pool2d(unseen[None].float(), 2 * radius_px + 1, 1, radius_px)[0] > 0

    def hide(name: TaskName, target: Tensor) -> Tensor:
        unknown = torch.tensor(TARGETS[name].unknown, dtype=target.dtype)
        return torch.where(around if name == "lines" else unseen, unknown, target)

    return {name: hide(name, target) for name, target in targets.items()}


def drawn(sample: Sample) -> Sample:
    """The sample with its drawing drawn, at its own scale; itself where it has none."""
    if "drawing" not in sample:
        return sample
    height, width = sample["image"].shape[-2:]
    view = View(np.eye(2, 3), (height, width), 0.0, False, sample["gsd_m"])
    targets = draw_known(sample["drawing"], view, sample)
    return {
        **make_planes(lambda name: sample[name] if name == "image" else targets[name]),
        "dataset": sample["dataset"],
        "sample_id": sample["sample_id"],
        "gsd_m": sample["gsd_m"],
    }


def draw_known(drawing: Drawing, view: View, known: Planes) -> dict[TaskName, Tensor]:
    """A window's targets: drawn ones where these may be known, the others unchanged.

    Args:
        drawing: What to draw.
        view: The window.
        known: Targets of the window: unknown where nothing may be drawn.
    """
    targets = {name: known[name] for name in TASK_NAMES}
    for name, target in drawing.draw(view).items():
        # Drawn are classes and lines: what is unknown has all of a byte's bits set, as -1 has.
        assert TARGETS[name].unknown == IGNORE_INDEX == 255
        is_unknown = -(targets[name].numpy() == IGNORE_INDEX).view(np.uint8)
        targets[name] = torch.from_numpy(target.numpy() | is_unknown)
    return targets


@dataclass(frozen=True)
class BadFile:
    """A sample that cannot be used, and why.

    Attributes:
        sample_id: Its name.
        path: The file a person should look at.
        reason: One line: what, where, got, expected, how to fix.
    """

    sample_id: str
    path: Path
    reason: str

    @classmethod
    def of(cls, error: SampleError) -> Self:
        """The sample that a reader could not use."""
        return cls(error.sample_id, error.path, str(error))


# Files that cannot be read, by dataset.
BadFiles = dict[DatasetName, list[BadFile]]


class BadFeature(NamedTuple):
    """A shape that labels are not drawn from, or not all of it; its photos are used.

    Attributes:
        path: Its file.
        layer: Its layer in the file.
        fid: Its id there.
        got: What it is.
        remedy: What to do about it.
        photo: The first photo that it lies on; empty where it lies on none, or nowhere.
    """

    path: Path
    layer: str
    fid: int
    got: str
    remedy: str
    photo: str = ""

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        photo = f", on photo {self.photo}" if self.photo else ""
        return printable(f"{self.path}: layer {self.layer}, feature {self.fid}{photo}")

    @property
    def reason(self) -> str:
        """One line."""
        return printable(f"{self.place}: got {self.got}; {self.remedy}")

    def to_json(self) -> dict[str, str | int]:
        """Plain types, printable."""
        return {
            "path": printable(str(self.path)),
            "layer": printable(self.layer),
            "feature": self.fid,
            "photo": printable(self.photo),
            "reason": self.reason,
        }
