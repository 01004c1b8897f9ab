import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from rasterio import Affine

from app.data.audit import audit_dataset
from app.data.findings.scope import AuditScope
from app.settings.hyperparameters import Hyperparameters
from tests.support.audit import found, only, warnings_and_errors
from tests.support.fakes import (
    IMAGES,
    LISTS,
    MASKS,
    gable,
    photograph,
    rid_transform,
    write_fake_rid,
    write_raster,
    write_rid_image,
    write_rid_list,
    write_rid_mask,
)
from tests.support.paths import REAL_RID

TRAIN_LIST = "train_filenames_1_rev.txt"


def test_a_clean_rid_folder_is_counted_and_has_nothing_to_act_on(rid, audit):
    report = audit("rid")
    assert warnings_and_errors(report) == []
    assert report.unusable is None
    assert report.counts == {
        "images": 8, "masks": 8, "listed train": 4, "listed val": 2, "listed test": 2, "checked": 8,
    }  # fmt: skip
    assert report.tally.sizes_px == {"64 x 64": 8}
    assert report.crs == {"EPSG:4326": 8}
    masks = [cv2.imread(str(path), cv2.IMREAD_UNCHANGED) for path in (rid / MASKS).iterdir()]
    share = np.mean([mask == 17 for mask in masks])
    assert report.tally.class_shares()["segments"]["background"] == pytest.approx(share)
    assert sum(report.tally.class_shares()["segments"].values()) == pytest.approx(1)
    assert "superstructures" not in report.tally.class_shares()


def test_superstructures_are_audited_where_they_are_trained(rid, audit):
    write_fake_rid(rid, superstructures=True)
    (rid / "masks_superstructures_reviewed/3.png").write_bytes(b"")
    report = audit("rid", superstructures_weight=1.0)
    assert report.counts["superstructure masks"] == 8
    assert report.tally.class_shares()["superstructures"]["chimney"] == pytest.approx(16 / 64**2)
    severity, _, what = only(report, "damaged file")
    assert severity == "error"
    assert "masks_superstructures_reviewed/3.png" in what


def test_files_without_partner_or_list(rid, audit):
    (rid / IMAGES / "2.tif").unlink()
    (rid / MASKS / "9.png").unlink()
    shutil.copy(rid / IMAGES / "3.tif", rid / IMAGES / "100.tif")
    shutil.copy(rid / MASKS / "3.png", rid / MASKS / "101.png")
    for folder, suffix in ((IMAGES, ".tif"), (MASKS, ".png")):
        shutil.copy(rid / folder / f"3{suffix}", rid / folder / f"102{suffix}")
    report = audit("rid")
    assert [finding[:2] for finding in found(report, "mask without image")] == [
        ("error", "2.tif"),
        ("warning", "101.png"),
    ]
    assert [finding[:2] for finding in found(report, "image without mask")] == [
        ("error", "9.png"),
        ("warning", "100.tif"),
    ]
    assert only(report, "in no list")[:2] == ("warning", "102.tif")
    # The copy of 3 is in no list, so it is not among the images compared.
    assert found(report, "identical images") == []


def test_a_listed_sample_without_files(rid, audit):
    write_rid_list(rid, TRAIN_LIST, ["2", "3", "7", "8", "4711"])
    findings = found(audit("rid"), "listed but absent")
    assert [finding[:2] for finding in findings] == [("error", "4711.tif"), ("error", "4711.png")]


def test_a_damaged_file_names_itself_and_the_remedy(rid, audit):
    (rid / MASKS / "7.png").write_bytes(b"hello")
    report = audit("rid")
    severity, name, what = only(report, "damaged file")
    assert (severity, name) == ("error", "7.png")
    assert "got an unreadable file" in what
    finding = next(f for f in report.findings if f.kind == "damaged file")
    assert finding.remedy == "copy the file from the release again"
    assert report.tally.sizes_px.total() == 7


@pytest.mark.parametrize(("roof", "ground", "severity"), [(0, 1, "warning"), (255, 0, "error")])
def test_masks_of_roof_and_no_roof(rid, audit, roof, ground, severity):
    mask = np.where(gable(64, 0) < 17, roof, ground).astype(np.uint8)
    write_rid_mask(rid, "8", mask)
    found_severity, name, what = only(audit("rid"), "masks look binary")
    assert (found_severity, name) == (severity, "8.png")
    assert f"only {min(roof, ground)} and {max(roof, ground)}" in what


def test_masks_that_number_their_classes_otherwise(rid, audit):
    for path in (rid / MASKS).iterdir():
        write_rid_mask(rid, path.stem, np.full((64, 64), 9, np.uint8))  # background of ten classes
    warnings = [what for severity, _, what in found(audit("rid"), "class absent")
                if severity == "warning"]  # fmt: skip
    assert warnings == ["no pixel of class 17 (background) in 8 masks"]


def test_a_direction_absent_from_many_masks(tmp_path, audit, monkeypatch):
    monkeypatch.setattr("app.data.rid.audit._MIN_MASKS_FOR_ALL_CLASSES", 8)
    write_fake_rid(tmp_path / "dataset")
    report = audit("rid")
    absent = {what.split()[4] for severity, _, what in found(report, "class absent")
              if severity == "warning"}  # fmt: skip
    counts = report.tally.segments[:18]
    assert absent == {str(class_id) for class_id in np.flatnonzero(counts == 0)}
    assert "16" in absent  # no flat roof


def test_copies_within_a_split_are_a_known_trait(rid, audit):
    for folder, suffix in ((IMAGES, ".tif"), (MASKS, ".png")):
        shutil.copy(rid / folder / f"2{suffix}", rid / folder / f"7{suffix}")
    severity, name, what = only(audit("rid"), "identical images")
    assert (severity, name) == ("info", "2.tif")
    assert what == "samples 2, 7 of train have the same image"


def test_copies_with_different_masks(rid, audit):
    shutil.copy(rid / IMAGES / "2.tif", rid / IMAGES / "7.tif")
    findings = found(audit("rid"), "identical images")
    assert [severity for severity, _, _ in findings] == ["warning", "info"]
    assert findings[0][2] == "samples 2, 7 have the same image and different masks"


@pytest.mark.parametrize(("rid_split", "severity"), [("disjoint", "info"), ("release", "warning")])
def test_copies_in_two_splits(rid, audit, rid_split, severity):
    for folder, suffix in ((IMAGES, ".tif"), (MASKS, ".png")):
        shutil.copy(rid / folder / f"2{suffix}", rid / folder / f"11{suffix}")
    report = audit("rid", rid_split=rid_split)
    assert only(report, "identical images in two splits") == (
        severity, "2.tif", "samples 2, 11 have the same image, in train and test",
    )  # fmt: skip


@pytest.mark.parametrize(("rid_split", "severity"), [("disjoint", "info"), ("release", "warning")])
def test_splits_that_show_the_same_ground(rid, audit, rid_split, severity):
    place = rid_transform(east_px=600 * 2 + 30)  # half of image 2
    write_rid_image(rid, "12", photograph(gable(64, 0), seed=9), place)
    report = audit("rid", rid_split=rid_split)
    found_severity, name, what = only(report, "splits overlap")
    assert (found_severity, name) == (severity, "test_filenames_1_rev.txt")
    assert what.startswith("1 of 2 test images show ground that train images show")


def test_sizes_scales_and_colours_that_differ(rid, audit):
    write_rid_image(rid, "2", photograph(gable(96, 0), seed=0))
    write_rid_mask(rid, "2", gable(96, 0))
    utm = {"crs": "EPSG:25832", "transform": Affine(0.3, 0, 7e5, 0, -0.3, 5.3e6)}
    write_raster(rid / IMAGES / "3.tif", photograph(gable(64, 0), seed=0), **utm)
    write_raster(rid / IMAGES / "7.tif", np.full((3, 64, 64), 200, np.uint8))
    report = audit("rid")
    assert "7 of 64 x 64, 1 of 96 x 96" in only(report, "mixed sizes")[2]
    assert only(report, "mixed georeference")[:2] == ("warning", "3.tif")
    assert only(report, "no georeference")[:2] == ("warning", "7.tif")
    assert only(report, "constant image")[:2] == ("warning", "7.tif")
    assert only(report, "unusual scale")[2].startswith("1 images of 0.3 m per pixel")


def test_a_scale_that_no_image_says_is_a_warning(rid, audit):
    for path in list((rid / IMAGES).iterdir()):
        with rasterio.open(path) as file:
            write_raster(rid / "images_roof_centered_png" / f"{path.stem}.png", file.read())
    shutil.rmtree(rid / IMAGES)
    report = audit("rid")
    assert len(warnings_and_errors(report)) == 1
    assert only(report, "no georeference")[2] == (
        "8 of 8 images have no georeference, taken as 0.1 m per pixel"
    )


def test_too_many_bad_files_make_a_dataset_unusable_and_are_all_named(rid, audit):
    for sample_id in ("2", "3", "9"):
        (rid / MASKS / f"{sample_id}.png").write_bytes(b"")
    report = audit("rid")
    assert report.unusable.startswith("RID: 3 of 6 samples cannot be used, at most 2 may be bad")
    assert [name for _, name, _ in found(report, "damaged file")] == ["2.png", "3.png", "9.png"]
    assert only(report, "cannot be used")[0] == "error"
    assert audit("rid", max_bad_fraction=0.5).unusable is None


def test_bad_test_files_do_not_stop_training(rid, audit):
    for sample_id in ("11", "12"):
        (rid / MASKS / f"{sample_id}.png").write_bytes(b"")
    report = audit("rid", max_bad_fraction=0.0)
    assert len(found(report, "damaged file")) == 2
    assert report.unusable is None


def test_a_release_without_the_files_of_its_test_list_can_be_trained_on(rid, audit):
    test_list = rid / LISTS / "test_filenames_1_rev.txt"
    for line in test_list.read_text().split():
        for name, suffix in ((IMAGES, ".tif"), (MASKS, ".png")):
            (rid / name / Path(line).with_suffix(suffix)).unlink()
    report = audit("rid")
    assert report.unusable is None
    assert len(found(report, "listed but absent")) == 2 * len(test_list.read_text().split())
    assert report.counts["checked"] > 0


def test_what_training_could_not_open_is_unusable(rid, audit):
    (rid / LISTS / "val_filenames_1_rev.txt").unlink()
    assert "list not found" in audit("rid").unusable
    shutil.rmtree(rid)
    assert "folder not found" in audit("rid").unusable
    rid.mkdir()
    report = audit("rid")
    assert "folder is empty" in report.unusable
    assert report.to_json()["gsd_m"] is None


def test_splits_of_which_nothing_is_left_are_unusable_with_all_else_told(rid, audit):
    for sample_id in ("2", "3", "7", "8"):
        shutil.copy(rid / IMAGES / "11.tif", rid / IMAGES / f"{sample_id}.tif")
    report = audit("rid")
    assert "is left of 4" in report.unusable
    assert report.counts["checked"] == 8
    assert audit("rid", rid_split="release").unusable is None


@pytest.mark.usefixtures("rid")
def test_a_quick_look_reads_few_files_spread_over_all(audit):
    report = audit("rid", max_files=3)
    assert report.counts["checked"] == 3
    assert report.tally.sizes_px.total() == 3


def test_the_report_is_the_same_every_time_and_of_plain_types(rid, audit):
    for sample_id in ("2", "11"):
        (rid / MASKS / f"{sample_id}.png").write_bytes(b"")
    (rid / IMAGES / "100.tif").write_bytes(b"")
    first, second = audit("rid"), audit("rid")
    text = json.dumps(first.to_json(), allow_nan=False)
    assert text == json.dumps(second.to_json(), allow_nan=False)
    findings = json.loads(text)["findings"]
    order = [finding["severity"] for finding in findings]
    assert order == sorted(order, key=("error", "warning", "info").index)
    assert [Path(f["path"]).name for f in findings if f["severity"] == "error"] == [
        "2.png",
        "11.png",
    ]


@pytest.mark.skipif(not REAL_RID.is_dir(), reason="the RID sample is not beside the repository")
def test_real_rid(tmp_path):
    scope = AuditScope(Hyperparameters(superstructures_weight=1.0), tmp_path)
    report = audit_dataset("rid", REAL_RID, scope)
    assert warnings_and_errors(report) == []
    assert report.counts["checked"] == 18
    shares = report.tally.class_shares()
    assert shares["segments"]["background"] == pytest.approx(0.797, abs=1e-3)
    assert min(shares["segments"].values()) > 0
    assert shares["superstructures"]["background"] > 0.9
