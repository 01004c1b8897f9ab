"""What counts as a plane, as found and as right; and the shares of planes, in words."""

from collections.abc import Mapping
from typing import Final

# 3 square metres at 0.1 m per pixel. Smaller planes are mostly slivers that one polygon leaves of
# another: many, but with almost no area.
MIN_PLANE_PX: Final = 300
# A plane that is found runs down right if it is no further off than this: one step of 16.
RIGHT_WITHIN_DEG: Final = 22.5

# Definitions by name.
PLANE_SHARES: Final[Mapping[str, str]] = {
    "plane_coverage": (
        "Share of the roof planes in the targets of which at least one pixel is predicted as "
        "pitched. A plane is a piece of one label of direction whose pixels touch along their "
        f"sides, of at least {MIN_PLANE_PX} pixels. plane_azimuth_accuracy and "
        "plane_azimuth_error_deg see only these."
    ),
    "plane_recall": (
        "Share of the roof planes in the targets, as in plane_coverage, that are found: more than "
        "half of their pixels are predicted as pitched."
    ),
    "plane_right": (
        "Share of the roof planes in the targets, as in plane_coverage, that are found, as in "
        f"plane_recall, and run down at most {RIGHT_WITHIN_DEG:g} degrees off the centre of the "
        "true direction's bin (of both bins, where the label is two), by the direction as in "
        "plane_azimuth_accuracy. Every plane counts the same."
    ),
    "plane_azimuth_accuracy": (
        "Share of the planes' area whose plane runs down in exactly its direction, by the sum of "
        "the expected directions (unit vectors weighted by their probabilities) of its pixels that "
        "are predicted as pitched. Each plane weighs by all of its target pixels."
    ),
}
