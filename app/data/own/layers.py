"""Layers of shapes as files hold them: every feature checked, none dropped in silence."""

import contextlib
import logging
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely
from shapely.geometry.base import BaseGeometry

from app.base.arrays import Geometries, Ints
from app.base.errors import DataError, first_line, join_problems, printable
from app.data.files.problems import FileProblem, check_inside
from app.data.own.databases import LOG_ENDS, put_away
from app.data.own.layout import LAYER_NAMES, TITLE, LayerName, OwnFiles
from app.data.sample import BadFeature

_DIMENSIONS: Final[Mapping[LayerName, int]] = {"planes": 2, "lines": 1, "areas": 2}
_EXPECTED: Final = {1: "a line", 2: "a polygon"}
_PLAIN_TYPES: Final = {
    1: (shapely.GeometryType.LINESTRING, shapely.GeometryType.MULTILINESTRING),
    2: (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON),
}
_DRIVERS: Final[Mapping[str, tuple[str, ...]]] = {
    ".gpkg": ("GPKG",),
    ".geojson": ("GeoJSON", "GeoJSONSeq"),
    ".json": ("GeoJSON", "GeoJSONSeq"),
    ".fgb": ("FlatGeobuf",),
    ".shp": ("ESRI Shapefile",),
}
# What GDAL opens beside a file: of its name without ending, or of all of it.
_BESIDE: Final[Mapping[str, tuple[str, ...]]] = {
    ".gpkg": (*LOG_ENDS, "-shm"),
    ".shp": (".dbf", ".shx", ".prj", ".cpg", ".qix", ".sbn", ".sbx", ".ind", ".idm"),
}
# In any unit.
_BEYOND_THE_EARTH: Final = 1e10
_MAX_REASON_CHARS: Final = 200
_MAX_LAYERS: Final = 10
_READ_REMEDY: Final = "export it again as a GeoPackage of polygons and lines"
_REPAIR: Final = "repair the feature (QGIS: Fix geometries), or remove it"

logger = logging.getLogger(__name__)


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
    geometries: Geometries
    fids: Ints
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
        trouble: (N,) why it could not be read; empty where it could.
        fids: (N,) ids.
        fields: Values by name, (N,) each.
    """

    path: Path
    name: str
    crs: str | None
    geometries: Geometries
    trouble: npt.NDArray[np.object_]
    fids: Ints
    fields: Mapping[str, npt.NDArray[Any]]

    def take(self, chosen: npt.NDArray[np.bool_]) -> "Stored":
        """Some of the features."""
        fields = {name: values[chosen] for name, values in self.fields.items()}
        return self._replace(
            geometries=self.geometries[chosen],
            trouble=self.trouble[chosen],
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
            for name, found in _read_file(path, files.root, names).items():
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
        held = [f"{path} (layers {_list_names(path)})" for path in files.vectors]
        problems.append(
            f"no layer of planes in {', '.join(held)}; call the layer of roof planes planes"
        )
    if problems:
        raise DataError(f"{TITLE}: {join_problems(problems)}")
    return {name: check_layer(found, name) for name, found in stored.items()}


def _read_file(path: Path, root: Path, names: Sequence[LayerName]) -> dict[LayerName, Stored]:
    """The layers of a file that may hold some.

    Raises:
        FileProblem: If it cannot be read, or holds none of them.
    """
    # Late: a run without own roofs need not hold a second GDAL in memory.
    import pyogrio

    _check_name(path)
    _check_parts(path, root)
    with put_away(path) as source, _problems_of(path, source):
        # Tables without shapes, such as QGIS's layer_styles, are no layers.
        listed = pyogrio.list_layers(source)
        there = [str(name) for name, kind in listed if kind is not None]
        # A layer whatever its name, where there is no choice.
        is_named = path.suffix.lower() == ".gpkg" and not {*LAYER_NAMES}.isdisjoint(
            layer.lower() for layer in there
        )
        if len(there) == 1 and (len(names) == 1 or not is_named):
            stored = _read_stored(source, there[0], path)
            return {names[0]: stored} if len(names) == 1 else _split(stored)
        chosen = _find_layers(there, names)
        found = {name: _read_stored(source, layer, path) for name, layer in chosen.items()}
    if not found:
        if not len(listed):
            raise FileProblem(path, "no layers", "a whole file", _READ_REMEDY)
        got = f"the layers {_name_layers(listed)}"
        raise FileProblem(path, got, f"one called {names[0]}", "rename it")
    return found


def _list_names(path: Path) -> str:
    """Names of the layers of a file that could be read, for messages."""
    import pyogrio

    with put_away(path) as source, _problems_of(path, source):
        return _name_layers(pyogrio.list_layers(source))


def _name_layers(listed: npt.NDArray[np.object_]) -> str:
    """Names of layers as pyogrio lists them, for messages."""
    shown = [name if kind is not None else f"{name} (without shapes)" for name, kind in listed]
    return printable(", ".join(shown[:_MAX_LAYERS]))


def _find_layers(there: Sequence[str], names: Sequence[LayerName]) -> dict[LayerName, str]:
    """The layers that are called so, or the only ones with such a word, as roof_planes has it."""
    found: dict[LayerName, str] = {}
    for name in names:
        exact = [layer for layer in there if layer.lower() == name]
        alike = [layer for layer in there if name in re.split(r"[^a-z]+", layer.lower())]
        if exact or len(alike) == 1:
            found[name] = (exact or alike)[0]
    return found


def _check_name(path: Path) -> None:
    """Raise FileProblem for names of which pyogrio takes a part for an archive, or drops it."""
    if "!" in str(path) or ";" in path.name:
        got = "a name with ! or ; in it"
        raise FileProblem(path, got, "one without", "rename the file, or the folder it is in")


def _check_parts(path: Path, root: Path) -> None:
    """Raise FileProblem where what GDAL opens beside a file is none, or a part is not there.

    To open a pipe would wait for its writer; without a part of a Shapefile fields are silently
    absent.
    """
    suffix = path.suffix.lower()
    there = {part.name.lower(): part for part in path.parent.iterdir()}
    for end in _BESIDE.get(suffix, ()):
        name = (path.stem if end.startswith(".") else path.name).lower() + end
        if name in there:
            check_inside(there[name], root, _READ_REMEDY)
    needed = (".dbf", ".shx") if suffix == ".shp" else ()
    lacking = [end for end in needed if f"{path.stem}{end}".lower() not in there]
    if lacking:
        got = f"a Shapefile without its {' and '.join(lacking)}"
        raise FileProblem(path, got, "all of its files", "copy them beside it")


@contextlib.contextmanager
def _problems_of(path: Path, source: Path) -> Iterator[None]:
    """Turns errors of reading shapes into a FileProblem, and doubts of GDAL into log lines.

    Args:
        path: The file.
        source: What is read in its place.
    """
    with warnings.catch_warnings(record=True) as doubts:
        warnings.simplefilter("always")
        try:
            yield
        # RuntimeError: what all errors of pyogrio are. MemoryError: a lying header.
        except (RuntimeError, ValueError, OSError, MemoryError) as error:
            reason = first_line(error).replace(str(source), path.name)[:_MAX_REASON_CHARS]
            got = f"a file of shapes that cannot be read ({reason})"
            raise FileProblem(path, got, "a whole file", _READ_REMEDY) from error
    texts = dict.fromkeys(str(doubt.message)[:_MAX_REASON_CHARS] for doubt in doubts)
    if texts:
        logger.warning("%s: %s", path, printable(join_problems(list(texts))))


def _read_stored(source: Path, layer: str, path: Path) -> Stored:
    """A layer as it is stored.

    Args:
        source: What to read.
        layer: Its layer.
        path: The file that this stands for.
    """
    import pyogrio

    info = pyogrio.read_info(source, layer=layer, force_feature_count=True)
    # GDAL goes by content: an SQLite database may have views of other files.
    if info["driver"] not in _DRIVERS[path.suffix.lower()]:
        got, expected = f"a file of the format {info['driver']}", path.suffix.lower()[1:]
        raise FileProblem(path, got, f"one of the format {expected}", _READ_REMEDY)
    meta, fids, wkb, columns = pyogrio.raw.read(
        source, layer=layer, return_fids=True, force_2d=True
    )
    # GDAL takes a file that ends between two features for a whole one.
    if len(fids) != info["features"]:
        got = f"{len(fids)} of the {info['features']} features that layer {layer} should have"
        raise FileProblem(path, got, "a whole file", _READ_REMEDY)
    wkb = np.full(len(fids), None, object) if wkb is None else wkb
    geometries = shapely.from_wkb(wkb, on_invalid="fix")  # closes rings
    is_lost = shapely.is_missing(geometries) & np.array(
        [item is not None for item in wkb], np.bool_
    )
    trouble = np.where(is_lost, "a geometry that cannot be read", "").astype(np.object_)
    fields = dict(zip(map(str, meta["fields"]), columns, strict=True))
    if path.suffix.lower() == ".shp" and not fields:
        raise FileProblem(path, "no fields in its .dbf", "a whole file", _READ_REMEDY)
    return Stored(path, layer, meta["crs"], geometries, trouble, np.asarray(fids), fields)


def _split(stored: Stored) -> dict[LayerName, Stored]:
    """A layer that may hold polygons, which are planes, and lines."""
    is_line = shapely.get_dimensions(stored.geometries) == 1
    layers: dict[LayerName, Stored] = {"planes": stored.take(~is_line)}
    return {**layers, "lines": stored.take(is_line)} if is_line.any() else layers


def check_layer(stored: Stored, kind: LayerName, remedy: str = _REPAIR) -> Layer:
    """The features that can be drawn, and why the others cannot.

    Args:
        stored: The layer as it is stored.
        kind: What it holds.
        remedy: What to do about a bad feature.
    """
    dimension = _DIMENSIONS[kind]
    geometries = stored.geometries
    bad: list[BadFeature] = []
    hidden: list[tuple[Any, int]] = []
    good = np.zeros(len(geometries), np.bool_)
    is_valid = shapely.is_valid(geometries)
    types = shapely.get_type_id(geometries)
    points, owners = shapely.get_coordinates(geometries, return_index=True)
    is_known, is_near = (np.ones(len(geometries), np.bool_) for _ in range(2))
    is_known[owners[~np.isfinite(points).all(axis=1)]] = False
    is_near[owners[(np.abs(points) > _BEYOND_THE_EARTH).any(axis=1)]] = False
    for i, geometry in enumerate(geometries):
        if stored.trouble[i]:
            got = str(stored.trouble[i])
        elif geometry is None or geometry.is_empty:
            got = "no geometry"
        elif not is_known[i]:
            got = "coordinates that are no numbers"
        elif not is_near[i]:
            got = "coordinates beyond the earth"
        elif types[i] in _PLAIN_TYPES[dimension] and is_valid[i]:
            good[i] = True
            continue
        else:
            got = f"a {geometry.geom_type}, expected {_EXPECTED[dimension]}"
            ground = _ground(geometry)
            if types[i] in _PLAIN_TYPES[dimension]:
                got = f"an invalid {geometry.geom_type} ({shapely.is_valid_reason(geometry)})"
                if ground.is_empty:
                    got = "a shape without extent in plan, such as a wall"
            if not ground.is_empty:
                hidden.append((ground, int(stored.fids[i])))
        bad.append(BadFeature(stored.path, stored.name, int(stored.fids[i]), got, remedy))
    kept = stored.take(good)
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
    """The polygons of what a shape that is none may have meant."""
    repaired = shapely.make_valid(geometry)
    polygons = [part for part in shapely.get_parts(repaired) if part.area > 0]
    return shapely.union_all(polygons)
