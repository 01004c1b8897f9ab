"""OwnDataset: people's own photos, and their roofs as shapes."""

import contextlib
import logging
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final, NamedTuple, Self

import numpy as np
import numpy.typing as npt
from rasterio.windows import Window
from torch import Tensor
from torch.utils.data import Dataset

from app.base.arrays import Ints
from app.base.azimuth import BIN_NAMES
from app.base.dataset_names import DatasetName
from app.base.errors import DataError, join_problems, printable
from app.base.tasks import BACKGROUND_NAME, LINE_KINDS, TaskName, find_task
from app.data.files.header import describe_assumed
from app.data.findings.tools import name_some
from app.data.own.catalogue import (
    BY_OUTLINES,
    Catalogue,
    LabelSettings,
    describe_bad,
    read_catalogue,
)
from app.data.own.cells import CELL_M, box_of, find_cells
from app.data.own.drawing import Roofs
from app.data.own.exact import shapes_of_window
from app.data.own.fields import EAVE
from app.data.own.layout import PHOTO_DIR, TITLE, OwnFiles, find_own_files
from app.data.own.parts import SPLIT_NAMES, SplitName, Splits
from app.data.own.reading import PhotoFiles
from app.data.own.split import find_splits
from app.data.reader import ReaderRequest, Release, Split
from app.data.sample import BadFile, DrawnShapes, Sample, View
from app.settings.hyperparameters import Hyperparameters

# Share of a pass that goes to cells with planes, where there are many without.
_PLANES_SHARE: Final = 0.7
# A folder of a hundred photos, for plans without data.
_RELEASE: Final = Release(num_train=80, num_val=10, span_m=CELL_M)


logger = logging.getLogger(__name__)


class OwnDataset(Dataset[Sample]):
    """Photos of any size and scale, and planes, lines and complete areas as polygons and lines.

    Folders and files (docs/datasets.md has the conventions)::

        photos/NAME.tif, .jpg, .png     georeferenced in the file or by a world file beside it
        roofs.gpkg, or planes.geojson, lines.geojson, areas.geojson; also .fgb, .shp
        heights/NAME.tif                optional: metres above ground
        splits.csv                      optional: photo,split

    Labels are drawn when a window's turn and scale are known. Planes with an azimuth have its
    class, flat ones are flat, others "some roof"; what is in an area and in no plane is
    background, all else unknown. Rakes train the eaves' channel, which is of outlines.

    A sample is a photo, or of a large one a cell of about 51 m.

    Attributes:
        sample_ids: Photos by name; cells as "NAME@row,column" of their first pixel.
        missing: Photos that cannot be used, and names in splits.csv without a photo.
        num_files: Photos of the split, those in `missing` included.
        span_m: The smaller side that half of the photos do not reach, metres.
        assumed_scale: What was taken for granted of the photos' scale; empty if nothing.
        labels: Class names by labelled task.
        height_scale: None: heights are metres above ground.
        catalogue: All that the folder holds.
        splits: All splits.
        bad_features: Shapes set aside, of all splits.
        doubts: What is odd about the folder as a whole, one line each.
    """

    name: ClassVar[DatasetName] = "own"
    height_scale: ClassVar[None] = None
    title: ClassVar[str] = TITLE

    def __init__(
        self,
        root: Path,
        split: Split,
        settings: LabelSettings = BY_OUTLINES,
        seed: int = 0,
        max_bad_fraction: float = 0.05,
    ) -> None:
        """Read all shapes, lay them on the photos, and choose those of a split.

        Args:
            root: The folder.
            split: Which photos.
            settings: What the user says of labels.
            seed: Deals photos out where there is no splits.csv.
            max_bad_fraction: Share of the features that may be set aside.

        Raises:
            DataError: If the folder cannot be used as a whole; names all problems.
        """
        files = find_own_files(root)
        self.catalogue = _read_once(files, settings)
        _check_features(self.catalogue, max_bad_fraction)
        self.bad_features = self.catalogue.bad_features
        self.doubts = [each for each in (*self.catalogue.doubts, files.why_unread) if each]
        self.splits = find_splits(files, self.catalogue.photos, seed)
        names: tuple[SplitName, ...] = SPLIT_NAMES if split == "all" else (split,)
        parts = [part for name in names for part in self.splits.parts[name]]
        self._photos = self.catalogue.photos
        self._cells = [cell for part in parts for cell in find_cells(part, self._photos)]
        self.missing = [
            bad
            for bad in _find_missing(self.catalogue, self.splits, files)
            if any(self.splits.holds(name, bad.sample_id) for name in names)
        ]
        self.num_files = len({part.photo for part in parts}) + len(self.missing)
        if not self._cells:
            raise DataError(
                f"{TITLE}: no photo of split {split} in {root} shows a plane or an area; "
                f"splits: {self.splits.how}; label some, or write splits.csv"
            )
        self.sample_ids: Sequence[str] = [cell.name for cell in self._cells]
        sides = [min(p.height, p.width) * self._photos[p.photo].place.gsd_m for p in parts]
        self.span_m = float(np.median(sides))
        self.assumed_scale = describe_assumed(Counter(p.place.assumed for p in self._photos))
        self.labels = find_labels(self.catalogue, files)
        self._with_planes = np.array([cell.has_planes for cell in self._cells], np.bool_)
        self._files = PhotoFiles(root, [photo.place for photo in self._photos], files.heights)

    @classmethod
    def open(cls, request: ReaderRequest) -> Self:
        """As DatasetReader.open."""
        hyperparameters = request.hyperparameters
        settings = LabelSettings.of(hyperparameters)
        seed, max_bad = hyperparameters.seed, hyperparameters.max_bad_fraction
        reader = cls(request.root, request.split, settings, seed, max_bad)
        if request.split == "train":
            reader.tell()
        reader.keep(request)
        return reader

    @classmethod
    def release(cls, hyperparameters: Hyperparameters) -> Release:  # noqa: ARG003
        """As DatasetReader.release; nobody published this one."""
        return _RELEASE

    def keep(self, request: ReaderRequest) -> None:
        """Keep photos to train on that are no larger than a sample, as WholePhotos.keep."""
        photos = {cell.part.photo: cell.name for cell in self._cells}
        whole = {
            number for number, name in photos.items() if name == self._photos[number].place.name
        }
        self._files.keep(request, whole)

    def tell(self) -> None:
        """Say in the log what was found, assumed and set aside."""
        logger.info("%s: %s", TITLE, self.splits.how)
        for convention in self.catalogue.conventions:
            text = "%s: azimuths are %s, from %s north: %s"
            logger.info(text, TITLE, convention.name, convention.north, convention.why)
        for doubt in (*self.doubts, *(each.what for each in self.catalogue.outside)):
            logger.warning("%s: %s", TITLE, doubt)
        if empty := self.catalogue.empty_photos:
            text = "%s: %d of %d photos show no plane and no area, and are not used: %s"
            logger.warning(text, TITLE, len(empty), len(self._photos), name_some(empty))
        for first, second, own, other in self.splits.close:
            logger.warning(
                "%s: splits %s and %s share ground or stand closer than 20 m, such as photos %s "
                "and %s: scores are flattered",
                *(TITLE, first, second, own, other),
            )
        if self.splits.unlisted:
            names = join_problems(self.splits.unlisted)
            logger.warning("%s: splits.csv does not name photos %s", TITLE, names)
        if self.catalogue.bad_features:
            found = describe_bad(self.catalogue.bad_features)
            logger.warning("%s: features set aside: %s", TITLE, found)

    def __len__(self) -> int:
        return len(self._cells)

    def extent_m(self, index: int) -> tuple[float, float]:
        """As Reader.extent_m."""
        cell = self._cells[index]
        gsd_m = self._photos[cell.part.photo].place.gsd_m
        return cell.window.height * gsd_m, cell.window.width * gsd_m

    def stored_labels(self, index: int) -> Mapping[TaskName, npt.NDArray[np.float32]]:  # noqa: ARG002
        """None: heights are checked when they are read, and lines are no pixels."""
        return {}

    def path(self, index: int) -> Path:
        """The photo of a sample."""
        return self._photos[self._cells[index].part.photo].place.raster.path

    def __getitem__(self, index: int) -> Sample:
        """Read one cell, or one photo.

        Raises:
            SampleError: If the photo or its heights cannot be read.
        """
        cell = self._cells[index]
        return self._read(cell.part.photo, cell.window)

    def draw(self, index: int, span_m: float, rng: np.random.Generator) -> Sample:
        """Read a square around a place drawn within a cell.

        Where nobody said what is labelled it is around a plane, since all else is unknown.

        Args:
            index: Which cell.
            span_m: Least side of the square, metres; all that the split may show of the photo where
                that is smaller. At its border the square is moved inside.
            rng: Draws the place.

        Raises:
            SampleError: As __getitem__.
        """
        cell = self._cells[index]
        part, (place, roofs) = cell.part, self._photos[cell.part.photo]
        span_px = math.ceil(round(span_m / place.gsd_m, 6))
        box = box_of(cell.window)
        fractions = rng.random(3)
        if roofs.areas is None:
            planes = roofs.planes.touching(box)
            plane = planes[int(fractions[2] * len(planes))]
            low, high = roofs.planes.boxes[plane].reshape(2, 2)
            box = (*np.maximum(low, box[:2]), *np.minimum(high, box[2:]))
        starts = []
        for axis, low_px, room in ((1, part.top, part.height), (0, part.left, part.width)):
            side = min(span_px, room)
            middle = box[axis] + fractions[axis] * (box[axis + 2] - box[axis])
            first = round(middle - side / 2)
            starts.append((min(max(first, low_px), low_px + room - side), side))
        (top, height), (left, width) = starts
        return self._read(part.photo, Window(left, top, width, height))

    def pass_order(self, rng: np.random.Generator) -> Ints:
        """(len,) cells of one pass: each once, or 70 % with planes where most have none."""
        with_planes = np.flatnonzero(self._with_planes)
        others = np.flatnonzero(~self._with_planes)
        num_planes = max(len(with_planes), round(_PLANES_SHARE * len(self)))
        if not len(with_planes) or num_planes == len(with_planes):
            return rng.permutation(len(self))
        chosen = np.resize(rng.permutation(with_planes), num_planes)
        rest = rng.permutation(others)[: len(self) - num_planes]
        return rng.permutation(np.concatenate((chosen, rest)))

    def eval_view(self, max_samples: int | None) -> Self:  # noqa: ARG002
        """All samples."""
        return self

    def _read(self, number: int, window: Window) -> Sample:
        drawing = _Shifted(self._photos[number].roofs, window.col_off, window.row_off)
        return {**self._files.read(number, window), "drawing": drawing}


class _Shifted(NamedTuple):
    """The roofs of a photo, in a window of it."""

    roofs: Roofs
    left: int
    top: int

    def draw(self, view: View) -> Mapping[TaskName, Tensor]:
        """As Drawing.draw."""
        return self.roofs.draw(self._in_photo(view))

    def shapes(self, view: View) -> DrawnShapes:
        """As Drawing.shapes."""
        return shapes_of_window(self.roofs, self._in_photo(view))

    def _in_photo(self, view: View) -> View:
        to_photo = view.to_photo.copy()
        to_photo[:, 2] += self.left, self.top
        return view._replace(to_photo=to_photo)


def find_labels(catalogue: Catalogue, files: OwnFiles) -> dict[TaskName, tuple[str, ...]]:
    """The class names that a folder can teach, by task."""
    roofs = [photo.roofs for photo in catalogue.photos]
    has_areas = any(each.areas is not None for each in roofs)
    has_azimuth = any(np.isfinite(each.azimuth_deg).any() for each in roofs)
    segments = [
        *(BIN_NAMES if has_azimuth else ()),
        *(("flat",) if any(each.is_flat.any() for each in roofs) else ()),
        *((BACKGROUND_NAME,) if has_areas else ()),
    ]
    drawn = {kind for each in roofs for kind in each.drawn_kinds}
    if has_areas:
        drawn.add(EAVE)
    lines = [kind for i, kind in enumerate(LINE_KINDS) if i in drawn or (has_azimuth and i != EAVE)]
    heights = find_task("depth").class_names if files.heights else ()
    labels: dict[TaskName, tuple[str, ...]] = {
        "segments": tuple(segments),
        "lines": tuple(lines),
        "depth": heights,
    }
    return {task: names for task, names in labels.items() if names}


def _check_features(catalogue: Catalogue, max_bad_fraction: float) -> None:
    """Raise DataError where too many features are set aside."""
    num_bad = len(catalogue.bad_features)
    num_allowed = int(max_bad_fraction * catalogue.num_features)
    if max_bad_fraction > 0:
        num_allowed = max(1, num_allowed)
    if num_bad > num_allowed:
        raise DataError(
            f"{TITLE}: {num_bad} of {catalogue.num_features} features cannot be used as they are, "
            f"at most {num_allowed} may be bad (max_bad_fraction={max_bad_fraction}): "
            f"{describe_bad(catalogue.bad_features)}"
        )


def _find_missing(catalogue: Catalogue, splits: Splits, files: OwnFiles) -> list[BadFile]:
    """Photos that cannot be used, and listed ones that are not there."""
    path = files.splits_path
    absent = [
        BadFile(
            name,
            files.root / PHOTO_DIR / name,
            f"{TITLE}: no photo {printable(name)} in {files.root / PHOTO_DIR}, which {path} names; "
            "add it, or take it off the list",
        )
        for name in splits.absent
    ]
    return [*catalogue.bad_photos, *absent]


def _stamps(root: Path) -> tuple[tuple[str, int, int], ...]:
    """Name, size and time of all files by which a catalogue is recognised: also of those beside."""
    stamps = []
    for entry in (*os.scandir(root), *os.scandir(root / PHOTO_DIR)):
        with contextlib.suppress(OSError):  # found out when it is read
            state = entry.stat()
            stamps.append((entry.path, state.st_size, state.st_mtime_ns))
    return tuple(sorted(stamps))


# One split after the other looks at the same files.
_catalogues: dict[tuple[object, ...], Catalogue] = {}


def _read_once(files: OwnFiles, settings: LabelSettings) -> Catalogue:
    key = (files.root, settings, _stamps(files.root))
    if key not in _catalogues:
        _catalogues.clear()
        _catalogues[key] = read_catalogue(files, settings)
    return _catalogues[key]
