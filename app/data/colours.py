"""What colours the photos of a dataset have, and whether another photo has such colours, too.

A photo is described by four numbers: how bright it is, how much its brightness varies (contrast),
and how strong red and blue are against green. Each is a logarithm, so that "half as bright" is as
far off wherever one begins.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from app.base.arrays import Floats

# Every so many rows and columns are enough.
_STEP_PX: Final = 4
# A photo of which less is seen says nothing of its colours.
_LEAST_PIXELS: Final = 256
# Of fewer samples nobody knows how much they differ.
_LEAST_SAMPLES: Final = 8
# Of one normal distribution, one sample of 370 is further from the mean than this.
_MAX_SPREADS: Final = 3.0
# What training itself does to the light of photos (app.data.photometry) is never unlike: tone,
# brightness and contrast to about a factor of 1.5, a band against another to 1.1.
_FEATURES: Final[Mapping[str, float]] = {
    "brightness": math.log(1.5),
    "contrast": math.log(1.5),
    "red against green": math.log(1.1),
    "blue against green": math.log(1.1),
}


def measure_colours(
    image: npt.NDArray[np.uint8], seen: npt.NDArray[np.bool_] | None = None
) -> list[float] | None:
    """Mean and standard deviation of each band, six numbers; None where next to nothing is seen.

    Args:
        image: (3, H, W) RGB.
        seen: (H, W), where it shows something; None is where it is not black.
    """
    pixels = image[:, ::_STEP_PX, ::_STEP_PX]
    shown = pixels.any(axis=0) if seen is None else seen[::_STEP_PX, ::_STEP_PX]
    bands = pixels[:, shown].astype(np.float64)
    if bands.shape[1] < _LEAST_PIXELS:
        return None
    return [*bands.mean(axis=1).tolist(), *bands.std(axis=1).tolist()]


@dataclass(frozen=True)
class KnownColours:
    """The colours of a dataset's photos.

    Attributes:
        num_samples: How many samples of them were looked at.
        mean: (3,) mean of red, green and blue, 0 to 255.
        std: (3,) their standard deviation in a sample.
        typical: (4,) mean of the logarithms, see above.
        spread: (4,) their standard deviations between samples.
    """

    num_samples: int
    mean: Floats
    std: Floats
    typical: Floats
    spread: Floats

    @classmethod
    def of(cls, samples: Sequence[Sequence[float]]) -> Self:
        """The colours of a dataset's samples.

        Args:
            samples: Of each what measure_colours gives; at least one.
        """
        # In an order that does not depend on which process has seen which.
        measured = np.array(sorted(map(tuple, samples)), np.float64)
        described = _describe(measured)
        mean, std = measured.mean(axis=0).reshape(2, 3)
        return cls(len(measured), mean, std, described.mean(axis=0), described.std(axis=0))

    def to_json(self) -> dict[str, Any]:
        """Plain types, for model.json."""
        return {
            "num_samples": self.num_samples,
            "mean": [round(value, 2) for value in self.mean.tolist()],
            "std": [round(value, 2) for value in self.std.tolist()],
            "logarithms": {
                name: {"mean": round(float(mean), 4), "spread": round(float(spread), 4)}
                for name, mean, spread in zip(_FEATURES, self.typical, self.spread, strict=True)
            },
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        """That of to_json.

        Raises:
            KeyError, TypeError, ValueError: If it is none.
        """
        logarithms = [plain["logarithms"][name] for name in _FEATURES]
        return cls(
            int(plain["num_samples"]),
            np.array(plain["mean"], np.float64),
            np.array(plain["std"], np.float64),
            np.array([float(one["mean"]) for one in logarithms]),
            np.array([float(one["spread"]) for one in logarithms]),
        )


def find_unlike(
    windows: Sequence[Sequence[float]], known: Mapping[str, KnownColours]
) -> tuple[str, dict[str, float]] | None:
    """How a photo's colours differ from those of every dataset.

    They differ from those of a dataset where one of the four numbers is further from the dataset's
    mean than three of its spreads between samples, and than training itself varies it.

    Args:
        windows: Of windows of the photo what measure_colours gives.
        known: By dataset.

    Returns:
        The dataset that it is least unlike, and by number that is too far off, how many times as
        much the photo has; None where it is like one of them, or where too little is known.
    """
    if not windows or not known:
        return None
    if min(colours.num_samples for colours in known.values()) < _LEAST_SAMPLES:
        return None
    own = _describe(np.array(windows, np.float64)).mean(axis=0)
    least = np.array(list(_FEATURES.values()))
    off = {
        name: (own - colours.typical) / np.maximum(_MAX_SPREADS * colours.spread, least)
        for name, colours in known.items()
    }
    nearest = min(off, key=lambda name: float(np.abs(off[name]).max()))
    times = np.exp(own - known[nearest].typical)
    unlike = {
        feature: float(times[number])
        for number, feature in enumerate(_FEATURES)
        if abs(off[nearest][number]) > 1
    }
    return (nearest, unlike) if unlike else None


def _describe(measured: Floats) -> Floats:
    """(N, 4) logarithms of (N, 6) means and deviations."""
    logarithms = np.log(np.maximum(measured, 1.0))
    red, green, blue = logarithms[:, :3].T
    return np.stack(
        [
            logarithms[:, :3].mean(axis=1),
            logarithms[:, 3:].mean(axis=1),
            red - green,
            blue - green,
        ],
        axis=1,
    )
