"""Damaged COCO files of own roofs: lists, ids, categories, polygons and masks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support import corpus_tree
from tests.support.corpus import ANY_FILE, Damage, Variant
from tests.support.corpus_own import ALL_IDS, SIDE_PX, refused, then, used

Document = dict[str, Any]
Change = Callable[[Document], object]

NAME = "instances.json"
_VICTIM = 7  # the second plane of photo 2
_CATEGORIES = ("N", "S", "area", "roof")


def document_of_all() -> Document:
    """A gable roof on each photo: a plane to the north, one to the south, an area."""
    boxes = ((12, 16, 52, 32), (12, 32, 52, 48), (0, 0, SIDE_PX, SIDE_PX))
    images, annotations = [], []
    for number in range(len(ALL_IDS)):
        size = {"width": SIDE_PX, "height": SIDE_PX}
        images.append({"id": number, "file_name": f"{number}.tif", **size})
        for category, (left, top, right, bottom) in enumerate(boxes, start=1):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": category,
                    "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
                    "bbox": [left, top, right - left, bottom - top],
                }
            )
    categories = [{"id": i, "name": name} for i, name in enumerate(_CATEGORIES, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _without_vectors(root: Path) -> None:
    (root / "roofs.gpkg").unlink()
    (root / NAME).write_text(json.dumps(document_of_all()))


def _edit(change: Change) -> Damage:
    def damage(root: Path) -> None:
        document = document_of_all()
        changed = change(document)
        written = changed if isinstance(changed, dict | list | str) else document
        (root / NAME).write_text(written if isinstance(written, str) else json.dumps(written))

    return then(_without_vectors, damage)


def _annotation(**values: object) -> Change:
    return lambda document: document["annotations"][_VICTIM].update(values)


def _polygon(*parts: object) -> Change:
    return _annotation(segmentation=list(parts))


def _mask(size: object, counts: object) -> Change:
    return _annotation(segmentation={"size": size, "counts": counts})


def _image(**values: object) -> Change:
    return lambda document: document["images"][2].update(values)


def _each(rows: str, change: Callable[[int, Document], object]) -> Change:
    def edit(document: Document) -> None:
        for number, row in enumerate(document[rows]):
            change(number, row)

    return edit


_SIZE = [SIDE_PX, SIDE_PX]
_NUM_PX = SIDE_PX * SIDE_PX


def _one_feature() -> list[Variant]:
    float("nan")
    corners = (12, 32, 52, 32, 52, 48, 12, 48)
    changes: dict[str, Change] = {
        "a box alone": _annotation(segmentation=[]),
        "a polygon of two corners": _polygon([1, 1, 5, 5]),
        "a polygon of lists": _polygon([[[1, 2], [3]], [4]]),
        "a corner beyond numbers": _polygon([10**400, *corners[1:]]),
        "a polygon that crosses itself": _polygon([12, 32, 52, 48, 52, 32, 12, 48]),
        "a mask of another size": _mask([10, 10], [50, 50]),
        "a mask of endless size": _mask([2**40, 2**40], [2**80]),
        "a mask of too few pixels": _mask(_SIZE, [10, 10]),
        "a mask of negative runs": _mask(_SIZE, [_NUM_PX + 10, -10]),
        "a mask of huge runs": _mask(_SIZE, [10**30]),
        "a mask of odd letters": _mask(_SIZE, "käse"),
        "a mask of a megabyte": _mask(_SIZE, "o" * 2**20),
        "an image that is not there": _annotation(image_id=99),
        "an azimuth of words": _annotation(category_id=4, attributes={"azimuth": "abc"}),
    }
    return [
        used(f"{NAME} with {what}", _edit(change), 1, f"{NAME}: layer annotations, feature 8")
        for what, change in changes.items()
    ]


def _fine() -> list[Variant]:
    half = _NUM_PX // 2
    changes: dict[str, Change] = {
        "ids that are texts": _each("images", lambda i, image: image.update(id=str(i))),
        "one id of all annotations": _each("annotations", lambda _, row: row.update(id=1)),
        "no sizes": _each("images", lambda _, image: (image.pop("width"), image.pop("height"))),
        "names of Label Studio": _each(
            "images", lambda i, image: image.update(file_name=f"images/0a1b2c3d-{i}.tif")
        ),
        "names of Roboflow": _each(
            "images", lambda i, image: image.update(file_name=f"{i}_tif_jpg.rf.a1B2c3.jpg")
        ),
        "a mask": _mask(_SIZE, [half, half]),
        "a mask packed into letters": _mask(_SIZE, "PP2PP2"),
        "parts that overlap": _polygon([12, 32, 40, 32, 40, 48], [20, 32, 52, 32, 52, 48]),
        "attributes of many kinds": _annotation(attributes={"more": {"a": [1]}, "occluded": None}),
        "categories that nobody uses": lambda d: d["categories"].append({"id": 9, "name": "car"}),
    }
    return [used(f"{NAME} with {what}", _edit(change)) for what, change in changes.items()]


def _whole() -> list[Variant]:
    changes: dict[str, Change] = {
        "without images": lambda document: document.pop("images") and None,
        "with null for categories": lambda document: {**document, "categories": None},
        "with an image without a name": lambda d: d["images"][1].pop("file_name") and None,
        "of no images": lambda document: {**document, "images": []},
        "in a list": lambda document: "[" + json.dumps(document) + "]",
        "of other photos": _each("images", lambda i, row: row.update(file_name=f"x{i}.jpg")),
        "with a photo of another size": _image(width=99),
        "with one id of two images": _image(id=1),
        "with one name of two images": _image(file_name="sub/1.tif"),
        "with a category that is none": lambda d: d["categories"][0].update(name="car"),
        "with a category of a list": _annotation(category_id=[1]),
        "cut": lambda document: json.dumps(document)[:-40],
        "nested a million times": lambda _: '{"images":' + "[" * 10**6,
        "with a number of a million digits": lambda _: '{"images":' + "9" * 10**6 + "}",
    }
    return [
        *(refused(f"{NAME} {what}", _edit(change), NAME) for what, change in changes.items()),
        *(
            refused(f"{NAME} {name}", then(_without_vectors, corpus_tree.at(NAME, damage)), NAME)
            for name, damage in ANY_FILE.items()
            if name in ("of no bytes", "first half zeros", "pickle", "pipe", "link outside")
        ),
        refused(
            f"{NAME} with nothing on any photo",
            _edit(lambda document: {**document, "annotations": []}),
            "no photo of split",
        ),
        refused(f"{NAME} beside roofs.gpkg of the same photos", _beside_vectors, "roofs.gpkg"),
    ]


def _beside_vectors(root: Path) -> None:
    (root / NAME).write_text(json.dumps(document_of_all()))


VARIANTS = (*_one_feature(), *_fine(), *_whole())
