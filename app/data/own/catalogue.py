"""All that a folder of own roofs holds, laid on its photos."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from app.base.errors import DataError, join_problems
from app.data.files.ground import GroundError
from app.data.own.azimuth import Convention, Evidence, find_convention
from app.data.own.drawing import Roofs
from app.data.own.facing import facing_deg
from app.data.own.features import Lines, Planes, read_lines, read_planes
from app.data.own.layers import BadFeature, Layer, read_layers
from app.data.own.layout import TITLE, LayerName, OwnFiles
from app.data.own.places import (
    PhotoPlace,
    find_places,
    grid_north_deg,
    move,
    systems_of,
    to_pixels,
)
from app.data.own.whereabouts import explain_nowhere
from app.data.reader import spread
from app.data.sample import BadFile
from app.data.shapes import Shapes

# Photos whose outlines are asked what azimuths count from.
_NUM_ASKED: Final = 300
# Planes so close are one roof; lines so close belong to it.
_ROOF_GAP_M: Final = 0.3
_LINE_REACH_M: Final = 0.5

_Geometries = npt.NDArray[np.object_]
_Floats = npt.NDArray[np.float64]
_Flags = npt.NDArray[np.bool_]
_Ints = npt.NDArray[np.int64]
# File, layer and id.
_Feature = tuple[Path, str, int]


class AzimuthSettings(NamedTuple):
    """What azimuths count from, as the user says: own_azimuth and own_north."""

    convention: str = "auto"
    north: str = "auto"


BY_OUTLINES: Final = AzimuthSettings()


class PhotoRoofs(NamedTuple):
    """A photo and what is labelled on it."""

    place: PhotoPlace
    roofs: Roofs


@dataclass(frozen=True)
class Catalogue:
    """All that a folder holds.

    Attributes:
        photos: Those that can be used.
        bad_photos: The others.
        bad_features: Features that are not drawn, or not wholly.
        layers: The layers read, for audits.
        outside: (layer, ids) of features that lie on no photo.
        convention: What azimuths count from; None where there are none.
        unlabelled: Why no plane has a direction; empty where some have.
    """

    photos: tuple[PhotoRoofs, ...]
    bad_photos: tuple[BadFile, ...]
    bad_features: tuple[BadFeature, ...]
    layers: Mapping[LayerName, Layer]
    outside: tuple[tuple[Layer, _Ints], ...]
    convention: Convention | None
    unlabelled: str = ""

    @property
    def num_features(self) -> int:
        """All features, bad ones included."""
        return sum(layer.num_features for layer in self.layers.values())


class _Spot(NamedTuple):
    """The features that touch a photo, in its pixels."""

    place: PhotoPlace
    planes: _Ints
    polygons: _Geometries
    lines: _Ints
    line_shapes: _Geometries
    areas: _Geometries
    hidden: _Geometries


def read_catalogue(files: OwnFiles, settings: AzimuthSettings) -> Catalogue:
    """All that a folder holds.

    Raises:
        DataError: If it cannot be used as a whole; names all problems.
    """
    layers = read_layers(files)
    planes = read_planes(layers["planes"])
    lines = read_lines(layers.get("lines"))
    places, bad_photos = find_places(files.photos, files.root, layers["planes"].crs, None)
    if not places:
        reasons = join_problems([bad.reason for bad in bad_photos])
        raise DataError(f"{TITLE}: none of {len(bad_photos)} photos can be used: {reasons}")
    spots, homes, outside = _lay_on_photos(places, layers)
    convention = None
    if planes.has_azimuth:
        evidence = _gather_evidence(spots, planes, layers["planes"])
        convention = find_convention(
            evidence, planes.azimuth_field, planes.where, settings.convention, settings.north
        )
    photos = [_label(spot, layers, planes, lines, convention) for spot in spots]
    bad = [feature for layer in layers.values() for feature in layer.bad]
    bad = [
        feature._replace(photo=homes.get((feature.path, feature.layer, feature.fid), ""))
        for feature in (*bad, *planes.bad, *lines.bad)
    ]
    return Catalogue(
        tuple(photos),
        tuple(bad_photos),
        tuple(bad),
        layers,
        tuple(outside),
        convention,
        "" if planes.has_azimuth or planes.is_flat.all() else _why_unlabelled(planes, layers),
    )


def _why_unlabelled(planes: Planes, layers: Mapping[LayerName, Layer]) -> str:
    layer = layers["planes"]
    where = f"{layer.path}: layer {layer.name}: no plane has a direction, all are some roof"
    if planes.azimuth_field:
        return f"{where}: its field {planes.azimuth_field} is empty"
    there = ", ".join(layer.fields) or "no fields"
    return f"{where}: got {there}, expected a field such as azimuth_degrees or azimuth"


def _lay_on_photos(
    places: Sequence[PhotoPlace], layers: Mapping[LayerName, Layer]
) -> tuple[list[_Spot], dict[_Feature, str], list[tuple[Layer, _Ints]]]:
    """The features on each photo, a photo of each feature, and those that lie on none.

    Raises:
        DataError: If no plane lies on any photo.
    """
    homes: dict[_Feature, str] = {}
    seen: dict[LayerName, _Flags] = {
        name: np.zeros(len(layer.geometries), np.bool_) for name, layer in layers.items()
    }
    spots: dict[str, _Spot] = {}
    for crs in systems_of(places):
        moved, hidden, hidden_features = _move_all(layers, crs)
        trees = {name: shapely.STRtree(shapes) for name, shapes in moved.items()}
        hidden_tree = shapely.STRtree(hidden)
        for place in places:
            if place.crs != crs:
                continue
            ground = place.ground()
            hits: dict[LayerName, _Ints] = {
                name: np.sort(tree.query(ground, predicate="intersects"))
                for name, tree in trees.items()
            }
            hidden_hit = hidden_tree.query(ground, predicate="intersects")
            for name, hit in hits.items():
                seen[name][hit] = True
                layer = layers[name]
                for fid in layer.fids[hit].tolist():
                    homes.setdefault((layer.path, layer.name, fid), place.name)
            for number in hidden_hit.tolist():
                homes.setdefault(hidden_features[number], place.name)
            nothing = np.zeros(0, np.int64)
            own = {name: moved[name][hit] for name, hit in hits.items()}
            empty = np.zeros(0, np.object_)
            spots[place.name] = _Spot(
                place,
                hits["planes"],
                to_pixels(own["planes"], place),
                hits.get("lines", nothing),
                to_pixels(own.get("lines", empty), place),
                to_pixels(own.get("areas", empty), place),
                to_pixels(hidden[np.sort(hidden_hit)], place),
            )
    if not seen["planes"].any():
        raise DataError(f"{TITLE}: {explain_nowhere(layers['planes'], places)}")
    outside = [(layers[name], layers[name].fids[~hit]) for name, hit in seen.items()]
    ordered = [spots[place.name] for place in places]
    return ordered, homes, [pair for pair in outside if len(pair[1])]


def _move_all(
    layers: Mapping[LayerName, Layer], crs: str
) -> tuple[dict[LayerName, _Geometries], _Geometries, list[_Feature]]:
    """Every layer, the ground set aside and whose it is, in a reference system of photos."""
    moved: dict[LayerName, _Geometries] = {}
    hidden, features = [], []
    for name, layer in layers.items():
        try:
            moved[name] = move(layer.geometries, layer.crs, crs)
            hidden.append(move(np.array(layer.hidden, dtype=np.object_), layer.crs, crs))
            features += [(layer.path, layer.name, fid) for fid in layer.hidden_fids]
        except GroundError as error:
            raise DataError(
                f"{TITLE}: {layer.path}: layer {layer.name}: {error}; "
                "export it in the reference system of the photos"
            ) from error
    return moved, np.concatenate(hidden), features


def _gather_evidence(spots: Sequence[_Spot], planes: Planes, layer: Layer) -> Evidence:
    """The planes of some photos whose outlines tell a direction, each once."""
    labelled = [spot for spot in spots if np.isfinite(planes.azimuth_deg[spot.planes]).any()]
    found: dict[int, tuple[float, float, float]] = {}
    for spot in spread(labelled, _NUM_ASKED):
        facing = facing_deg(spot.polygons, spot.place.gsd_m) + spot.place.north_deg
        stored = planes.azimuth_deg[spot.planes]
        north_deg = _grid_north(layer, spot.planes)
        for plane in np.flatnonzero(np.isfinite(facing) & np.isfinite(stored)):
            found[int(spot.planes[plane])] = (stored[plane], facing[plane], north_deg)
    columns = np.array(list(found.values()), np.float64).reshape(-1, 3).T
    return Evidence(*columns)


def _grid_north(layer: Layer, planes: _Ints) -> float:
    """Where the grid of the file's reference system points around some of its planes."""
    bounds = shapely.bounds(layer.geometries[planes[:1]])[0]
    try:
        return grid_north_deg(layer.crs, tuple(bounds.tolist()))
    except GroundError:
        return 0.0  # a plane of a site: its grid is all the north there is


def _label(
    spot: _Spot,
    layers: Mapping[LayerName, Layer],
    planes: Planes,
    lines: Lines,
    convention: Convention | None,
) -> PhotoRoofs:
    """A photo's shapes with what is known of them."""
    order = np.argsort(-shapely.area(spot.polygons), kind="stable")
    polygons, ids = spot.polygons[order], spot.planes[order]
    azimuth_deg = planes.azimuth_deg[ids]
    if convention is not None and len(ids):
        grid_deg = np.full(len(ids), _grid_north(layers["planes"], ids))
        azimuth_deg = convention.to_true(azimuth_deg, grid_deg) - spot.place.north_deg
    roofs = Roofs(
        planes=Shapes.of(polygons),
        azimuth_deg=azimuth_deg,
        is_flat=planes.is_flat[ids],
        has_lines=_find_lined(polygons, spot.line_shapes, spot.place.gsd_m),
        hidden=Shapes.of(spot.hidden),
        areas=Shapes.of(spot.areas) if "areas" in layers else None,
        lines=Shapes.of(spot.line_shapes),
        line_kinds=lines.kinds[spot.lines],
        drawn_kinds=lines.drawn_kinds,
    )
    return PhotoRoofs(spot.place, roofs)


def _find_lined(polygons: _Geometries, lines: _Geometries, gsd_m: float) -> _Flags:
    """(N,) whether a plane is of a roof of which somebody drew a line."""
    lined = np.zeros(len(polygons), np.bool_)
    if not len(polygons) or not len(lines):
        return lined
    tree = shapely.STRtree(polygons)
    first, second = tree.query(polygons, predicate="dwithin", distance=_ROOF_GAP_M / gsd_m)
    size = (len(polygons), len(polygons))
    touching = coo_array((np.ones(len(first)), (first, second)), shape=size)
    _, roof = connected_components(touching, directed=False)
    _, plane = tree.query(lines, predicate="dwithin", distance=_LINE_REACH_M / gsd_m)
    return np.isin(roof, roof[plane])


def describe_bad(features: Sequence[BadFeature]) -> str:
    """Features that are not drawn, by layer, for the log."""
    counts = Counter(feature.layer for feature in features)
    found = ", ".join(f"{count} of layer {layer}" for layer, count in counts.items())
    return f"{found}: {join_problems([feature.reason for feature in features])}"
