import pickle
import struct
from pathlib import Path

import h5py
import numpy as np
import pytest

from app.data.files.problems import FileProblem
from tests.support.fakes_roofline import NAMES, draw_fields, open_all, open_one, write_v5, write_v73

WRITERS = {"v73": write_v73, "v5": write_v5}


@pytest.mark.parametrize("struct_name", ["imdb", None])
@pytest.mark.parametrize("version", WRITERS)
def test_slices_are_what_matlab_stored(tmp_path: Path, version: str, struct_name: str | None):
    fields = draw_fields(4)
    file = open_all(WRITERS[version](tmp_path / "x.mat", fields, struct_name))
    assert file.problems == []
    assert set(file.arrays) == set(NAMES)
    for name, values in fields.items():
        assert file.arrays[name].shape == values.shape
        assert file.arrays[name].dtype == "float32"
        for axis in range(values.ndim):
            np.testing.assert_array_equal(file.read(name, axis, 1), values.take(1, axis))
        np.testing.assert_array_equal(file.read(name, None, 0), values)


@pytest.mark.parametrize("version", WRITERS)
def test_the_version_is_known_by_content_not_by_name(tmp_path: Path, version: str):
    path = WRITERS[version](tmp_path / "data.h5.txt", draw_fields(2))
    assert set(open_all(path).arrays) == set(NAMES)


def test_plain_hdf5_without_matlabs_header_is_read(tmp_path: Path):
    with h5py.File(tmp_path / "x.mat", "w") as file:
        file["images"] = np.zeros((2, 3, 4, 5), np.uint8)
    assert open_one(tmp_path / "x.mat").arrays["images"].shape == (5, 4, 3, 2)


def test_uncompressed_version_5_is_read(tmp_path: Path):
    fields = draw_fields(2)
    file = open_all(write_v5(tmp_path / "x.mat", fields, compress=False))
    np.testing.assert_array_equal(file.read("depths", 2, 1), fields["depths"][..., 1])


@pytest.mark.parametrize(
    "storage",
    [
        {"chunks": (1, 3, 32, 32), "compression": "gzip"},
        {"chunks": (3, 2, 5, 32), "compression": "gzip", "shuffle": True, "fletcher32": True},
        {"chunks": (20, 1, 7, 7), "compression": "lzf"},
    ],
)
def test_chunks_of_any_form_read_equal(tmp_path: Path, storage):
    images = draw_fields(20)["images"]
    file = open_one(write_v73(tmp_path / "x.mat", {"images": images}, **storage))
    for index in (3, 4, 19, 0):
        np.testing.assert_array_equal(file.read("images", 3, index), images[..., index])


def test_other_variables_are_not_touched(tmp_path: Path):
    path = write_v73(tmp_path / "x.mat", {"images": np.zeros((16, 16, 3, 2))})
    with h5py.File(path, "r+") as file:
        file["elsewhere"] = h5py.ExternalLink("/dev/zero", "/")
        file["imdb/meta"] = h5py.SoftLink("/nowhere")
    assert open_one(path).problems == []


def test_absent_arrays_are_left_out(tmp_path: Path):
    for write in WRITERS.values():
        file = open_all(write(tmp_path / "x.mat", {"images": np.zeros((4, 4))}))
        assert set(file.arrays) == {"images"}
        assert file.problems == []


@pytest.mark.parametrize("version", WRITERS)
def test_empty_arrays_are_refused(tmp_path: Path, version: str):
    path = WRITERS[version](tmp_path / "x.mat", {"images": np.zeros((0, 0))})
    assert open_one(path).problems == [f"images in {path}: got an empty array"]


def test_matlabs_mark_of_an_empty_array_is_known(tmp_path: Path):
    path = write_v73(tmp_path / "x.mat", {"images": np.array([0, 3], np.uint64)})
    with h5py.File(path, "r+") as file:
        file["imdb/images"].attrs["MATLAB_empty"] = np.uint8(1)
    assert open_one(path).problems == [f"images in {path}: got an empty array"]


@pytest.mark.parametrize("version", WRITERS)
def test_a_pickled_reader_opens_the_file_anew(tmp_path: Path, version: str):
    fields = draw_fields(3)
    file = open_all(WRITERS[version](tmp_path / "x.mat", fields))
    file.read("images", 3, 0)
    copied = pickle.dumps(file)
    assert len(copied) < 2000  # a path, and no values
    np.testing.assert_array_equal(
        pickle.loads(copied).read("images", 3, 2), fields["images"][..., 2]
    )


def link(target: str):
    def write(path: Path) -> None:
        other = path.with_name("other.mat")
        with h5py.File(other, "w") as file:
            file["images"] = np.zeros((2, 3, 16, 16))
            file["imdb/images"] = np.zeros((2, 3, 16, 16))
        with h5py.File(path, "w") as file:
            if target == "external":
                file["imdb/images"] = h5py.ExternalLink(str(other), "/images")
            elif target == "external struct":
                file["imdb"] = h5py.ExternalLink(str(other), "/imdb")
            else:
                file["values"] = np.zeros((2, 3, 16, 16))
                file["imdb/images"] = h5py.SoftLink("/values")

    return write


def external_storage(path: Path) -> None:
    path.with_name("raw.bin").write_bytes(bytes(2 * 3 * 16 * 16))
    with h5py.File(path, "w") as file:
        file.create_dataset(
            "images",
            (2, 3, 16, 16),
            np.uint8,
            external=[(str(path.with_name("raw.bin")), 0, h5py.h5f.UNLIMITED)],
        )


def virtual(path: Path) -> None:
    layout = h5py.VirtualLayout((2, 3, 16, 16), np.uint8)
    layout[0] = h5py.VirtualSource(str(path.with_name("other.h5")), "x", (3, 16, 16))
    with h5py.File(path, "w") as file:
        file.create_virtual_dataset("images", layout)


def references(path: Path) -> None:
    with h5py.File(path, "w") as file:
        values = file.create_dataset("#refs#/a", data=np.zeros((3, 16, 16)))
        cells = file.create_dataset("imdb/images", (1, 2), h5py.ref_dtype)
        cells[:] = values.ref


def array_of_structs(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("imdb", (1, 2), h5py.ref_dtype)


def dataset(**arguments):
    def write(path: Path) -> None:
        with h5py.File(path, "w") as file:
            file.create_dataset("imdb/images", **arguments)

    return write


def group(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_group("imdb/images/data")


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (link("external"), "got a link (images), expected the values; links are not followed"),
        (link("external struct"), "got a link (imdb)"),
        (link("soft"), "got a link (images)"),
        (external_storage, "got values in other files"),
        (virtual, "got values in other files"),
        (references, "got object references, as of a cell array"),
        (array_of_structs, "got something else than one struct around it"),
        (dataset(data=np.array([b"text", b"more"])), "got values of type |S4, expected numbers"),
        (dataset(data=["text"], dtype=h5py.string_dtype()), "got values of type object"),
        (dataset(data=np.zeros(4, np.complex64)), "got values of type complex64"),
        (dataset(data=np.zeros((1, 1, 1, 1, 1))), "got 5 axes, expected up to 4"),
        (dataset(data=h5py.Empty(np.float32)), "got 0 axes, expected up to 4"),
        (dataset(shape=(10**9, 3, 224, 224), dtype="f4"), "got a shape without stored values"),
        (dataset(shape=(10**9, 3, 224, 224), dtype="f4", chunks=(1, 3, 224, 224)), "got a shape w"),
        (
            dataset(shape=(400, 3, 224, 224), dtype="f4", chunks=(400, 3, 224, 224)),
            "got chunks of 230 MiB, expected at most 64 MiB",
        ),
        (
            dataset(data=np.zeros((2, 3, 16, 16)), chunks=(1, 3, 16, 16), scaleoffset=2),
            "got HDF5 filter 6, expected deflate, shuffle, checksum, lzf",
        ),
        (group, "got a struct, expected a numeric array"),
    ],
)
def test_what_leads_elsewhere_or_is_no_array_of_numbers_is_refused(tmp_path: Path, write, reason):
    path = tmp_path / "x.mat"
    write(path)
    file = open_one(path)
    assert file.arrays == {}
    assert len(file.problems) == 1
    assert file.problems[0].startswith(f"images in {path}: {reason}")


V4 = struct.pack("<5i", 0, 2, 2, 0, 2) + b"x\0" + bytes(32)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "got an empty file"),
        (V4, "got binary data, perhaps of MATLAB 4"),
        (b"<!DOCTYPE html><html><head>", "got a file that starts with '<!DOCTYPE html><html><he'"),
        (b"version https://git-lfs.github.com/spec/v1\n", "if it is a web page or a pointer"),
        (b"MATLAB 7.3 MAT-file".ljust(512), "got a version 7.3 file cut short"),
        (b"\x89HDF\r\n\x1a\n" + bytes(600), "got an unreadable file"),
    ],
)
def test_other_files_are_named_for_what_they_are(tmp_path: Path, content: bytes, found: str):
    path = tmp_path / "x.mat"
    path.write_bytes(content)
    with pytest.raises(FileProblem) as caught:
        open_one(path)
    assert str(path) in str(caught.value)
    assert found in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", WRITERS)
def test_a_truncated_file_is_refused(tmp_path: Path, version: str):
    path = WRITERS[version](tmp_path / "x.mat", draw_fields(3))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(FileProblem, match=r"got an unreadable file .*; download it again"):
        open_one(path).read("images", 3, 2)


def test_an_absent_file_is_a_problem_with_its_path(tmp_path: Path):
    with pytest.raises(FileProblem, match="No such file"):
        open_one(tmp_path / "x.mat")


def test_the_size_of_what_neighbours_share_is_known(tmp_path: Path):
    path = write_v73(tmp_path / "x.mat", {}, None)
    with h5py.File(path, "r+") as file:
        file.create_dataset("a", (100, 3, 32, 32), "f4", chunks=(1, 3, 32, 32))[:] = 1
        file.create_dataset("b", (100, 3, 32, 32), "f4", chunks=(10, 2, 16, 32))[:] = 1
        file.create_dataset("c", (2, 3, 32, 32), "f4")[:] = 1
    file = open_all(path, ("a", "b", "c"))
    assert [file.unpacked_bytes(name, 3) for name in "abc"] == [0, 4 * 10 * 2 * 16 * 32 * 4, 0]
    assert file.unpacked_bytes("b", 0) == 10 * 2 * 2 * 10 * 2 * 16 * 32 * 4
