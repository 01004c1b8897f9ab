"""From the rasters that were predicted of a photo to its roofs, in bounded memory."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

import numpy as np
import shapely

from app.base.errors import DataError
from app.base.tasks import AzimuthBins
from app.data.files.ground import GroundError
from app.inference.evidence import find_bands
from app.inference.photo_rasters import PhotoRasters
from app.roofs.calibration import Calibration
from app.roofs.evidence import RoofEvidence, StoredLayer
from app.roofs.find import find_roofs
from app.roofs.model import Roofs

_Geometry = TypeVar("_Geometry", bound=shapely.Geometry)


def find_predicted_roofs(
    rasters: PhotoRasters, name: str, calibration: Calibration
) -> Roofs | None:
    """The roofs of a photo; None where the network was not taught planes.

    Args:
        rasters: What was predicted of it.
        name: The photo's name in what is made of it.
        calibration: Of the network.

    Returns:
        Roofs in the photo's reference system; in pixels of the photo's own where it names none.

    Raises:
        DataError: If the photo does not lie in its reference system.
        OSError: If the rasters cannot be read.
    """
    photo = rasters.photo
    try:
        with _open_evidence(rasters, name) as evidence:
            if evidence is None:
                return None
            roofs = calibration.correct(find_roofs(evidence))
    except GroundError as error:
        raise DataError(
            f"{photo.path}: got {error}, expected a place on the ground; name the right reference "
            f"system: `gdal_edit.py -a_srs EPSG:CODE {photo.path.name}`"
        ) from error
    if roofs.crs is not None:
        return roofs
    own, grid = photo.own_grid, photo.grid
    return _scaled(roofs, own.width_px / grid.width_px, own.height_px / grid.height_px)


@contextlib.contextmanager
def _open_evidence(rasters: PhotoRasters, name: str) -> Iterator[RoofEvidence | None]:
    """What the rasters say, read during the block; None where they say nothing of roofs."""
    layers, grid = rasters.layers, rasters.photo.grid
    if "segments" not in layers:
        yield None
        return
    with contextlib.ExitStack() as stack:
        segments = layers["segments"].layer.classes
        assert segments is not None
        num_bins: AzimuthBins = segments.azimuth_bins or 1  # type: ignore[assignment]
        yield RoofEvidence(
            photo=name,
            gsd_m=grid.gsd_m,
            num_bins=num_bins,
            # A place in no reference system is none: such roofs are given in pixels.
            transform=None if grid.crs is None else grid.transform,
            crs=grid.crs,
            **{field: stack.enter_context(layer) for field, layer in _open_bands(rasters)},
        )


def _open_bands(rasters: PhotoRasters) -> Iterator[tuple[str, StoredLayer]]:
    """The fields of RoofEvidence that the rasters tell of."""
    layers = [raster.layer for raster in rasters.layers.values()]
    for field, (name, numbers) in find_bands(layers).items():
        # Files count their bands from 1.
        bands = numbers + 1 if isinstance(numbers, int) else tuple(n + 1 for n in numbers)
        yield field, StoredLayer(rasters.layers[name].path, bands)


def _scaled(roofs: Roofs, scale_x: float, scale_y: float) -> Roofs:
    """The same roofs in pixels of another size."""
    scale = np.array([scale_x, scale_y])

    def scaled(geometry: _Geometry) -> _Geometry:
        result: _Geometry = shapely.transform(geometry, lambda points: points * scale)
        return result

    return replace(
        roofs,
        planes=tuple(replace(plane, polygon=scaled(plane.polygon)) for plane in roofs.planes),
        lines=tuple(replace(line, line=scaled(line.line)) for line in roofs.lines),
        buildings=tuple(
            replace(building, polygon=scaled(building.polygon)) for building in roofs.buildings
        ),
    )
