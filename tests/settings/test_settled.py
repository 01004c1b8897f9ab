import json

import pytest

from app.settings.settled import recall, remember


@pytest.fixture
def folder(tmp_path):
    """A folder of a run that has a checkpoint."""
    (tmp_path / "step-00000010.pt").touch()
    return tmp_path


def test_what_was_settled_is_recalled_by_name(folder):
    remember(folder, {"batch_size": 4}, None, is_resumed=False)
    remember(folder, {"gradients": {"chosen": 0.5}}, "job-1", is_resumed=True)
    remember(folder, {"batch_size": 8}, "job-2", is_resumed=True)
    assert recall(folder, "batch_size", "auto") == 8
    assert recall(folder, "gradients", "force") == {"chosen": 0.5}
    assert recall(folder, "epochs", "auto") is None
    assert json.loads((folder / "settled.json").read_text()) == {
        "batch_size": 8, "gradients": {"chosen": 0.5}, "job": "job-2",
    }  # fmt: skip
    assert len(list(folder.iterdir())) == 2  # nothing half-written is left


def test_another_run_takes_over_nothing(folder):
    remember(folder, {"batch_size": 4}, "job-1", is_resumed=False)
    remember(folder, {}, "job-1", is_resumed=False)
    assert recall(folder, "batch_size", "auto") is None


def test_where_nothing_was_settled_nothing_is_written(folder):
    remember(folder, {}, None, is_resumed=False)
    assert not (folder / "settled.json").exists()
    remember(folder, {}, "job-1", is_resumed=True)
    assert recall(folder, "job", "auto") == "job-1"
    remember(folder, {}, None, is_resumed=True)
    assert recall(folder, "job", "auto") is None


def test_what_is_known_is_not_written_again(folder):
    remember(folder, {"batch_size": 4}, None, is_resumed=False)
    before = (folder / "settled.json").stat()
    remember(folder, {"batch_size": 4}, None, is_resumed=True)
    assert (folder / "settled.json").stat().st_ino == before.st_ino


def test_without_a_checkpoint_there_is_nothing_to_recall(folder, tmp_path):
    remember(folder, {"batch_size": 4}, None, is_resumed=False)
    (folder / "step-00000010.pt").unlink()
    assert recall(folder, "batch_size", "auto") is None
    assert recall(tmp_path / "nowhere", "batch_size", "auto") is None


@pytest.mark.parametrize(
    ("of_run", "of_start", "expected"),
    [("a", "a", 4), ("a", "b", None), ("a", None, None), (None, "a", None), (None, None, None)],
)
def test_a_job_that_never_resumes_others_recalls_its_own(folder, of_run, of_start, expected):
    remember(folder, {"batch_size": 4}, of_run, is_resumed=False)
    assert recall(folder, "batch_size", "never", of_start) == expected
    assert recall(folder, "batch_size", "auto", of_start) == 4


@pytest.mark.parametrize("content", ["", "[1]", "{", "null"])
def test_a_damaged_file_is_nothing_and_is_replaced(folder, content):
    (folder / "settled.json").write_text(content)
    assert recall(folder, "batch_size", "auto") is None
    remember(folder, {"batch_size": 2}, None, is_resumed=True)
    assert recall(folder, "batch_size", "auto") == 2
