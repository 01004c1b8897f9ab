import errno
import json
import os
from functools import partial
from pathlib import Path

import pytest
from rasterio.errors import RasterioError

from app.base.dataset_names import DatasetName
from app.base.errors import ConfigError
from app.synthetic.sample import Writer, make_sample
from app.synthetic.staging import SplitParameters
from app.synthetic.write_airs import write_airs
from app.synthetic.write_rid import write_rid
from app.synthetic.write_roofline import CropParameters, write_roofline

CHANNEL = {
    "TrainingInputMode": "File",
    "S3DistributionType": "FullyReplicated",
    "RecordWrapperType": "None",
}
RID = {"rid": partial(write_rid, parameters=SplitParameters(2, 1, 1, size_px=32))}
AIRS = {"airs": partial(write_airs, parameters=SplitParameters(2, 1, size_px=64))}


def roofline(num_tiles: int) -> dict[DatasetName, Writer]:
    return {"roofline": partial(write_roofline, parameters=CropParameters(num_tiles, size_px=64))}


def channels_of(base_dir: Path) -> dict[str, object]:
    return json.loads((base_dir / "input/config/inputdataconfig.json").read_text())


def test_make_sample_writes_what_a_job_finds(tmp_path: Path) -> None:
    make_sample(tmp_path, RID | roofline(3) | AIRS)
    data = tmp_path / "input/data"
    assert len(list((data / "rid/masks_segments_reviewed").iterdir())) == 4
    assert {path.name for path in (data / "roofline").iterdir()} == {"imdb.mat", "sample.json"}
    assert len(list((data / "airs/train/image").iterdir())) == 2
    assert len(list((data / "airs/val/image").iterdir())) == 1
    config = tmp_path / "input/config"
    assert {path.name: json.loads(path.read_text()) for path in config.iterdir()} == {
        "hyperparameters.json": {
            "epochs": "5",
            "steps_per_epoch": "36",
            "batch_size": "16",
            "gsd_m": "0.2",
            "crop_size_px": "128",
        },
        "inputdataconfig.json": {"rid": CHANNEL, "roofline": CHANNEL, "airs": CHANNEL},
        "resourceconfig.json": {
            "current_host": "algo-1",
            "hosts": ["algo-1"],
            "network_interface_name": "eth0",
        },
    }

    (config / "hyperparameters.json").write_text('{"epochs": "3"}')
    make_sample(tmp_path, RID | roofline(3) | AIRS)
    assert (config / "hyperparameters.json").read_text() == '{"epochs": "3"}'


def test_a_dataset_without_a_writer_is_no_channel(tmp_path: Path) -> None:
    make_sample(tmp_path / "a", RID)
    assert {path.name for path in (tmp_path / "a/input/data").iterdir()} == {"rid"}
    assert list(channels_of(tmp_path / "a")) == ["rid"]
    make_sample(tmp_path / "b", RID | roofline(2))
    assert list(channels_of(tmp_path / "b")) == ["rid", "roofline"]


def test_numbers_below_zero_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="num_tiles is -1, expected at least 1"):
        make_sample(tmp_path, roofline(-1))


def test_a_place_that_cannot_be_written_ends_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "config/input").mkdir(parents=True)
    (tmp_path / "config/input/config").write_text("x")
    for name, reason in (
        ("file", "Not a directory"),
        ("link/x", "File exists"),
        ("config", "input/config: cannot be written: File exists"),
        ("a" * 300, "File name too long"),
    ):
        with pytest.raises(ConfigError, match=rf"^synthetic sample: .*{reason}; choose another"):
            make_sample(tmp_path / name, RID)
    assert (tmp_path / "file").read_text() == "x"


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), RasterioError("full")])
def test_a_full_disk_ends_in_one_line_and_leaves_nothing(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("app.synthetic.write_rid._write_scene", fail)
    with pytest.raises(ConfigError, match=r"/rid: cannot be written: (No space left|full); "):
        make_sample(tmp_path, RID)
    assert list((tmp_path / "input/data").iterdir()) == []


def test_a_link_to_a_folder_stays_one(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "input/data").mkdir(parents=True)
    (tmp_path / "input/data/rid").symlink_to(tmp_path / "disk")
    make_sample(tmp_path, RID)
    assert (tmp_path / "input/data/rid").is_symlink()
    assert (tmp_path / "disk/sample.json").is_file()


def test_a_folder_whose_name_is_no_utf8_is_refused_before_anything_is_written(tmp_path) -> None:
    base_dir = tmp_path / os.fsdecode(b"\xff")
    with pytest.raises(ConfigError, match=r"udcff/input/data/rid: got a name that is not UTF-8"):
        make_sample(base_dir, RID)
    assert not base_dir.exists()
