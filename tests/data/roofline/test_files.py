"""Files of Roofline: what is refused, found, split, and read by several processes."""

import multiprocessing
import pickle
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest

from app.base.errors import DataError, SampleError
from app.data.files.problems import FileProblem
from app.data.roofline import dataset as roofline
from app.data.roofline.dataset import RooflineDataset, split_indices
from tests.support.fakes_roofline import draw_fields, open_roofline, write_v5, write_v73

WRITERS = {"v73": write_v73, "v5": write_v5}


def samples_of(path: Path):
    dataset = open_roofline(path)
    return [dataset[index] for index in range(len(dataset))]


def replaced(**changes):
    def change(fields):
        return {
            name: values for name, values in {**fields, **changes}.items() if values is not None
        }

    return change


@pytest.mark.parametrize("version", WRITERS)
@pytest.mark.parametrize(
    ("change", "problems"),
    [
        (replaced(images=None), ["no imdb.images and no images in", "found elements; depths"]),
        (replaced(elements=None, depths=None), ["neither elements nor depths"]),
        (
            replaced(images=np.zeros((32, 32, 4, 4))),
            ["images in", "got 32 x 32 x 4 x 4 of float64"],
        ),
        (
            replaced(images=np.zeros((32, 24, 3, 4))),
            ["got 32 x 24 x 3 x 4 of", "expected S x S x 3"],
        ),
        (replaced(images=np.zeros((8, 8, 3, 4))), ["with S in 16..2048"]),
        (replaced(images=np.zeros((3, 32, 32, 3))), ["which fits several ways"]),
        (
            replaced(elements=np.zeros((32, 32, 3, 5)), depths=np.zeros((16, 16, 4))),
            [
                "elements in ",
                "got 5 samples of 32 px, expected 4 samples of 32 px as images",
                "depths in ",
                "got 4 samples of 16 px, expected 4 samples of 32 px as images",
            ],
        ),
        (
            replaced(images=np.zeros((32, 32)), elements=np.array(["text"]), depths=np.zeros(7)),
            ["images in", "elements in", "depths in", "got 7 of float64, expected S x S x N or"],
        ),
        (replaced(images=np.full((32, 32, 3, 4), 60000.0)), ["got values up to 60000 in most"]),
    ],
)
def test_all_that_is_wrong_with_a_file_is_said_in_one_line(tmp_path, version, change, problems):
    fields = change(draw_fields(4))
    if version == "v73":
        fields = {
            name: values.astype("S") if values.dtype.kind == "U" else values
            for name, values in fields.items()
        }
    elif fields.get("depths") is not None and fields["depths"].shape == (7,):
        problems = problems[:-1]  # version 5 has no arrays of one axis, squeezed or not
    path = WRITERS[version](tmp_path / "imdb.mat", fields)
    with pytest.raises(DataError) as caught:
        open_roofline(path)
    message = str(caught.value)
    assert message.startswith("Roofline: ")
    assert "\n" not in message
    assert str(path) in message
    for problem in problems:
        assert problem in message


def test_refused_arrays_are_named_together(tmp_path: Path):
    path = write_v73(tmp_path / "imdb.mat", {"depths": draw_fields(2)["depths"]})
    with h5py.File(path, "r+") as file:
        file["imdb/images"] = h5py.ExternalLink("other.mat", "/images")
        file["imdb/elements"] = h5py.SoftLink("/imdb/depths")
    with pytest.raises(DataError, match=r"got a link \(images\).*; .*got a link \(elements\)"):
        open_roofline(path)


def test_huge_shapes_are_refused_without_room_for_them(tmp_path: Path):
    path = write_v73(tmp_path / "imdb.mat", {}, None)
    with h5py.File(path, "r+") as file:
        for name, shape in (("images", (10**9, 3, 64, 64)), ("elements", (2, 3, 10**5, 10**5))):
            data = file.create_dataset(name, shape, "f4", chunks=(1, 1, 64, 64), compression="gzip")
            data[0, 0, 0, 0] = 1
    with pytest.raises(DataError) as caught:
        open_roofline(path)
    assert "images in" in str(caught.value)
    assert "elements in" in str(caught.value)


def test_the_file_of_a_folder_is_found_in_any_case_or_by_being_the_only_one(tmp_path: Path):
    fields = draw_fields(2)
    for name in ("imdb.mat", "IMDB.MAT", "roofline_v2.mat"):
        root = tmp_path / name.replace(".", "_")
        path = write_v73(root / name, fields)
        (root / "readme.txt").write_text("x")
        (root / f"._{name}").write_text("as archives of macOS hold")
        assert open_roofline(root).path == path
        assert len(open_roofline(path)) == 2
    write_v73(tmp_path / "imdb_mat/other.mat", fields)
    assert open_roofline(tmp_path / "imdb_mat").path.name == "imdb.mat"


def test_folders_without_one_file_are_refused_with_what_they_hold(tmp_path: Path):
    with pytest.raises(DataError, match=r"Roofline: not found: .*nowhere: expected imdb"):
        open_roofline(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no \.mat file in .*: found nothing, .*; copy"):
        open_roofline(tmp_path)
    (tmp_path / "imdb.zip").write_text("x")
    with pytest.raises(DataError, match=r"no .mat file in .*: found imdb\.zip, expected"):
        open_roofline(tmp_path)
    for name in ("b.mat", "a.mat"):
        write_v73(tmp_path / name, {})
    with pytest.raises(DataError, match=r"several files in .*: found a\.mat; b\.mat, expected"):
        open_roofline(tmp_path)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path):
    write_v73(tmp_path / "imdb.mat", draw_fields(2))
    (tmp_path / "channel").mkdir()
    (tmp_path / "channel/imdb.mat").symlink_to(tmp_path / "imdb.mat")
    with pytest.raises(DataError, match="a link that leads out of the dataset's folder"):
        open_roofline(tmp_path / "channel")


def test_what_is_no_matlab_file_is_said_in_one_line(tmp_path: Path):
    (tmp_path / "imdb.mat").write_text("<!DOCTYPE html>")
    with pytest.raises(DataError, match=r"Roofline: .*imdb\.mat: got a file that starts with '<"):
        open_roofline(tmp_path)


@pytest.mark.parametrize("num_samples", [*range(2, 40), 99, 100, 101, 1670])
def test_splits_are_disjoint_complete_and_of_blocks_of_neighbours(num_samples: int):
    parts = {split: split_indices(num_samples, split, 3) for split in ("train", "val", "test")}
    everything = split_indices(num_samples, "all", 3)
    assert everything == list(range(num_samples))
    assert sorted(index for part in parts.values() for index in part) == everything
    assert parts["train"]
    assert parts["val"]
    assert bool(parts["test"]) == (num_samples > 2)
    if num_samples >= 100:
        for name, share in (("train", 0.8), ("val", 0.1), ("test", 0.1)):
            assert len(parts[name]) / num_samples == pytest.approx(share, abs=0.03)
            # Every block of ten is whole in one split.
            counts = Counter(index // 10 for index in parts[name])
            assert all(
                count == min(10, num_samples - 10 * block) for block, count in counts.items()
            )


def test_splits_go_by_the_seed_alone(tmp_path: Path):
    assert split_indices(1670, "val", 0) == split_indices(1670, "val", 0)
    assert split_indices(1670, "val", 0) != split_indices(1670, "val", 1)
    assert split_indices(30, "val", 0) != split_indices(30, "val", 1)
    path = write_v73(tmp_path / "imdb.mat", draw_fields(30))
    first, second = (open_roofline(path, "val", seed=seed).sample_ids for seed in (0, 1))
    assert first != second
    assert first == [f"roofline:{index + 1}" for index in split_indices(30, "val", 0)]


def test_a_split_without_samples_is_refused(tmp_path: Path):
    path = write_v73(tmp_path / "imdb.mat", draw_fields(1))
    with pytest.raises(DataError, match=r"no sample for split val: .*imdb\.mat holds 1, expected"):
        open_roofline(path, "val")


def test_a_file_that_unpacks_many_samples_for_one_is_warned_of(tmp_path: Path, caplog, monkeypatch):
    monkeypatch.setattr(roofline, "_SLOW_BYTES", 20_000)
    fields = draw_fields(10)
    for name, chunk in (("apart.mat", 1), ("together.mat", 5)):
        path = write_v73(tmp_path / name, {}, None)
        with h5py.File(path, "r+") as file:
            for key, values in fields.items():
                file.create_dataset(key, data=values.T, chunks=(chunk, *values.T.shape[1:]))
        open_roofline(path)
    assert len(caplog.records) == 1
    assert "together.mat unpacks 0 MiB for every sample drawn" in caplog.text


def sum_of_images(dataset: RooflineDataset, index: int) -> int:
    return int(dataset[index]["image"].sum())


@pytest.mark.parametrize("version", WRITERS)
def test_two_processes_read_what_one_reads(tmp_path: Path, version: str):
    dataset = open_roofline(WRITERS[version](tmp_path / "imdb.mat", draw_fields(6)))
    expected = [sum_of_images(dataset, index) for index in range(6)]  # the file is open here
    assert len(pickle.dumps(dataset)) < 5000
    # fork: a process that is given the open file itself must not use it.
    for method, num_processes in (("forkserver", 1), ("fork", 2)):
        with multiprocessing.get_context(method).Pool(num_processes) as pool:
            found = pool.starmap(sum_of_images, [(dataset, index) for index in range(6)], 1)
            # Not by SIGTERM, which children of a fork server may hold back, as workers of a job do.
            pool.close()
            pool.join()
        assert found == expected


def test_a_forked_process_opens_the_file_itself(tmp_path: Path, monkeypatch):
    dataset = open_roofline(write_v73(tmp_path / "imdb.mat", draw_fields(2)))
    dataset[0]
    handle = dataset._file._file
    assert dataset[1]["sample_id"] == "roofline:2"
    assert dataset._file._file is handle
    monkeypatch.setattr("os.getpid", lambda: 1)
    dataset[1]
    assert dataset._file._file is not handle


def test_a_file_that_vanishes_is_a_bad_sample(tmp_path: Path):
    path = write_v73(tmp_path / "imdb.mat", draw_fields(2))
    dataset = open_roofline(path)
    path.unlink()
    reader = pickle.loads(pickle.dumps(dataset))
    with pytest.raises(
        SampleError, match=r"Roofline: .*imdb\.mat: got an unreadable file"
    ) as caught:
        reader[0]
    assert isinstance(caught.value.__cause__, FileProblem)
