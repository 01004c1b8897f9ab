"""From the rasters that were predicted of a photo to its roofs, in bounded memory."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import shapely

from app.base.errors import DataError
from app.base.tasks import AzimuthBins
from app.data.files.ground import GroundError
from app.inference.layers import NODATA, RIGHT, ROOF, UP, Band, LayerName
from app.inference.photo_rasters import PhotoRasters
from app.roofs.evidence import Layer, RoofEvidence, StoredLayer
from app.roofs.find import find_roofs
from app.roofs.model import Roofs

_Geometry = TypeVar("_Geometry", bound=shapely.Geometry)


def find_predicted_roofs(rasters: PhotoRasters, name: str) -> Roofs | None:
    """The roofs of a photo; None where the network was not taught planes.

    Args:
        rasters: What was predicted of it.
        name: The photo's name in what is made of it.

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
            roofs = find_roofs(evidence)
    except GroundError as error:
        raise DataError(
            f"{photo.path}: got {error}, expected a place on the ground; name the right reference "
            f"system: `gdal_edit.py -a_srs EPSG:CODE {photo.path.name}`"
        ) from error
    if roofs.crs is not None:
        return roofs
    own, grid = photo.own_grid, photo.grid
    return _scaled(roofs, own.width_px / grid.width_px, own.height_px / grid.height_px)


class _Fractions:
    """A band of bytes as the fractions that they stand for; no data is 0."""

    def __init__(self, stored: StoredLayer, band: Band) -> None:
        self._stored = stored
        self._table = np.arange(256, dtype=np.float32) * np.float32(band.scale)
        self._table += np.float32(band.offset)
        self._table[NODATA] = 0
        self.shape = stored.shape

    def __getitem__(self, key: Any) -> npt.NDArray[np.float32]:  # noqa: ANN401 (as numpy has it)
        fractions: npt.NDArray[np.float32] = self._table[self._stored[key]]
        return fractions


@contextlib.contextmanager
def _open_evidence(rasters: PhotoRasters, name: str) -> Iterator[RoofEvidence | None]:
    """What the rasters say, read during the block; None where they say nothing of roofs."""
    layers, grid = rasters.layers, rasters.photo.grid
    if "segments" not in layers:
        yield None
        return
    with contextlib.ExitStack() as stack:

        def stored(layer: LayerName, bands: int | tuple[int, ...] = 1) -> StoredLayer:
            return stack.enter_context(StoredLayer(layers[layer].path, bands))

        doubts = layers["uncertainty"].layer.bands

        def direction(band: Band) -> Layer | None:
            if band not in doubts:
                return None
            return _Fractions(stored("uncertainty", doubts.index(band) + 1), band)

        segments = layers["segments"].layer.classes
        assert segments is not None
        num_bins: AzimuthBins = segments.azimuth_bins or 1  # type: ignore[assignment]
        yield RoofEvidence(
            photo=name,
            classes=stored("segments"),
            gsd_m=grid.gsd_m,
            num_bins=num_bins,
            direction_x=direction(RIGHT),
            direction_y=direction(UP),
            roof_probability=stored("uncertainty", doubts.index(ROOF) + 1),
            lines=stored("lines", (1, 2, 3, 4)) if "lines" in layers else None,
            height_m=stored("height") if "height" in layers else None,
            # A place in no reference system is none: such roofs are given in pixels.
            transform=None if grid.crs is None else grid.transform,
            crs=grid.crs,
        )


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
