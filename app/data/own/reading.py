"""What files say of a window of a photo: its pixels, its heights, and what may be drawn on it."""

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from rasterio.windows import Window
from torch import Tensor

from app.base.dataset_names import DatasetName
from app.base.tasks import BACKGROUND_CLASS, LINE_KINDS, TaskName
from app.data.files.problems import FileProblem
from app.data.files.rasters import OpenRasters
from app.data.kept_samples import KeptSamples
from app.data.own.cells import name_window
from app.data.own.heights import read_heights
from app.data.own.layout import PHOTO_REMEDY, TITLE
from app.data.own.places import PhotoPlace
from app.data.reader import ReaderRequest
from app.data.sample import PhotoPixels, PlaneName, Planes, Sample, make_planes, with_unknown
from app.data.whole_photos import keep_to_train

_NAME: DatasetName = "own"


class PhotoFiles:
    """Windows of photos, as samples on which nothing is drawn yet.

    Args:
        root: The dataset's folder.
        places: The photos.
        heights: Rasters of metres above ground, by the name of the photo.
    """

    def __init__(
        self, root: Path, places: Sequence[PhotoPlace], heights: Mapping[str, Path]
    ) -> None:
        self._places = places
        self._heights = heights
        self._rasters = OpenRasters(root, PHOTO_REMEDY)
        self._whole: Collection[int] = ()
        self._kept: KeptSamples | None = None

    def keep(self, request: ReaderRequest, whole: Collection[int]) -> None:
        """Keep photos as they are once read, if all of them fit on the disk.

        Args:
            request: What the reader was opened for.
            whole: Numbers of the photos that are no larger than a sample.
        """
        if whole:
            names = [self._places[number].name for number in sorted(whole)]
            self._whole = frozenset(whole)
            self._kept = keep_to_train(request, _NAME, names)

    def read(self, number: int, window: Window) -> Sample:
        """A window: classes are background and lines absent wherever something may be drawn.

        Args:
            number: Of the photo.
            window: Of the photo, north up.

        Raises:
            SampleError: If the photo or its heights cannot be read.
        """
        if self._kept is None or number not in self._whole:
            return self._read(number, window)
        raster = self._places[number].raster
        all_of_it = Window(0, 0, raster.width_px, raster.height_px)
        sample = self._kept.get(number, partial(self._read, number, all_of_it))
        rows = slice(window.row_off, window.row_off + window.height)
        columns = slice(window.col_off, window.col_off + window.width)
        blank = _blank(raster.height_px, raster.width_px)

        def cut(name: PlaneName) -> Tensor:
            plane = sample[name]
            # What is one value everywhere is not kept.
            if name in ("segments", "lines") and not any(plane.stride()[-2:]):
                plane = blank[name]
            return plane[..., rows, columns]

        return self._name(number, window, make_planes(cut))

    def _read(self, number: int, window: Window) -> Sample:
        place = self._places[number]
        try:
            values, seen = self._rasters.read_photo(place.raster, window)
            photo = PhotoPixels(values, seen, place.gsd_m)
            targets = _blank(*values.shape[1:])
            if place.name in self._heights:
                path, root = self._heights[place.name], self._rasters.root
                targets["depth"] = torch.from_numpy(read_heights(path, root, place, window))
        except FileProblem as problem:
            raise problem.to_sample_error(TITLE, place.name) from problem
        return self._name(number, window, with_unknown(photo, targets))

    def _name(self, number: int, window: Window, planes: Planes) -> Sample:
        place = self._places[number]
        size_px = place.raster.height_px, place.raster.width_px
        return {
            **planes,
            "dataset": _NAME,
            "sample_id": name_window(window, place.name, *size_px),
            "gsd_m": place.gsd_m,
        }


def _blank(height: int, width: int) -> dict[TaskName, Tensor]:
    """Targets that are drawn, of one value in memory: what may be drawn is seen everywhere."""
    background = torch.full((1, 1), BACKGROUND_CLASS, dtype=torch.uint8)
    no_line = torch.zeros((len(LINE_KINDS), 1, 1), dtype=torch.uint8)
    return {
        "segments": background.expand(height, width),
        "lines": no_line.expand(-1, height, width),
    }
