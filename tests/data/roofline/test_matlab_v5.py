"""MATLAB files of version 5, which a child stores as HDF5."""

import json
import multiprocessing
import os
import re
import resource
import struct
import zlib
from dataclasses import asdict
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from app.data.files.problems import FileProblem
from app.data.roofline import matlab_v5
from tests.support.fakes_roofline import (
    NAMES,
    draw_fields,
    open_all,
    open_one,
    v5_element,
    v5_matrix,
    write_v5,
)


def cells() -> dict[str, object]:
    values = np.empty((1, 2), object)
    values[0, 0], values[0, 1] = np.zeros((16, 16)), np.ones((16, 16))
    return {"images": values}


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"imdb": cells()}, "got a cell array, expected a numeric array"),
        ({"imdb": {"images": "text"}}, "got a text, expected a numeric array"),
        ({"imdb": {"images": {"data": np.zeros((4, 4))}}}, "expected a numeric array"),
        ({"images": np.zeros((4, 4), complex)}, "got complex numbers, expected real ones"),
        ({"images": np.zeros((2,) * 5)}, "got 5 axes, expected up to 4"),
        (
            {"imdb": np.zeros((2, 2), [("images", "O")])},
            "got an array of structs around it, expected one struct",
        ),
    ],
)
def test_version_5_cells_texts_and_structs_are_refused(tmp_path: Path, content, found: str):
    scipy.io.savemat(tmp_path / "x.mat", content)
    file = open_one(tmp_path / "x.mat")
    assert file.arrays == {}
    assert len(file.problems) == 1
    assert file.problems[0].startswith(f"images in {tmp_path / 'x.mat'}: ")
    assert file.problems[0].endswith(found)


def v5_of_one_variable(array_class: int) -> bytes:
    """A version 5 file with a variable `images` of a class that savemat does not write."""

    flags = v5_element(6, struct.pack("<II", array_class, 0))
    name = v5_element(1, b"images")
    if array_class == 17:  # opaque: name, kind of object, its class, its content
        body = flags + name + v5_element(1, b"MCOS") + v5_element(1, b"handle_x") + v5_matrix()
    else:  # function handle: dimensions, name, content
        body = flags + v5_element(5, struct.pack("<ii", 1, 1)) + name + v5_matrix()
    header = b"MATLAB 5.0 MAT-file".ljust(116) + bytes(8) + b"\x00\x01IM"
    return header + v5_element(14, body)


def test_version_5_function_handles_and_objects_are_refused(tmp_path: Path):
    path = tmp_path / "x.mat"
    path.write_bytes(v5_of_one_variable(16))
    file = open_one(path)
    assert file.arrays == {}
    assert file.problems == [f"images in {path}: got a function handle, expected a numeric array"]
    # SciPy does not find objects by their name, so they are absent.
    path.write_bytes(v5_of_one_variable(17))
    assert (open_one(path).arrays, open_one(path).problems) == ({}, [])
    path.write_bytes(v5_of_one_variable(99))
    with pytest.raises(FileProblem, match="got an unreadable file"):
        open_one(path)


@pytest.mark.parametrize("compress", [True, False])
def test_version_5_reads_as_scipy_reads_it(tmp_path: Path, compress: bool):
    rng = np.random.default_rng(0)
    types = ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]
    fields = {f"x_{kind}": (rng.random((4, 3, 2)) * 100).astype(kind) for kind in types}
    fields |= {
        "few": np.array([[1.0, 2.0]]),
        "flag": np.eye(3) > 0,
        "text": "abc",
        "more": {"a": 1},
    }
    write_v5(tmp_path / "x.mat", fields, compress=compress)
    expected = scipy.io.loadmat(tmp_path / "x.mat", squeeze_me=True)["imdb"]
    file = open_all(tmp_path / "x.mat", [*fields, "absent"])
    assert set(fields) - set(file.arrays) == {"text", "more"}
    for name in file.arrays:
        found = file.read(name, None, 0)
        np.testing.assert_array_equal(found, expected[name][()])
        assert found.dtype.kind == expected[name][()].dtype.kind


def test_damaged_headers_of_version_5_end_in_an_error_or_in_values(tmp_path: Path, monkeypatch):
    # SciPy's reader hangs on some such files.
    monkeypatch.setattr(matlab_v5, "_START_S", 5.0)
    path = write_v5(tmp_path / "x.mat", draw_fields(2, size_px=16), compress=False)
    whole = path.read_bytes()
    num_arrays, problems = [], []
    for place in range(128, 400, 40):
        damaged = bytearray(whole)
        damaged[place] = np.random.default_rng(place).integers(256)
        path.write_bytes(damaged)
        try:
            num_arrays.append(len(open_all(path).arrays))
        except FileProblem as problem:
            problems.append(str(problem))
    # Some damage is noticed, some is in what nobody reads.
    assert len(NAMES) in num_arrays
    assert problems
    for text in problems:
        assert re.search(r"got an unreadable file \([^\n]+\), expected [^\n]+$", text)


def test_a_damaged_copy_is_named_beside_its_source(tmp_path: Path):
    path = write_v5(tmp_path / "x.mat", draw_fields(2))
    arrays = open_all(path)
    [copy] = (tmp_path / "scratch").glob("*.h5")
    copy.write_bytes(b"no longer HDF5")
    with pytest.raises(
        FileProblem,
        match=rf"{path}: got an unreadable copy of its arrays, {copy} \(.*\), expected a whole "
        "copy; delete the copy: it is made again",
    ):
        arrays.read("images", 3, 0)


def test_a_version_5_file_that_takes_too_long_is_refused(tmp_path: Path, monkeypatch):
    path = write_v5(tmp_path / "x.mat", draw_fields(2))
    monkeypatch.setattr(matlab_v5, "_START_S", 0.01)
    with pytest.raises(
        FileProblem, match=r"got an unreadable file \(SciPy's reader: took over 0 s\), expected a"
    ):
        open_all(path)
    assert not list((tmp_path / "scratch").glob("*.h5"))


def test_a_changed_byte_of_a_packed_version_5_file_is_noticed(tmp_path: Path):
    path = write_v5(tmp_path / "x.mat", draw_fields(2))
    content = bytearray(path.read_bytes())
    for place in range(300, len(content), len(content) // 4):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(FileProblem, match="got an unreadable file"):
            open_all(path)


def test_a_version_5_file_that_holds_too_much_is_refused(tmp_path: Path, monkeypatch):
    path = write_v5(tmp_path / "x.mat", draw_fields(40))
    monkeypatch.setattr(matlab_v5, "_MAX_BYTES", 2**20)
    with pytest.raises(
        FileProblem,
        match=r"got 0\.00107 GiB in a version 5 file, which is read whole, expected at most "
        r"0\.000977 GiB; save it in MATLAB with -v7.3",
    ):
        open_all(path)


def test_a_version_5_file_that_promises_too_much_takes_no_memory(tmp_path: Path, monkeypatch):
    # 700 MiB of zeros in 3 MiB; the reader may take 513.
    monkeypatch.setattr(matlab_v5, "_MAX_BYTES", 2**20)
    packer = zlib.compressobj(1)
    num_bytes = 700 * 2**20
    head = v5_element(6, struct.pack("<II", 7, 0))
    head += v5_element(5, struct.pack("<ii", 1, num_bytes // 4)) + v5_element(1, b"images")
    head += struct.pack("<II", 7, num_bytes)
    packed = packer.compress(struct.pack("<II", 14, len(head) + num_bytes) + head)
    packed += b"".join(packer.compress(bytes(2**20)) for _ in range(num_bytes // 2**20))
    packed += packer.flush()
    start = b"MATLAB 5.0 MAT-file".ljust(116) + bytes(8) + b"\x00\x01IM"
    (tmp_path / "x.mat").write_bytes(start + struct.pack("<II", 15, len(packed)) + packed)
    with pytest.raises(FileProblem, match=r"got more than 0\.000977 GiB in a version 5 file"):
        open_all(tmp_path / "x.mat")


def test_a_system_that_tells_no_sizes_sets_no_limit(tmp_path: Path, monkeypatch):
    path = write_v5(tmp_path / "x.mat", draw_fields(1, size_px=16), compress=True)
    names = list(NAMES)
    target = tmp_path / "x.h5"
    before = resource.getrlimit(resource.RLIMIT_AS)
    monkeypatch.setattr(matlab_v5, "_SIZES_FILE", tmp_path / "absent")
    task = matlab_v5.Conversion(str(path), str(target), "imdb", tuple(names), 2**30)
    matlab_v5.convert(json.dumps(asdict(task)))
    assert resource.getrlimit(resource.RLIMIT_AS) == before
    with h5py.File(target) as file:
        assert set(file) == set(names)


def test_a_version_5_file_is_read_by_a_child_once(tmp_path: Path, monkeypatch):
    path = write_v5(tmp_path / "x.mat", draw_fields(2) | {"depths": np.zeros((0, 0))})
    first = open_all(path)
    asked = []
    ask = matlab_v5.ask_child
    monkeypatch.setattr(matlab_v5, "ask_child", lambda *args: asked.append(args) or ask(*args))
    second = open_all(path)
    assert asked == []
    assert second.problems == first.problems == [f"depths in {path}: got an empty array"]
    np.testing.assert_array_equal(second.read("images", 3, 1), first.read("images", 3, 1))
    os.utime(path, ns=(0, 0))  # another file
    open_all(path)
    assert len(asked) == 1


def test_of_several_processes_one_reads_a_version_5_file(tmp_path: Path):
    path = write_v5(tmp_path / "x.mat", draw_fields(2))
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert pool.map(read_first, [path] * 3) == [read_first(path)] * 3
    assert len(list((tmp_path / "scratch").glob("*.h5"))) == 1
    assert not list((tmp_path / "scratch").glob(".matlab-*"))


def read_first(path: Path) -> float:
    return float(open_one(path).read("images", 3, 0).sum())


def test_a_full_or_missing_disk_is_said(tmp_path: Path):
    path = write_v5(tmp_path / "x.mat", draw_fields(2))
    (tmp_path / "scratch").write_text("no folder")
    with pytest.raises(
        FileProblem,
        match=r"got a version 5 file, whose arrays cannot be stored in .*scratch \(File exists\), "
        "expected room for them there; make room, or save it in MATLAB with -v7.3",
    ):
        open_all(path)
