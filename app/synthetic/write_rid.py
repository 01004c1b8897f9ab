"""Synthetic scenes on disk, in the folders of RID's release."""

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from rasterio.transform import Affine

from app.synthetic.scene import make_scene
from app.synthetic.staging import SplitParameters, each_result, write_splits, write_tiff

IMAGE_DIR = "images_roof_centered_geotiff"
SEGMENTS_DIR = "masks_segments_reviewed"
SUPERSTRUCTURES_DIR = "masks_superstructures_reviewed"
SPLIT_DIR = "filenames_train_val_test_split"
NUM_FOLDS = 5

# RID's own pixel: 1 / 2^28 of the equator's 360 degrees, and its own village.
_PIXEL_DEG = 360.0 / 2**28
_WEST_DEG, _NORTH_DEG = 11.99, 48.40
_METRES_PER_DEGREE = 111_320.0
_GSD_M = _PIXEL_DEG * math.cos(math.radians(_NORTH_DEG)) * _METRES_PER_DEGREE  # 0.099

_FIRST_ID = 2
_CELL_SIZE = 1.25  # in images; the gap between two neighbours is in neither


@dataclass(frozen=True)
class _Job:
    """One scene to write."""

    root: Path
    image_id: int
    seed: int
    size_px: int
    transform: Affine


def write_rid(root: Path, parameters: SplitParameters) -> None:
    """Write scenes into the folders of RID's release 1.0.

    Images are ID.tif in EPSG:4326 with RID's pixel size, masks ID.png, split lists hold ID.png with
    CR LF in text order, for five folds: test is the same in all, val differs. No two images share
    ground, so any split is clean. A sample.json beside the folders holds the parameters.

    The root appears only when all is written, so a root that is there is whole; one with the same
    parameters is left unchanged.

    Args:
        root: The dataset's folder: absent, empty, or written by an earlier call.
        parameters: Parameters of the scenes.

    Raises:
        ConfigError: If a number is out of range, or the root holds something else.
    """
    write_splits(root, parameters, _write_all, title="scenes", lowest_px=16)


def _write_all(root: Path, parameters: SplitParameters) -> None:
    for name in (IMAGE_DIR, SEGMENTS_DIR, SUPERSTRUCTURES_DIR, SPLIT_DIR):
        (root / name).mkdir()
    rng = np.random.default_rng(parameters.seed)
    ids = _draw_ids(rng, parameters.num_photos)
    _write_splits(root / SPLIT_DIR, rng.permutation(ids), parameters)

    num_columns = math.ceil(math.sqrt(len(ids)))
    jobs = [
        _Job(
            root,
            int(image_id),
            parameters.seed,
            parameters.size_px,
            _georeference(*divmod(cell, num_columns), parameters.size_px),
        )
        for cell, image_id in enumerate(ids)
    ]
    with each_result(_write_scene, jobs) as results:
        for _ in results:
            pass


def _draw_ids(rng: np.random.Generator, num_ids: int) -> npt.NDArray[np.int64]:
    """Ascending image IDs with gaps, as RID's 1880 between 2 and 2074."""
    last_id = _FIRST_ID + math.ceil(1.1 * num_ids)
    return np.sort(rng.choice(np.arange(_FIRST_ID, last_id + 1), num_ids, replace=False))


def _write_splits(
    split_dir: Path, shuffled_ids: npt.NDArray[np.int64], parameters: SplitParameters
) -> None:
    """Write the fifteen lists. Fold k validates on the k-th run of all that is not test."""
    test, rest = np.split(shuffled_ids, [parameters.num_test])
    for fold in range(NUM_FOLDS):
        turned = np.roll(rest, -fold * parameters.num_val)
        val, train = np.split(turned, [parameters.num_val])
        for split, ids in (("train", train), ("val", val), ("test", test)):
            names = sorted(f"{image_id}.png" for image_id in ids)
            path = split_dir / f"{split}_filenames_{fold + 1}_rev.txt"
            path.write_bytes("".join(f"{name}\r\n" for name in names).encode("ascii"))


def _georeference(row: int, column: int, size_px: int) -> Affine:
    """Pixel to longitude and latitude, for a cell of a grid that leaves gaps between images."""
    step_deg = _CELL_SIZE * size_px * _PIXEL_DEG
    north_deg = _NORTH_DEG - row * step_deg * math.cos(math.radians(_NORTH_DEG))
    # On the Mercator map a pixel is as many metres high as wide.
    pixel_height_deg = _PIXEL_DEG * math.cos(math.radians(north_deg))
    west_deg = _WEST_DEG + column * step_deg
    return Affine(_PIXEL_DEG, 0.0, west_deg, 0.0, -pixel_height_deg, north_deg)


def _write_scene(job: _Job) -> None:
    scene = make_scene((job.seed, job.image_id), job.size_px, _GSD_M)
    write_tiff(
        job.root / IMAGE_DIR / f"{job.image_id}.tif",
        scene.image.transpose(2, 0, 1),
        "EPSG:4326",
        job.transform,
        photometric="RGB",
        interleave="pixel",
        compress="deflate",
        predictor=2,
        zlevel=1,  # half the time of the default for 7 % more bytes
    )
    for name, mask in (
        (SEGMENTS_DIR, scene.segments),
        (SUPERSTRUCTURES_DIR, scene.superstructures),
    ):
        path = job.root / name / f"{job.image_id}.png"
        if not cv2.imwrite(str(path), mask):
            raise OSError(f"{path} could not be written; is the disk full?")
