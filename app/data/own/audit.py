"""Audit of own roofs: photos and features that cannot be used, conventions, splits."""

from collections import Counter
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely

from app.base.errors import SampleError, join_problems
from app.data.files.identical import find_identical_files
from app.data.findings.report import AuditReport, Kind, Tally, is_constant, tally_sample
from app.data.findings.scope import AuditScope
from app.data.findings.tools import name_some, split_remedy
from app.data.own.dataset import OwnDataset
from app.data.own.layers import Layer
from app.data.own.layout import PHOTO_DIR, PHOTO_REMEDY
from app.data.own.parts import SPLIT_NAMES
from app.data.reader import ReaderRequest, spread
from app.data.sample import drawn

# Of the smaller plane: what is drawn over less is a person's hand, over more a dormer.
_LOW_OVERLAP: Final = 0.1
_HIGH_OVERLAP: Final = 0.9
# Of both together: the same plane twice.
_SAME_SHARE: Final = 0.8


class _Examined(NamedTuple):
    """What was found while reading a sample."""

    tally: Tally | SampleError
    is_constant: bool = False


def audit_own(report: AuditReport, scope: AuditScope) -> None:
    """Fill in the report on a folder of own roofs.

    Raises:
        DataError: If the folder cannot be used as a whole.
    """
    # However many features are bad, each is named; whether training stops is asked later.
    patient = scope.hyperparameters.model_copy(update={"max_bad_fraction": 1.0})
    reader = OwnDataset.open(ReaderRequest(report.root, "all", patient, scope.scratch_dir))
    catalogue = reader.catalogue
    report.counts["photos"] = len(catalogue.photos) + len(catalogue.bad_photos)
    for layer in catalogue.layers:
        report.counts[layer.kind] = report.counts.get(layer.kind, 0) + layer.num_features
    report.counts |= {name: len(reader.splits.parts[name]) for name in SPLIT_NAMES}
    report.layout = "; ".join(
        [f"{layer.path.name}, layer {layer.name}" for layer in catalogue.layers]
        + list(catalogue.contents)
        + [f"azimuths {each.name}, {each.why}" for each in catalogue.conventions]
        + [reader.splits.how]
    )
    report.used_ids = {bad.sample_id for bad in reader.missing} | set(reader.sample_ids)
    for bad in reader.missing:
        kind: Kind = "damaged file" if bad in catalogue.bad_photos else "listed but absent"
        report.add_bad(bad, kind)
    _check_features(report, reader)
    _check_splits(report, reader)
    _check_samples(report, reader, scope)
    for layer in catalogue.layers:
        if layer.kind == "planes":
            _check_overlaps(report, layer)
    if scope.max_files is None:
        _check_copies(report, reader)


def _check_features(report: AuditReport, reader: OwnDataset) -> None:
    """Features set aside, features on no photo, photos without any, and doubts about files."""
    for doubt in reader.doubts:
        report.add("warning", "doubtful", report.root, *split_remedy(doubt))
    if empty := reader.catalogue.empty_photos:
        what = (
            f"{len(empty)} photos show no plane and no area, and are not used: {name_some(empty)}"
        )
        remedy = "label them, draw areas where there is no roof, or move them away"
        report.add("warning", "nothing labelled", report.root / PHOTO_DIR, what, remedy)
    for feature in reader.catalogue.bad_features:
        what = f"{feature.place}: got {feature.got}"
        report.add("error", "damaged feature", feature.path, what, feature.remedy)
    for outside in reader.catalogue.outside:
        remedy = "add the photos, or see that nothing was moved"
        path = outside.layer.path
        report.add("warning", "outside of all photos", path, outside.what, remedy)


def _check_splits(report: AuditReport, reader: OwnDataset) -> None:
    """Splits that share ground, and photos of none."""
    path = report.root / "splits.csv"
    for first, second, own, other in reader.splits.close:
        what = (
            f"splits {first} and {second} share ground or stand closer than 20 m, such as photos "
            f"{own} and {other}"
        )
        remedy = "put neighbours into one split, or remove splits.csv to split by place"
        report.add("warning", "splits overlap", path, what, remedy)
    for name in reader.splits.unlisted:
        what = f"splits.csv does not name photo {name}"
        report.add("warning", "in no list", path, what, "add it, or move the photo away")


def _check_samples(report: AuditReport, reader: OwnDataset, scope: AuditScope) -> None:
    """Read samples as training does, and look at where their photos lie."""
    indices = spread(range(len(reader)), scope.max_files)
    report.counts["checked"] = len(indices)
    results = (_examine(reader, index) for index in indices)  # open files are for one thread
    for index, result in zip(
        indices, scope.track(results, len(indices), reader.title), strict=True
    ):
        if isinstance(result.tally, SampleError):
            report.add_error(result.tally)
            continue
        report.tally.add(result.tally)
        if result.is_constant:
            path = reader.path(index)
            what = f"sample {reader.sample_ids[index]}: all pixels have one colour"
            report.add("warning", "constant image", path, what, PHOTO_REMEDY)
    places = [photo.place for photo in reader.catalogue.photos]
    report.crs.update(place.crs or "none" for place in places)
    for assumed, count in Counter(p.assumed for p in places if p.assumed).items():
        first = next(place for place in places if place.assumed == assumed)
        what = f"{count} of {len(places)} photos have {assumed}"
        remedy = "see that it is right, or give them a georeference"
        report.add("warning", "assumed scale", first.raster.path, what, remedy)


def _examine(reader: OwnDataset, index: int) -> _Examined:
    try:
        sample = drawn(reader[index])
    except SampleError as error:
        return _Examined(error)
    return _Examined(tally_sample(sample), is_constant(sample["image"]))


def _check_overlaps(report: AuditReport, layer: Layer) -> None:
    """Planes that overlap in part, and planes drawn twice."""
    planes: npt.NDArray[Any] = layer.geometries
    first, second = shapely.STRtree(planes).query(planes, predicate="intersects")
    # Pixels of different photos are different places.
    photos = layer.fields["photo"] if not layer.crs else np.zeros(len(planes))
    is_pair = (first < second) & (photos[first] == photos[second])
    first, second = first[is_pair], second[is_pair]
    shared = shapely.area(shapely.intersection(planes[first], planes[second]))
    area = shapely.area(planes)
    share = shared / np.minimum(area[first], area[second])
    of_both = shared / (area[first] + area[second] - shared)
    is_odd = (share < _HIGH_OVERLAP) | (of_both > _SAME_SHARE)
    for i in np.flatnonzero(share > _LOW_OVERLAP):
        fids = int(layer.fids[first[i]]), int(layer.fids[second[i]])
        what = (
            f"{layer.path}: layer {layer.name}: features {fids[0]} and {fids[1]} overlap on "
            f"{share[i]:.0%} of the smaller one"
        )
        remedy = "the smaller one is drawn on top; cut one of them, or remove it"
        if is_odd[i]:
            report.add("warning", "overlapping features", layer.path, what, remedy)
        else:
            report.add("info", "overlapping features", layer.path, f"{what}, as a dormer does")


def _check_copies(report: AuditReport, reader: OwnDataset) -> None:
    """Photos with the same bytes."""
    names = {photo.place.raster.path: photo.place.name for photo in reader.catalogue.photos}
    for group in find_identical_files(list(names)):
        what = f"photos {join_problems([names[path] for path in group])} are the same"
        report.add("warning", "identical images", group[0], what, "remove all but one")
