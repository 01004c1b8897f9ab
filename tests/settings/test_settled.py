import json

import pytest

from app.settings.settled import recall, remember


@pytest.fixture
def folder(tmp_path):
    """A folder of a run that has a checkpoint."""
    (tmp_path / "step-00000010.pt").touch()
    return tmp_path


def test_what_was_settled_is_recalled_by_name(folder):
    remember(folder, "batch_size", 4)
    remember(folder, "gradients", {"chosen": 0.5})
    remember(folder, "batch_size", 8)
    assert recall(folder, "batch_size", "auto") == 8
    assert recall(folder, "gradients", "force") == {"chosen": 0.5}
    assert recall(folder, "epochs", "auto") is None
    assert json.loads((folder / "settled.json").read_text()) == {
        "batch_size": 8, "gradients": {"chosen": 0.5},
    }  # fmt: skip
    assert len(list(folder.iterdir())) == 2  # nothing half-written is left


def test_a_run_that_begins_anew_settles_anew(folder, tmp_path):
    remember(folder, "batch_size", 4)
    assert recall(folder, "batch_size", "never") is None
    (folder / "step-00000010.pt").unlink()
    assert recall(folder, "batch_size", "auto") is None
    assert recall(tmp_path / "nowhere", "batch_size", "auto") is None


@pytest.mark.parametrize("content", ["", "[1]", "{", "null"])
def test_a_damaged_file_is_nothing_and_is_replaced(folder, content):
    (folder / "settled.json").write_text(content)
    assert recall(folder, "batch_size", "auto") is None
    remember(folder, "batch_size", 2)
    assert recall(folder, "batch_size", "auto") == 2


def test_a_folder_that_is_not_there_is_made(tmp_path):
    remember(tmp_path / "a/b", "batch_size", 2)
    assert (tmp_path / "a/b/settled.json").is_file()
