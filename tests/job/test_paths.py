import re
import shutil

import pytest

from app.base.errors import ConfigError
from app.job.paths import Paths, read_paths, scratch_folder


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
            paths.checkpoint_config,
            paths.job_config,
            paths.code_dir,
            paths.scratch_dir,
            paths.failure_file,
        )
    ] == [
        "/opt/ml/input/config/hyperparameters.json",
        "/opt/ml/input/config/inputdataconfig.json",
        "/opt/ml/input/config/resourceconfig.json",
        "/opt/ml/input/data",
        "/opt/ml/model",
        "/opt/ml/checkpoints",
        "/opt/ml/input/config/checkpointconfig.json",
        "/opt/ml/input/config/trainingjobconfig.json",
        "/opt/ml/code",
        "/opt/ml/scratch",
        "/opt/ml/output/failure",
    ]


class TestReadPaths:
    @pytest.mark.parametrize(
        ("content", "checkpoint_dir"),
        [
            (None, "{base}/checkpoints"),
            ("{}", "{base}/checkpoints"),
            ('{"S3Uri": "s3://bucket/a", "LocalPath": null}', "{base}/checkpoints"),
            ('{"LocalPath": "/opt/ml/checkpoints/"}', "{base}/checkpoints"),
            ('{"LocalPath": "/opt/ml/kept/here"}', "{base}/kept/here"),
            ('{"LocalPath": "/opt/mlflow"}', "/opt/mlflow"),
            ('{"LocalPath": "/mnt/checkpoints"}', "/mnt/checkpoints"),
        ],
    )
    def test_place_of_checkpoints(self, paths, content, checkpoint_dir):
        if content is not None:
            paths.checkpoint_config.write_text(content)
        found = read_paths(paths.base_dir)
        assert str(found.checkpoint_dir) == checkpoint_dir.format(base=paths.base_dir)
        assert found.model_dir == paths.model_dir

    @pytest.mark.parametrize(
        ("content", "message"),
        [
            ('{"LocalPath": "checkpoints"}', "expected LocalPath to be an absolute path, got 'ch"),
            ('{"LocalPath": ""}', "expected LocalPath to be an absolute path, got ''$"),
            ('{"LocalPath": 3}', "expected LocalPath to be an absolute path, got 3$"),
            ("[]", r"expected a JSON map, got a list$"),
            ("{", "expected a JSON map, got a file that is not JSON: Expecting property name"),
        ],
    )
    def test_refused_content(self, paths, content, message):
        paths.checkpoint_config.write_text(content)
        where = re.escape(str(paths.checkpoint_config))
        with pytest.raises(ConfigError, match=f"^{where}: {message}"):
            read_paths(paths.base_dir)


def test_a_scratch_folder_is_gone_afterwards():
    with scratch_folder() as folder:
        (folder / "index.json").write_text("{}")
    assert not folder.exists()


def test_a_scratch_folder_of_an_owner_takes_over_from_a_killed_process(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    out = tmp_path / "out"
    with scratch_folder(out) as folder, scratch_folder(tmp_path / "other") as other:
        assert folder != other
        kept = shutil.copytree(folder, tmp_path / "kept")
        (kept / "file").write_text("content")
    kept.rename(folder)  # as a killed process leaves it
    with scratch_folder(out) as again:
        assert again == folder
        assert list(again.iterdir()) == []
    assert list(tmp_path.iterdir()) == []


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
