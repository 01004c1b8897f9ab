"""Where the files of a RID tree are: folders by name, files by sample, lists by split."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Literal, NamedTuple

from app.base.errors import DataError, join_problems, printable
from app.data.files.listing import Listings, read_list, shorten
from app.data.files.names import PHOTO_ENDINGS, index_by_name, listed_name, without_ending
from app.data.sample import BadFile

ListName = Literal["train", "val", "test"]
FILE_REMEDY: Final = "copy the file from the release again"
LIST_NAMES: Final[tuple[ListName, ...]] = ("train", "val", "test")

# Folders and the endings of their files; the first that holds any is used.
_IMAGE_DIRS: Final = {
    "images_roof_centered_geotiff": (".tif", ".tiff"),
    "images_roof_centered_png": (".png",),
}
_SEGMENTS_DIRS: Final = {"masks_segments_reviewed": (".png",), "masks_segments": (".png",)}
_SUPERSTRUCTURES_DIRS: Final = {
    "masks_superstructures_reviewed": (".png",),
    "masks_superstructures": (".png",),
}
_LIST_DIR: Final = "filenames_train_val_test_split"
_KEEP_NAMES: Final = "keep the folder names of the release"


class FilesById(NamedTuple):
    """The files of one folder by the ID in their name, and the ending a new one would have."""

    folder: Path
    suffix: str
    by_id: Mapping[str, Path]


class RidFiles(NamedTuple):
    """The files of a RID tree.

    Attributes:
        images: One a sample.
        segments: Their masks.
        superstructures: Their masks of superstructures; None where these were not asked for, or
            there is no such folder.
        lists: The IDs in the lists that were asked for, each once, in their order.
        list_paths: Where these lists are.
    """

    images: FilesById
    segments: FilesById
    superstructures: FilesById | None
    lists: Mapping[ListName, Sequence[str]]
    list_paths: Mapping[ListName, Path]

    def missing(self, sample_id: str) -> list[BadFile]:
        """The files that a listed sample needs and lacks."""
        return [
            _missing_file(sample_id, files)
            for files in (self.images, self.segments)
            if sample_id not in files.by_id
        ]


def find_rid_files(
    root: Path,
    fold: int,
    lists: Sequence[ListName],
    optional_lists: Sequence[ListName],
    want_superstructures: bool,
) -> RidFiles:
    """Find the files of a RID tree. None but the lists are opened.

    Args:
        root: Folder that holds RID's folders, or holds `RID_dataset/` with them.
        fold: Which of the five splits.
        lists: Lists that must be there.
        optional_lists: Lists that are empty if not there.
        want_superstructures: Whether to look for their masks.

    Raises:
        DataError: If a folder or a list is absent, empty or bad: all that are, in one line.
    """
    listings = Listings("RID")
    folder = _find_dataset_folder(root, listings)
    problems: list[str] = []
    images = _index_files(root, folder, _IMAGE_DIRS, problems, listings)
    segments = _index_files(root, folder, _SEGMENTS_DIRS, problems, listings)
    superstructures = None
    if want_superstructures and not _SUPERSTRUCTURES_DIRS.keys().isdisjoint(listings.names(folder)):
        superstructures = _index_files(root, folder, _SUPERSTRUCTURES_DIRS, problems, listings)
    list_paths = {
        name: folder / _LIST_DIR / f"{name}_filenames_{fold}_rev.txt"
        for name in (*lists, *optional_lists)
    }
    ids: dict[ListName, list[str]] = {}
    if not listings.is_folder(folder / _LIST_DIR):
        found = listings.describe(folder)
        problems.append(f"no folder {_LIST_DIR} in {folder}: found {found}; {_KEEP_NAMES}")
    else:
        for name, path in list_paths.items():
            ids[name] = _read_ids(root, path, name in optional_lists, problems, listings)
        if not problems and not any(ids[name] for name in lists):
            paths = join_problems([str(list_paths[name]) for name in lists])
            problems.append(
                f"no sample named in {paths}: expected one file name a line; "
                "copy the lists of the release"
            )
    if images is None or segments is None or problems:
        raise DataError(f"RID: {join_problems(problems)}")
    return RidFiles(images, segments, superstructures, ids, list_paths)


def _find_dataset_folder(root: Path, listings: Listings) -> Path:
    """The folder that holds RID's folders: root, or `RID_dataset` in it."""
    names = (_either(_IMAGE_DIRS), _either(_SEGMENTS_DIRS))
    expected = f"a folder with {', '.join(names)} and {_LIST_DIR}"
    if not listings.is_folder(root):
        raise DataError(f"RID: folder not found: {root}: expected {expected}; correct the path")
    if not listings.names(root):
        raise DataError(
            f"RID: folder is empty: {root}: expected {expected}; copy the dataset there"
        )
    inner = root / "RID_dataset"
    return inner if listings.is_folder(inner) else root


def _index_files(
    root: Path,
    folder: Path,
    dirs: Mapping[str, tuple[str, ...]],
    problems: list[str],
    listings: Listings,
) -> FilesById | None:
    """The files of the first of the named folders that holds any; None, and a problem, if none."""
    for name, suffixes in dirs.items():
        place = folder / name
        if not listings.is_folder(place):
            continue
        if not place.resolve().is_relative_to(root.resolve()):
            problems.append(
                f"{place} is a link that leads out of {root}; copy the folder there instead"
            )
            return None
        by_id = index_by_name(
            place,
            listings.names(place),
            partial(_find_id, endings=suffixes),
            "sample",
            problems,
        )
        if by_id:
            return FilesById(place, suffixes[0], by_id)
    endings = " or ".join(sorted({suffix for suffixes in dirs.values() for suffix in suffixes}))
    problems.append(
        f"no folder {_either(dirs)} with {endings} files in {folder}: found "
        f"{listings.describe(folder)}; {_KEEP_NAMES}"
    )
    return None


def _read_ids(
    root: Path, path: Path, is_optional: bool, problems: list[str], listings: Listings
) -> list[str]:
    """The sample IDs in a list, each once, in its order."""
    lines = read_list(path, root, "file name", "copy the lists of the release", problems)
    if lines is None:
        if not is_optional:
            problems.append(
                f"list not found: {path}: found {listings.describe(path.parent)}; "
                "copy the list there, or choose another fold"
            )
        return []
    return list(dict.fromkeys(map(_listed_id, lines)))


def _listed_id(line: str) -> str:
    """The sample that a line of a list means."""
    # A list may name a photo, a mask, or a photo as it was before it was converted.
    return _normalise_id(listed_name(line, PHOTO_ENDINGS))


def _find_id(file_name: str, endings: Sequence[str]) -> str | None:
    """The sample that a file is of; None for a file of another kind."""
    name = without_ending(file_name, endings)
    return None if name is None else _normalise_id(name)


def _normalise_id(name: str) -> str:
    """An ID as files and lists agree on it: numbers without leading zeros."""
    return (name.lstrip("0") or "0") if name.isascii() and name.isdigit() else name


def _missing_file(sample_id: str, files: FilesById) -> BadFile:
    """The file that a listed sample lacks."""
    shown_id = shorten(sample_id)
    path = files.folder / f"{shown_id}{files.suffix}"
    reason = f"RID: file not found: {path}; add it, or remove {shown_id} from the lists"
    return BadFile(shown_id, path, printable(reason))


def _either(names: Mapping[str, tuple[str, ...]]) -> str:
    return " or ".join(names)
