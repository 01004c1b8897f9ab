"""The roofs in what a network said of a photo, as `predict` and `serve` find them."""

from datetime import UTC, datetime
from typing import NamedTuple

from app import __version__
from app.inference.photo_rasters import PhotoRasters
from app.inference.trained import TrainedNetwork
from app.roofs.calibration import Calibration
from app.roofs.model import Roofs
from app.roofs.predicted import find_predicted_roofs
from app.roofs.writing.origin import Origin


class FoundRoofs(NamedTuple):
    """The roofs of a photo.

    Attributes:
        roofs: The roofs.
        origin: Where they come from.
    """

    roofs: Roofs
    origin: Origin


def find_roofs_of(
    network: TrainedNetwork, rasters: PhotoRasters, name: str, calibration: Calibration
) -> FoundRoofs | None:
    """The roofs of a photo; None where the network was not taught planes.

    Nothing in them depends on the names of folders, nor on the clock: whoever asks the same network
    about the same photo gets the same bytes.

    Args:
        network: It has predicted the photo.
        rasters: What it said.
        name: The photo's name in what is made of it.
        calibration: Of the network.

    Raises:
        DataError: If the photo does not lie in its reference system.
        OSError: If the rasters cannot be read.
    """
    roofs = find_predicted_roofs(rasters, name, calibration)
    if roofs is None:
        return None
    architecture = network.description["architecture"]["name"]
    no_heights = "" if "height" in rasters.layers else "the model was not trained on heights"
    # Of the photo: what is made of it again is to have the same bytes.
    stamp = datetime.fromtimestamp(rasters.photo.facts.modified_ns // 10**9, UTC)
    origin = Origin(
        f"{architecture}, SHA-256 {network.sha256}",
        f"roof-model {__version__}",
        stamp,
        no_heights,
    )
    return FoundRoofs(roofs, origin)
