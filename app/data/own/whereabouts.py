"""Why no plane lies on any photo: swapped axes, or another reference system than is named."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import shapely

from app.data.files.ground import GroundError
from app.data.own.layers import Layer
from app.data.own.places import PhotoPlace, move, systems_of

_DEGREES: Final = "EPSG:4326"


def explain_nowhere(layer: Layer, places: Sequence[PhotoPlace]) -> str:
    """One line: what, where, got, expected, how to fix."""
    where = f"{layer.path}: layer {layer.name}: no plane lies on any of {len(places)} photos"
    if not len(layer.geometries):
        why = f", such as {layer.bad[0].fid}: {layer.bad[0].got}" if layer.bad else ""
        return (
            f"{where}: none of its {layer.num_features} features can be used{why}; export it again"
        )
    swapped = shapely.transform(layer.geometries, lambda points: points[:, ::-1])
    if _meet(swapped, layer.crs, places):
        return (
            f"{where}: got coordinates whose axes are swapped (latitude before longitude, or north "
            f"before east), expected x first, as {layer.crs} has it in files; swap them (QGIS: "
            "Swap X and Y coordinates)"
        )
    for crs in [*systems_of(places), _DEGREES]:
        if crs != layer.crs and _meet(layer.geometries, crs, places):
            return (
                f"{where}: got coordinates of {crs} in a file that says {layer.crs}; name the "
                f"right one: `ogr2ogr -a_srs {crs} right.gpkg {layer.path.name}`"
            )
    try:
        bounds = shapely.total_bounds(move(layer.geometries, layer.crs, places[0].crs or ""))
    except GroundError as error:
        return f"{where}: {error}; export it in the reference system of the photos"
    photo = places[0].ground().bounds
    return (
        f"{where}: got planes in {_show(bounds)}, expected some around {_show(photo)} in "
        f"{places[0].crs}, where {places[0].raster.path.name} lies; see that both are of one place"
    )


def _meet(geometries: object, crs: str, places: Sequence[PhotoPlace]) -> bool:
    """Whether shapes would lie on a photo if they were of this reference system."""
    for target in systems_of(places):
        try:
            moved = move(np.asarray(geometries, np.object_), crs, target)
        except GroundError:
            continue
        tree = shapely.STRtree(moved)
        grounds = [place.ground() for place in places if place.crs == target]
        if tree.query(grounds, predicate="intersects").size:
            return True
    return False


def _show(bounds: Sequence[float]) -> str:
    return "({})".format(", ".join(f"{number:.8g}" for number in bounds))
