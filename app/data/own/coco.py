"""Pixel labels in COCO's JSON, as CVAT, Label Studio and Roboflow export it.

A polygon's direction is its category's name (N, NNE .. NNW, flat, or roof where nobody knows) or
its attribute `azimuth`. Polygons of the category `area` say where every roof is labelled. Masks are
taken as polygons of their pixels.

Source: the format "object detection" of cocodataset.org, with CVAT's `attributes`.
"""

import dataclasses
import json
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

from app.base.azimuth import BIN_NAMES, NUM_BINS
from app.base.errors import first_line, join_problems, printable
from app.data.files.names import PHOTO_ENDINGS, listed_name
from app.data.files.problems import FileProblem
from app.data.own.export_names import match_photos, without_address
from app.data.own.fields import (
    FLAT_FIELDS,
    POINT_WORDS,
    find_azimuth_field,
    find_field,
    read_flags,
)
from app.data.own.layers import Layer, Stored, check_layer
from app.data.own.layout import LayerName
from app.data.own.masks import mask_to_polygons

_REMEDY: Final = "export it again as COCO 1.0, with polygons"
_FEATURE_REMEDY: Final = "draw it again as a polygon, or remove it"
_ROOF_WORDS: Final = frozenset({"roof", "roofs", "plane", "planes", "facet", "segment"})
_AREA_WORDS: Final = frozenset({"area", "areas"})
_EXPECTED: Final = "a direction (N, NNE .. NNW), flat, roof or area"
_NEEDED: Final[Mapping[str, frozenset[str]]] = {
    "images": frozenset({"id", "file_name"}),
    "annotations": frozenset({"image_id"}),
    "categories": frozenset({"id", "name"}),
}
_MAX_ID: Final = 2**62
_MAX_DIGITS: Final = 10


class CocoLabels(NamedTuple):
    """The labels of a file.

    Attributes:
        planes: Polygons in pixels, with the fields azimuth, compass (degrees by the category), flat
            and photo.
        areas: Polygons in pixels, with the field photo; None where the file has none.
        sizes_px: Width and height of photos by name, as the file has them; 0 where it has none.
        photo_of: The photo of each annotation, by id; empty where the photo is not there.
        renamed: Names in the file of photos that are called otherwise: before a tool took them in.
        absent: Names in the file that are of no photo.
    """

    planes: Layer
    areas: Layer | None
    sizes_px: Mapping[str, tuple[int, int]]
    photo_of: Mapping[int, str]
    renamed: Mapping[str, str]
    absent: Sequence[str]


class _Image(NamedTuple):
    """A photo as a file has it: its name in photos/, empty where it is not there, and its size."""

    photo: str
    size_px: tuple[int, int]


class _Label(NamedTuple):
    """An annotation."""

    fid: int
    photo: str
    shape: Any
    trouble: str
    is_area: bool
    azimuth: object
    compass_deg: float
    is_flat: bool


def read_coco(path: Path, photos: Collection[str]) -> CocoLabels:
    """The labels of a file.

    Args:
        path: The file.
        photos: Names of the photos that there are.

    Raises:
        FileProblem: If it is no COCO file, is of other photos, or a category is none that is known.
    """
    document = _read_document(path)
    names = _read_names(path, document["images"])
    matched = match_photos(list(names.values()), photos)
    absent = [name for name in names.values() if name not in matched]
    if not matched:
        got = f"labels of {join_problems([printable(name) for name in absent]) or 'no photos'}"
        remedy = "copy the photos that were exported with it"
        raise FileProblem(path, got, "labels of photos in photos/", remedy)
    images = {
        _key(image["id"]): _Image(matched.get(names[_key(image["id"])], ""), _read_size(image))
        for image in document["images"]
    }
    meanings = _read_categories(path, document)
    ids, layer_name = _number(document["annotations"])
    labels = [
        _read_annotation(fid, annotation, images, meanings)
        for fid, annotation in zip(ids, document["annotations"], strict=True)
    ]
    planes = [label for label in labels if not label.is_area]
    areas = [label for label in labels if label.is_area]
    return CocoLabels(
        _to_layer(path, layer_name, "planes", planes),
        _to_layer(path, layer_name, "areas", areas) if areas else None,
        {image.photo: image.size_px for image in images.values() if image.photo},
        {label.fid: label.photo for label in labels},
        {name: photo for name, photo in matched.items() if name != photo},
        absent,
    )


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        got = f"no JSON ({first_line(error)[:100]})"
        raise FileProblem(path, got, "a whole file", _REMEDY) from error
    for name, needed in _NEEDED.items():
        rows = document.get(name) if isinstance(document, dict) else None
        if not isinstance(rows, list) or not all(
            isinstance(row, dict) and needed <= row.keys() for row in rows
        ):
            expected = f"COCO's list of {name}, each with {' and '.join(sorted(needed))}"
            remedy = f"move it away, or {_REMEDY}"
            raise FileProblem(path, "a JSON file of another kind", expected, remedy)
    return dict(document)


def _key(identifier: object) -> str:
    """An id that may be a number in one place and a text in the other."""
    if isinstance(identifier, float) and identifier.is_integer():
        identifier = int(identifier)
    return str(identifier)


def _read_names(path: Path, images: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """The names of photos, by id."""
    names = {
        _key(image["id"]): listed_name(without_address(str(image["file_name"])), PHOTO_ENDINGS)
        for image in images
    }
    twice = [printable(name) for name, count in Counter(names.values()).items() if count > 1]
    if twice or len(names) < len(images):
        got = f"several images called {join_problems(twice)}" if twice else "images of one id"
        remedy = "give every photo a name of its own, and export them again"
        raise FileProblem(path, got, "each photo once", remedy)
    return names


def _read_size(image: Mapping[str, Any]) -> tuple[int, int]:
    """Width and height of a photo, numbers or texts; (0, 0) where one of them is none."""
    texts = [_key(image.get(name)) for name in ("width", "height")]
    if not all(text.isascii() and text.isdigit() and len(text) < _MAX_DIGITS for text in texts):
        return 0, 0
    width, height = map(int, texts)
    return (width, height) if width and height else (0, 0)


def _read_categories(path: Path, document: Mapping[str, Any]) -> dict[str, str]:
    """What categories mean, by id."""
    categories = {_key(each["id"]): str(each["name"]) for each in document["categories"]}
    used = {_key(annotation.get("category_id")) for annotation in document["annotations"]}
    meanings = {key: _read_category(name) for key, name in categories.items()}
    unknown = sorted(printable(categories.get(key, key)) for key in used if not meanings.get(key))
    if unknown:
        got = f"the categories {', '.join(name[:40] for name in unknown[:10])}"
        raise FileProblem(path, got, _EXPECTED, "rename them, or leave them out of the export")
    return meanings


def _read_category(name: str) -> str:
    """A name of a direction, "flat", "roof" or "area"; empty where it is none of these."""
    joined = re.sub(r"[^a-z]", "", name.lower())
    for word in re.split(r"[^A-Za-z]+", name):
        if word.upper() in BIN_NAMES:
            return word.upper()
    words = {word.lower() for word in re.split(r"[^A-Za-z]+", name)}
    longest = sorted(POINT_WORDS, key=len, reverse=True)
    found = next((POINT_WORDS[word] for word in longest if word in joined), "")
    if found or "flat" in words:
        return found or "flat"
    if words & _AREA_WORDS:
        return "area"
    return "roof" if words & _ROOF_WORDS else ""


def _number(annotations: Sequence[Mapping[str, Any]]) -> tuple[list[int], str]:
    """Ids of annotations, and what to call them; counted where they have none of their own."""
    ids = [annotation.get("id") for annotation in annotations]
    own = [each for each in ids if type(each) is int and abs(each) < _MAX_ID]
    if len(set(own)) == len(ids):
        return own, "annotations"
    return list(range(1, len(ids) + 1)), "annotations, counted from 1"


def _read_annotation(
    fid: int,
    annotation: Mapping[str, Any],
    images: Mapping[str, _Image],
    meanings: Mapping[str, str],
) -> _Label:
    meaning = meanings[_key(annotation.get("category_id"))]
    attributes = annotation.get("attributes")
    attributes = attributes if isinstance(attributes, dict) else {}
    azimuth_field = find_azimuth_field(list(attributes))
    flat_field = find_field(list(attributes), FLAT_FIELDS)
    is_flat = False
    if flat_field is not None:
        flags, _ = read_flags(_objects([attributes[flat_field]]))
        is_flat = bool(flags[0])
    image = images.get(_key(annotation["image_id"]))
    shape, trouble = None, "an image_id that is of no image"
    if image is not None:
        shape, trouble = _read_shape(annotation, image.size_px)
    return _Label(
        fid,
        "" if image is None else image.photo,
        shape,
        trouble,
        meaning == "area",
        attributes[azimuth_field] if azimuth_field else None,
        BIN_NAMES.index(meaning) * 360.0 / NUM_BINS if meaning in BIN_NAMES else np.nan,
        meaning == "flat" or is_flat,
    )


def _read_shape(annotation: Mapping[str, Any], size_px: tuple[int, int]) -> tuple[Any, str]:
    """A polygon of one part or of several, or None and what is wrong."""
    segmentation = annotation.get("segmentation")
    if not segmentation:
        return None, "a box and no polygon" if annotation.get("bbox") else "no polygon"
    if isinstance(segmentation, dict):
        try:
            return mask_to_polygons(segmentation, size_px), ""
        except ValueError as error:
            return None, str(error)
    try:
        rings = [np.array(part, np.float64).reshape(-1, 2) for part in segmentation]
        polygons = [shapely.Polygon(ring) for ring in rings]
    except (ValueError, TypeError, OverflowError, shapely.GEOSException) as error:
        return None, f"a polygon that cannot be read ({first_line(error)[:80]})"
    if len(polygons) == 1:
        return polygons[0], ""
    # Parts are what is seen of one object, and may touch.
    is_plain = all(polygon.is_valid for polygon in polygons)
    return shapely.union_all(polygons) if is_plain else shapely.MultiPolygon(polygons), ""


def _to_layer(path: Path, name: str, kind: LayerName, labels: Sequence[_Label]) -> Layer:
    stored = Stored(
        path,
        name,
        "",
        _objects([label.shape for label in labels]),
        _objects([label.trouble for label in labels]),
        np.array([label.fid for label in labels], np.int64),
        {
            "azimuth": _objects([label.azimuth for label in labels]),
            "compass": np.array([label.compass_deg for label in labels], np.float64),
            "flat": np.array([label.is_flat for label in labels], np.bool_),
            "photo": _objects([label.photo for label in labels]),
        },
    )
    layer = check_layer(stored, kind, _FEATURE_REMEDY)
    photo_of = {label.fid: label.photo for label in labels}
    bad = [feature._replace(photo=photo_of[feature.fid]) for feature in layer.bad]
    return dataclasses.replace(layer, bad=tuple(bad))


def _objects(values: Sequence[object]) -> npt.NDArray[np.object_]:
    """(N,) of anything, lists among it."""
    array = np.empty(len(values), np.object_)
    for i, value in enumerate(values):
        array[i] = value
    return array
