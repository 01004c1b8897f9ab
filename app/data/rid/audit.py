"""Audit of RID: pairs, lists, georeference, classes, copies, ground that splits share."""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from app.base.errors import DataError, SampleError
from app.base.tasks import BACKGROUND_CLASS, find_task
from app.data.files.header import RasterHeader, read_header
from app.data.files.identical import find_identical_files
from app.data.files.places import Place, overlap_any
from app.data.files.problems import FileProblem
from app.data.files.rasters import read_label
from app.data.files.threads import run_in_threads
from app.data.findings.report import AuditReport, Kind, Severity, Tally, is_constant, tally_sample
from app.data.findings.scope import AuditScope
from app.data.findings.tools import name_some, natural_order
from app.data.reader import spread
from app.data.rid.dataset import DEFAULT_GSD_M, RidDataset
from app.data.rid.files import (
    FILE_REMEDY,
    LIST_NAMES,
    FilesById,
    ListName,
    RidFiles,
    find_rid_files,
)

_USUAL_GSD_M: Final = 0.099
# In fewer masks a direction may be absent by chance.
_MIN_MASKS_FOR_ALL_CLASSES: Final = 100
_BINARY_1: Final = frozenset({0, 1})
_BINARY_255: Final = frozenset({0, 255})


class _Examined(NamedTuple):
    """What was found while reading a sample.

    Attributes:
        header: Header of its image; None if that is not readable.
        tally: Its sums, or the error.
        mask_values: What its mask of segments holds; empty if that is not readable.
        is_constant: Whether its image is all of one colour.
    """

    header: RasterHeader | None
    tally: Tally | SampleError
    mask_values: frozenset[int]
    is_constant: bool = False


def audit_rid(report: AuditReport, scope: AuditScope) -> None:
    """Fill in the report on a RID folder.

    Raises:
        DataError: If the folder cannot be used as a whole.
    """
    superstructures = scope.hyperparameters.superstructures_weight > 0
    root, fold = report.root, scope.hyperparameters.rid_fold
    files = find_rid_files(root, fold, ("train", "val"), ("test",), superstructures)
    splits: list[ListName] = [name for name in LIST_NAMES if files.lists[name] and name != "test"]
    readers = [RidDataset(root, name, fold, "release", superstructures) for name in splits]
    # Training does without the files of the test list.
    with contextlib.suppress(DataError):
        readers.append(RidDataset(root, "test", fold, "release", superstructures))
    report.used_ids = {*files.lists["train"], *files.lists["val"]}
    _count_files(report, files)
    _check_pairs(report, files)

    # A sample in two lists is taken from the first.
    places = {
        sample_id: (reader, index)
        for reader in reversed(readers)
        for index, sample_id in enumerate(reader.sample_ids)
    }
    sample_ids = spread(sorted(places, key=natural_order), scope.max_files)

    def examine(number: int) -> _Examined:
        return _examine(root, *places[sample_ids[number]])

    results = scope.track(run_in_threads(examine, len(sample_ids)), len(sample_ids), "RID")
    examined = dict(zip(sample_ids, results, strict=True))
    for result in examined.values():
        if isinstance(result.tally, Tally):
            report.tally.add(result.tally)
        else:
            report.add_error(result.tally)
    report.counts["checked"] = len(sample_ids)
    headers = {key: result.header for key, result in examined.items() if result.header is not None}
    report.check_scale(_USUAL_GSD_M, files.images.folder)
    report.check_georeference(headers, files.images.by_id, DEFAULT_GSD_M)
    _check_pixels(report, examined, files)
    if scope.max_files is None:
        is_disjoint = scope.hyperparameters.rid_split == "disjoint"
        _check_copies(report, files, [files.images.by_id[key] for key in examined], is_disjoint)
        _check_overlaps(report, files, headers, is_disjoint)


def _examine(root: Path, reader: RidDataset, index: int) -> _Examined:
    """Read a sample as training does, and its image's header."""
    image_path, mask_path = reader.paths(index)[:2]
    header, values = None, frozenset[int]()
    with contextlib.suppress(FileProblem):  # the reader's error says it, with the sample's name
        header = read_header(image_path, root, "")
    try:
        sample = reader[index]
    except SampleError as error:
        if error.path == mask_path and header is not None:
            with contextlib.suppress(FileProblem):  # said by the reader's error
                mask = read_label(mask_path, root, "", header, {0})
                values = frozenset(np.unique(mask.values).tolist())
        return _Examined(header, error, values)
    tally = tally_sample(sample)
    values = frozenset(np.flatnonzero(tally.segments).tolist())
    return _Examined(header, tally, values, is_constant(sample["image"]))


def _count_files(report: AuditReport, files: RidFiles) -> None:
    report.counts["images"] = len(files.images.by_id)
    report.counts["masks"] = len(files.segments.by_id)
    if files.superstructures is not None:
        report.counts["superstructure masks"] = len(files.superstructures.by_id)
    for name, sample_ids in files.lists.items():
        report.counts[f"listed {name}"] = len(sample_ids)


def _check_pairs(report: AuditReport, files: RidFiles) -> None:
    """What is listed and not there, there and not listed, or there without its partner."""
    listed = {sample_id for ids in files.lists.values() for sample_id in ids}
    for sample_id in listed:
        missing = files.missing(sample_id)
        for bad_file in missing:
            kind: Kind = "listed but absent"
            if len(missing) == 1:
                is_image = bad_file.path.parent == files.images.folder
                kind = "mask without image" if is_image else "image without mask"
            report.add_bad(bad_file, kind)
    images, masks = set(files.images.by_id) - listed, set(files.segments.by_id) - listed
    lists = ", ".join(path.name for path in files.list_paths.values())
    for sample_id in images & masks:
        what = f"image and mask are there, and none of {lists} names {sample_id}"
        remedy = "add it to a list, or move both files away"
        report.add("warning", "in no list", files.images.by_id[sample_id], what, remedy)
    sides: tuple[tuple[set[str], FilesById, FilesById, Kind], ...] = (
        (images - masks, files.images, files.segments, "image without mask"),
        (masks - images, files.segments, files.images, "mask without image"),
    )
    for ids, own, other, kind in sides:
        for sample_id in ids:
            what = f"no {sample_id}{other.suffix} in {other.folder}; in no list either"
            remedy = "add the other file, or move this one away"
            report.add("warning", kind, own.by_id[sample_id], what, remedy)


def _check_pixels(report: AuditReport, examined: Mapping[str, _Examined], files: RidFiles) -> None:
    """Masks of other kinds of labels, classes that never occur, images of one colour."""
    for sample_id, result in examined.items():
        if result.is_constant:
            what = "all pixels have one colour"
            path = files.images.by_id[sample_id]
            report.add("warning", "constant image", path, what, FILE_REMEDY)
        for values in (_BINARY_255, _BINARY_1):
            if result.mask_values and result.mask_values <= values:
                severity: Severity = "error" if values == _BINARY_255 else "warning"
                found = " and ".join(str(value) for value in sorted(result.mask_values))
                what = f"holds only {found}, as a mask of roof and no roof does; 0 means north here"
                remedy = "use masks_segments_reviewed of RID's release"
                path = files.segments.by_id[sample_id]
                report.add(severity, "masks look binary", path, what, remedy)
                break
    counts = report.tally.segments
    num_masks = sum(report.tally.sizes_px.values())
    for class_id, name in enumerate(find_task("segments").class_names):
        if counts[class_id] or not num_masks:
            continue
        # One mask may lack background; a dataset without any background has other class numbers.
        is_odd = class_id == BACKGROUND_CLASS or num_masks >= _MIN_MASKS_FOR_ALL_CLASSES
        what = f"no pixel of class {class_id} ({name}) in {num_masks} masks"
        remedy = "see that the masks number their classes as the release does, 17 for background"
        report.add(
            "warning" if is_odd else "info", "class absent", files.segments.folder, what, remedy
        )


def _check_copies(
    report: AuditReport, files: RidFiles, paths: Sequence[Path], is_disjoint: bool
) -> None:
    """Images with the same bytes: known of the release, a leak if splits share them."""
    ids = {path: sample_id for sample_id, path in files.images.by_id.items()}
    for group in find_identical_files(paths):
        group_ids = [ids[path] for path in group]
        masks = [files.segments.by_id[sample_id] for sample_id in group_ids]
        names = name_some(group_ids)
        if max(map(len, find_identical_files(masks)), default=0) < len(masks):
            what = f"samples {names} have the same image and different masks"
            remedy = "see which mask is right, and take the others off the lists"
            report.add("warning", "identical images", group[0], what, remedy)
        homes = [name for name, listed in files.lists.items() if set(group_ids) & set(listed)]
        if len(homes) == 1:
            what = f"samples {names} of {homes[0]} have the same image"
            report.add("info", "identical images", group[0], what)
        else:
            what = f"samples {names} have the same image, in {' and '.join(homes)}"
            severity, remedy = _leak(is_disjoint)
            report.add(severity, "identical images in two splits", group[0], what, remedy)


def _check_overlaps(
    report: AuditReport,
    files: RidFiles,
    headers: Mapping[str, RasterHeader],
    is_disjoint: bool,
) -> None:
    """Images of one split that show the ground of another's."""
    places = {key: Place.from_header(header) for key, header in headers.items()}

    def placed(name: ListName) -> list[Place]:
        found = [places.get(sample_id) for sample_id in files.lists[name]]
        return [place for place in found if place is not None and place.crs == crs]

    crs = report.crs.most_common(1)[0][0] if report.crs else None
    severity, remedy = _leak(is_disjoint)
    pairs: tuple[tuple[ListName, ListName], ...] = (
        ("val", "train"),
        ("test", "train"),
        ("test", "val"),
    )
    for own, rival in pairs:
        own_places = placed(own)
        num_shared = int(overlap_any(own_places, placed(rival)).sum())
        if num_shared:
            what = (
                f"{num_shared} of {len(own_places)} {own} images show ground that {rival} images "
                "show as well, by the release's lists"
            )
            path = files.list_paths[own]
            report.add(severity, "splits overlap", path, what, remedy)


def _leak(is_disjoint: bool) -> tuple[Severity, str]:
    """How bad shared ground is, and what to do."""
    if is_disjoint:
        return "info", "nothing to do: rid_split=disjoint leaves the shared ground out of training"
    return "warning", "set rid_split=disjoint, or compare only with others' numbers on these lists"
