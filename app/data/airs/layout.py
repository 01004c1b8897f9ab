"""Where AIRS's tiles lie: the original layout and that of the mirror, with lists or without."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, get_args

from app.base.dataset_names import DATASET_TITLES
from app.base.errors import DataError, join_problems, printable
from app.data.files.listing import Listings, read_list, shorten
from app.data.files.names import index_by_name, listed_name, without_ending
from app.data.reader import Split
from app.data.sample import BadFile

TITLE: Final = DATASET_TITLES["airs"]
TILE_REMEDY: Final = "copy the tile from the dataset again"
# Pictures of the labels for people, beside them under nearly the same name.
PREVIEW_END: Final = "_vis"

_SPLITS: Final = tuple(name for name in get_args(Split) if name != "all")
_INNER_DIR: Final = "trainval"
_IMAGE_DIR, _LABEL_DIR = "image", "label"
_ENDINGS: Final = (".tif", ".tiff")
_EXPECTED: Final = "train/ and val/, each with image/ and label/, or trainval/ with these"


class TileFiles(NamedTuple):
    """A tile's name and its two files."""

    name: str
    image_path: Path
    label_path: Path


class Tiles(NamedTuple):
    """The tiles of a split.

    Attributes:
        folder: Holds all of their files.
        files: Files of the tiles that have an image and a label.
        missing: One for each tile that lacks one of them.
    """

    folder: Path
    files: list[TileFiles]
    missing: list[BadFile]


def find_tiles(root: Path, split: Split) -> Tiles:
    """The tiles of a split, in the order of its list, or by name where there is no list.

    Args:
        root: The folder that holds train/, val/ and test/, or trainval/ with the first two; or one
            with a single folder around these.
        split: Which; "all" is every split that has images and labels.

    Raises:
        DataError: If no such folder is there, a list cannot be read, or no tile is complete.
    """
    listings = Listings(TITLE)
    folder = _find_folder(root, listings)
    if split == "all":
        names = [
            name
            for name in _SPLITS
            if all(_has_tiles(tile_dir, listings) for tile_dir in _tile_dirs(folder, name))
        ]
    else:
        names = [split]
    tiles = Tiles(folder, [], [])
    problems: list[str] = []
    for name in names:
        _find_split(folder, name, tiles, problems, listings)
    if problems:
        raise DataError(f"{TITLE}: {join_problems(problems)}")
    if not tiles.files:
        reasons = join_problems([bad.reason for bad in tiles.missing])
        raise DataError(
            f"{TITLE}: no tile of split {split} in {folder} has an image and a label: "
            f"{reasons or f'found {listings.describe(folder)}'}; copy the whole dataset"
        )
    return tiles


def _find_folder(root: Path, listings: Listings) -> Path:
    """The folder that holds train/ and its like: root, trainval in it, or one folder further in."""
    if not listings.is_folder(root):
        raise DataError(
            f"{TITLE}: folder not found: {root}: expected {_EXPECTED}; correct the path"
        )
    found = _find_places(root, ("train", "val"), listings)
    # Only then, as the original release has its test images beside trainval.
    found = found or _find_places(root, ("test",), listings)
    if len(found) > 1:
        raise DataError(
            f"{TITLE}: several datasets in {root}: got "
            f"{join_problems([str(place) for place in found])}, expected one; "
            "name the folder of one of them"
        )
    if not found:
        raise DataError(
            f"{TITLE}: no tiles in {root}: found {listings.describe(root)}, expected {_EXPECTED}; "
            "copy the dataset there, or correct the path"
        )
    return found[0]


def _find_places(root: Path, split_names: Sequence[str], listings: Listings) -> list[Path]:
    """The folders, of root and those in it, that hold tiles of one of the splits."""

    def holds(place: Path) -> bool:
        # One of the two folders is enough, so that a message can name the other one as absent.
        tile_dirs = [tile_dir for name in split_names for tile_dir in _tile_dirs(place, name)]
        return any(_has_tiles(tile_dir, listings) for tile_dir in tile_dirs)

    found = [place for place in (root, root / _INNER_DIR) if holds(place)]
    for name in listings.names(root):
        # A folder that may not be read, such as lost+found, is not the dataset's.
        with contextlib.suppress(DataError):
            if name != _INNER_DIR and listings.is_folder(root / name):
                inner = (root / name, root / name / _INNER_DIR)
                found += [place for place in inner if holds(place)]
    return found


def _has_tiles(folder: Path, listings: Listings) -> bool:
    return listings.is_folder(folder) and any(
        find_tile_name(name) is not None for name in listings.names(folder)
    )


def is_preview(path: Path) -> bool:
    """Whether a file is a picture of a label, going by its name."""
    return (without_ending(path.name, _ENDINGS) or "").endswith(PREVIEW_END)


def find_tile_name(file_name: str) -> str | None:
    """The tile that a file of an image or label folder is of, going by its name; None if none."""
    name = without_ending(file_name, _ENDINGS)
    return None if name is None or name.endswith(PREVIEW_END) else name


def _tile_dirs(folder: Path, split_name: str) -> tuple[Path, Path]:
    return folder / split_name / _IMAGE_DIR, folder / split_name / _LABEL_DIR


def _find_split(
    folder: Path, split_name: str, tiles: Tiles, problems: list[str], listings: Listings
) -> None:
    """Append a split's tiles, or the problems that keep them from being found."""
    image_dir, label_dir = _tile_dirs(folder, split_name)
    problems += [
        _no_tiles(tile_dir, split_name, listings)
        for tile_dir in (image_dir, label_dir)
        if not _has_tiles(tile_dir, listings)
    ][:1]
    if problems:
        return
    images = _index_files(image_dir, problems, listings)
    labels = _index_files(label_dir, problems, listings)
    names = _read_list(folder, split_name, problems)
    if names is None:
        names = sorted(images.keys() | labels.keys())
    for name in names:
        if name in images and name in labels:
            tiles.files.append(TileFiles(name, images[name], labels[name]))
            continue
        lacking = image_dir if name not in images else label_dir
        shown_name = shorten(name)
        path = lacking / f"{shown_name}{_ENDINGS[0]}"
        what = f"the tile has a {_LABEL_DIR} but no {_IMAGE_DIR}"
        if name not in labels:
            what = f"the tile has an {_IMAGE_DIR} but no {_LABEL_DIR}"
            if name not in images:
                what = f"{split_name}.txt lists the tile, but it has neither image nor label"
        reason = f"{TITLE}: file not found: {path}: {what}; add it, or leave the tile out"
        tiles.missing.append(BadFile(shown_name, path, printable(reason)))


def _no_tiles(tile_dir: Path, split_name: str, listings: Listings) -> str:
    """Why a split cannot be used."""
    text = f"no .tif files in {tile_dir}: "
    if not listings.is_folder(tile_dir):
        absent = tile_dir if listings.is_folder(tile_dir.parent) else tile_dir.parent
        text = f"no folder {absent}: found {listings.describe(absent.parent)} in {absent.parent}; "
    else:
        text += f"found {listings.describe(tile_dir)}; "
    if split_name == "test":
        return text + (
            "the original release holds no labels of its test tiles: use another split, "
            "or the mirror that has them"
        )
    return text + "copy the whole split, images and labels"


def _index_files(tile_dir: Path, problems: list[str], listings: Listings) -> dict[str, Path]:
    """The tiles' files in a folder, by the tile's name."""
    return index_by_name(tile_dir, listings.names(tile_dir), find_tile_name, "tile", problems)


def _read_list(folder: Path, split_name: str, problems: list[str]) -> list[str] | None:
    """The names in a split's list, each once, in their order; None if there is no list."""
    path = folder / f"{split_name}.txt"
    num_problems = len(problems)
    lines = read_list(path, folder, "tile", "copy the list from the dataset again", problems)
    if lines is None:
        return None
    # train.txt has names with .tif, val.txt without.
    names = [listed_name(line, _ENDINGS) for line in lines]
    names = [name for name in names if not name.endswith(PREVIEW_END)]
    if not names and len(problems) == num_problems:
        problems.append(
            f"no tile named in {path}: expected one a line; copy the list again, or remove it "
            "to use all tiles of the folder"
        )
    return list(dict.fromkeys(names))
