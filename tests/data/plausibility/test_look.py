"""The look that a job takes at its datasets, read from files."""

import shutil

import cv2
import h5py
import numpy as np
import pytest

from app.base.errors import DataError
from app.data.audit import audit_dataset
from app.data.datasets import open_datasets, open_reader
from app.data.findings.scope import AuditScope
from app.data.height_scale import HeightCount
from app.data.label_looks import check_looks, log_looks, look_at_datasets, merge_looks
from app.data.plausibility.look import LabelLook, look_at_labels
from app.settings.hyperparameters import Hyperparameters

DATASETS = ("rid", "roofline", "airs")


@pytest.fixture
def data(three_ml, tmp_path):
    """Copies of three small datasets, by name."""

    def copy(name):
        return shutil.copytree(three_ml / "input/data" / name, tmp_path / name)

    return copy


def look(name, root, tmp_path, **settings):
    hyperparameters = Hyperparameters(**settings)
    reader = open_reader(name, root, "train", hyperparameters, tmp_path / "scratch")
    return look_at_labels(reader, root, hyperparameters)


def change_masks(root, folder, change):
    for path in (root / folder).iterdir():
        cv2.imwrite(str(path), change(cv2.imread(str(path), cv2.IMREAD_UNCHANGED)))


def change_heights(root, change):
    with h5py.File(root / "imdb.mat", "r+") as file:
        file["imdb/depths"][:] = change(file["imdb/depths"][:])


def halve_and_enlarge(mask):
    small = cv2.resize(mask, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_NEAREST)
    return cv2.resize(small, mask.shape[::-1], interpolation=cv2.INTER_LINEAR)


@pytest.mark.parametrize("name", DATASETS)
def test_sound_labels_raise_nothing(name, three_ml, tmp_path):
    found = look(name, three_ml / "input/data" / name, tmp_path, superstructures_weight=1)
    assert found.findings == ()
    assert found.num_samples == {"rid": 12, "roofline": 32, "airs": 3}[name]


def test_resampled_masks_are_found_in_both_class_tasks(data, tmp_path):
    root = data("rid")
    for folder in ("masks_segments_reviewed", "masks_superstructures_reviewed"):
        change_masks(root, folder, halve_and_enlarge)
    found = look("rid", root, tmp_path, superstructures_weight=1).findings
    assert [(one.severity, one.kind, one.what.split(" are")[0]) for one in found] == [
        ("error", "mixed classes", "RID: class numbers of segments"),
        ("error", "mixed classes", "RID: class numbers of superstructures"),
    ]
    assert found[0].path == root


def test_photos_and_masks_stored_from_south_to_north(data, tmp_path):
    root = data("rid")
    change_masks(root, "masks_segments_reviewed", lambda mask: mask[::-1])
    change_masks(root, "images_roof_centered_geotiff", lambda image: image[::-1])
    kinds = [one.kind for one in look("rid", root, tmp_path).findings]
    assert kinds == ["directions are turned"]


def test_samples_that_cannot_be_read_are_said_at_once(data, tmp_path):
    root = data("rid")
    change_masks(root, "masks_segments_reviewed", lambda mask: mask + np.uint8(1))
    [found] = look("rid", root, tmp_path).findings
    assert (found.severity, found.kind) == ("error", "damaged file")
    assert found.what.startswith("RID: 12 of 12 samples looked at cannot be used (")
    assert "class 18 in" in found.what


def test_heights_in_centimetres_are_found_counted_and_cured(data, three_ml, tmp_path):
    root = data("roofline")
    change_heights(root, lambda heights: 100 * heights)
    found = look("roofline", root, tmp_path)
    assert [one.remedy.split(",")[0] for one in found.findings if one.severity == "error"] == [
        "set roofline_depth_unit=centimetres"
    ]
    assert isinstance(found.heights, HeightCount)
    assert found.heights.num_values == 32 * 224**2
    assert found.heights.dropped_share > 0.3
    assert any("become unknown" in one.what for one in found.findings)
    cured = look("roofline", root, tmp_path, roofline_depth_unit="centimetres")
    assert cured.findings == ()
    assert cured.heights.num_dropped == 0
    # The same targets as from the file in metres.
    readers = [
        open_reader("roofline", folder, "train", Hyperparameters(**settings), tmp_path)
        for folder, settings in (
            (root, {"roofline_depth_unit": "centimetres"}),
            (three_ml / "input/data/roofline", {}),
        )
    ]
    for index in range(4):
        ours, theirs = (reader[index]["depth"].numpy() for reader in readers)
        assert np.allclose(ours, theirs, rtol=1e-6, equal_nan=True)


def test_what_spoils_no_trained_task_is_a_warning(data, tmp_path):
    root = data("roofline")
    change_heights(root, lambda heights: 100 * heights)
    found = look("roofline", root, tmp_path, depth_weight=0).findings
    assert {one.severity for one in found} == {"warning"}


def test_an_audit_finds_the_same_and_says_that_training_would_stop(data, tmp_path):
    root = data("roofline")
    change_heights(root, lambda heights: 100 * heights)

    def audit(**settings):
        scope = AuditScope(Hyperparameters(**settings), tmp_path / "scratch")
        return audit_dataset("roofline", root, scope)

    report = audit()
    assert "roofline_depth_unit=centimetres" in report.unusable
    assert report.unusable.endswith("set allow_findings=true to train regardless")
    unusual = [one for one in report.findings if one.kind == "unusual heights"]
    assert [one.severity for one in unusual] == ["error", "warning"]
    # Over all 40 crops, not those looked at.
    count = report.to_json()["height_values"]
    assert count["num_values"] == 40 * 224**2
    assert f"({count['num_dropped']:,} of {count['num_values']:,}) are outside" in unusual[1].what
    allowed = audit(allow_findings=True)
    assert allowed.unusable is None
    assert [one.kind for one in allowed.findings] == [one.kind for one in report.findings]


def test_a_job_stops_with_all_errors_at_once_unless_they_are_allowed(data, tmp_path, caplog):
    channels = {name: data(name) for name in ("rid", "roofline")}
    change_masks(channels["rid"], "masks_segments_reviewed", halve_and_enlarge)
    change_heights(channels["roofline"], lambda heights: heights + 30)
    settings = Hyperparameters()
    datasets = open_datasets(channels, settings, tmp_path / "scratch")
    looks = look_at_datasets(datasets, channels, settings)
    with pytest.raises(DataError) as caught:
        check_looks(looks, settings)
    text = str(caught.value)
    assert "RID: class numbers of segments are mixed" in text
    assert "Roofline: the lowest heights" in text
    assert text.endswith("; or set allow_findings=true to train regardless")
    check_looks(looks, Hyperparameters(allow_findings=True))
    log_looks(looks)
    levels = [record.levelname for record in caplog.records]
    assert levels.count("ERROR") == 2
    assert "roofline_depth_offset_m=-30" in caplog.text


def test_a_look_leaves_out_what_is_not_trained_on(data, tmp_path):
    root = data("rid")
    settings = Hyperparameters(max_samples=4)
    datasets = open_datasets({"rid": root}, settings, tmp_path / "scratch")
    looks = look_at_datasets(datasets, {"rid": root}, settings)
    assert looks["rid"]["num_samples"] == 4


def test_findings_of_several_hosts_come_once():
    plain = LabelLook("rid", 32).to_json()
    one, other = ({**plain, "findings": [{"what": text}]} for text in ("a", "b"))
    merged = merge_looks([{"rid": one}, {"rid": one}, {"rid": other}])
    assert merged["rid"]["findings"] == [{"what": "a"}, {"what": "b"}]
