"""Numbers in MATLAB files that would cost much to believe."""

import struct
import zlib
from pathlib import Path

import h5py
import pytest

from app.data.files.rasters import FileProblem
from app.data.roofline.matlab import open_mat
from tests.support.fakes_roofline import v5_element, v5_matrix, write_v73

NAMES = ("images", "elements", "depths")


def test_samples_in_absurdly_many_chunks_are_refused(tmp_path: Path):
    path = write_v73(tmp_path / "x.mat", {}, None)
    with h5py.File(path, "r+") as file:
        file.create_dataset("a", (4, 3, 128, 128), "f4", chunks=(4, 1, 1, 1))[0, 0, 0, :2] = 1
        file.create_dataset("b", (4, 3, 128, 128), "f4", chunks=(4, 1, 4, 1))[0, 0, 0, :2] = 1
        file.create_dataset("c", (128, 128, 3), "f4", chunks=(1, 1, 3))[0, :2] = 1
    file = open_mat(path, "imdb", ("a", "b", "c"))
    for name, axis, num_chunks in (("a", 3, 49_152), ("b", 3, 12_288), ("c", None, 16_384)):
        with pytest.raises(
            FileProblem,
            match=f"got {name} with every sample in {num_chunks} chunks, expected at most 10000; ",
        ):
            file.read(name, axis, 0)
    # In slices along another axis there are fewer.
    assert file.read("a", 0, 0).sum() == 1


@pytest.mark.parametrize("num_axes", [33, 200_000])
def test_a_version_5_array_of_too_many_axes_is_refused(tmp_path: Path, num_axes: int):
    body = v5_element(6, struct.pack("<II", 6, 0))
    body += v5_element(5, struct.pack(f"<{num_axes}i", *[1] * num_axes))
    body += v5_element(1, b"images") + v5_element(9, struct.pack("<d", 1.0))
    path = write_v5_of(tmp_path, v5_element(15, zlib.compress(v5_element(14, body))))
    with pytest.raises(FileProblem, match="got an unreadable file"):
        open_mat(path, "imdb", NAMES)


@pytest.mark.parametrize(("num_fields", "is_good"), [(4096, True), (4097, False)])
def test_a_version_5_struct_of_too_many_fields_is_refused(tmp_path: Path, num_fields, is_good):
    names = b"".join(f"f{number}".encode().ljust(8, b"\0") for number in range(num_fields))
    body = v5_element(6, struct.pack("<II", 2, 0)) + v5_element(5, struct.pack("<ii", 1, 1))
    body += v5_element(1, b"imdb") + v5_element(5, struct.pack("<i", 8)) + v5_element(1, names)
    path = write_v5_of(tmp_path, v5_element(14, body + num_fields * v5_matrix()))
    if is_good:
        assert open_mat(path, "imdb", ("f4095",)).arrays["f4095"].shape == ()
    else:
        with pytest.raises(FileProblem, match=f"a struct of {num_fields} fields"):
            open_mat(path, "imdb", NAMES)


def write_v5_of(folder: Path, variable: bytes) -> Path:
    path = folder / "x.mat"
    path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(116) + bytes(8) + b"\x00\x01IM" + variable)
    return path
