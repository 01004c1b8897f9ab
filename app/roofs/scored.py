"""Roofs found in a network's predictions, as the metrics of shapes take them."""

from collections.abc import Iterable

import numpy as np

from app.base.arrays import Floats
from app.inference.shape_scores import PhotoToSearch
from app.metrics.roofs import FoundRoofs
from app.roofs.calibration import Calibration
from app.roofs.evidence import RoofEvidence
from app.roofs.find import find_roofs
from app.roofs.model import Roofs


def find_scored_roofs(photo: PhotoToSearch, calibration: Calibration | None = None) -> FoundRoofs:
    """The roofs of a photo in its columns and rows; azimuths count from its upward axis.

    Args:
        photo: What is predicted of it.
        calibration: Of the network; None states what geometry alone says.
    """
    roofs = find_roofs(
        RoofEvidence(
            photo=photo.name,
            gsd_m=photo.gsd_m,
            num_bins=photo.azimuth_bins,
            transform=None,
            crs=None,
            **photo.evidence.bands,
        )
    )
    return as_found(roofs if calibration is None else calibration.correct(roofs))


def as_found(roofs: Roofs) -> FoundRoofs:
    """Roofs whose geometries are pixels, as arrays."""
    planes = roofs.planes
    return FoundRoofs(
        np.array([plane.polygon for plane in planes], np.object_),
        _floats(plane.azimuth_degrees for plane in planes),
        _floats(plane.azimuth_sd_degrees for plane in planes),
        _floats(plane.pitch_degrees for plane in planes),
        _floats(plane.pitch_sd_degrees for plane in planes),
        _floats(plane.confidence for plane in planes),
        np.array([building.polygon for building in roofs.buildings], np.object_),
        np.array([line.line for line in roofs.lines], np.object_),
        tuple(line.kind for line in roofs.lines),
    )


def _floats(values: Iterable[float | None]) -> Floats:
    return np.array([np.nan if value is None else value for value in values], np.float64)
