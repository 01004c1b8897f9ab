"""Pixel labels in COCO's JSON, as CVAT, Label Studio and Roboflow export it.

A polygon's direction is its category's name (N, NNE .. NNW, flat, or roof where nobody knows) or
its attribute `azimuth`. Polygons of the category `area` say where every roof is labelled.

Source: the format "object detection" of cocodataset.org, with CVAT's `attributes`.
"""

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import shapely

from app.base.azimuth import BIN_NAMES, NUM_BINS
from app.base.errors import printable
from app.data.files.names import listed_name
from app.data.files.problems import FileProblem
from app.data.own.fields import AZIMUTH_FIELDS, FLAT_FIELDS, find_field
from app.data.own.layers import Layer, Stored, check_layer
from app.data.own.layout import PHOTO_ENDINGS, LayerName

_REMEDY: Final = "export it again as COCO 1.0, with polygons"
_WORDS: Final = {
    "north": "N", "northeast": "NE", "east": "E", "southeast": "SE",
    "south": "S", "southwest": "SW", "west": "W", "northwest": "NW",
}  # fmt: skip
_ROOF_WORDS: Final = frozenset({"roof", "roofs", "plane", "planes", "facet", "segment"})
_AREA_WORDS: Final = frozenset({"area", "areas"})
_EXPECTED: Final = "a direction (N, NNE .. NNW), flat, roof or area"


class CocoLabels(NamedTuple):
    """The labels of a file.

    Attributes:
        planes: Polygons in pixels, with the fields azimuth, compass (degrees by the category), flat
            and photo.
        areas: Polygons in pixels, with the field photo; None where the file has none.
        sizes_px: Width and height of photos by name, as the file has them.
        photo_of: The photo of each annotation, by id.
    """

    planes: Layer
    areas: Layer | None
    sizes_px: Mapping[str, tuple[int, int]]
    photo_of: Mapping[int, str]


class _Label(NamedTuple):
    """An annotation."""

    fid: int
    photo: str
    shape: Any
    is_readable: bool
    is_area: bool
    azimuth: object
    compass_deg: float
    is_flat: bool


def read_coco(path: Path) -> CocoLabels:
    """The labels of a file.

    Raises:
        FileProblem: If it is no COCO file, or a category is none that is known.
    """
    document = _read_document(path)
    photos = {image["id"]: image for image in document["images"]}
    names = {key: listed_name(image["file_name"], PHOTO_ENDINGS) for key, image in photos.items()}
    sizes_px = {
        names[key]: (int(image.get("width") or 0), int(image.get("height") or 0))
        for key, image in photos.items()
    }
    categories = {each["id"]: str(each["name"]) for each in document["categories"]}
    used = {annotation.get("category_id") for annotation in document["annotations"]}
    meanings = {key: _read_category(name) for key, name in categories.items()}
    unknown = sorted(
        printable(categories.get(key, str(key))) for key in used if not meanings.get(key)
    )
    if unknown:
        got = f"the categories {', '.join(unknown[:10])}"
        raise FileProblem(path, got, _EXPECTED, "rename them, or leave them out of the export")
    labels = [
        _read_annotation(annotation, names, meanings) for annotation in document["annotations"]
    ]
    planes = [label for label in labels if not label.is_area]
    areas = [label for label in labels if label.is_area]
    return CocoLabels(
        _to_layer(path, "planes", planes),
        _to_layer(path, "areas", areas) if areas else None,
        sizes_px,
        {label.fid: label.photo for label in labels},
    )


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise FileProblem(path, f"no JSON ({str(error)[:100]})", "a whole file", _REMEDY) from error
    lists = ("images", "annotations", "categories")
    needed = {
        "images": {"id", "file_name"},
        "annotations": {"image_id"},
        "categories": {"id", "name"},
    }
    for name in lists:
        rows = document.get(name) if isinstance(document, dict) else None
        if not isinstance(rows, list) or not all(
            isinstance(row, dict) and needed[name] <= row.keys() for row in rows
        ):
            expected = f"COCO's list of {name}, each with {' and '.join(sorted(needed[name]))}"
            raise FileProblem(path, "a JSON file of another kind", expected, _REMEDY)
    return dict(document)


def _read_category(name: str) -> str:
    """A name of a direction, "flat", "roof" or "area"; empty where it is none of these."""
    joined = re.sub(r"[^a-z]", "", name.lower())
    for word in re.split(r"[^A-Za-z]+", name):
        if word.upper() in BIN_NAMES:
            return word.upper()
    words = {word.lower() for word in re.split(r"[^A-Za-z]+", name)}
    found = next((_WORDS[each] for each in sorted(_WORDS, key=len)[::-1] if each in joined), "")
    if found or "flat" in words:
        return found or "flat"
    if words & _AREA_WORDS:
        return "area"
    return "roof" if words & _ROOF_WORDS else ""


def _read_annotation(
    annotation: Mapping[str, Any], names: Mapping[Any, str], meanings: Mapping[Any, str]
) -> _Label:
    meaning = meanings[annotation.get("category_id")]
    attributes = annotation.get("attributes")
    attributes = attributes if isinstance(attributes, dict) else {}
    azimuth_field = find_field(list(attributes), AZIMUTH_FIELDS)
    flat_field = find_field(list(attributes), FLAT_FIELDS)
    shape, is_readable = _read_shape(annotation.get("segmentation"))
    identifier = annotation.get("id")
    return _Label(
        identifier if isinstance(identifier, int) else -1,
        names.get(annotation["image_id"], ""),
        shape,
        is_readable,
        meaning == "area",
        attributes[azimuth_field] if azimuth_field else None,
        BIN_NAMES.index(meaning) * 360.0 / NUM_BINS if meaning in BIN_NAMES else np.nan,
        meaning == "flat" or (flat_field is not None and bool(attributes[flat_field])),
    )


def _read_shape(segmentation: object) -> tuple[Any, bool]:
    """A polygon of one part or of several, and whether it could be read."""
    if not isinstance(segmentation, list):
        return None, segmentation is None  # an RLE mask is no polygon
    try:
        rings = [np.array(part, np.float64).reshape(-1, 2) for part in segmentation]
        polygons = [shapely.Polygon(ring) for ring in rings]
    except (ValueError, TypeError, shapely.GEOSException):
        return None, False
    return (polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)), True


def _to_layer(path: Path, kind: LayerName, labels: Sequence[_Label]) -> Layer:
    geometries = np.empty(len(labels), np.object_)
    geometries[:] = [label.shape for label in labels]
    azimuths = np.empty(len(labels), np.object_)
    azimuths[:] = [label.azimuth for label in labels]
    photos = np.empty(len(labels), np.object_)
    photos[:] = [label.photo for label in labels]
    stored = Stored(
        path,
        "annotations",
        "",
        geometries,
        np.array([label.is_readable for label in labels], np.bool_),
        np.array([label.fid for label in labels], np.int64),
        {
            "azimuth": azimuths,
            "compass": np.array([label.compass_deg for label in labels], np.float64),
            "flat": np.array([label.is_flat for label in labels], np.bool_),
            "photo": photos,
        },
    )
    layer = check_layer(stored, kind)
    photo_of = {label.fid: label.photo for label in labels}
    bad = [feature._replace(photo=photo_of[feature.fid]) for feature in layer.bad]
    return dataclasses.replace(layer, bad=tuple(bad))
