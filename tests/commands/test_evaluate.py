"""`python -m app evaluate`: what it refuses at once, and what it writes into model.json."""

import json
import sys

import pytest

from app.__main__ import main
from app.roofs.calibration import CALIBRATION_KEY, UNMEASURED
from tests.support.models import write_model
from tests.support.own import write_village

pytestmark = pytest.mark.usefixtures("shallow")


@pytest.fixture
def model_dir(tmp_path):
    return write_model(tmp_path / "model", sharpness=10, crop_size_px=256)


def run(model_dir, folder, *arguments):
    return main(
        [
            "evaluate",
            *(
                "--model",
                str(model_dir),
                "--own",
                str(folder),
                "--out",
                str(folder.parent / "out.json"),
            ),
            *("--set=num_workers=0", "--set=precision=fp32"),
            *arguments,
        ]
    )


def test_what_would_be_measured_in_vain_is_refused(tmp_path, model_dir, capsys):
    assert run(model_dir, tmp_path, "--calibrate") == 2
    assert "--calibrate: got no --vectors" in capsys.readouterr().out
    assert run(model_dir, tmp_path, "--calibrate", "--vectors", "--split=train") == 2
    assert "--calibrate: got --split train, of photos that the model" in capsys.readouterr().out


def test_an_absent_folder_is_told_without_torch(tmp_path, model_dir, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "app.inference.evaluate", None)  # an import of it fails
    assert run(model_dir, tmp_path / "absent", "--rid", __file__) == 2
    output = capsys.readouterr().out
    assert (
        f"--rid {__file__}: not a folder; correct the path; --own {tmp_path}/absent: no" in output
    )
    assert main(["evaluate", "--own", str(tmp_path), "--model", str(tmp_path / "absent")]) == 2
    assert "got nothing there, expected a model folder" in capsys.readouterr().out


def test_a_model_is_calibrated_and_states_it(tmp_path, model_dir, capsys):
    village = write_village(tmp_path / "village", num_photos=2)
    (village / "sample.json").write_text('{"generator_version": 1}')  # as make-sample draws one
    before = (model_dir / "model.json").read_text()
    assert run(model_dir, village, "--vectors", "--split=all", "--tta=2") == 0
    first = json.loads((village.parent / "out.json").read_text())
    assert first["tta"] == 2
    assert (model_dir / "model.json").read_text() == before
    output = capsys.readouterr().out
    assert "roofs found in the predictions of own, all:" in output
    assert "Own roofs (synthetic)" in output
    assert first["synthetic"] == ["own"]
    page = (village.parent / "out.html").read_text()
    assert "Own roofs (synthetic), 2 photos" in page
    assert page.count('<article class="panel"') == 2  # the village's two photos
    assert run(model_dir, village, "--vectors", "--split=all", "--calibrate") == 0
    assert "calibration, in model.json: " in capsys.readouterr().out
    described = json.loads((model_dir / "model.json").read_text())
    calibration = described.pop(CALIBRATION_KEY)
    assert described == json.loads(before)
    assert calibration.keys() == {*UNMEASURED.to_json(), "data", "split", "tta"}
    assert (calibration["data"], calibration["split"]) == ("own", "all")
    # What it says is what is stated from now on.
    calibration |= {"confidence_intercept": 20.0}
    (model_dir / "model.json").write_text(json.dumps({**described, CALIBRATION_KEY: calibration}))
    assert run(model_dir, village, "--vectors", "--split=all") == 0
    found = json.loads((village.parent / "out.json").read_text())["metrics"]
    share_wrong = found["all/planes/confidence_error"]
    assert share_wrong["value"] is None or share_wrong["value"] >= 0


def test_published_datasets_are_scored_by_their_own_protocols_too(
    tmp_path, three_ml, model_dir, capsys
):
    data, out = three_ml / "input/data", tmp_path / "scores.json"
    words = [f"--{name}={data / name}" for name in ("rid", "roofline", "airs")]
    settings = ("--set=num_workers=0", "--set=precision=fp32", "--set=max_val_samples=2")
    assert main(["evaluate", f"--model={model_dir}", f"--out={out}", *words, *settings]) == 0
    printed = capsys.readouterr().out
    metrics = json.loads(out.read_text())["metrics"]

    def value(name):
        found = metrics[f"val/{name}"]["value"]
        return "-" if found is None else f"{found:.3f}"

    assert f"  RID: mIoU {value('rid/segments/per_image_miou')}, mean over images" in printed
    assert f"pixels of all photos pooled: IoU {value('airs/segments/roof_iou')}, prec" in printed
    lines = [value(f"roofline/lines/{kind}_3px") for kind in ("recall", "precision")]
    assert (
        f"  Roofline: completeness, correctness, quality within 3 px: all {lines[0]}, " in printed
    )
    assert lines[0] != "-"


def test_scores_lie_beside_the_model_unless_named(tmp_path, model_dir, monkeypatch):
    asked = []
    monkeypatch.setattr("app.inference.evaluate.evaluate_model", lambda *given: asked.append(given))
    words = ["evaluate", "--own", str(tmp_path), "--rid", str(tmp_path), "--split", "test"]
    for path in (model_dir, tmp_path, model_dir / "model.json"):
        assert main([*words, "--model", str(path)]) == 0
    assert {given[0] for given in asked} == {model_dir}
    assert {given[3] for given in asked} == {tmp_path / "scores/rid-own-test.json"}


def test_the_page_and_the_numbers_need_two_names(tmp_path, model_dir, capsys):
    words = ["evaluate", "--own", str(tmp_path), "--model", str(model_dir)]
    assert main([*words, "--out", str(tmp_path / "out.html")]) == 2
    assert "got the name of a page, expected that of a JSON file" in capsys.readouterr().out
