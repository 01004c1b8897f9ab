"""Numbers in MATLAB files that would cost much to believe."""

from pathlib import Path

import h5py
import pytest

from app.data.files.problems import FileProblem
from app.data.roofline.matlab import open_mat
from tests.support.fakes_roofline import write_v73


def test_samples_in_absurdly_many_chunks_are_refused(tmp_path: Path):
    path = write_v73(tmp_path / "x.mat", {}, None)
    with h5py.File(path, "r+") as file:
        file.create_dataset("a", (4, 3, 128, 128), "f4", chunks=(4, 1, 1, 1))[0, 0, 0, :2] = 1
        file.create_dataset("b", (4, 3, 128, 128), "f4", chunks=(4, 1, 4, 1))[0, 0, 0, :2] = 1
        file.create_dataset("c", (128, 128, 3), "f4", chunks=(1, 1, 3))[0, :2] = 1
    file = open_mat(path, "imdb", ("a", "b", "c"), tmp_path)
    for name, axis, num_chunks in (("a", 3, 49_152), ("b", 3, 12_288), ("c", None, 16_384)):
        with pytest.raises(
            FileProblem,
            match=f"got {name} with every sample in {num_chunks} chunks, expected at most 10000; ",
        ):
            file.read(name, axis, 0)
    # In slices along another axis there are fewer.
    assert file.read("a", 0, 0).sum() == 1
