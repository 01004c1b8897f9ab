"""`python -m app compare`: runs side by side."""

import json

import pytest

from app.__main__ import main
from tests.support.report import HOSTILE, Page


def write_run(folder, roof_iou, *, num_val=30, curve=(0.1, 0.2), is_drawn=False, **settings):
    """A run's tree, with what compare reads of it."""
    model_dir = folder / "model"
    model_dir.mkdir(parents=True)
    entries = {
        "val/segments/roof_iou": (roof_iou, "", "target roof pixels"),
        "val/segments/azimuth_error_deg": (40.0, "degrees", "pitched pixels"),
        "val/depth/rmse_m": (1.0, "m", "pixels"),
    }
    metrics = {
        "hyperparameters": {"seed": 0, "epochs": 2, "resume": "auto", **settings},
        "versions": {"torch": "2"},
        "datasets": {"rid": {"num_train": 100, "num_val": num_val, "synthetic": is_drawn}},
        "duration_s": 90.0,
        "metrics": {
            name: {"value": value, "unit": unit, "support": 1000, "support_unit": of}
            for name, (value, unit, of) in entries.items()
        },
    }
    (model_dir / "metrics.json").write_text(json.dumps(metrics))
    rows = [
        {
            "epoch": epoch,
            "step": 10 * epoch,
            "train/loss": 1 / epoch,
            "val/segments/roof_iou": value,
        }
        for epoch, value in enumerate(curve, start=1)
    ]
    (model_dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def compare(capsys, *paths, code=0):
    assert main(["compare", *map(str, paths)]) == code
    return capsys.readouterr().out


def test_two_runs_are_told_apart_by_support(tmp_path, capsys):
    first = write_run(tmp_path / "first", 0.5)
    second = write_run(tmp_path / "second", 0.9, epochs=9)
    lines = compare(capsys, first, second / "model").splitlines()
    assert lines[0].split() == ["first", "second"]
    assert lines[1:5] == [
        "  RID",
        "    roof IoU        0.500   0.900         better",
        "    azimuth error  40 deg  40 deg  may be chance",
        "    height RMSE    1.00 m  1.00 m      not known",
    ]
    assert "second beside first: 1 better, 1 may be chance, 1 not known." in lines
    assert ["epochs", "2", "9"] in [line.split() for line in lines]
    assert not any("resume" in line or "version" in line for line in lines)
    page = Page((tmp_path / "compare.html").read_text())
    assert "roof IoU0.500" in page.text
    assert "+0.4; up to 0.21 may be chance" in page.text


def test_scores_on_drawn_photos_are_called_synthetic(tmp_path, capsys):
    drawn = write_run(tmp_path / "drawn", 0.5, is_drawn=True)
    again = write_run(tmp_path / "again", 0.5, is_drawn=True, epochs=9)
    assert compare(capsys, drawn, again).splitlines()[1] == "  RID (synthetic)"
    lines = compare(capsys, drawn, write_run(tmp_path / "real", 0.5)).splitlines()
    assert lines[1] == "  RID (synthetic in drawn)"
    assert "It was scored on other photos (rid 30): a difference may be theirs." in lines


def test_runs_that_differ_in_their_seed_are_one_column(tmp_path, capsys):
    paths = [
        write_run(tmp_path / name, value, seed=seed, learning_rate=rate)
        for name, value, seed, rate in (
            ("a0", 0.50, 0, 0.01), ("a1", 0.52, 1, 0.01), ("b0", 0.60, 0, 0.1), ("b1", 0.62, 1, 0.1)
        )
    ]  # fmt: skip
    lines = compare(capsys, *paths).splitlines()
    assert lines[0].split() == ["a0", "x", "2", "b0", "x", "2"]
    assert lines[2].split() == [
        "roof", "IoU", "0.510", "+-", "0.014", "0.610", "+-", "0.014", "better"
    ]  # fmt: skip
    assert "Chance is estimated from the spread over seeds (Student's t, 95 %)." in lines


def test_other_photos_are_noticed(tmp_path, capsys):
    paths = [write_run(tmp_path / name, 0.5, num_val=num) for name, num in (("a", 30), ("b", 3))]
    output = compare(capsys, *paths)
    assert "It was scored on other photos (rid 3): a difference may be theirs." in output


def test_names_are_told_apart_and_escaped(tmp_path, capsys):
    hostile = tmp_path / "x" / HOSTILE.replace("/", "_")
    paths = [write_run(folder, 0.5) for folder in (hostile, tmp_path / "y" / hostile.name)]
    output = compare(capsys, *paths, "--out", tmp_path / "page.html")
    assert f"{hostile.name} (2)" in output
    html = (tmp_path / "page.html").read_text()
    assert "<script" not in html
    assert f"{hostile.name} (2)" in Page(html).text


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["good"], "compare: got one run, expected two or more"),
        (["good", "absent"], "absent: holds no results of a run (No such file or directory)"),
        (["good", "damaged"], "damaged: holds no results of a run (Expecting value"),
    ],
)
def test_what_cannot_be_compared_is_one_line(tmp_path, capsys, names, message):
    write_run(tmp_path / "good", 0.5)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged/metrics.json").write_text("")
    output = compare(capsys, *(tmp_path / name for name in names), code=2)
    assert message in output
    assert not (tmp_path / "compare.html").exists()
