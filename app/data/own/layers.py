"""Layers of shapes as files hold them: every feature checked, none dropped in silence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from app.base.errors import DataError, join_problems, printable
from app.data.files.problems import FileProblem
from app.data.own.layout import LAYER_NAMES, TITLE, LayerName, OwnFiles

_Geometries = npt.NDArray[np.object_]
_Ints = npt.NDArray[np.int64]

_DIMENSIONS: Final[Mapping[LayerName, int]] = {"planes": 2, "lines": 1, "areas": 2}
_EXPECTED: Final = {1: "a line", 2: "a polygon"}
_PLAIN_TYPES: Final = {
    1: (shapely.GeometryType.LINESTRING, shapely.GeometryType.MULTILINESTRING),
    2: (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON),
}
_READ_REMEDY: Final = "export it again as GeoPackage"
_FEATURE_REMEDY: Final = "repair the feature (QGIS: Fix geometries), or remove it"


class BadFeature(NamedTuple):
    """A feature that labels are not drawn from, or not all of it.

    Attributes:
        path: Its file.
        layer: Its layer in the file.
        fid: Its id there.
        got: What it is.
        remedy: What to do about it.
        photo: The first photo that it lies on; empty where it lies on none, or nowhere.
    """

    path: Path
    layer: str
    fid: int
    got: str
    remedy: str = _FEATURE_REMEDY
    photo: str = ""

    @property
    def place(self) -> str:
        """Where it stands, for messages."""
        photo = f", on photo {self.photo}" if self.photo else ""
        return printable(f"{self.path}: layer {self.layer}, feature {self.fid}{photo}")

    @property
    def reason(self) -> str:
        """One line."""
        return f"{self.place}: got {self.got}; {self.remedy}"


@dataclass(frozen=True)
class Layer:
    """The features of a layer that can be drawn.

    Attributes:
        kind: What it holds.
        path: Its file.
        name: What the file calls it.
        crs: Coordinate reference system as text; empty for pixels.
        geometries: (N,) valid polygons, or lines.
        fids: (N,) ids.
        fields: Values by name, (N,) each.
        bad: The features set aside.
        hidden: The ground that these may have stood for, as polygons.
        hidden_fids: Ids of the features of `hidden`.
        num_features: How many features there are, bad ones included.
    """

    kind: LayerName
    path: Path
    name: str
    crs: str
    geometries: _Geometries
    fids: _Ints
    fields: Mapping[str, npt.NDArray[Any]]
    bad: tuple[BadFeature, ...] = ()
    hidden: tuple[Any, ...] = field(default=())
    hidden_fids: tuple[int, ...] = ()
    num_features: int = 0


class Stored(NamedTuple):
    """A layer as it is stored.

    Attributes:
        path: Its file.
        name: What the file calls it.
        crs: Coordinate reference system as text; None where none is named.
        geometries: (N,) shapes, None where there is none or it cannot be read.
        readable: (N,) whether it could be read.
        fids: (N,) ids.
        fields: Values by name, (N,) each.
    """

    path: Path
    name: str
    crs: str | None
    geometries: _Geometries
    readable: npt.NDArray[np.bool_]
    fids: _Ints
    fields: Mapping[str, npt.NDArray[Any]]

    def take(self, chosen: npt.NDArray[np.bool_]) -> "Stored":
        """Some of the features."""
        fields = {name: values[chosen] for name, values in self.fields.items()}
        return self._replace(
            geometries=self.geometries[chosen],
            readable=self.readable[chosen],
            fids=self.fids[chosen],
            fields=fields,
        )


def read_layers(files: OwnFiles) -> dict[LayerName, Layer]:
    """The layers of a folder.

    Raises:
        DataError: If a file cannot be read, there are no planes, a layer is there twice, or one
            names no reference system; names all problems.
    """
    stored: dict[LayerName, Stored] = {}
    problems: list[str] = []
    for path, names in files.vectors.items():
        try:
            for name, found in _read_file(path, names).items():
                if name in stored:
                    problems.append(
                        f"two layers of {name}: {stored[name].path} and {path}; remove one"
                    )
                stored[name] = found
        except FileProblem as problem:
            problems.append(str(problem))
    for name, found in stored.items():
        if found.crs is None:
            problems.append(
                f"{found.path}: layer {name} names no coordinate reference system; name it: "
                f"`ogr2ogr -a_srs EPSG:CODE {name}.gpkg {found.path.name}`"
            )
    if files.vectors and "planes" not in stored and not problems:
        paths = join_problems([str(path) for path in files.vectors])
        problems.append(f"no layer of planes in {paths}; call the layer of roof planes planes")
    if problems:
        raise DataError(f"{TITLE}: {join_problems(problems)}")
    return {name: check_layer(found, name) for name, found in stored.items()}


def _read_file(path: Path, names: Sequence[LayerName]) -> dict[LayerName, Stored]:
    """The layers of a file that may hold some.

    Raises:
        FileProblem: If it cannot be read, or holds none of them.
    """
    # Late: a run without own roofs need not hold a second GDAL in memory.
    import pyogrio
    from pyogrio.errors import DataLayerError, DataSourceError, FieldError, GeometryError

    _check_parts(path)
    try:
        there = [str(name) for name, _ in pyogrio.list_layers(path)]
        by_name = {layer.lower(): layer for layer in there}
        if len(there) == 1 and len(names) == 1:
            return {names[0]: _read_stored(path, there[0])}
        is_named = path.suffix.lower() == ".gpkg" and there[0].lower() in LAYER_NAMES
        if len(there) == 1 and not is_named:
            return _split(_read_stored(path, there[0]))
        found = {name: _read_stored(path, by_name[name]) for name in names if name in by_name}
    except (DataSourceError, DataLayerError, FieldError, GeometryError, ValueError) as error:
        got = f"a file of shapes that cannot be read ({str(error).splitlines()[0][:200]})"
        raise FileProblem(path, got, "a whole file", _READ_REMEDY) from error
    if not found:
        if not there:
            raise FileProblem(path, "no layers", "a whole file", _READ_REMEDY)
        got = f"the layers {', '.join(there)}"
        raise FileProblem(path, got, "one called planes", "rename it")
    return found


def _check_parts(path: Path) -> None:
    """Raise FileProblem where a Shapefile lacks a part: without it fields are silently absent."""
    if path.suffix.lower() != ".shp":
        return
    there = {part.name.lower() for part in path.parent.iterdir()}
    lacking = [end for end in (".dbf", ".shx") if f"{path.stem}{end}".lower() not in there]
    if lacking:
        got = f"a Shapefile without its {' and '.join(lacking)}"
        raise FileProblem(path, got, "all of its files", "copy them beside it")


def _read_stored(path: Path, layer: str) -> Stored:
    import pyogrio

    num_stored = pyogrio.read_info(path, layer=layer, force_feature_count=True)["features"]
    meta, fids, wkb, columns = pyogrio.raw.read(path, layer=layer, return_fids=True, force_2d=True)
    # GDAL takes a file that ends between two features for a whole one.
    if len(fids) != num_stored:
        got = f"{len(fids)} of the {num_stored} features that layer {layer} should have"
        raise FileProblem(path, got, "a whole file", _READ_REMEDY)
    wkb = np.full(len(fids), None, object) if wkb is None else wkb
    geometries = shapely.from_wkb(wkb, on_invalid="ignore")
    readable = ~shapely.is_missing(geometries) | np.array([item is None for item in wkb], np.bool_)
    fields = dict(zip(map(str, meta["fields"]), columns, strict=True))
    return Stored(path, layer, meta["crs"], geometries, readable, np.asarray(fids), fields)


def _split(stored: Stored) -> dict[LayerName, Stored]:
    """A layer that may hold polygons, which are planes, and lines."""
    is_line = shapely.get_dimensions(stored.geometries) == 1
    layers: dict[LayerName, Stored] = {"planes": stored.take(~is_line)}
    return {**layers, "lines": stored.take(is_line)} if is_line.any() else layers


def check_layer(stored: Stored, kind: LayerName) -> Layer:
    """The features that can be drawn, and why the others cannot.

    Args:
        stored: The layer as it is stored.
        kind: What it holds.
    """
    dimension = _DIMENSIONS[kind]
    geometries = stored.geometries
    bad: list[BadFeature] = []
    hidden: list[tuple[Any, int]] = []
    good = np.zeros(len(geometries), np.bool_)
    is_valid = shapely.is_valid(geometries)
    types = shapely.get_type_id(geometries)
    bounds = shapely.bounds(geometries).reshape(-1, 4)
    for i, geometry in enumerate(geometries):
        if not stored.readable[i]:
            got = "a geometry that cannot be read"
        elif geometry is None or geometry.is_empty:
            got = "no geometry"
        elif types[i] not in _PLAIN_TYPES[dimension]:
            got = f"a {geometry.geom_type}, expected {_EXPECTED[dimension]}"
        elif not np.isfinite(bounds[i]).all():
            got = "coordinates that are no numbers"
        elif not is_valid[i]:
            got = f"an invalid {geometry.geom_type} ({shapely.is_valid_reason(geometry)})"
            ground = _ground(geometry)
            if ground.is_empty:
                got = "a shape without extent in plan, such as a wall"
            hidden.append((ground, int(stored.fids[i])))
        else:
            good[i] = True
            continue
        bad.append(BadFeature(stored.path, stored.name, int(stored.fids[i]), got))
    kept = stored.take(good)
    hidden = [(geometry, fid) for geometry, fid in hidden if not geometry.is_empty]
    return Layer(
        kind,
        stored.path,
        stored.name,
        stored.crs or "",
        kept.geometries,
        kept.fids,
        kept.fields,
        tuple(bad),
        tuple(geometry for geometry, _ in hidden),
        tuple(fid for _, fid in hidden),
        len(geometries),
    )


def _ground(geometry: BaseGeometry) -> BaseGeometry:
    """The polygons of what an invalid shape may have meant."""
    repaired = shapely.make_valid(geometry)
    polygons = [part for part in shapely.get_parts(repaired) if part.area > 0]
    return shapely.union_all(polygons)
