"""Fixtures shared by the tests of audits."""

import pytest

from tests.support.audit import make_audit
from tests.support.fakes import write_fake_rid


@pytest.fixture
def audit(tmp_path):
    return make_audit(tmp_path)


@pytest.fixture
def rid(tmp_path):
    """Samples 2, 3, 7, 8 to train on, 9, 10 for val, 11, 12 for test."""
    write_fake_rid(tmp_path / "dataset")
    return tmp_path / "dataset"
