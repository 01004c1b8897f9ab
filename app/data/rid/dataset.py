"""RidDataset: the Roof Information Dataset, read from the folders of its release."""

import dataclasses
import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Final, Self

import numpy as np
import torch
from torch import Tensor

from app.base.dataset_names import DATASET_TITLES, DatasetName
from app.base.errors import DataError, join_problems
from app.base.tasks import IGNORE_INDEX, TaskName, find_task
from app.data.files.georeference import settle_gsd_m
from app.data.files.header import RasterHeader, describe_assumed, read_header
from app.data.files.problems import FileProblem
from app.data.files.rasters import Pixels, read_label, read_photo
from app.data.lines import lines_from_segments
from app.data.plausibility.class_maps import MASK_REMEDY, find_seams
from app.data.reader import ReaderRequest, Release, Split, spread
from app.data.rid.files import FILE_REMEDY, LIST_NAMES, ListName, find_rid_files
from app.data.rid.split import RIVALS, RidSplit, SplitReport, leave_out_shared
from app.data.sample import Sample, hide_unseen, with_unknown
from app.data.whole_photos import WholePhotos
from app.settings.hyperparameters import Hyperparameters

__all__ = ["RidDataset", "RidSplit"]

# RID's documented scale and size, for images that do not say.
DEFAULT_GSD_M: Final = 0.1
_DEFAULT_SIZE_PX: Final = 512
# Headers that are read to learn the scale of all.
_NUM_SCALES: Final = 16
# Samples in the lists of the release, by fold, and the smaller side of an image.
_RELEASED_TRAIN: Final = (1374, 1366, 1367, 1376, 1360)
_RELEASED_VAL: Final = (352, 360, 359, 350, 366)
_RELEASED_SPAN_M: Final = 50.7

logger = logging.getLogger(__name__)


class RidDataset(WholePhotos):
    """Aerial images of houses, and the azimuth class of every roof plane.

    Source: Krapf et al. 2022, "RID - Roof Information Dataset for Computer Vision-Based
    Photovoltaic Potential Assessment", Remote Sens. 14, 2299; release 1.0, doi
    10.14459/2022mp1655470. Licence CC BY-NC; the images are from the Google Maps Static API, for
    non-commercial research only.

    Folders, at the root or in `RID_dataset/` inside it::

        images_roof_centered_geotiff/    ID.tif; or images_roof_centered_png/ with ID.png
        masks_segments_reviewed/         ID.png; or masks_segments/ with ID.png
        masks_superstructures_reviewed/  ID.png; or masks_superstructures/; only if asked for
        filenames_train_val_test_split/  {train,val,test}_filenames_{1..5}_rev.txt

    ID is a whole number, 2..2074 with gaps. A list holds one `ID.png` a line, even where the images
    are .tif, often with CR LF; images, masks and lines are paired by ID, leading zeros aside. The
    folds 1..5 differ in the part of the village that is val; test is the same in all.

    Images (1880) are 512 x 512 RGB uint8, north up, EPSG:4326, 0.099 m per pixel. Masks are one
    band of uint8 of the same size. Segments:

    ======  ================================================================
    value   meaning
    ======  ================================================================
    0..15   roof plane that runs down to N, NNE, NE .. NNW (compass, clockwise)
    16      flat roof plane
    17      background: the last value, not 0
    ======  ================================================================

    Superstructures: 0 pvmodule, 1 dormer, 2 window, 3 ladder, 4 chimney, 5 shadow, 6 tree,
    7 unknown, 8 background. Lines are derived from the segments (app.data.lines); depth is not
    labelled.

    Known defects: images of neighbouring houses overlap, also train with test; 16 groups of images
    are identical; some sheds, garages and large flat roofs are background; the village's streets
    run along the edges of the azimuth bins, so planes of one row may differ by one class.

    Attributes:
        sample_ids: The samples of the split, in the order of its list.
        missing: Files of listed samples that are not there. Those samples are not in sample_ids.
        num_files: Samples of the split, those that lack a file among them.
        split_report: How many samples were left out so that the splits share no ground.
        labels: Class names by labelled task.
        root: As given; no file leads outside of it.
        span_m: Smaller side of the first image that can be read, metres.
        assumed_scale: What was taken for granted of the images' scale; empty if nothing.
    """

    name: ClassVar[DatasetName] = "rid"
    title: ClassVar[str] = DATASET_TITLES["rid"]

    def __init__(
        self,
        root: Path,
        split: Split,
        fold: int = 1,
        rid_split: RidSplit = "disjoint",
        superstructures: bool = False,
    ) -> None:
        """Find the files of a split, and read the images' headers to learn where they lie.

        Args:
            root: Folder that holds the folders above, or holds `RID_dataset/` with them.
            split: Name of a list, or "all" for the three lists together.
            fold: Which of the five splits.
            rid_split: "disjoint" leaves images that show ground of a val or test image out of
                train, and images that show ground of a test image out of val; "release" keeps the
                lists unchanged.
            superstructures: Whether to read their masks. A sample without one has them unknown; a
                dataset without the folder does not label the task.

        Raises:
            DataError: If a folder or a list is absent or empty, or no listed sample is complete,
                or none is left that shares no ground.
        """
        names: tuple[ListName, ...] = LIST_NAMES if split == "all" else (split,)
        rivals = RIVALS[split] if rid_split == "disjoint" else ()
        files = find_rid_files(root, fold, names, rivals, superstructures)
        listed_ids = list(dict.fromkeys(id_ for name in names for id_ in files.lists[name]))
        missing = {sample_id: files.missing(sample_id) for sample_id in listed_ids}
        self.missing = [bad_file for bad_files in missing.values() for bad_file in bad_files]
        complete_ids = [sample_id for sample_id in listed_ids if not missing[sample_id]]
        if not complete_ids:
            lists = join_problems([str(files.list_paths[name]) for name in names])
            paths = join_problems([str(bad.path) for bad in self.missing])
            raise DataError(
                f"RID: none of the {len(listed_ids)} samples of split {split}, fold {fold} "
                f"({lists}), has an image and a mask: not found: {paths}; "
                "copy all folders from the same release"
            )
        self.root = root
        self.sample_ids = complete_ids
        self.split_report = SplitReport(split, rid_split, len(listed_ids))
        if rivals:
            self.sample_ids, report = leave_out_shared(root, files, split, complete_ids)
            self.split_report = dataclasses.replace(report, num_listed=len(listed_ids))
        if not self.sample_ids:
            raise DataError(
                f"RID: no sample of split {split}, fold {fold}, is left of {len(complete_ids)} in "
                f"{files.list_paths[names[0]]}: all show ground of a {' or '.join(rivals)} image, "
                "expected some that do not; set rid_split=release to use the lists as they are"
            )
        self.num_files = len(self.sample_ids) + len(listed_ids) - len(complete_ids)
        self._image_paths = [files.images.by_id[id_] for id_ in self.sample_ids]
        self._segments_paths = [files.segments.by_id[id_] for id_ in self.sample_ids]
        labelled: list[TaskName] = ["segments", "lines"]
        self._superstructures_paths: list[Path | None] = [None] * len(self.sample_ids)
        if files.superstructures is not None:
            by_id = files.superstructures.by_id
            self._superstructures_paths = [by_id.get(id_) for id_ in self.sample_ids]
            labelled.append("superstructures")
        self.labels: Mapping[TaskName, tuple[str, ...]] = {
            task: find_task(task).class_names for task in labelled
        }
        self.span_m, self.assumed_scale = self._look_at_scale()

    @classmethod
    def open(cls, request: ReaderRequest) -> Self:
        """As DatasetReader.open."""
        hyperparameters = request.hyperparameters
        reader = cls(
            request.root,
            request.split,
            hyperparameters.rid_fold,
            hyperparameters.rid_split,
            superstructures=hyperparameters.superstructures_weight > 0,
        )
        logger.info("%s", reader.split_report.describe())
        reader.keep(request)
        return reader

    @classmethod
    def release(cls, hyperparameters: Hyperparameters) -> Release:
        """As DatasetReader.release."""
        fold = hyperparameters.rid_fold - 1
        return Release(_RELEASED_TRAIN[fold], _RELEASED_VAL[fold], _RELEASED_SPAN_M)

    def __len__(self) -> int:
        return len(self.sample_ids)

    def paths(self, index: int) -> tuple[Path, ...]:
        """The files of a sample: image, segments, and superstructures if it has them."""
        superstructures_path = self._superstructures_paths[index]
        paths = (self._image_paths[index], self._segments_paths[index])
        return paths if superstructures_path is None else (*paths, superstructures_path)

    def read(self, index: int) -> Sample:
        """As WholePhotos.read."""
        try:
            return self._read(index)
        except FileProblem as problem:
            raise problem.to_sample_error(self.title, self.sample_ids[index]) from problem

    def _read(self, index: int) -> Sample:
        header, photo = read_photo(self._image_paths[index], self.root, FILE_REMEDY, DEFAULT_GSD_M)
        label = read_classes(self._segments_paths[index], self.root, "segments", header)
        segments: dict[TaskName, Tensor] = {
            "segments": torch.from_numpy(label.values),
            "lines": torch.from_numpy(lines_from_segments(label.values, photo.gsd_m)),
        }
        targets = hide_unseen(segments, label.seen, photo.gsd_m)
        superstructures_path = self._superstructures_paths[index]
        if superstructures_path is not None:
            mask = read_classes(superstructures_path, self.root, "superstructures", header)
            targets["superstructures"] = torch.from_numpy(mask.values)
        return {
            **with_unknown(photo, targets),
            "dataset": self.name,
            "sample_id": self.sample_ids[index],
            "gsd_m": photo.gsd_m,
        }

    def extent_m(self, index: int) -> tuple[float, float] | None:
        """As Reader.extent_m."""
        try:
            header, gsd_m = self._read_header(index)
        except FileProblem:
            return None  # found out when the sample is read
        return header.height_px * gsd_m, header.width_px * gsd_m

    def _read_header(self, index: int) -> tuple[RasterHeader, float]:
        """Header of an image, and its metres per pixel."""
        path = self._image_paths[index]
        header = read_header(path, self.root, FILE_REMEDY)
        return header, settle_gsd_m(path, header.georeference, DEFAULT_GSD_M, FILE_REMEDY)

    def _look_at_scale(self) -> tuple[float, str]:
        """Smaller side of the first image that can be read, and what scales are assumed."""
        span_m, assumed = 0.0, Counter[str]()
        for index in spread(range(len(self)), _NUM_SCALES):
            try:
                header, gsd_m = self._read_header(index)
            except FileProblem:
                continue  # found out when the sample is read
            assumed.update([header.assumed_scale(DEFAULT_GSD_M)])
            span_m = span_m or min(header.height_px, header.width_px) * gsd_m
        return span_m or _DEFAULT_SIZE_PX * DEFAULT_GSD_M, describe_assumed(assumed)


def read_classes(path: Path, root: Path, task: TaskName, photo: RasterHeader) -> Pixels:
    """Classes of a task, laid on their photo; 255 where the file says that nothing is known.

    Raises:
        FileProblem: If the file cannot be read, is unlike RID's, or lies elsewhere than the photo.
    """
    background = find_task(task).background_class
    values, seen = read_label(path, root, FILE_REMEDY, photo, range(background + 1))
    if seen is not None:
        values = np.where(seen, values, np.uint8(IGNORE_INDEX))
    wrong = values > background if seen is None else (values > background) & seen
    if wrong.any():
        numbers, counts = np.unique(values[wrong], return_counts=True)
        found = [f"{value} in {count} pixels" for value, count in zip(numbers, counts, strict=True)]
        expected = f"0..{background} ({background} is background)"
        got, seams = f"class {join_problems(found)}", find_seams(values)
        if seams.is_blurred:
            raise FileProblem(path, f"{got}: {seams.describe()}", expected, MASK_REMEDY)
        raise FileProblem(path, got, expected, FILE_REMEDY)
    return Pixels(values, seen)
