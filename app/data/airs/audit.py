"""Audit of AIRS: tiles and lists, georeference, labels, and ground that splits share."""

import contextlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from rasterio.windows import Window

from app.base.errors import DataError
from app.base.tasks import BACKGROUND_CLASS, IGNORE_INDEX, SOME_ROOF
from app.data.airs.dataset import AirsDataset
from app.data.airs.index import DEFAULT_GSD_M
from app.data.airs.layout import (
    PREVIEW_END,
    TILE_REMEDY,
    Tiles,
    find_tile_name,
    find_tiles,
    is_preview,
)
from app.data.airs.tile import Tile
from app.data.files.header import RasterHeader, read_header
from app.data.files.identical import find_identical_files
from app.data.files.places import Place
from app.data.files.problems import FileProblem
from app.data.files.rasters import OpenRasters
from app.data.files.threads import run_in_threads
from app.data.findings.report import AuditReport, Kind, Tally
from app.data.findings.scope import AuditScope
from app.data.findings.tools import name_some
from app.data.reader import spread
from app.data.sample import BadFile

_USUAL_GSD_M: Final = 0.075
# Rows read at a time: 15 MB of a tile's 300 MB.
_ROWS_AT_ONCE: Final = 512
# Neighbours share a tenth of a side in the release, so a corner tile's four share at most this.
_MAX_USUAL_SHARED: Final = 0.25


class _Examined(NamedTuple):
    """What was found while reading a tile.

    Attributes:
        tally: Its sums, or why it cannot be used.
        header: Header of its image.
        is_constant: Whether its image is all of one colour.
    """

    tally: Tally | BadFile
    header: RasterHeader | None = None
    is_constant: bool = False


def audit_airs(report: AuditReport, scope: AuditScope) -> None:
    """Fill in the report on a folder of AIRS.

    Raises:
        DataError: If the folder cannot be used as a whole.
    """
    splits = {"train": find_tiles(report.root, "train"), "val": find_tiles(report.root, "val")}
    readers = [AirsDataset(report.root, name, scope.scratch_dir) for name in ("train", "val")]
    # The original release has no labels of its test tiles.
    with contextlib.suppress(DataError):
        test_tiles = find_tiles(report.root, "test")
        readers.append(AirsDataset(report.root, "test", scope.scratch_dir))
        splits["test"] = test_tiles
    folder = splits["train"].folder
    report.used_ids = {name for split in ("train", "val") for name in _names(splits[split])}
    for reader in readers:
        for bad_file in reader.missing:
            report.add_bad(bad_file, _kind(bad_file))
    _check_lists(report, splits)

    all_tiles = [tile for reader in readers for tile in reader.tiles]
    tiles = spread(all_tiles, scope.max_files)
    results = run_in_threads(lambda index: _examine(tiles[index], folder), len(tiles))
    report.counts["checked"] = len(tiles)
    examined: dict[Path, _Examined] = {}
    for tile, result in zip(tiles, scope.track(results, len(tiles), "AIRS"), strict=True):
        examined[tile.files.image_path] = result
        if isinstance(result.tally, Tally):
            report.tally.add(result.tally)
        else:
            report.add_bad(result.tally, "damaged file")
    paths = {str(path): path for path in examined}
    headers = {str(path): res.header for path, res in examined.items() if res.header is not None}
    report.check_scale(_USUAL_GSD_M, folder)
    report.check_georeference(headers, paths, DEFAULT_GSD_M)
    _check_labels(report, tiles, examined, folder)
    if scope.max_files is None:
        _check_copies(report, splits, list(examined))
        _check_overlaps(report, splits, examined)


def _examine(tile: Tile, folder: Path) -> _Examined:
    """Read a tile, some rows at a time."""
    tally = Tally(
        sizes_px=Counter({f"{tile.width_px} x {tile.height_px}": 1}),
        gsds_m=[tile.gsd_m],
        num_px=tile.height_px * tile.width_px,
    )
    first_px, is_constant = None, True
    try:
        header = read_header(tile.files.image_path, folder, "")
        rasters = OpenRasters(folder, TILE_REMEDY)
        for top in range(0, tile.height_px, _ROWS_AT_ONCE):
            num_rows = min(_ROWS_AT_ONCE, tile.height_px - top)
            photo, label = tile.read(Window(0, top, tile.width_px, num_rows), rasters)
            image, seen = photo.image, [s for s in (photo.seen, label.seen) if s is not None]
            roof = label.values[np.logical_and.reduce(seen)] if seen else label.values
            num_roof = int(np.count_nonzero(roof))
            tally.segments[SOME_ROOF] += num_roof
            tally.segments[BACKGROUND_CLASS] += roof.size - num_roof
            tally.segments[IGNORE_INDEX] += label.values.size - roof.size
            first_px = image[:, :1, :1] if first_px is None else first_px
            is_constant = is_constant and bool((image == first_px).all())
    except FileProblem as problem:
        error = problem.to_sample_error(AirsDataset.title, tile.files.name)
        return _Examined(BadFile.of(error))
    return _Examined(tally, header, is_constant)


def _names(tiles: Tiles) -> list[str]:
    """All tiles of a split, whether complete or not."""
    return [files.name for files in tiles.files] + [bad.sample_id for bad in tiles.missing]


def _kind(bad_file: BadFile) -> Kind:
    """The kind of finding for a file that the reader sets aside before it reads any window."""
    path = bad_file.path
    if os.path.lexists(path):
        return "damaged file"
    other_dir = path.parent.parent / ("image" if path.parent.name == "label" else "label")
    name = find_tile_name(path.name)
    if all(find_tile_name(other.name) != name for other in other_dir.iterdir()):
        return "listed but absent"
    return "mask without image" if other_dir.name == "label" else "image without mask"


def _check_lists(report: AuditReport, splits: Mapping[str, Tiles]) -> None:
    """Tiles that no list names, tiles of two splits, and pictures of labels."""
    num_previews = 0
    for split, tiles in splits.items():
        report.counts[split] = len(_names(tiles))
        listed = set(_names(tiles))
        split_dir = tiles.folder / split
        for path in sorted((split_dir / "image").iterdir()):
            name = find_tile_name(path.name)
            if name is not None and name not in listed:
                what = f"{split}.txt does not name the tile"
                remedy = "add it to the list, or move image and label away"
                report.add("warning", "in no list", path, what, remedy)
        num_previews += sum(map(is_preview, (split_dir / "label").iterdir()))
    if num_previews:
        what = f"{num_previews} pictures of labels (*{PREVIEW_END}.tif) are left out"
        report.add("info", "left out", splits["train"].folder, what)
    for other in ("val", "test"):
        shared = (
            set(_names(splits["train"])) & set(_names(splits[other])) if other in splits else ()
        )
        for name in shared:
            path = splits["train"].folder / "train" / "image" / f"{name}.tif"
            what = f"tile {name} is in train and in {other}"
            remedy = "take it out of one of them: scores on what was trained on are too good"
            report.add("warning", "same tile in two splits", path, what, remedy)


def _check_labels(
    report: AuditReport,
    tiles: Sequence[Tile],
    examined: Mapping[Path, _Examined],
    folder: Path,
) -> None:
    """Values of labels, tiles without roofs, images of one colour."""
    values = Counter(tile.roof_value for tile in tiles if tile.roof_value)
    if len(values) > 1:
        found = " and ".join(f"{value} in {count}" for value, count in sorted(values.items()))
        what = f"roof is {found} labels: both are understood"
        report.add("info", "label values", folder, what)
    elif 255 in values:
        what = "roof is 255 in the labels, where the release has 1: both are understood"
        report.add("info", "label values", folder, what)
    bare = []
    for tile in tiles:
        result = examined[tile.files.image_path]
        if result.is_constant:
            what = "all pixels have one colour"
            report.add("warning", "constant image", tile.files.image_path, what, TILE_REMEDY)
        if isinstance(result.tally, Tally) and not result.tally.segments[SOME_ROOF]:
            bare.append(tile.files)
    if bare and len(bare) == report.tally.sizes_px.total():
        what = f"no roof in any of {len(bare)} labels"
        remedy = "see that label/ holds labels of 0 and 1, and not images or empty files"
        report.add("warning", "class absent", folder, what, remedy)
    else:
        for files in bare:
            report.add("info", "class absent", files.label_path, "no roof in this tile")


def _check_copies(report: AuditReport, splits: Mapping[str, Tiles], paths: list[Path]) -> None:
    """Images with the same bytes."""
    homes = {
        files.image_path: (split, files.name)
        for split, tiles in splits.items()
        for files in tiles.files
    }
    for group in find_identical_files(paths):
        names = name_some(["/".join(homes[path]) for path in group])
        what = f"{names} have the same image"
        remedy = "remove all but one"
        several = len({homes[path][0] for path in group}) > 1
        kind: Kind = "identical images in two splits" if several else "identical images"
        report.add("warning", kind, group[0], what, remedy)


def _check_overlaps(
    report: AuditReport, splits: Mapping[str, Tiles], examined: Mapping[Path, _Examined]
) -> None:
    """Tiles of a held-out split that show the ground of a training tile."""

    def places(split: str) -> dict[Path, Place]:
        found = {}
        for files in splits[split].files:
            result = examined.get(files.image_path)
            place = Place.from_header(result.header) if result and result.header else None
            if place is not None:
                found[files.image_path] = place
        return found

    train = places("train")
    for split in ("val", "test"):
        if split not in splits or not train:
            continue
        own = places(split)
        shared = {path: _shared_share(place, train) for path, place in own.items()}
        num_usual = sum(0 < share <= _MAX_USUAL_SHARED for share in shared.values())
        if num_usual:
            what = f"{num_usual} of {len(own)} {split} tiles share their edges with train tiles"
            remedy = (
                "nothing to do: the release's tiles overlap by a tenth, and its split is random"
            )
            report.add("info", "splits overlap", splits[split].folder / split, what, remedy)
        for path, share in shared.items():
            if share > _MAX_USUAL_SHARED:
                what = f"a train tile shows {share:.0%} of the ground of this {split} tile"
                remedy = "take one of them out: scores on what was trained on are too good"
                report.add("warning", "splits overlap", path, what, remedy)


def _shared_share(own: Place, others: Mapping[Path, Place]) -> float:
    """The largest share of a tile's ground in another tile; overlaps up to a pixel count as 0."""
    rivals = np.array([place[1:5] for place in others.values() if place.crs == own.crs])
    if not len(rivals):
        return 0.0
    west, south, east, north = rivals.T
    shared_x = np.minimum(east, own.east) - np.maximum(west, own.west)
    shared_y = np.minimum(north, own.north) - np.maximum(south, own.south)
    is_shared = (shared_x > own.tolerance_x) & (shared_y > own.tolerance_y)
    area = (own.east - own.west) * (own.north - own.south)
    return float(np.max(np.where(is_shared, shared_x * shared_y, 0)) / area)
