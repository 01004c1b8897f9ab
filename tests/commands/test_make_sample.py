"""`make-sample` and its options."""

import json

import pytest

from app.__main__ import main
from app.synthetic.sample import choose_writers
from app.synthetic.staging import SplitParameters
from app.synthetic.write_roofline import CropParameters

CHANNELS = "input/config/inputdataconfig.json"


def read(path):
    return json.loads(path.read_text())


def test_without_options_it_writes_what_it_always_did():
    parameters = {name: writer.keywords["parameters"] for name, writer in choose_writers().items()}
    assert parameters == {
        "rid": SplitParameters(240, 10, 10, seed=0, size_px=512),
        "roofline": CropParameters(300, seed=0, size_px=224),
        "airs": SplitParameters(8, 1, 1, seed=0, size_px=2048),
    }


def test_options_hold_for_every_dataset(tmp_path):
    options = ["--own", "--num-scenes", "4", "--seed", "5", "--size", "64"]
    assert main(["make-sample", "--base-dir", str(tmp_path), *options]) == 0
    stored = {
        path.parent.name: read(path) for path in sorted(tmp_path.glob("input/data/*/sample.json"))
    }
    assert list(stored) == ["airs", "own", "rid", "roofline"]
    assert {each["seed"] for each in stored.values()} == {5}
    assert {each["size_px"] for each in stored.values()} == {64}
    assert stored.pop("roofline")["num_tiles"] == 4
    for each in stored.values():
        assert [each[f"num_{split}"] for split in ("train", "val", "test")] == [2, 1, 1]
    assert list(read(tmp_path / CHANNELS)) == ["rid", "roofline", "airs", "own"]


def test_a_channel_that_a_job_would_not_find_is_said(tmp_path, caplog):
    config = tmp_path / CHANNELS
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"rid": {}, "roofline": {}, "airs": {}}))
    options = ["--own", "--num-scenes", "3", "--size", "64"]
    assert main(["make-sample", "--base-dir", str(tmp_path), *options]) == 0
    (warning,) = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert "inputdataconfig.json was there already and does not name own" in warning


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("--num-scenes", "2", "from 3 to 100000, got '2'"),
        ("--num-scenes", "many", "from 3 to 100000, got 'many'"),
        ("--seed", "-1", "from 0 to 2147483647, got '-1'"),
        ("--size", "32", "from 64 to 2048, got '32'"),
        ("--size", "51.2", "from 64 to 2048, got '51.2'"),
    ],
)
def test_a_value_out_of_range_ends_in_one_line(tmp_path, capsys, option, value, expected):
    with pytest.raises(SystemExit) as end:
        main(["make-sample", "--base-dir", str(tmp_path), f"{option}={value}"])
    assert end.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"argument {option}: expected a whole number {expected}" in last
    assert not any(tmp_path.iterdir())
