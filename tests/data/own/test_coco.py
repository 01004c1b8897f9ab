"""Pixel labels of photos without georeference, as COCO files hold them."""

import json

import numpy as np
import pytest

from app.base.errors import DataError
from app.data.own.catalogue import LabelSettings
from app.data.own.dataset import OwnDataset
from app.data.sample import drawn
from tests.support.fakes import write_raster


def box(left, top, right, bottom):
    return [[left, top, right, top, right, bottom, left, bottom]]


def write_coco(root, num_photos=3, change=None, **names):
    """Photos of 100 px with a gable roof: a plane to the north, one to the south, an area.

    Args:
        root: Folder to write.
        num_photos: How many.
        change: Changes the document before it is written.
        names: Categories that are called otherwise.
    """
    called = {"north": "N", "south": "roof S", "area": "area", "roof": "roof", **names}
    categories = [{"id": i, "name": name} for i, name in enumerate(called.values(), start=1)]
    images, annotations = [], []
    for number in range(num_photos):
        bands = np.full((3, 100, 100), 40 + number, np.uint8)
        bands[:, 30:70, 20:80] = 200
        write_raster(root / f"photos/{number}.png", bands)
        images.append({"id": number, "file_name": f"{number}.png", "width": 100, "height": 100})
        for category, corners in (
            (1, (20, 30, 80, 50)),
            (2, (20, 50, 80, 70)),
            (3, (0, 0, 90, 100)),
        ):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": category,
                    "segmentation": box(*corners),
                }
            )
    document = {"images": images, "annotations": annotations, "categories": categories}
    if change is not None:
        change(document)
    (root / "instances.json").write_text(json.dumps(document))
    return root


def message_of(root):
    with pytest.raises(DataError) as error:
        OwnDataset(root, "train")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_directions_by_category_areas_and_an_assumed_scale(tmp_path):
    write_coco(tmp_path)
    dataset = OwnDataset(tmp_path, "train", LabelSettings(gsd_m=0.2))
    sample = drawn(dataset[0])
    column = sample["segments"].numpy()[:, 50]
    assert column.tolist() == [17] * 30 + [0] * 20 + [8] * 20 + [17] * 30
    assert (sample["segments"][:, 90:] == 255).all()
    assert sample["gsd_m"] == 0.2
    assert "no georeference, taken as 0.2 m per pixel (3 of 3 looked at)" in dataset.assumed_scale
    ridge = sample["lines"].numpy()[1]
    assert (ridge[49:51, 22:78] == 1).sum() == 56


def test_azimuths_as_attributes_are_read_by_the_convention_that_outlines_show(tmp_path):
    def with_azimuths(document):
        for annotation in document["annotations"]:
            if annotation["category_id"] in (1, 2):
                # 0 = south, as the solar industry counts.
                south0 = 180 if annotation["category_id"] == 1 else 0
                annotation["attributes"] = {"azimuth": south0 + 3, "occluded": False}
                annotation["category_id"] = 4

    write_coco(tmp_path, num_photos=6, change=with_azimuths)
    dataset = OwnDataset(tmp_path, "train")
    assert dataset.catalogue.conventions[0].name == "south0"
    assert np.unique(drawn(dataset[0])["segments"]).tolist() == [0, 8, 17, 255]


def test_names_of_categories_and_what_is_none(tmp_path):
    write_coco(tmp_path / "words", north="plane_north-east", south="Flat roof")
    segments = drawn(OwnDataset(tmp_path / "words", "train")[0])["segments"].numpy()
    assert segments[40, 50] == 2
    assert segments[60, 50] == 16
    write_coco(tmp_path / "cars", south="car")
    assert "instances.json: got the categories car, expected a direction" in message_of(
        tmp_path / "cars"
    )


def test_damaged_annotations_are_set_aside_by_photo_and_their_ground_is_unknown(tmp_path):
    def damage(document):
        bow_tie = [[20, 30, 80, 50, 80, 30, 20, 50]]
        document["annotations"][0]["segmentation"] = bow_tie
        document["annotations"][3]["segmentation"] = {"size": [100, 100], "counts": "abc"}

    write_coco(tmp_path, num_photos=3, change=damage)
    dataset = OwnDataset(tmp_path, "all", max_bad_fraction=0.3)
    bad = [(feature.fid, feature.photo) for feature in dataset.catalogue.bad_features]
    assert bad == [(1, "0"), (4, "1")]
    assert "a geometry that cannot be read" in dataset.catalogue.bad_features[1].got
    segments = drawn(dataset[dataset.sample_ids.index("0")])["segments"].numpy()
    assert segments[40, 22] == 255
    assert segments[60, 50] == 8


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            lambda d: d.pop("categories"),
            "expected COCO's list of categories, each with id and name",
        ),
        (lambda d: d["images"][0].update(width=200), "labels of a photo 0 of 200 x 100 pixels"),
    ],
)
def test_files_of_another_kind_or_of_other_photos_are_refused(tmp_path, change, expected):
    write_coco(tmp_path, change=change)
    assert expected in message_of(tmp_path)


def test_photos_that_nothing_labels_are_set_aside(tmp_path):
    write_coco(tmp_path)
    write_raster(tmp_path / "photos/lost.png", np.zeros((3, 50, 50), np.uint8))
    (bad,) = OwnDataset(tmp_path, "train").missing
    assert "photos/lost.png: got a photo without georeference, expected one" in bad.reason
