"""Fixtures shared by the tests of RID."""

import pytest

from tests.support.fakes import write_fake_rid


@pytest.fixture
def root(tmp_path):
    """Samples 2, 3, 7, 8 to train on, 9, 10 for val, 11, 12 for test."""
    write_fake_rid(tmp_path)
    return tmp_path
