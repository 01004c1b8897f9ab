"""NAME_planes.geojson and its like: RFC 7946; and plain JSON for photos without georeference."""

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
import shapely

from app.base.errors import DataError, printable
from app.base.storage import replacing
from app.data.files.ground import find_transformer
from app.roofs.model import Roofs
from app.roofs.writing.columns import Layer, LayerName, build_layers, camel_case
from app.roofs.writing.origin import Origin

# OGC:CRS84, in the order of axes that RFC 7946 has.
_WGS84: Final = "OGC:CRS84"
_COORDINATE_DIGITS: Final = 7  # a centimetre on the ground
_PIXEL_DIGITS: Final = 2
_PIXELS_NOTE: Final = (
    "Not GeoJSON: the photo has no georeference. Coordinates are pixels of the photo, x the column "
    "and y the row, from the upper left corner of its upper left pixel; azimuths take the photo's "
    "top for north."
)

Feature = dict[str, Any]
_Points = npt.NDArray[np.float64]


def write_geojson(folder: Path, roofs: Roofs, origin: Origin) -> tuple[Path, ...]:
    """Write one file of each layer, or one with all in pixels; equal input makes equal bytes.

    Args:
        folder: Where they go: NAME_buildings.geojson, NAME_planes.geojson and NAME_lines.geojson,
            or NAME_roofs_pixels.json where the photo has no reference system.
        roofs: What to write.
        origin: A member of each file.

    Returns:
        The files, each replaced as a whole.

    Raises:
        DataError: If no map leads from the photo's reference system to longitude and latitude.
        OSError: If they cannot be written.
    """
    if roofs.crs is None:
        path = folder / f"{roofs.photo}_roofs_pixels.json"
        _write(path, render_pixels(roofs, origin))
        return (path,)
    paths = []
    for layer in build_layers(roofs):
        paths.append(folder / f"{roofs.photo}_{layer.name}.geojson")
        _write(paths[-1], render_geojson(roofs, origin, layer.name))
    return tuple(paths)


def render_geojson(roofs: Roofs, origin: Origin, name: LayerName | Literal["all"]) -> bytes:
    """The file of a layer; or of all layers, in which a feature names its own.

    Args:
        roofs: What to write, in a reference system.
        origin: A member of the file.
        name: The layer.

    Raises:
        DataError: If no map leads from the photo's reference system to longitude and latitude.
    """
    assert roofs.crs is not None
    features: list[Feature] = []
    for layer in build_layers(roofs):
        if name in (layer.name, "all"):
            found = _features(layer, _to_wgs84(layer.geometries, roofs.crs))
            features += map(_with_layer(layer), found) if name == "all" else found
    head: dict[str, Any] = {
        "type": "FeatureCollection",
        "name": "roofs" if name == "all" else name,
    }
    if features:
        head["bbox"] = _join_boxes([feature["bbox"] for feature in features])
    return _render(head | _about(roofs, origin), {"features": features})


def render_pixels(roofs: Roofs, origin: Origin) -> bytes:
    """All layers of a photo without reference system, in its pixels: JSON, but not GeoJSON."""
    members: dict[str, list[Feature]] = {}
    for layer in build_layers(roofs):
        shapes = _rounded(layer.geometries, _PIXEL_DIGITS)
        members[layer.name] = [
            properties | {"pixels": shapely.geometry.mapping(shape)["coordinates"]}
            for shape, properties in zip(shapes, _properties(layer), strict=True)
        ]
    return _render({"note": _PIXELS_NOTE} | _about(roofs, origin), members)


def _about(roofs: Roofs, origin: Origin) -> dict[str, Any]:
    about = {"photo": printable(roofs.photo), "gsdMeters": roofs.gsd_m}
    return about | {camel_case(name): text for name, text in origin.as_texts().items()}


def _with_layer(layer: Layer) -> Callable[[Feature], Feature]:
    """Adds the layer to a feature: ids of several layers are not those of one."""

    def add(feature: Feature) -> Feature:
        return feature | {
            "id": f"{layer.name}/{feature['id']}",
            "properties": {"layer": layer.name, **feature["properties"]},
        }

    return add


def _render(head: dict[str, Any], members: dict[str, list[Feature]]) -> bytes:
    """A feature a line, so that people can read and compare files."""
    parts = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in head.items()]
    for name, features in members.items():
        lines = [json.dumps(each, separators=(",", ":"), allow_nan=False) for each in features]
        parts.append(f"{json.dumps(name)}: [\n" + ",\n".join(lines) + "\n]")
    return ("{\n" + ",\n".join(parts) + "\n}\n").encode()


def _write(path: Path, content: bytes) -> None:
    with replacing(path) as file:
        file.write(content)


def _features(layer: Layer, geometries: Sequence[shapely.Geometry]) -> Iterator[Feature]:
    for geometry, properties in zip(geometries, _properties(layer), strict=True):
        yield {
            "type": "Feature",
            "id": next(iter(properties.values())),
            "bbox": _box(geometry),
            "properties": properties,
            "geometry": shapely.geometry.mapping(geometry),
        }


def _properties(layer: Layer) -> Iterator[dict[str, Any]]:
    names = [camel_case(column.name) for column in layer.columns]
    for values in zip(*(column.values for column in layer.columns), strict=True):
        yield dict(zip(names, values, strict=True))


def _to_wgs84(geometries: Sequence[shapely.Geometry], crs: str) -> list[shapely.Geometry]:
    """Longitude and latitude; outer rings counter-clockwise, cut where the date line crosses."""
    transformer = find_transformer(crs, _WGS84)
    if transformer is None:
        raise DataError(
            f"the photo's reference system {crs!r:.200}: got one from which no map leads to "
            "longitude and latitude; expected a map's; leave out --format geojson, or give the "
            "photo another (gdal_edit.py -a_srs EPSG:...)"
        )

    def move(points: _Points) -> _Points:
        return np.stack(transformer.transform(points[:, 0], points[:, 1]), axis=1)

    moved = shapely.transform(np.array(geometries, object), move)
    if not np.isfinite(shapely.bounds(moved)).all():
        raise DataError(
            f"the photo's reference system {crs!r:.200}: got roofs outside of the places that it "
            "is made for; expected longitudes and latitudes; correct the photo's reference system"
        )
    whole = [_cut_at_date_line(geometry) for geometry in moved]
    return list(shapely.orient_polygons(_rounded(whole, _COORDINATE_DIGITS)))


def _rounded(geometries: Sequence[shapely.Geometry], digits: int) -> npt.NDArray[np.object_]:
    # + 0.0: no minus zero.
    moved = shapely.transform(np.array(geometries, object), lambda xy: xy.round(digits) + 0.0)
    return np.asarray(shapely.remove_repeated_points(moved), np.object_)


def _cut_at_date_line(geometry: shapely.Geometry) -> shapely.Geometry:
    """A shape with parts on both sides of 180 degrees as several that do not cross it."""
    west, _, east, _ = geometry.bounds
    if east - west <= 180.0:
        return geometry
    eastward = shapely.transform(geometry, lambda xy: xy + (xy[:, :1] < 0) * (360.0, 0.0))
    parts = [
        shapely.intersection(eastward, shapely.box(0.0, -90.0, 180.0, 90.0)),
        shapely.transform(
            shapely.intersection(eastward, shapely.box(180.0, -90.0, 360.0, 90.0)),
            lambda xy: xy - (360.0, 0.0),
        ),
    ]
    pieces = [piece for part in parts for piece in shapely.get_parts(part)]
    kind = (
        shapely.MultiPolygon if geometry.geom_type.endswith("Polygon") else shapely.MultiLineString
    )
    return kind([piece for piece in pieces if piece.geom_type in geometry.geom_type])


def _box(geometry: shapely.Geometry) -> list[float]:
    """West, south, east, north; west is the larger where the date line lies between them."""
    west, south, east, north = geometry.bounds
    if east - west > 180.0:
        longitudes = shapely.get_coordinates(geometry)[:, 0]
        west, east = longitudes[longitudes > 0].min(), longitudes[longitudes <= 0].max()
    return [float(value) for value in (west, south, east, north)]


def _join_boxes(boxes: Sequence[list[float]]) -> list[float]:
    """The box of several."""
    west, south, east, north = np.array(boxes).T
    if (west > east).any() or west.max() - west.min() > 180.0:
        west, east = west % 360.0, east % 360.0
        found = (west.min() + 180.0) % 360.0 - 180.0, (east.max() + 180.0) % 360.0 - 180.0
    else:
        found = west.min(), east.max()
    return [round(float(each), 7) for each in (found[0], south.min(), found[1], north.max())]
