"""Which features lie on which photo, and where in its pixels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import shapely

from app.base.arrays import Flags, Geometries, Ints
from app.base.errors import DataError, printable
from app.data.files.ground import GroundError
from app.data.files.problems import FileProblem
from app.data.files.turns import AS_STORED
from app.data.findings.tools import name_some
from app.data.own.coco import CocoLabels
from app.data.own.layers import Layer
from app.data.own.layout import TITLE, LayerName
from app.data.own.places import PhotoPlace, move, systems_of, to_pixels
from app.data.own.whereabouts import explain_nowhere

# File, layer and id.
Feature = tuple[Path, str, int]


class Outside(NamedTuple):
    """Features that no photo shows.

    Attributes:
        layer: Their layer.
        fids: Their ids.
        why: What they lack.
    """

    layer: Layer
    fids: Ints
    why: str = "lie on no photo"

    @property
    def what(self) -> str:
        """One line."""
        names = name_some([str(fid) for fid in self.fids.tolist()])
        return printable(
            f"{self.layer.path}: layer {self.layer.name}: {len(self.fids)} of "
            f"{self.layer.num_features} features {self.why}: {names}"
        )


class Spot(NamedTuple):
    """The features that touch a photo, in its pixels.

    Attributes:
        place: The photo.
        planes: (N,) numbers of planes in their layer.
        polygons: (N,) their shapes.
        lines: (L,) numbers of lines in their layer.
        line_shapes: (L,) their shapes.
        areas: Where every roof is labelled.
        hidden: Ground of features that are set aside.
    """

    place: PhotoPlace
    planes: Ints
    polygons: Geometries
    lines: Ints
    line_shapes: Geometries
    areas: Geometries
    hidden: Geometries


def lay_on_photos(
    places: Sequence[PhotoPlace], layers: Mapping[LayerName, Layer]
) -> tuple[list[Spot], dict[Feature, str], list[Outside]]:
    """The features on each photo, a photo of each feature, and those that lie on none.

    Raises:
        DataError: If no plane lies on any photo.
    """
    homes: dict[Feature, str] = {}
    seen: dict[LayerName, Flags] = {
        name: np.zeros(len(layer.geometries), np.bool_) for name, layer in layers.items()
    }
    spots: dict[str, Spot] = {}
    for crs in systems_of(places):
        moved, hidden, hidden_features = _move_all(layers, crs)
        trees = {name: shapely.STRtree(shapes) for name, shapes in moved.items()}
        hidden_tree = shapely.STRtree(hidden)
        for place in places:
            if place.crs != crs:
                continue
            ground = place.ground()
            hits: dict[LayerName, Ints] = {
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
            spots[place.name] = Spot(
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
    outside = [Outside(layers[name], layers[name].fids[~hit]) for name, hit in seen.items()]
    ordered = [spots[place.name] for place in places]
    return ordered, homes, [each for each in outside if len(each.fids)]


def _move_all(
    layers: Mapping[LayerName, Layer], crs: str
) -> tuple[dict[LayerName, Geometries], Geometries, list[Feature]]:
    """Every layer, the ground set aside and whose it is, in a reference system of photos."""
    moved: dict[LayerName, Geometries] = {}
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


def lay_coco_on_photos(labels: CocoLabels, places: Sequence[PhotoPlace]) -> list[Spot]:
    """The polygons of a COCO file on the photos that it names.

    Raises:
        FileProblem: If it is of photos of another size, or of ones that are not stored north up.
    """
    nothing, empty = np.zeros(0, np.int64), np.zeros(0, np.object_)
    spots = []
    for place in places:
        if place.name not in labels.sizes_px:
            continue
        path, raster = labels.planes.path, place.raster
        size_px = (raster.width_px, raster.height_px)
        if labels.sizes_px[place.name] not in ((0, 0), size_px):
            width, height = labels.sizes_px[place.name]
            got = f"labels of a photo {place.name} of {width} x {height} pixels"
            expected = f"{size_px[0]} x {size_px[1]}, the size of {raster.path}"
            raise FileProblem(path, got, expected, "use the photos that were exported with it")
        if raster.turn != AS_STORED:
            got = f"pixel labels of {raster.path}, which is not stored north up"
            remedy = f"`gdalwarp {raster.path.name} north_up.tif`, and label that"
            raise FileProblem(path, got, "a photo that is", remedy)
        planes = np.flatnonzero(labels.planes.fields["photo"] == place.name)
        areas, layers = empty, [labels.planes]
        if labels.areas is not None:
            areas = labels.areas.geometries[labels.areas.fields["photo"] == place.name]
            layers.append(labels.areas)
        hidden = [
            shape
            for layer in layers
            for shape, fid in zip(layer.hidden, layer.hidden_fids, strict=True)
            if labels.photo_of[fid] == place.name
        ]
        polygons = labels.planes.geometries[planes]
        hidden_shapes = np.array(hidden, np.object_)
        spots.append(Spot(place, planes, polygons, nothing, empty, areas, hidden_shapes))
    return spots
