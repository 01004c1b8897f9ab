"""Folders and lists that the disk refuses: one line for the user, and never a traceback."""

import errno
import os
from pathlib import Path

import pytest

from app.base.errors import DataError
from app.data.airs.layout import find_tiles
from app.data.files.listing import Listings, read_list, shorten
from app.data.rid.files import find_rid_files
from tests.support.fakes import write_fake_rid
from tests.support.fakes_airs import write_list, write_mirror
from tests.support.fakes_roofline import open_roofline


@pytest.fixture
def forbid(monkeypatch):
    """Has the system refuse to list a folder, as it does to all but the superuser."""
    list_folder = Path.iterdir

    def forbid(folder):
        def refuse(path):
            if path == folder:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
            return list_folder(path)

        monkeypatch.setattr(Path, "iterdir", refuse)

    return forbid


def open_rid(root):
    return find_rid_files(root, 1, ("train",), (), want_superstructures=True)


@pytest.mark.parametrize(
    "open_dataset",
    [
        open_rid,
        lambda root: find_tiles(root, "train"),
        open_roofline,
    ],
)
def test_a_folder_that_cannot_be_listed_or_named_is_an_error(tmp_path, forbid, open_dataset):
    with pytest.raises(DataError, match=r"folder cannot be read: \S+ \(File name too long\)"):
        open_dataset(tmp_path / ("a" * 300))
    forbid(tmp_path)
    with pytest.raises(DataError, match=rf"cannot be read: {tmp_path} \(Permission denied\); corr"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("name", ["train/image", "val/label"])
def test_a_folder_of_tiles_that_cannot_be_listed_is_an_error(tmp_path, forbid, name):
    write_mirror(tmp_path)
    forbid(tmp_path / name)
    with pytest.raises(DataError, match=rf"^AIRS: folder cannot be read: {tmp_path / name} "):
        find_tiles(tmp_path, name.partition("/")[0])


def test_a_folder_of_masks_that_cannot_be_listed_is_an_error(tmp_path, forbid):
    write_fake_rid(tmp_path)
    forbid(tmp_path / "masks_segments_reviewed")
    with pytest.raises(DataError, match=r"^RID: folder cannot be read: \S+/masks_segments_reviewe"):
        open_rid(tmp_path)


def test_folders_beside_the_dataset_may_be_unreadable(tmp_path, forbid):
    write_mirror(tmp_path / "airs")
    other = tmp_path / "lost+found/train/image"
    other.mkdir(parents=True)
    forbid(other)
    assert find_tiles(tmp_path, "train").folder == tmp_path / "airs"


def test_a_folder_is_listed_once(tmp_path, monkeypatch):
    write_mirror(tmp_path)
    listed = []
    list_folder = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: listed.append(str(path)) or list_folder(path))
    find_tiles(tmp_path, "all")
    assert str(tmp_path / "train/image") in listed
    assert len(listed) == len(set(listed))


@pytest.mark.parametrize("name", ["家" * 100, "家" * 2000, "a" * 5000, "\udcff" * 80])
def test_listed_names_of_any_length_are_files_that_are_missing(tmp_path, name):
    write_mirror(tmp_path)
    tiles = find_tiles(tmp_path, "train").files
    path = tmp_path / "train.txt"
    write_list(path, [tile.name for tile in tiles])
    with path.open("a", encoding="utf-8", errors="replace") as file:
        file.write(f"{name}\n")
    missing = find_tiles(tmp_path, "train").missing
    assert len(missing) == 1
    assert len(os.fsencode(missing[0].path.name)) < 255
    assert not missing[0].path.exists()


def test_names_are_cut_between_characters():
    assert shorten("a" * 100) == "a" * 100
    assert shorten("a" * 101) == "a" * 100 + "..."
    assert shorten("家" * 34) == "家" * 33 + "..."
    assert shorten("\n") == "\\n"


def test_lines_of_a_list(tmp_path):
    problems = []
    assert read_list(tmp_path / "a.txt", tmp_path, "name", "", problems) is None
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone\r\n\r\n  two \r\n")
    assert read_list(tmp_path / "a.txt", tmp_path, "name", "", problems) == ["one", "two"]
    assert problems == []
    (tmp_path / "a.txt").write_bytes(b"\xff")
    assert read_list(tmp_path / "a.txt", tmp_path, "name", "", problems) == []
    assert len(problems) == 1
    assert "expected UTF-8 text, one name a line" in problems[0]


def test_what_is_in_a_folder_is_told_in_one_short_line(tmp_path):
    for number in range(12):
        (tmp_path / f"{number:02d}\n{'x' * 200}").touch()
    text = Listings("RID").describe(tmp_path)
    assert text.startswith("00\\nx")
    assert text.endswith("...; and 2 more")
    assert len(text) < 1200
