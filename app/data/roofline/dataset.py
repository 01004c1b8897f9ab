"""RooflineDataset: Roofline-Extraction, read from its one MATLAB file."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final, Self

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from app.base.arrays import Mask8
from app.base.dataset_names import DATASET_TITLES, DatasetName
from app.base.errors import DataError, SampleError, join_problems
from app.base.tasks import DEPTH_RANGE_M, IGNORE_INDEX, TaskName, find_task
from app.data.files.listing import Listings
from app.data.files.problems import FileProblem, check_inside
from app.data.height_scale import HeightScale
from app.data.reader import ReaderRequest, Release, Split
from app.data.roofline.arrays import (
    CHANNELS,
    MAX_OVERSHOOT,
    STRUCT,
    check_arrays,
    find_scale,
    read_sample,
)
from app.data.roofline.matlab import ArrayInfo, open_mat
from app.data.sample import BadFile, Sample, with_unknown
from app.data.whole_photos import WholePhotos
from app.settings.hyperparameters import Hyperparameters

# Crops that stand beside each other in the file may be of one scene and overlap.
_BLOCK_SAMPLES: Final = 10
_MIN_BLOCKS: Final = 10
_HELD_OUT_SHARE: Final = 0.1

# About half a second of unpacking.
_SLOW_BYTES: Final = 128 * 2**20
# What the release holds.
_RELEASED_CROPS: Final = 1670
_RELEASED_SIDE_PX: Final = 224
_METRES: Final = HeightScale("roofline_depth")


logger = logging.getLogger(__name__)


class RooflineDataset(WholePhotos):
    """Crops of roofs with their eaves, ridges, hips and heights.

    Source: Alidoost et al. 2019, "2D Image-To-3D Model: Knowledge-Based 3D Building Reconstruction
    (3DBR) Using Single Aerial Images and CNNs", Remote Sens. 11, 2219; the authors' repository
    Roofline-Extraction. Potsdam and Zeebrugge.

    One file, `imdb.mat`, holds a struct `imdb` (or these as variables of their own):

    ========  =================  ===========================================================
    field     MATLAB's axes      values
    ========  =================  ===========================================================
    images    (y, x, 3, N)       R, G, B, 0..255 (or 0..1)
    elements  (y, x, 3, N)       eave, ridge, hip, 0..1 (or 0..255)
    depths    (y, x, N)          metres above ground (or as the settings say)
    ========  =================  ===========================================================

    N is 1670, a crop 224 x 224 px, all are float32, the file is of version 7.3. HDF5 shows the axes
    reversed. Where an array's axes stand otherwise they are found by their sizes: channels are the
    axis of 3 (heights: none, or 1), samples the one that leaves two of equal length; of the axes
    that are left, the first in MATLAB's order runs down the rows. Where sizes allow MATLAB's order
    above, it is taken.

    Elements are drawn in blocks of 9 px on a lattice, so a line's place is known to about 4.5 px.
    Its target is the centre line of the blocks, and unknown in the rest of them. Valleys are not
    labelled, nor are planes. The file holds no split, no names and no place, so a split here is
    made of blocks of neighbouring samples.

    Known defects: metres per pixel are not published; heights are of a surface model, with trees.

    Attributes:
        sample_ids: `roofline:K` for imdb.images(:, :, :, K), from 1 as MATLAB counts.
        labels: Class names that it teaches, by task.
        span_m: Side of a crop, metres.
        height_scale: How its heights become metres above ground.
        num_files: Samples of the split, of which a share may be bad.
        missing: Empty: one file holds all.
    """

    name: ClassVar[DatasetName] = "roofline"
    title: ClassVar[str] = DATASET_TITLES["roofline"]
    line_names: ClassVar[tuple[str, ...]] = ("eave", "ridge", "hip")

    def __init__(
        self,
        root: Path,
        split: Split,
        scratch_dir: Path,
        gsd_m: float = 0.05,
        seed: int = 0,
        height_scale: HeightScale = _METRES,
    ) -> None:
        """Open the file and see what its arrays hold.

        Args:
            root: Folder with `imdb.mat` or a single other .mat file, or the file.
            split: About 8, 1 and 1 tenths of the samples, or "all".
            scratch_dir: Where the arrays of a version 5 file are kept for the next time; not below
                root.
            gsd_m: Metres per pixel.
            seed: Seed of the split.
            height_scale: How the heights of the file become metres above ground.

        Raises:
            DataError: If the file or its images cannot be used, or arrays do not fit together.
        """
        self.path = _find_file(root)
        self._gsd_m = gsd_m
        self.height_scale: HeightScale = height_scale
        self._scales: dict[str, float] = {}
        try:
            self._file = open_mat(self.path, STRUCT, tuple(CHANNELS), scratch_dir)
            self._axes = check_arrays(self.path, self._file)
            for name in ("images", "elements"):
                if name in self._axes:
                    self._scales[name] = find_scale(self.path, self._file, name, self._axes[name])
        except FileProblem as problem:
            raise DataError(f"{self.title}: {problem}") from problem

        self._warn_if_slow()
        images = self._axes["images"]
        self._indices = split_indices(images.num_samples, split, seed)
        if not self._indices:
            raise DataError(
                f"{self.title}: no sample for split {split}: {self.path} holds "
                f"{images.num_samples}, expected at least 3; add samples"
            )
        self.sample_ids: Sequence[str] = [f"{self.name}:{index + 1}" for index in self._indices]
        self.span_m = images.size_px * gsd_m
        self.num_files = len(self._indices)
        self.missing: list[BadFile] = []
        self.labels: Mapping[TaskName, tuple[str, ...]] = self._find_labels()

    def _warn_if_slow(self) -> None:
        """Warn if MATLAB has stored many samples in one piece, unpacked again for each of them."""
        try:
            unpacked = [
                self._file.unpacked_bytes(name, axes.sample) for name, axes in self._axes.items()
            ]
        except FileProblem as problem:
            raise DataError(f"{self.title}: {problem}") from problem
        if sum(unpacked) > _SLOW_BYTES:
            logger.warning(
                "%s: %s unpacks %.0f MiB for every sample drawn, which may hold training up; "
                "docs/datasets.md shows how to store its samples apart",
                self.title,
                self.path,
                sum(unpacked) / 2**20,
            )

    def _find_labels(self) -> dict[TaskName, tuple[str, ...]]:
        labels: dict[TaskName, tuple[str, ...]] = {}
        if "elements" in self._axes:
            labels["lines"] = self.line_names
        if "depths" in self._axes:
            labels["depth"] = find_task("depth").class_names
        return labels

    @property
    def arrays(self) -> Mapping[str, ArrayInfo]:
        """What the file holds, by name."""
        return self._file.arrays

    @classmethod
    def open(cls, request: ReaderRequest) -> Self:
        """As DatasetReader.open."""
        hyperparameters = request.hyperparameters
        gsd_m, seed = hyperparameters.roofline_gsd_m, hyperparameters.seed
        scale = _height_scale(hyperparameters)
        reader = cls(request.root, request.split, request.scratch_dir, gsd_m, seed, scale)
        reader.keep(request)
        return reader

    @classmethod
    def release(cls, hyperparameters: Hyperparameters) -> Release:
        """As DatasetReader.release."""
        num_train, num_val = (
            len(split_indices(_RELEASED_CROPS, split, hyperparameters.seed))
            for split in ("train", "val")
        )
        return Release(num_train, num_val, _RELEASED_SIDE_PX * hyperparameters.roofline_gsd_m)

    def __len__(self) -> int:
        return len(self._indices)

    def extent_m(self, index: int) -> tuple[float, float]:  # noqa: ARG002
        """As Reader.extent_m: all are squares of one size."""
        return self.span_m, self.span_m

    def read(self, index: int) -> Sample:
        """As WholePhotos.read."""
        sample_id = self.sample_ids[index]
        targets: dict[TaskName, Tensor] = {}
        try:
            image = self._read_scaled("images", index, sample_id)
            if "elements" in self._axes:
                elements = self._read_scaled("elements", index, sample_id)
                targets["lines"] = torch.from_numpy(centre_lines(elements > 0.5))
            if "depths" in self._axes:
                depth_m = self.height_scale.to_metres(self._read("depths", index)[0])
                depth = _known_depth(depth_m)
                targets["depth"] = torch.from_numpy(depth)
        except FileProblem as problem:
            raise problem.to_sample_error(self.title, sample_id) from problem
        pixels = np.rint(image * 255).clip(0, 255).astype(np.uint8)
        return {
            **with_unknown(torch.from_numpy(pixels), targets),
            "dataset": self.name,
            "sample_id": sample_id,
            "gsd_m": self._gsd_m,
        }

    def stored_labels(self, index: int) -> dict[TaskName, npt.NDArray[np.float32]]:
        """As TrainReader.stored_labels."""
        sample_id = self.sample_ids[index]
        stored: dict[TaskName, npt.NDArray[np.float32]] = {}
        try:
            if "elements" in self._axes:
                stored["lines"] = self._read_scaled("elements", index, sample_id)
            if "depths" in self._axes:
                stored["depth"] = self._read("depths", index)[0]
        except FileProblem as problem:
            raise problem.to_sample_error(self.title, sample_id) from problem
        return stored

    def _read(self, name: str, index: int) -> npt.NDArray[np.float32]:
        """(C, H, W) float32."""
        return read_sample(self._file, name, self._axes[name], self._indices[index])

    def _read_scaled(self, name: str, index: int, sample_id: str) -> npt.NDArray[np.float32]:
        """(C, H, W) float32 in 0..1, perhaps a little beyond."""
        scale = self._scales[name]
        with np.errstate(invalid="ignore"):  # damaged values may be signalling NaN
            values = self._read(name, index) / np.float32(scale)
        found = None
        if not np.isfinite(values).all():
            found = f"NaN or infinity in {np.count_nonzero(~np.isfinite(values))} values"
        elif values.min() < -MAX_OVERSHOOT or values.max() > 1 + MAX_OVERSHOOT:
            found = f"values from {values.min() * scale:.6g} to {values.max() * scale:.6g}"
        if found is not None:
            raise SampleError(
                sample_id,
                self.path,
                f"{self.title}: {name} of {sample_id} in {self.path}: got {found}, expected "
                f"0..{scale:.0f}, as most samples have; correct it and save the file again",
            )
        return values


def _height_scale(hyperparameters: Hyperparameters) -> HeightScale:
    """How heights become metres, as the settings have it."""
    return HeightScale(
        _METRES.prefix,
        hyperparameters.roofline_depth_unit,
        hyperparameters.roofline_depth_positive,
        hyperparameters.roofline_depth_offset_m,
    )


def _find_file(root: Path) -> Path:
    """The .mat file of a folder, or the one that root is."""
    listings = Listings("Roofline")
    expected = "expected imdb.mat or a single other .mat file"
    if not listings.is_folder(root):
        if listings.is_file(root):
            return root.resolve()
        raise DataError(f"Roofline: not found: {root}: {expected}; correct the path")
    names = listings.names(root)
    found = [
        name
        for name in names
        if name.lower().endswith(".mat")
        and not name.startswith(".")  # such as ._imdb.mat, which archives add
        and listings.is_file(root / name)
    ]
    chosen = [name for name in found if name.lower() == "imdb.mat"] or found
    if len(chosen) != 1:
        what = "several files" if chosen else "no .mat file"
        raise DataError(
            f"Roofline: {what} in {root}: found "
            f"{join_problems(chosen) or listings.describe(root)}, {expected}; "
            f"{'remove the others' if chosen else 'copy the dataset there'}"
        )
    try:
        check_inside(root / chosen[0], root, "copy the file itself there")
    except FileProblem as problem:
        raise DataError(f"Roofline: {problem}") from problem
    return root / chosen[0]


def split_indices(num_samples: int, split: Split, seed: int) -> list[int]:
    """The samples of a split, ascending: blocks of neighbours, dealt out by a seed.

    Blocks hold ten samples, and fewer below a hundred, so that there are enough to deal out. Of
    three samples or more, no split is empty.
    """
    block = min(_BLOCK_SAMPLES, max(1, num_samples // _MIN_BLOCKS))
    num_blocks = -(-num_samples // block)
    num_held_out = max(1, round(_HELD_OUT_SHARE * num_blocks))
    shuffled = np.random.default_rng(seed).permutation(num_blocks)
    num_test = num_held_out if num_blocks > 2 else 0
    num_val = num_held_out if num_blocks > 1 else 0
    test, val, train = np.split(shuffled, [num_test, num_test + num_val])
    chosen = {"train": train, "val": val, "test": test, "all": shuffled}[split]
    return [
        index
        for first in sorted(chosen * block)
        for index in range(int(first), min(int(first) + block, num_samples))
    ]


def centre_lines(blocks: npt.NDArray[np.bool_]) -> Mask8:
    """Line targets of lines drawn in blocks.

    Args:
        blocks: (3, H, W), where eaves, ridges and hips are drawn.

    Returns:
        (4, H, W) uint8, eave, ridge, hip, valley: 1 on the blocks' centre line, one pixel thick,
        255 in the rest of the blocks and for valleys, else 0.
    """
    lines = np.full((4, *blocks.shape[1:]), IGNORE_INDEX, np.uint8)
    for target, drawn in zip(lines, blocks, strict=False):
        target[:] = np.where(drawn, np.uint8(IGNORE_INDEX), np.uint8(0))
        if drawn.any():
            # It does not thin the border of its input, hence the padding.
            thin = cv2.ximgproc.thinning(
                np.pad(drawn.astype(np.uint8) * np.uint8(255), 1),
                thinningType=cv2.ximgproc.THINNING_GUOHALL,
            )
            target[thin[1:-1, 1:-1] > 0] = 1
    return lines


def _known_depth(depth: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Metres, NaN where impossible; all NaN if all are equal, as in no crop of a roof."""
    with np.errstate(invalid="ignore"):
        low_m, high_m = DEPTH_RANGE_M
        possible = (depth >= low_m) & (depth <= high_m)
    known = depth[possible]
    if not known.size or known.min() == known.max():
        return np.full_like(depth, np.nan)
    return np.where(possible, depth, np.float32(np.nan))
