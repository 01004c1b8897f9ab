from concurrent.futures import ThreadPoolExecutor

import pytest

from app.job.paths import Paths


@pytest.fixture
def paths(tmp_path):
    paths = Paths(tmp_path / "ml")
    paths.hyperparameters.parent.mkdir(parents=True)
    return paths


@pytest.fixture
def pool():
    with ThreadPoolExecutor() as pool:
        yield pool
