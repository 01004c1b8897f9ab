"""Damaged GeoJSON of own roofs: one feature, the collection, or the text."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.corpus import Damage, Variant
from tests.support.corpus_own import as_format, planes_of_all, refused, then, used

Document = dict[str, Any]
Change = Callable[[Document], object]

NAME = "planes.geojson"
_VICTIM = 6


def _edit(change: Change) -> Damage:
    """The planes as GeoJSON, changed; NaN and Infinity are written as Python writes them."""

    def damage(root: Path) -> None:
        document = json.loads((root / NAME).read_text())
        changed = change(document)
        text = json.dumps(changed if isinstance(changed, dict) else document)
        (root / NAME).write_text(text)

    return then(as_format(".geojson", "EPSG:4326"), damage)


def _text(change: Callable[[bytes], bytes]) -> Damage:
    return then(
        as_format(".geojson", "EPSG:4326"),
        lambda root: (root / NAME).write_bytes(change((root / NAME).read_bytes())) and None,
    )


def _geometry(change: Callable[[list[Any]], object]) -> Change:
    """The victim's coordinates, or its whole geometry where the change gives a dict."""

    def edit(document: Document) -> None:
        feature = document["features"][_VICTIM]
        changed = change(json.loads(json.dumps(feature["geometry"]["coordinates"])))
        if isinstance(changed, dict) or changed is None:
            feature["geometry"] = changed
        else:
            feature["geometry"]["coordinates"] = changed

    return edit


def _of_type(kind: str) -> Change:
    depth = {"Point": 2, "LineString": 1, "Foo": 0}[kind]

    def change(rings: list[Any]) -> Document:
        coordinates: Any = rings
        for _ in range(depth):
            coordinates = coordinates[0]
        return {"type": kind, "coordinates": coordinates}

    return _geometry(change)


def _collection(rings: list[Any]) -> Document:
    line = {"type": "LineString", "coordinates": rings[0]}
    polygon = {"type": "Polygon", "coordinates": rings}
    return {"type": "GeometryCollection", "geometries": [polygon, line]}


def _in_first_ring(change: Callable[[list[Any]], list[Any]]) -> Change:
    return _geometry(lambda rings: [change(rings[0])])


def _property(value: object, name: str = "azimuth") -> Change:
    def edit(document: Document) -> None:
        document["features"][_VICTIM]["properties"][name] = value

    return edit


def _each_property(change: Callable[[float], object]) -> Change:
    def edit(document: Document) -> None:
        for feature in document["features"]:
            feature["properties"]["azimuth"] = change(feature["properties"]["azimuth"])

    return edit


def _member(name: str, value: object) -> Change:
    return lambda document: {**document, name: value}


def _crs(name: str) -> Change:
    return _member("crs", {"type": "name", "properties": {"name": name}})


def _in_place(change: Callable[[float, float], list[float]]) -> Change:
    """All coordinates, each point changed."""

    def edit(document: Document) -> None:
        for feature in document["features"]:
            rings = feature["geometry"]["coordinates"]
            feature["geometry"]["coordinates"] = [[change(*point) for point in r] for r in rings]

    return edit


def _grid(document: Document) -> None:
    """Coordinates of the photos' system in a file that does not say so."""
    for feature, plane in zip(document["features"], planes_of_all()[0], strict=True):
        feature["geometry"]["coordinates"] = [list(map(list, plane.exterior.coords))]
    document.pop("crs", None)


def _grid_with_name(document: Document) -> Document:
    _grid(document)
    return {**document, "crs": {"type": "name", "properties": {"name": "EPSG:25832"}}}


def _one_feature() -> list[Variant]:
    """One plane is set aside, by its id; the others are used."""
    _inf, nan = float("inf"), float("nan")
    changes: dict[str, Change] = {
        "geometry null": _geometry(lambda _: None),
        "of type Point": _of_type("Point"),
        "of type Foo": _of_type("Foo"),
        "of a collection": _geometry(_collection),
        "of two corners": _in_first_ring(lambda ring: [*ring[:2], ring[0]]),
        "with a corner that is no number": _in_first_ring(lambda r: [[nan, nan], *r[1:-1]]),
        "with words for corners": _in_first_ring(lambda r: [["a", "b"], *r[1:]]),
        "with corners beyond the earth": _in_first_ring(lambda r: [[1e308, 1e308], *r[1:-1]]),
        "that crosses itself": _in_first_ring(lambda r: [r[0], r[2], r[1], r[3], r[0]]),
        "with a hole outside": _geometry(
            lambda rings: [rings[0], [[x + 1, y] for x, y in rings[0]]]
        ),
        "too deep": _geometry(lambda rings: [[rings]]),
        "with a word for azimuth": _property("abc"),
        "with a long azimuth": _property("9" * 2**20),
    }
    return [
        used(f"{NAME} plane {what}", _edit(change), 1, f"{NAME}: layer planes, feature")
        for what, change in changes.items()
    ]


def _fine() -> list[Variant]:
    changes: dict[str, Change] = {
        "crs member of the photos' grid": _grid_with_name,
        "ring that is not closed": _in_first_ring(lambda ring: ring[:-1]),
        # GDAL takes it for WGS 84, which it is.
        "a reference system of words": _crs("'; DROP TABLE planes"),
        "heights at corners": _in_place(lambda x, y: [x, y, 500.0]),
        "azimuths as texts": _each_property(str),
        "azimuths with commas": _each_property(lambda deg: f"{deg:.1f}".replace(".", ",")),
        "properties of many kinds": _property({"a": [1, {"b": None}]}, "more"),
        "pickle in a property": _property("gASVCwAAAAAAAAB9lIwBYZRLAXMu", "pickle"),
        "ids twice": lambda document: (
            [feature.update(id=7) for feature in document["features"][:9]] and None
        ),
        "feature without properties": lambda d: d["features"][_VICTIM].pop("properties") and None,
    }
    texts: dict[str, Callable[[bytes], bytes]] = {
        "byte order mark": lambda text: b"\xef\xbb\xbf" + text,
    }
    return [
        *(used(f"{NAME} with {what}", _edit(change)) for what, change in changes.items()),
        *(used(f"{NAME} with {what}", _text(change)) for what, change in texts.items()),
    ]


def _collections() -> list[Variant]:
    """Files that are refused as a whole."""
    changes: dict[str, Change] = {
        "without features": lambda document: document.pop("features") and None,
        "with no features": _member("features", []),
        "with a word for features": _member("features", "abc"),
        "of another type": _member("type", "Topology"),
        "with a list for an azimuth": _property([1, 2]),
        "with swapped axes": _in_place(lambda x, y: [y, x]),
        "of another place": _in_place(lambda x, y: [x + 1, y]),
        "beyond the earth": _in_place(lambda x, y: [x * 1e9, y * 1e9]),
        "of the photos' grid without saying so": _grid,
        "with azimuths of nonsense": _each_property(lambda deg: (deg * 37) % 360),
        "with azimuths in radians": _each_property(lambda deg: float(np.radians(deg + 1))),
        "with words for all azimuths": _each_property(lambda _: "south-ish"),
    }
    texts: dict[str, Callable[[bytes], bytes]] = {
        "cut in the middle of a feature": lambda text: text[: len(text) // 2 + 37],
        "in UTF-16": lambda text: text.decode().encode("utf-16"),
        "with null bytes behind it": lambda text: text + b"\0" * 100,
        "in a list": lambda text: b"[" + text + b"]",
        "with letters of no code": lambda text: text.replace(b"azimuth", b"azim\xffth", 3),
        "nested a million times": lambda _: (
            b'{"type": "FeatureCollection", "features": ' + b"[" * 10**6
        ),
        "of braces": lambda _: b'{"a":' * 10**5,
    }
    return [
        *(refused(f"{NAME} {what}", _edit(change), NAME) for what, change in changes.items()),
        *(refused(f"{NAME} {what}", _text(change), NAME) for what, change in texts.items()),
    ]


VARIANTS = (*_one_feature(), *_fine(), *_collections())
