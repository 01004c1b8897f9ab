"""Fixtures shared by the tests of AIRS's tiles and of windows of them."""

import pytest

from app.data.airs.dataset import AirsDataset
from tests.support.fakes_airs import write_mirror


@pytest.fixture
def root(tmp_path):
    """The mirror: train tiles 1, 2, 11, val 3, test 4."""
    write_mirror(tmp_path / "airs")
    return tmp_path / "airs"


@pytest.fixture
def scratch(tmp_path):
    return tmp_path / "scratch"


@pytest.fixture
def open_airs(root, scratch):
    """Opens a split of the mirror."""
    return lambda split="train", folder=root: AirsDataset(folder, split, scratch)
