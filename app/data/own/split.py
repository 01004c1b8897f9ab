"""Which photos, or which parts of one, are of which split: by a list, or by place."""

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import shapely

from app.base.arrays import Floats
from app.base.errors import DataError, join_problems, printable
from app.data.files.ground import GroundError
from app.data.files.listing import read_list
from app.data.files.names import PHOTO_ENDINGS, listed_name
from app.data.own.catalogue import PhotoRoofs
from app.data.own.clusters import find_clusters
from app.data.own.layout import TITLE, OwnFiles
from app.data.own.parts import SPLIT_NAMES, Part, SplitName, Splits
from app.data.own.places import PhotoPlace, move

# What two splits show is at least so far apart.
MIN_APART_M: Final = 20.0
_HELD_OUT_SHARE: Final = 0.1
# More than this of the photos in one cluster is not held out.
_MAX_HELD_OUT_SHARE: Final = 0.2
# Least width of a part of one photo: half a training window.
_MIN_PART_M: Final = 12.8


def find_splits(files: OwnFiles, photos: Sequence[PhotoRoofs], seed: int) -> Splits:
    """The splits of a folder: those of its list, else by place, of the photos that show anything.

    Args:
        files: The folder's files.
        photos: Photos that can be used.
        seed: Deals photos out where there is no list.

    Raises:
        DataError: If the list cannot be read, or there is too little ground to split.
    """
    if files.splits_path is not None:
        return _split_by_list(files, [photo.place for photo in photos])
    numbers = [number for number, photo in enumerate(photos) if photo.roofs.show_anything]
    if not numbers:
        raise DataError(
            f"{TITLE}: none of {len(photos)} photos in {files.root} shows a plane or an area; "
            "label some"
        )
    splits = _split_by_place([photos[number] for number in numbers], seed)
    parts = {
        name: [part._replace(photo=numbers[part.photo]) for part in of_split]
        for name, of_split in splits.parts.items()
    }
    return splits._replace(parts=parts)


def _split_by_place(photos: Sequence[PhotoRoofs], seed: int) -> Splits:
    """Clusters of photos that stand apart, or strips of them; numbers are of these photos."""
    places = [photo.place for photo in photos]
    grounds = find_grounds(places)
    by_cluster = _split_by_clusters(places, grounds, seed)
    if by_cluster is not None:
        return by_cluster
    if grounds is None:
        raise _too_little(places)
    return _cut(photos, grounds)


def find_grounds(places: Sequence[PhotoPlace]) -> list[Any] | None:
    """What photos show, as polygons of one plane in metres; None where places are not known."""
    first = places[0]
    if first.crs is None or first.transform is None:
        return None
    grounds = []
    scale = first.gsd_m / abs(first.transform.a), first.gsd_m / abs(first.transform.e)
    for place in places:
        if place.crs is None:
            return None
        try:
            ground = move(np.array([place.ground()], np.object_), place.crs, first.crs)[0]
        except GroundError:
            return None
        grounds.append(shapely.transform(ground, lambda points: points * scale))
    return grounds


def _split_by_list(files: OwnFiles, places: Sequence[PhotoPlace]) -> Splits:
    listed = _read_list(files)
    parts: dict[SplitName, list[Part]] = {name: [] for name in SPLIT_NAMES}
    unlisted = []
    for i, place in enumerate(places):
        if place.name in listed:
            parts[listed[place.name]].append(_whole(i, place))
        else:
            unlisted.append(place.name)
    absent = [name for name in listed if name not in files.photos]
    counts = ", ".join(f"{len(parts[name])} {name}" for name in SPLIT_NAMES)
    close = _find_close(places, parts)
    return Splits(parts, absent, unlisted, close, f"{counts} by {files.splits_path}", listed)


def _read_list(files: OwnFiles) -> dict[str, SplitName]:
    """The split of every photo that the list names."""
    path = files.splits_path
    assert path is not None
    problems: list[str] = []
    lines = read_list(path, files.root, "photo and split", "write it again", problems) or []
    try:
        rows = list(csv.reader(io.StringIO("\n".join(lines))))
    except csv.Error as error:
        rows = []
        problems.append(f"{path}: got a list that cannot be read ({error}), expected photo,split")
    listed: dict[str, SplitName] = {}
    if rows and [cell.strip().lower() for cell in rows[0]] == ["photo", "split"]:
        rows = rows[1:]
    for number, row in enumerate(rows, start=1):
        cells = [cell.strip() for cell in row]
        split = next((name for name in SPLIT_NAMES if cells[1:2] == [name]), None)
        if split is None or len(cells) != 2:
            problems.append(
                f"{path}: row {number}: got {printable(','.join(cells)[:60])}, expected "
                "photo,train or val or test"
            )
            continue
        name = listed_name(cells[0], PHOTO_ENDINGS)
        if listed.setdefault(name, split) != split:
            problems.append(f"{path}: row {number}: photo {printable(name)} is in two splits")
    if not listed and not problems:
        problems.append(f"{path}: no rows, expected photo,split; write some, or remove the file")
    if problems:
        raise DataError(f"{TITLE}: {join_problems(problems)}")
    return listed


def _find_close(
    places: Sequence[PhotoPlace], parts: Mapping[SplitName, Sequence[Part]]
) -> list[tuple[str, str, str, str]]:
    """Pairs of splits closer than they should be, with a pair of photos."""
    grounds = find_grounds(places)
    if grounds is None:
        return []
    split_of = {part.photo: name for name in SPLIT_NAMES for part in parts[name]}
    numbers = list(split_of)
    tree = shapely.STRtree([grounds[number] for number in numbers])
    own, other = tree.query(tree.geometries, predicate="dwithin", distance=MIN_APART_M)
    found: dict[tuple[str, str], tuple[str, str, str, str]] = {}
    for first, second in zip(own.tolist(), other.tolist(), strict=True):
        splits = split_of[numbers[first]], split_of[numbers[second]]
        if SPLIT_NAMES.index(splits[0]) < SPLIT_NAMES.index(splits[1]):
            names = places[numbers[first]].name, places[numbers[second]].name
            found.setdefault(splits, (*splits, *names))
    return list(found.values())


def _split_by_clusters(
    places: Sequence[PhotoPlace], grounds: Sequence[Any] | None, seed: int
) -> Splits | None:
    """Clusters of photos that stand apart, dealt out whole; None where there are too few."""
    clusters = np.arange(len(places))
    if grounds is not None:
        clusters = find_clusters(shapely.STRtree(grounds), MIN_APART_M)
    names: dict[int, str] = {}
    for cluster, place in zip(clusters.tolist(), places, strict=True):
        names[cluster] = min(place.name, names.get(cluster, place.name))
    sizes = Counter(clusters.tolist())
    # By name, so that a photo more leaves most others where they were.
    order = sorted(names, key=lambda cluster: _shuffle(seed, names[cluster]))
    counts: Counter[SplitName] = Counter()
    split_of: dict[int, SplitName] = {}
    least, most = _HELD_OUT_SHARE * len(places), max(1.0, _MAX_HELD_OUT_SHARE * len(places))
    num_left = len(order)
    for cluster in order:
        wanted: list[SplitName] = [s for s in ("val", "test") if counts[s] < least]
        is_held_out = wanted and sizes[cluster] <= most and num_left > 1
        split = wanted[0] if is_held_out else "train"
        split_of[cluster] = split
        counts[split] += sizes[cluster]
        num_left -= is_held_out or counts["train"] > 0
    if not counts["val"] or not counts["train"]:
        return None
    parts: dict[SplitName, list[Part]] = {name: [] for name in SPLIT_NAMES}
    for i, (cluster, place) in enumerate(zip(clusters.tolist(), places, strict=True)):
        parts[split_of[cluster]].append(_whole(i, place))
    found = ", ".join(f"{counts[name]} {name}" for name in SPLIT_NAMES)
    return Splits(parts, how=f"{found} by place: {len(order)} clusters of photos, seed {seed}")


def _cut(photos: Sequence[PhotoRoofs], grounds: Sequence[Any]) -> Splits:
    """Photos cut across their longer side, with gaps: 80 % train, then val, then test."""
    bounds = shapely.bounds(np.array(grounds, np.object_))
    labelled = np.concatenate(
        [_labelled(photo, box) for photo, box in zip(photos, bounds, strict=True)]
    )
    low, high = labelled[:, :2].min(axis=0), labelled[:, 2:].max(axis=0)
    axis = int(np.argmax(high - low))
    strips = _find_strips(float(low[axis]), float(high[axis]))
    if strips is None:
        raise _too_little([photo.place for photo in photos])
    parts: dict[SplitName, list[Part]] = {name: [] for name in SPLIT_NAMES}
    for i, (photo, box) in enumerate(zip(photos, bounds, strict=True)):
        for name, strip in strips.items():
            part = _take_strip(i, photo.place, box, axis, strip)
            if part is not None:
                parts[name].append(part)
    if not parts["train"] or not parts["val"]:
        raise _too_little([photo.place for photo in photos])
    direction = "west to east" if axis == 0 else "south to north"
    return Splits(parts, how=f"photos cut into {', '.join(strips)} from {direction}")


def _find_strips(low: float, high: float) -> dict[SplitName, tuple[float, float]] | None:
    """From and to of each split, in metres, 20 m apart; None where there is too little ground."""
    for names in (SPLIT_NAMES, SPLIT_NAMES[:2]):
        usable = high - low - MIN_APART_M * (len(names) - 1)
        held_out = max(_HELD_OUT_SHARE * usable, _MIN_PART_M)
        train = usable - held_out * (len(names) - 1)
        if train < usable / 2:
            continue
        strips: dict[SplitName, tuple[float, float]] = {"train": (-np.inf, low + train)}
        start = low + train + MIN_APART_M
        for name in names[1:]:
            end = start + held_out if name != names[-1] else np.inf
            strips[name] = (start, end)
            start = end + MIN_APART_M
        return strips
    return None


def _labelled(photo: PhotoRoofs, bounds: Floats) -> Floats:
    """Boxes of a photo's planes in metres, (N, 4)."""
    raster = photo.place.raster
    west, south, east, north = bounds
    boxes = photo.roofs.planes.boxes
    per_column, per_row = (east - west) / raster.width_px, (north - south) / raster.height_px
    x = np.clip(west + boxes[:, [0, 2]] * per_column, west, east)
    y = np.clip(north - boxes[:, [3, 1]] * per_row, south, north)
    return np.stack((x[:, 0], y[:, 0], x[:, 1], y[:, 1]), axis=1)


def _take_strip(
    number: int, place: PhotoPlace, bounds: Floats, axis: int, strip: tuple[float, float]
) -> Part | None:
    """The part of a photo that lies in a strip; None where too little of it does."""
    height, width = place.raster.height_px, place.raster.width_px
    low, high = bounds[axis], bounds[axis + 2]
    side = width if axis == 0 else height
    first, last = (
        int(np.clip(round((edge - low) / (high - low) * side), 0, side))
        if np.isfinite(edge)
        else (0 if edge < 0 else side)
        for edge in strip
    )
    if (last - first) * place.gsd_m < _MIN_PART_M:
        return None
    if axis == 0:
        return Part(number, 0, first, height, last - first)
    return Part(number, height - last, 0, last - first, width)


def _too_little(places: Sequence[PhotoPlace]) -> DataError:
    names = join_problems([place.name for place in places])
    return DataError(
        f"{TITLE}: too little ground to split by place, so that train and val stand "
        f"{MIN_APART_M:.0f} m apart: got {len(places)} photos ({names}), expected two places or "
        "100 m of roofs; add photos, or write splits.csv with photo,split"
    )


def _whole(number: int, place: PhotoPlace) -> Part:
    return Part(number, 0, 0, place.raster.height_px, place.raster.width_px)


def _shuffle(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode(errors="surrogateescape")).digest()
