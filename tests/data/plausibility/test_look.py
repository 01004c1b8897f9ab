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
from tests.support.fakes import gable, write_fake_rid, write_rid_image, write_rid_mask
from tests.support.fakes_roofline import draw_fields, write_v73

DATASETS = ("rid", "roofline", "airs")
MASKS = "masks_segments_reviewed"


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
    for folder in (MASKS, "masks_superstructures_reviewed"):
        change_masks(root, folder, halve_and_enlarge)
    found = look("rid", root, tmp_path, superstructures_weight=1).findings
    assert [(one.severity, one.kind, one.what.split(" are")[0]) for one in found] == [
        ("error", "mixed classes", "RID: class numbers of segments"),
        ("error", "mixed classes", "RID: class numbers of superstructures"),
    ]
    assert found[0].path == root


def test_photos_and_masks_stored_from_south_to_north(data, tmp_path):
    root = data("rid")
    change_masks(root, MASKS, lambda mask: mask[::-1])
    change_masks(root, "images_roof_centered_geotiff", lambda image: image[::-1])
    kinds = [one.kind for one in look("rid", root, tmp_path).findings]
    assert kinds == ["assumed scale", "directions are turned"]  # no place is written either


def test_samples_that_cannot_be_read_are_said_at_once(data, tmp_path):
    root = data("rid")
    change_masks(root, MASKS, lambda mask: mask + np.uint8(1))
    [found] = look("rid", root, tmp_path).findings
    assert (found.severity, found.kind) == ("error", "damaged file")
    assert found.what.startswith("RID: 12 of 12 samples looked at cannot be used (")
    assert "class 18 in" in found.what


@pytest.fixture(scope="module")
def in_centimetres(three_ml, tmp_path_factory):
    """Roofline's file with heights in centimetres."""
    root = tmp_path_factory.mktemp("centimetres") / "roofline"
    shutil.copytree(three_ml / "input/data/roofline", root)
    change_heights(root, lambda heights: 100 * heights)
    return root


def test_heights_in_centimetres_are_found_counted_and_cured(in_centimetres, three_ml, tmp_path):
    found = look("roofline", in_centimetres, tmp_path)
    error, warning = found.findings
    assert (error.severity, warning.severity) == ("error", "warning")
    assert error.remedy.startswith("set roofline_depth_unit=centimetres, or")
    assert isinstance(found.heights, HeightCount)
    assert found.heights.num_values == 32 * 224**2
    assert found.heights.dropped_share > 0.3
    assert f"({found.heights.num_dropped:,} of {32 * 224**2:,}) are outside" in warning.what
    # The same targets as from the file in metres.
    ours, theirs = (
        open_reader("roofline", root, "train", Hyperparameters(**settings), tmp_path)
        for root, settings in (
            (in_centimetres, {"roofline_depth_unit": "centimetres"}),
            (three_ml / "input/data/roofline", {}),
        )
    )
    for index in range(4):
        ours_m, theirs_m = (reader[index]["depth"].numpy() for reader in (ours, theirs))
        assert np.allclose(ours_m, theirs_m, rtol=1e-6, equal_nan=True)
    cured = look_at_labels(ours, in_centimetres, Hyperparameters())
    assert (cured.findings, cured.heights.num_dropped) == ((), 0)
    # Where no heights are trained, nothing is spoiled.
    found = look("roofline", in_centimetres, tmp_path, depth_weight=0).findings
    assert [one.severity for one in found] == ["warning", "warning"]


def test_an_audit_finds_the_same_and_says_that_training_would_stop(in_centimetres, tmp_path):
    def audit(**settings):
        scope = AuditScope(Hyperparameters(**settings), tmp_path / "scratch")
        return audit_dataset("roofline", in_centimetres, scope)

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
    change_masks(channels["rid"], MASKS, halve_and_enlarge)
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


def kinds_of(root, tmp_path):
    return [(one.severity, one.kind) for one in look("rid", root, tmp_path).findings]


def test_masks_of_roof_and_no_roof(tmp_path):
    write_fake_rid(tmp_path / "rid")
    for path in (tmp_path / "rid" / MASKS).iterdir():
        write_rid_mask(tmp_path / "rid", path.stem, (gable(64, 0) < 17).astype(np.uint8))
    assert kinds_of(tmp_path / "rid", tmp_path) == [
        ("warning", "class absent"),  # background
        ("error", "class numbers"),
    ]


def test_single_damaged_files_are_left_to_the_quarantine(tmp_path):
    write_fake_rid(tmp_path / "rid")
    (tmp_path / "rid" / MASKS / "3.png").write_bytes(b"")
    write_rid_image(tmp_path / "rid", "7", np.full((3, 64, 64), 90, np.uint8))
    assert kinds_of(tmp_path / "rid", tmp_path) == [("warning", "constant image")]


def test_heights_that_are_all_alike_label_nothing(tmp_path):
    fields = draw_fields(20)
    fields["depths"][:] = 0
    write_v73(tmp_path / "roofline/imdb.mat", fields)
    found = look("roofline", tmp_path / "roofline", tmp_path).findings
    assert [(one.severity, one.kind) for one in found] == [("warning", "nothing labelled")]
    assert found[0].what == "Roofline: in 16 samples looked at no depth is known"


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


def test_refused_masks_name_what_made_their_numbers(data, tmp_path):
    root = data("rid")
    change_masks(root, MASKS, lambda mask: cv2.imdecode(cv2.imencode(".jpg", mask)[1], 0))
    [found] = look("rid", root, tmp_path).findings
    assert found.kind == "damaged file"
    assert "pass through a seam of other numbers, as in JPEG or after cubic" in found.what
    assert found.remedy.startswith("make the masks again with nearest neighbours")
