"""The link to the newest tree, and trees that came to nothing."""

import contextlib

import pytest

from app.job.newest import is_without_results, linked_as_newest
from app.job.paths import Paths


@pytest.fixture
def tree(tmp_path):
    """A tree as scripts/train_local.sh makes it."""
    paths = Paths(tmp_path / "runs/first")
    paths.hyperparameters.parent.mkdir(parents=True)
    paths.hyperparameters.write_text("{}")
    (paths.base_dir / "run.txt").write_text("sample")
    return paths


def train(paths, *, well):
    paths.output_dir.mkdir()
    paths.model_dir.mkdir()
    (paths.model_dir / "model.safetensors" if well else paths.failure_file).write_text("x")


def test_the_newest_tree_has_the_link(tree, tmp_path):
    link = tmp_path / "latest"
    with linked_as_newest(tree.base_dir, link):
        assert link.readlink().as_posix() == "runs/first"
        train(tree, well=True)
    assert (link / "model/model.safetensors").exists()
    with linked_as_newest(tmp_path / "second", link):
        assert link.readlink().as_posix() == "second"
        (tmp_path / "second").mkdir()
        (tmp_path / "second/anything").touch()
    assert link.readlink().as_posix() == "second"


def test_a_tree_that_came_to_nothing_is_gone_and_the_link_is_back(tree, tmp_path):
    link = tmp_path / "latest"
    (tmp_path / "before").mkdir()
    link.symlink_to("before")
    with contextlib.suppress(ValueError), linked_as_newest(tree.base_dir, link):
        train(tree, well=False)
        raise ValueError("no")
    assert not tree.base_dir.exists()
    assert link.readlink().as_posix() == "before"


def test_without_an_earlier_tree_no_link_is_left(tree, tmp_path):
    link = tmp_path / "latest"
    with linked_as_newest(tree.base_dir, link):
        train(tree, well=False)
    assert not link.is_symlink()
    assert not tree.base_dir.exists()


def test_what_is_no_link_stays(tree, tmp_path):
    place = tmp_path / "latest"
    place.mkdir()
    with linked_as_newest(tree.base_dir, place):
        train(tree, well=True)
    assert place.is_dir()
    assert not place.is_symlink()


@pytest.mark.parametrize(
    "name", ["input/data/rid/a.png", "checkpoints/step-00000001.pt", "notes.txt", "model/a"]
)
def test_whatever_else_lies_in_a_tree_is_a_result(tree, name):
    assert is_without_results(tree.base_dir)
    path = tree.base_dir / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert not is_without_results(tree.base_dir)
