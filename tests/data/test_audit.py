import shutil

import numpy as np
import pytest
from rasterio import Affine

from app.data.airs.dataset import Tile
from tests.support.audit import found, only, warnings_and_errors
from tests.support.fakes_airs import (
    GEO_TAGS,
    houses,
    write_list,
    write_mirror,
    write_original,
    write_tile,
)
from tests.support.fakes_roofline import draw_fields, write_v73

MASKS = "masks_segments_reviewed"


@pytest.fixture
def airs(tmp_path):
    """Tiles 1, 2 and 11 to train on, 3 for val, 4 for test, each on its own ground."""
    root = tmp_path / "dataset"
    write_mirror(root)
    for split, numbers in (("train", (1, 2, 11)), ("val", (3,)), ("test", (4,))):
        for number in numbers:
            place_tile(root, split, number)
    return root


def place_tile(root, split, number, *, east_m=None, roof=None, **options):
    east_m = 100 * number if east_m is None else east_m
    transform = Affine(0.075, 0, 1_570_000 + east_m, 0, -0.075, 5_180_000)
    geo_tags = {**GEO_TAGS, "transform": transform, "compress": "deflate"}
    roof = houses(160) if roof is None else roof
    name = f"christchurch_{number}"
    return write_tile(root / split, name, roof, seed=number, options=geo_tags, **options)


def write_mat(tmp_path, change=None, num_samples=20):
    """A file that holds all three kinds of lines, with a change."""
    fields = draw_fields(num_samples)
    fields["elements"][25:, :9, 2] = 1
    if change is not None:
        change(fields)
    write_v73(tmp_path / "dataset/imdb.mat", fields)


# --- Roofline ---


def test_a_clean_roofline_file(tmp_path, audit):
    write_mat(tmp_path)
    report = audit("roofline")
    assert warnings_and_errors(report) == []
    assert report.counts == {"train": 16, "val": 2, "test": 2, "checked": 20}
    assert report.layout == (
        "images 32 x 32 x 3 x 20 of float32; elements 32 x 32 x 3 x 20 of float32; "
        "depths 32 x 32 x 20 of float32"
    )
    lowest_m, highest_m = report.tally.height_range_m
    assert 0 <= lowest_m < 0.1
    assert 8.9 < highest_m <= 9
    assert report.tally.known_shares()["depth"] == 1
    assert report.tally.known_shares()["lines/valley"] == 0
    assert report.tally.gsds_m == [0.05] * 20


def test_crops_of_roofline_that_teach_nothing_or_the_same(tmp_path, audit):
    def change(fields):
        fields["images"][..., 3] = 70
        fields["depths"][..., 4] = np.nan
        fields["depths"][..., 5] = 3
        fields["images"][..., 8] = fields["images"][..., 9]
        fields["images"][0, 0, 0, 12] = np.inf
        fields["elements"][..., 15] = 0
        fields["elements"][:, :, 2] = 0

    write_mat(tmp_path, change)
    report = audit("roofline")
    assert only(report, "constant image")[2].startswith("roofline:4:")
    assert [what.split(":")[1] for _, _, what in found(report, "nothing labelled")] == ["5", "6"]
    damaged = only(report, "damaged file")
    assert damaged[:2] == ("error", "imdb.mat")
    assert "roofline:13" in damaged[2]
    assert found(report, "class absent") == [
        ("warning", "imdb.mat", "no hip in 19 crops"),
        ("info", "imdb.mat", "1 of 19 crops have no line"),
    ]
    copies = found(report, "identical images") + found(report, "identical images in two splits")
    assert len(copies) == 1
    assert copies[0][2].startswith("roofline:9, roofline:10 have the same image")
    assert report.unusable is None


def test_copies_in_two_splits_of_roofline(tmp_path, audit):
    def change(fields):
        fields["images"][..., :] = fields["images"][..., :1]

    write_mat(tmp_path, change)
    severity, _, what = only(audit("roofline"), "identical images in two splits")
    assert severity == "warning"
    assert what.endswith("in train and val and test")


def test_a_roofline_folder_without_the_file(tmp_path, audit):
    (tmp_path / "dataset").mkdir()
    assert "no .mat file" in audit("roofline").unusable


# --- AIRS ---


@pytest.mark.usefixtures("airs")
def test_a_clean_airs_folder(audit):
    report = audit("airs")
    assert warnings_and_errors(report) == []
    assert report.counts == {"train": 3, "val": 1, "test": 1, "checked": 5}
    assert report.tally.sizes_px == {"160 x 160": 5}
    assert report.crs == {"EPSG:2193": 5}
    share = houses(160).mean()
    assert report.tally.class_shares()["segments"]["some roof"] == pytest.approx(share)
    assert only(report, "left out")[2] == "5 pictures of labels (*_vis.tif) are left out"


def test_the_original_release_of_airs_has_no_labels_of_its_test_tiles(tmp_path, audit):
    write_original(tmp_path / "dataset")
    report = audit("airs")
    assert report.unusable is None
    assert report.counts == {"train": 2, "val": 1, "checked": 3}


def test_tiles_are_read_by_rows_and_never_whole(airs, audit, monkeypatch):
    place_tile(airs, "train", 2, roof=houses(1300, 160))
    rows = []
    read = Tile.read

    def spy(tile, window, folder):
        rows.append((tile.files.name, window.row_off, window.height))
        return read(tile, window, folder)

    monkeypatch.setattr(Tile, "read", spy)
    report = audit("airs")
    of_tile = [row[1:] for row in rows if row[0] == "christchurch_2"]
    assert of_tile[:3] == [(0, 512), (512, 512), (1024, 276)]
    # Then the look that a job takes: windows of 51.2 m.
    assert [height for _, height in of_tile[3:]] == [683, 683]
    num_roof = 4 * houses(160).sum() + houses(1300, 160).sum()
    assert report.tally.segments[18] == num_roof
    assert "1 of 160 x 1300" in only(report, "mixed sizes")[2]


def test_labels_of_other_values(airs, audit):
    place_tile(airs, "train", 2, roof_value=255)
    severity, _, what = only(audit("airs"), "label values")
    assert severity == "info"
    assert what.startswith("roof is 1 in 4 and 255 in 1 labels")


def test_a_tile_without_roof_is_worth_an_info_and_none_with_roof_a_warning(airs, audit):
    place_tile(airs, "train", 2, roof=np.zeros((160, 160), np.uint8))
    assert only(audit("airs"), "class absent")[:2] == ("info", "christchurch_2.tif")
    for split, numbers in (("train", (1, 11)), ("val", (3,)), ("test", (4,))):
        for number in numbers:
            place_tile(airs, split, number, roof=np.zeros((160, 160), np.uint8))
    severity, _, what = only(audit("airs"), "class absent")
    assert (severity, what) == ("warning", "no roof in any of 5 labels")


def test_tiles_in_no_list_and_in_two_splits(airs, audit):
    place_tile(airs, "train", 7)
    for kind in ("image", "label"):
        shutil.copy(
            airs / f"train/{kind}/christchurch_1.tif", airs / f"val/{kind}/christchurch_1.tif"
        )
    write_list(airs / "val.txt", ["christchurch_3", "christchurch_1"])
    report = audit("airs")
    assert only(report, "in no list")[:2] == ("warning", "christchurch_7.tif")
    assert only(report, "same tile in two splits") == (
        "warning", "christchurch_1.tif", "tile christchurch_1 is in train and in val",
    )  # fmt: skip
    assert only(report, "identical images in two splits")[0] == "warning"
    assert only(report, "splits overlap")[2] == (
        "a train tile shows 100% of the ground of this val tile"
    )


def test_tiles_that_share_their_edges_are_a_known_trait(airs, audit):
    place_tile(airs, "val", 3, east_m=200 + 0.9 * 160 * 0.075)  # beside tile 2
    severity, name, what = only(audit("airs"), "splits overlap")
    assert (severity, name) == ("info", "val")
    assert what == "1 of 1 val tiles share their edges with train tiles"


def test_tiles_that_lack_a_file_or_are_damaged(airs, audit):
    (airs / "train/image/christchurch_1.tif").unlink()
    label_path = airs / "train/label/christchurch_1.tif"
    label_path.rename(label_path.with_suffix(".TIFF"))
    (airs / "val/label/christchurch_3.tif").write_bytes(b"")
    place_tile(airs, "val", 5)
    write_list(airs / "val.txt", ["christchurch_3", "christchurch_5"])
    report = audit("airs", max_bad_fraction=0.5)
    assert only(report, "mask without image")[:2] == ("error", "christchurch_1.tif")
    assert only(report, "damaged file")[:2] == ("error", "christchurch_3.tif")
    assert report.unusable is None
    assert audit("airs", max_bad_fraction=0.2).unusable.startswith("AIRS: 2 of 5 samples cannot")


def test_resized_tiles_have_an_unusual_scale(airs, audit):
    for split, numbers in (("train", (1, 2, 11)), ("val", (3,)), ("test", (4,))):
        for number in numbers:
            tags = {**GEO_TAGS, "transform": Affine(0.73, 0, 1e6 + 999 * number, 0, -0.73, 5e6)}
            write_tile(airs / split, f"christchurch_{number}", houses(160), options=tags)
    severity, _, what = only(audit("airs"), "unusual scale")
    assert severity == "warning"
    assert what == "5 images of 0.727 m per pixel, where the release has 0.075"
