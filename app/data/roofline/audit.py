"""Audit of Roofline-Extraction: its arrays, and what every crop holds."""

import hashlib
from typing import NamedTuple, get_args

from app.base.errors import SampleError
from app.data.files.threads import run_in_threads
from app.data.findings.report import AuditReport, Tally, is_constant, tally_sample
from app.data.findings.scope import AuditScope
from app.data.findings.tools import name_some
from app.data.height_scale import HeightCount, count_heights
from app.data.plausibility.heights import judge_dropped
from app.data.reader import ReaderRequest, Split, spread
from app.data.roofline.dataset import RooflineDataset

_REMEDY = "leave such crops out of the file, or correct them"
_NO_HEIGHTS = HeightCount()


class _Examined(NamedTuple):
    """What was found while reading a crop.

    Attributes:
        tally: Its sums, or the error.
        digest: Digest of its image's pixels.
        is_constant: Whether these are all equal.
        heights: How many heights it has, and how many of them are of no use.
    """

    tally: Tally | SampleError
    digest: bytes = b""
    is_constant: bool = False
    heights: HeightCount = _NO_HEIGHTS


def audit_roofline(report: AuditReport, scope: AuditScope) -> None:
    """Fill in the report on a folder with imdb.mat, or on such a file.

    Raises:
        DataError: If the file cannot be used as a whole.
    """

    def open_split(split: Split) -> RooflineDataset:
        return RooflineDataset.open(
            ReaderRequest(report.root, split, scope.hyperparameters, scope.scratch_dir)
        )

    reader = open_split("all")
    splits = {name: set(open_split(name).sample_ids) for name in get_args(Split) if name != "all"}
    report.used_ids = splits["train"] | splits["val"]
    report.counts |= {name: len(sample_ids) for name, sample_ids in splits.items()}
    report.layout = "; ".join(
        f"{name} {array.size} of {array.dtype}" for name, array in reader.arrays.items()
    )
    indices = spread(range(len(reader)), scope.max_files)
    report.counts["checked"] = len(indices)
    if indices:
        _examine(reader, indices[0])  # opens the file, so that threads do not do it all at once
    results = run_in_threads(lambda number: _examine(reader, indices[number]), len(indices))
    examined = {
        reader.sample_ids[index]: result
        for index, result in zip(
            indices, scope.track(results, len(indices), reader.title), strict=True
        )
    }
    for result in examined.values():
        report.heights += result.heights
        if isinstance(result.tally, Tally):
            report.tally.add(result.tally)
        else:
            report.add_error(result.tally)
    _check_content(report, reader, examined)
    for found in judge_dropped(report.heights):
        report.add(found.severity, found.kind, reader.path, found.what, found.remedy)
    if scope.max_files is None:
        _check_copies(report, reader, examined, splits)


def _examine(reader: RooflineDataset, index: int) -> _Examined:
    try:
        sample = reader[index]
    except SampleError as error:
        return _Examined(error)
    digest = hashlib.sha256(sample["image"].numpy().tobytes()).digest()
    heights = _NO_HEIGHTS
    if "depth" in reader.labels:
        heights = count_heights(reader.stored_labels(index)["depth"], reader.height_scale)
    return _Examined(tally_sample(sample), digest, is_constant(sample["image"]), heights)


def _check_content(
    report: AuditReport, reader: RooflineDataset, examined: dict[str, _Examined]
) -> None:
    """Crops that are read, and teach nothing."""
    tallies = {id_: res.tally for id_, res in examined.items() if isinstance(res.tally, Tally)}
    for sample_id, tally in tallies.items():
        if examined[sample_id].is_constant:
            what = f"{sample_id}: all pixels of the image have one colour"
            report.add("warning", "constant image", reader.path, what, _REMEDY)
        if "depth" in reader.labels and not tally.num_heights:
            what = f"{sample_id}: no height is known: all equal, NaN or impossible"
            report.add("warning", "nothing labelled", reader.path, what, _REMEDY)
    if "lines" in reader.labels:
        num_bare = sum(not tally.lines[:, 1].any() for tally in tallies.values())
        if num_bare:
            what = f"{num_bare} of {len(tallies)} crops have no line"
            remedy = "nothing to do, if they show no roof"
            report.add("info", "class absent", reader.path, what, remedy)
        for kind, name in enumerate(reader.line_names):
            if tallies and not report.tally.lines[kind, 1]:
                what = f"no {name} in {len(tallies)} crops"
                remedy = "see that elements holds eaves, ridges and hips, in this order"
                report.add("warning", "class absent", reader.path, what, remedy)


def _check_copies(
    report: AuditReport,
    reader: RooflineDataset,
    examined: dict[str, _Examined],
    splits: dict[str, set[str]],
) -> None:
    """Crops with the same pixels."""
    groups: dict[bytes, list[str]] = {}
    for sample_id, result in examined.items():
        if result.digest and not result.is_constant:
            groups.setdefault(result.digest, []).append(sample_id)
    for group in groups.values():
        if len(group) == 1:
            continue
        homes = [name for name, sample_ids in splits.items() if sample_ids & set(group)]
        what = f"{name_some(group)} have the same image, in {' and '.join(homes)}"
        if len(homes) == 1:
            report.add("info", "identical images", reader.path, what)
        else:
            remedy = "leave the copies out of the file, or choose another seed"
            report.add("warning", "identical images in two splits", reader.path, what, remedy)
