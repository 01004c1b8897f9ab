import json
import logging
import os
import re
from pathlib import Path

import pytest

from app.errors import ConfigError
from app.sagemaker import (
    Paths,
    read_channels,
    read_hyperparameters,
    scratch_folder,
    write_failure,
)

# As the platform writes them: no S3 address in it.
FILE_CHANNEL = {
    "TrainingInputMode": "File",
    "S3DistributionType": "FullyReplicated",
    "RecordWrapperType": "None",
}


@pytest.fixture
def paths(tmp_path):
    paths = Paths(tmp_path / "ml")
    paths.hyperparameters.parent.mkdir(parents=True)
    return paths


def add_channel(paths, name):
    folder = paths.data_dir / name
    folder.mkdir(parents=True)
    (folder / "file.txt").write_text("x")
    # The platform leaves these beside the folders.
    (paths.data_dir / f"{name}-manifest").write_text("")
    return folder


def write_channels(paths, channels):
    paths.input_data_config.write_text(json.dumps(channels))


def test_paths_of_the_platform():
    paths = Paths()
    assert [
        str(path)
        for path in (
            paths.hyperparameters,
            paths.input_data_config,
            paths.resource_config,
            paths.data_dir,
            paths.model_dir,
            paths.checkpoint_dir,
            paths.failure_file,
            paths.output_data_dir,
        )
    ] == [
        "/opt/ml/input/config/hyperparameters.json",
        "/opt/ml/input/config/inputdataconfig.json",
        "/opt/ml/input/config/resourceconfig.json",
        "/opt/ml/input/data",
        "/opt/ml/model",
        "/opt/ml/checkpoints",
        "/opt/ml/output/failure",
        "/opt/ml/output/data",
    ]


class TestReadHyperparameters:
    def test_values_stay_as_sent(self, paths):
        paths.hyperparameters.write_text(
            '\ufeff{"epochs": "3", "device": "\\"cpu\\"", "seed": 1, "max_samples": null}',
            encoding="utf-8",
        )
        assert read_hyperparameters(paths) == {
            "epochs": "3",
            "device": '"cpu"',
            "seed": 1,
            "max_samples": None,
        }

    def test_missing_file_means_none_given(self, paths):
        assert read_hyperparameters(paths) == {}

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            (b"{'a': 1}", "expected a JSON map, got a file that is not JSON: Expecting property"),
            (b"", "expected a JSON map, got a file that is not JSON: Expecting value"),
            (b"\xff\xfe{", "expected a JSON map, got a file that is not JSON: 'utf-8' codec"),
            (b"[1, 2]", r"expected a JSON map, got \[1, 2\]$"),
            (
                b'{"a": {"b": 1}, "c": [2], "d": "e"}',
                r"'a' must be a text or a number, got {'b': 1}; \S+: 'c' must be a text or a "
                r"number, got \[2\]$",
            ),
        ],
    )
    def test_refused_content(self, paths, content, message):
        paths.hyperparameters.write_bytes(content)
        where = re.escape(str(paths.hyperparameters))
        with pytest.raises(ConfigError, match=f"^{where}: {message}"):
            read_hyperparameters(paths)

    def test_folder_in_place_of_the_file(self, paths):
        # What Docker makes of a bind mount whose source is missing.
        paths.hyperparameters.mkdir()
        with pytest.raises(ConfigError, match=r"hyperparameters\.json: cannot be read: Is a dir"):
            read_hyperparameters(paths)


class TestReadChannels:
    def test_folders_by_name(self, paths):
        rid, pretrained = add_channel(paths, "rid"), add_channel(paths, "pretrained")
        write_channels(
            paths,
            {"rid": FILE_CHANNEL, "pretrained": {"TrainingInputMode": "FastFile"}},
        )
        assert read_channels(paths) == {"rid": rid, "pretrained": pretrained}

    def test_folders_that_are_no_channel_are_not_read(self, paths):
        rid = add_channel(paths, "rid")
        add_channel(paths, "pretrained")
        write_channels(paths, {"rid": FILE_CHANNEL})
        assert read_channels(paths) == {"rid": rid}

    def test_missing_file(self, paths):
        with pytest.raises(
            ConfigError,
            match=r"inputdataconfig\.json: no such file, so the job has no data channels; start "
            r"the job with a channel named rid or roofline or airs, or pass --rid, --roofline or "
            r"--airs DIR$",
        ):
            read_channels(paths)

    def test_pipe_mode(self, paths):
        add_channel(paths, "rid")
        write_channels(paths, {"rid": FILE_CHANNEL | {"TrainingInputMode": "Pipe"}})
        with pytest.raises(
            ConfigError,
            match=r"^channel rid: input mode 'Pipe' is not supported, since samples are read in "
            r"random order; set TrainingInputMode to File or FastFile$",
        ):
            read_channels(paths)

    def test_unknown_channels(self, paths):
        add_channel(paths, "rid")
        write_channels(paths, {"rid": FILE_CHANNEL, "train": {}, "my-val": {}})
        with pytest.raises(
            ConfigError,
            match=r"unknown channels train, my-val: expected some of rid, roofline, airs, "
            r"pretrained, found rid, train, my-val$",
        ):
            read_channels(paths)

    @pytest.mark.parametrize(
        ("channels", "found"), [({}, "none"), ({"pretrained": {}}, "pretrained")]
    )
    def test_no_dataset(self, paths, channels, found):
        add_channel(paths, "pretrained")
        write_channels(paths, channels)
        with pytest.raises(
            ConfigError,
            match="no dataset to train on: expected a channel named rid or roofline or airs, "
            f"found {found}$",
        ):
            read_channels(paths)

    def test_all_problems_at_once(self, paths):
        (paths.data_dir / "rid").mkdir(parents=True)
        write_channels(paths, {"rid": FILE_CHANNEL, "pretrained": FILE_CHANNEL, "extra": "File"})
        with pytest.raises(
            ConfigError,
            match=r"unknown channels extra: .*; "
            r"channel rid: folder \S+/input/data/rid is empty; check the channel's S3 prefix; "
            r"channel pretrained: cannot read folder \S+/pretrained: No such file or directory$",
        ):
            read_channels(paths)

    def test_channel_that_is_no_map(self, paths):
        add_channel(paths, "rid")
        write_channels(paths, {"rid": "File"})
        with pytest.raises(
            ConfigError, match=r"^channel rid: expected a map with TrainingInputMode, got 'File'$"
        ):
            read_channels(paths)

    def test_file_that_is_no_map(self, paths):
        paths.input_data_config.write_text("rid")
        with pytest.raises(ConfigError, match=r"inputdataconfig\.json: expected a JSON map, got a"):
            read_channels(paths)


class TestWriteFailure:
    def test_message_stands_first(self, tmp_path):
        paths = Paths(tmp_path / "ml")
        write_failure(paths, "RID: no images", "Traceback:\n  here")
        assert paths.failure_file.read_text() == "RID: no images\n\nTraceback:\n  here"
        assert list(paths.failure_file.parent.iterdir()) == [paths.failure_file]

    def test_message_alone_replaces_an_older_one(self, tmp_path):
        paths = Paths(tmp_path)
        write_failure(paths, "first", "trace")
        write_failure(paths, "second")
        assert paths.failure_file.read_text() == "second\n"

    @pytest.mark.parametrize(
        ("num_chars", "expected"), [(1000, "a" * 1000), (1001, "a" * 997 + "...")]
    )
    def test_long_message_is_cut(self, tmp_path, num_chars, expected):
        paths = Paths(tmp_path)
        write_failure(paths, "a" * num_chars, "trace")
        assert paths.failure_file.read_text() == f"{expected}\n\ntrace"

    def test_file_name_that_is_no_unicode(self, tmp_path):
        paths = Paths(tmp_path)
        write_failure(paths, os.fsdecode(b"bad file: \xff.tif"))
        assert paths.failure_file.read_text() == "bad file: \\udcff.tif\n"

    def test_unwritable_folder_is_logged(self, tmp_path, caplog):
        (tmp_path / "output").write_text("a file where the folder should be")
        with caplog.at_level(logging.ERROR, logger="app"):
            write_failure(Paths(tmp_path), "RID: no images")
        assert "output/failure: cannot write the reason of the failure: " in caplog.text
        assert Path(tmp_path / "output").is_file()


def test_a_scratch_folder_is_gone_afterwards():
    with scratch_folder() as folder:
        (folder / "index.json").write_text("{}")
    assert not folder.exists()


def test_a_scratch_folder_that_cannot_be_made_names_the_setting(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with (
        pytest.raises(
            ConfigError,
            match=r"^no temporary folder can be made: No such file or directory; set TMPDIR to ",
        ),
        scratch_folder(),
    ):
        raise AssertionError("the folder was made")
