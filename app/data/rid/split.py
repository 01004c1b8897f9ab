"""Leaves out samples of RID's lists, so that no two splits show the same ground."""

import functools
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from app.data.files.georeference import MAX_PLACES_KEPT
from app.data.files.header import read_header
from app.data.files.identical import digest_file
from app.data.files.places import Place, overlap_any
from app.data.files.problems import FileProblem
from app.data.files.threads import run_in_threads
from app.data.reader import Split
from app.data.rid.files import ListName, RidFiles

RidSplit = Literal["disjoint", "release"]

# The splits whose ground a split may not show. The published test list stays whole, so that scores
# on it can be compared; val gives way to it, and train to both.
RIVALS: Final[Mapping[Split, tuple[ListName, ...]]] = {
    "train": ("val", "test"),
    "val": ("test",),
    "test": (),
    "all": (),
}
# Reading a header is mostly waiting for the disk or the network.
_NUM_HEADERS_AT_ONCE: Final = 8


@dataclass(frozen=True)
class SplitReport:
    """How the samples of a split came about.

    Attributes:
        split: Its name.
        rid_split: "disjoint" or "release".
        num_listed: Samples that the list names.
        num_dropped_overlap: Left out because they show ground of another split's image.
        num_dropped_identical: Left out because another split holds the same sample or the same
            file. With georeference only the same sample counts: the same file overlaps anyway.
        num_unchecked: Kept, but without a georeference to compare.
    """

    split: Split
    rid_split: RidSplit
    num_listed: int
    num_dropped_overlap: int = 0
    num_dropped_identical: int = 0
    num_unchecked: int = 0

    def describe(self) -> str:
        """One line for the log."""
        text = f"RID {self.split}: {self.num_listed} samples listed"
        rivals = RIVALS[self.split]
        if not rivals:
            return f"{text}, none dropped"
        others = " or ".join(rivals)
        if self.rid_split == "release":
            return f"{text}, none dropped for ground shared with {others} (rid_split=release)"
        text += (
            f", {self.num_dropped_overlap} dropped for ground shared with {others}, "
            f"{self.num_dropped_identical} as copies of theirs"
        )
        if self.num_unchecked:
            text += f"; {self.num_unchecked} have no georeference to check"
        return text


def leave_out_shared(
    root: Path, files: RidFiles, split: Split, sample_ids: Sequence[str]
) -> tuple[list[str], SplitReport]:
    """The samples that show no ground of another split's image.

    Images without georeference are compared by content. An image that cannot be read is kept, and
    reported when it is read.

    Args:
        root: The dataset's folder; a symlink must not lead outside it.
        files: Its images and lists: of the split and of those it gives way to.
        split: "train", "val" or "test".
        sample_ids: The split's samples that have an image.

    Returns:
        The samples kept, in their order, and how many were not.
    """
    image_paths = files.images.by_id
    listed = {name: sample_ids if name == split else ids for name, ids in files.lists.items()}
    all_ids = {id_ for ids in listed.values() for id_ in ids if id_ in image_paths}
    places = _read_places({sample_id: image_paths[sample_id] for sample_id in all_ids}, root)
    # A val image that gave way to test is in no split, so train need not keep away from it.
    taken: list[str] = []
    for name in reversed(RIVALS[split]):
        kept, _ = _keep_disjoint(name, listed[name], taken, image_paths, places)
        taken += kept
    return _keep_disjoint(split, sample_ids, taken, image_paths, places)


def _read_places(paths: Mapping[str, Path], root: Path) -> dict[str, Place | None]:
    """Where images lie; None without georeference. Those that cannot be read are left out."""
    all_paths = list(paths.values())

    def read(number: int) -> Place | FileProblem | OSError | None:
        path = all_paths[number]
        try:
            state = path.stat()
            return _read_place(path, root, state.st_size, state.st_mtime_ns)
        except (FileProblem, OSError) as error:
            return error

    found = run_in_threads(read, len(all_paths), _NUM_HEADERS_AT_ONCE)
    return {
        sample_id: place
        for sample_id, place in zip(paths, found, strict=True)
        if not isinstance(place, Exception)
    }


# One split after the other looks at the same images.
@functools.lru_cache(maxsize=MAX_PLACES_KEPT)
def _read_place(
    path: Path,
    root: Path,
    size_bytes: int,  # noqa: ARG001 - a file that changed is another key
    modified_ns: int,  # noqa: ARG001 - part of the key, too
) -> Place | None:
    return Place.from_header(read_header(path, root, ""))


def _keep_disjoint(
    split: Split,
    sample_ids: Sequence[str],
    rival_ids: Collection[str],
    image_paths: Mapping[str, Path],
    places: Mapping[str, Place | None],
) -> tuple[list[str], SplitReport]:
    """The samples whose ground no rival shows; `places` holds every image that can be read."""
    listed_twice = set(sample_ids) & set(rival_ids)
    rest = [sample_id for sample_id in sample_ids if sample_id not in listed_twice]
    rivals = [sample_id for sample_id in rival_ids if sample_id in places]
    crs = _common_crs(places)

    def placed(ids: Sequence[str]) -> dict[str, Place]:
        found = {sample_id: places.get(sample_id) for sample_id in ids}
        return {key: place for key, place in found.items() if place and place.crs == crs}

    own_places, rival_places = placed(rest), placed(rivals)
    overlaps = overlap_any(list(own_places.values()), list(rival_places.values()))
    overlapping = {key for key, hit in zip(own_places, overlaps, strict=True) if hit}
    unplaced = [key for key in rest if key in places and key not in own_places]
    rivals_unplaced = [key for key in rivals if key not in rival_places]
    identical = _identical(unplaced, rivals_unplaced, image_paths)

    dropped = overlapping | identical
    kept = [sample_id for sample_id in rest if sample_id not in dropped]
    report = SplitReport(
        split=split,
        rid_split="disjoint",
        num_listed=len(sample_ids),
        num_dropped_overlap=len(overlapping),
        num_dropped_identical=len(listed_twice) + len(identical),
        num_unchecked=sum(sample_id not in own_places for sample_id in kept),
    )
    return kept, report


def _common_crs(places: Mapping[str, Place | None]) -> str | None:
    """The coordinate reference system of most images: only within one can they be compared."""
    counts = Counter(place.crs for place in places.values() if place)
    return counts.most_common(1)[0][0] if counts else None


def _identical(
    own: Sequence[str], rivals: Sequence[str], image_paths: Mapping[str, Path]
) -> set[str]:
    """The samples of own whose file holds the same bytes as a rival's.

    Only files of equal size are read.
    """
    rivals_by_size: dict[int, list[Path]] = defaultdict(list)
    for sample_id in rivals:
        rivals_by_size[image_paths[sample_id].stat().st_size].append(image_paths[sample_id])
    digests: dict[int, set[bytes]] = {}
    identical = set()
    for sample_id in own:
        size = image_paths[sample_id].stat().st_size
        if size not in rivals_by_size:
            continue
        if size not in digests:
            digests[size] = {digest_file(path) for path in rivals_by_size[size]}
        if digest_file(image_paths[sample_id]) in digests[size]:
            identical.add(sample_id)
    return identical
