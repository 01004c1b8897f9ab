"""Whether a photo is like those of training: its scale, its sharpness and its colours."""

from collections.abc import Mapping
from typing import Final

import numpy as np
import numpy.typing as npt
from torch import Tensor

from app.base.dataset_names import DATASET_TITLES
from app.base.window import Window
from app.data.colours import KnownColours, find_unlike, measure_colours
from app.data.geometry import SAME_GSD_TOLERANCE
from app.inference.photo_source import FilePhoto

# Of what is smaller than this many of the network's pixels, such a photo shows nothing.
_MAX_GSD_RATIO: Final = 1.5
# How much of what differs over four pixels, squared, differs over one already: 1 for noise, 1/16
# for a slope. Photos of RID, Enschede, Invercargill, IGN and German cities have 0.11 to 0.36 of it,
# and 0.08 where they are enlarged four times.
_LEAST_SHARPNESS: Final = 0.09
_NEAR_PX, _FAR_PX = 1, 4
# The middle of every window is looked at.
_LOOK_PX: Final = 256


class Likeness:
    """A photo that is looked at while its windows are read.

    Args:
        photo: The photo.
        gsd_m: Metres per pixel at which the network expects photos.
        given_gsd_m: What the user gave for photos without a scale.
        colours: Of the photos that the network was trained on, by dataset.
    """

    def __init__(
        self,
        photo: FilePhoto,
        gsd_m: float,
        given_gsd_m: float | None,
        colours: Mapping[str, KnownColours],
    ) -> None:
        self.photo = photo
        self.height_px, self.width_px = photo.height_px, photo.width_px
        self._gsd_m = gsd_m
        self._given_gsd_m = given_gsd_m
        self._differences = np.zeros(2)
        self._known_colours = colours
        self._colours: list[list[float]] = []  # of each window

    def read(self, window: Window) -> tuple[Tensor, Tensor | None]:
        """As the photo."""
        image, seen = self.photo.read(window)
        if seen is None:  # the border of what is seen is sharp in any photo
            self._differences += _measure_differences(image)
        if self._known_colours:
            measured = measure_colours(image.numpy(), None if seen is None else seen.numpy())
            self._colours += [] if measured is None else [measured]
        return image, seen

    def doubts(self) -> list[str]:
        """Why the photo may be predicted badly, after it was read."""
        photo = self.photo
        found = [photo.assumed] if photo.assumed else []
        own_gsd_m = photo.own_grid.gsd_m
        given = self._given_gsd_m
        if given and photo.has_scale and abs(own_gsd_m / given - 1) > SAME_GSD_TOLERANCE:
            found.append(
                f"its own georeference says {own_gsd_m:.4g} m per pixel, which is taken, not "
                f"--gsd-m {given:g}"
            )
        if own_gsd_m > _MAX_GSD_RATIO * self._gsd_m:
            found.append(
                f"it has {own_gsd_m:.4g} m per pixel, the model expects {self._gsd_m:.4g}: "
                "details that it looks for are missing"
            )
        near, far = self._differences
        if far > 0 and near < _LEAST_SHARPNESS * far:
            found.append(
                f"it is blurred at {photo.grid.gsd_m:.4g} m per pixel: neighbouring pixels differ "
                f"{near / far:.1%} as much as those {_FAR_PX} px apart, expected at least "
                f"{_LEAST_SHARPNESS:.0%}"
            )
        if unlike := find_unlike(self._colours, self._known_colours):
            found.append(_describe_colours(*unlike))
        return found


def _describe_colours(dataset: str, times: Mapping[str, float]) -> str:
    """Which of a photo's colours are not those of a dataset's."""
    title = next((title for name, title in DATASET_TITLES.items() if name == dataset), dataset)
    words = [f"{feature} {factor:.2g} times" for feature, factor in times.items()]
    return (
        f"its colours are unlike those of training: {', '.join(words)} that of {title}, more than "
        "its photos differ among themselves"
    )


def _measure_differences(image: Tensor) -> npt.NDArray[np.float64]:
    """Sums of squared differences between pixels near each other, and further apart.

    Args:
        image: (3, H, W) uint8.
    """
    height, width = image.shape[-2:]
    top, left = max(0, height - _LOOK_PX) // 2, max(0, width - _LOOK_PX) // 2
    green = image[1, top : top + _LOOK_PX, left : left + _LOOK_PX].numpy().astype(np.float64)
    if min(green.shape) <= _FAR_PX:
        return np.zeros(2)
    # Over the same pixels, so that both sums have as many of them.
    corner = green[:-_FAR_PX, :-_FAR_PX]
    sums = [
        np.square(green[:-_FAR_PX, step : step - _FAR_PX or None] - corner).sum()
        + np.square(green[step : step - _FAR_PX or None, :-_FAR_PX] - corner).sum()
        for step in (_NEAR_PX, _FAR_PX)
    ]
    return np.array(sums)
