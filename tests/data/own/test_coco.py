"""Pixel labels of photos without georeference, as COCO files hold them."""

import json

import numpy as np
import pytest

from app.data.frame import Pose
from app.data.geometry import cut_window
from app.data.own.catalogue import LabelSettings
from app.data.own.dataset import OwnDataset
from app.data.sample import drawn
from tests.support.audit import found, make_audit
from tests.support.fakes import write_raster
from tests.support.own import message_of


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


def run_lengths(mask):
    """Of background and object in turn, column by column."""
    pixels = mask.T.ravel()
    edges = np.flatnonzero(np.diff(pixels.astype(int))) + 1
    lengths = np.diff([0, *edges, pixels.size]).tolist()
    return [0, *lengths] if pixels[0] else lengths


def packed(lengths):
    """As pycocotools writes them: differences in pieces of five bits, the least first."""
    letters = ""
    for i, length in enumerate(lengths):
        value = length - lengths[i - 2] if i > 2 else length
        more = True
        while more:
            piece = value & 31
            value >>= 5
            more = value != (-1 if piece & 16 else 0)
            letters += chr(48 + piece + 32 * more)
    return letters


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
        document["annotations"][3]["segmentation"] = {"size": [100, 100], "counts": [5, 5]}

    write_coco(tmp_path, num_photos=3, change=damage)
    dataset = OwnDataset(tmp_path, "all", max_bad_fraction=0.3)
    bad = [(feature.fid, feature.photo) for feature in dataset.catalogue.bad_features]
    assert bad == [(1, "0"), (4, "1")]
    assert dataset.catalogue.bad_features[1].reason.endswith(
        "feature 4, on photo 1: got a mask of 10 pixels, expected 100 x 100; draw it again as a "
        "polygon, or remove it"
    )
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


@pytest.mark.parametrize("pack", [list, packed])
def test_masks_are_drawn_to_the_pixel_and_hold_what_polygons_hold(tmp_path, pack):
    rows, columns = np.indices((100, 100))
    tilted = np.abs(rows - 50 + (columns - 50) // 3) <= 12
    tilted &= (columns >= 7) & (columns < 93)
    tilted[45:50, 60:64] = False
    tilted[0:3, 0] = True

    def with_masks(document):
        document["annotations"][1]["segmentation"] = {
            "size": [100, 100], "counts": pack(run_lengths(tilted))
        }  # fmt: skip
        document["annotations"].pop(0)

    write_coco(tmp_path, change=with_masks)
    dataset = OwnDataset(tmp_path, "all")
    assert not dataset.bad_features
    sample = dataset[dataset.sample_ids.index("0")]
    assert np.array_equal(drawn(sample)["segments"].numpy() == 8, tilted)
    turned = cut_window(sample, Pose(4), (50.0, 50.0), 100, 0.1)["segments"].numpy()
    assert np.array_equal(turned == 12, np.rot90(tilted, -1))


@pytest.mark.parametrize(
    ("file_name", "photo"),
    [
        ("images/1a2b3c4d-0.png", "0"),
        ("..\\media\\upload\\4\\1a2b3c4d-0.png", "0"),
        ("0_png.rf.0f3b9C.jpg", "0"),
        ("0_PNG_jpg.rf.0f3b9C.jpg", "0"),
        ("house-0.png", None),
    ],
)
def test_names_that_tools_changed_are_taken_for_the_photo_they_were(tmp_path, file_name, photo):
    write_coco(tmp_path, change=lambda d: d["images"][0].update(file_name=file_name))
    dataset = OwnDataset(tmp_path, "all")
    assert ("0" in dataset.sample_ids) == (photo is not None)
    (doubt,) = dataset.doubts
    name = file_name.replace("\\", "/").rpartition("/")[2].rpartition(".")[0]
    if photo:
        assert f"are taken for those of photos (of 1), such as {name} for 0; see that" in doubt
    else:
        assert "instances.json: labels photos that are not in photos/: house-0; copy" in doubt
        (planes, areas) = dataset.catalogue.outside
        assert "2 of 6 features are of photos that are not in photos/: 1, 2" in planes.what
        assert areas.fids.tolist() == [3]


def test_of_several_copies_of_a_photo_none_is_taken_for_it(tmp_path):
    """Roboflow turns and mirrors them."""

    def with_copies(document):
        document["images"][0]["file_name"] = "0_png.rf.aaaa.jpg"
        document["images"][1]["file_name"] = "0_png.rf.bbbb.jpg"

    write_coco(tmp_path, num_photos=5, change=with_copies)
    assert set(OwnDataset(tmp_path, "all").sample_ids) == {"2", "3", "4"}


def test_planes_of_different_photos_do_not_overlap(tmp_path):
    write_coco(tmp_path / "dataset", num_photos=12)
    report = make_audit(tmp_path)("own")
    assert not found(report, "overlapping features")
    assert not [finding for finding in report.findings if finding.severity == "error"]
