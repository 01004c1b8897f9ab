"""Synthetic tiles on disk, in the folders of the mirror of AIRS that has labels of all splits."""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from rasterio.transform import Affine

from app.base.tasks import BACKGROUND_CLASS
from app.synthetic.scene import make_scene
from app.synthetic.staging import IN_BLOCKS, SplitParameters, each_result, write_splits, write_tiff

GSD_M = 0.075
SPLITS = ("train", "val", "test")

# Somewhere in Christchurch, in metres of New Zealand Transverse Mercator.
_CRS = "EPSG:2193"
_WEST_M, _NORTH_M = 1_570_000.0, 5_180_000.0
_CELL_SIZE = 1.25  # in tiles; the gap between two neighbours is in neither
_MAX_SCENE_PX = 1024  # larger tiles are laid out of several scenes

_Bands = npt.NDArray[np.uint8]


class _Job(NamedTuple):
    """A tile to write."""

    split_dir: Path
    number: int
    seed: int
    size_px: int
    transform: Affine


def write_airs(root: Path, parameters: SplitParameters) -> None:
    """Write tiles as the mirror of AIRS has them.

    In each of train/, val/ and test/: image/christchurch_N.tif, RGB; label/christchurch_N.tif, one
    band of 0 and 1 (roof); label/christchurch_N_vis.tif, the same for people, three bands of 0 and
    255. All at 0.075 m per pixel in EPSG:2193. train.txt has names with .tif, val.txt without, and
    there is no test.txt. No two tiles share ground. A sample.json beside them holds the parameters.

    The root appears only when all is written, so a root that is there is whole; one with the same
    parameters is left unchanged.

    Args:
        root: The dataset's folder: absent, empty, or written by an earlier call.
        parameters: Number, seed and side of the tiles; the original's side is 10000 px.

    Raises:
        ConfigError: If a number is out of range, or the root holds something else.
    """
    write_splits(root, parameters, _write_all, title="tiles", lowest_px=32)


def _write_all(root: Path, parameters: SplitParameters) -> None:
    sizes = (parameters.num_train, parameters.num_val, parameters.num_test)
    numbers = np.random.default_rng(parameters.seed).permutation(sum(sizes))
    num_columns = math.ceil(math.sqrt(len(numbers)))
    jobs: list[_Job] = []
    for split, chosen in zip(SPLITS, np.split(numbers, np.cumsum(sizes)[:-1]), strict=True):
        if not len(chosen):
            continue
        for name in ("image", "label"):
            (root / split / name).mkdir(parents=True)
        for number in sorted(chosen.tolist()):
            row, column = divmod(number, num_columns)
            place = _georeference(row, column, parameters.size_px)
            jobs.append(_Job(root / split, number, parameters.seed, parameters.size_px, place))
        ending = {"train": ".tif", "val": ""}.get(split)
        if ending is not None:
            names = sorted(f"{_name(number)}{ending}\n" for number in chosen.tolist())
            (root / f"{split}.txt").write_text("".join(names), encoding="ascii")
    with each_result(_write_tile, jobs) as results:
        for _ in results:
            pass


def _name(number: int) -> str:
    return f"christchurch_{number}"


def _georeference(row: int, column: int, size_px: int) -> Affine:
    """Pixel to metres, for a cell of a grid that leaves gaps between tiles."""
    step_m = _CELL_SIZE * size_px * GSD_M
    return Affine(GSD_M, 0.0, _WEST_M + column * step_m, 0.0, -GSD_M, _NORTH_M - row * step_m)


def _write_tile(job: _Job) -> None:
    image, roof = _draw_tile(job)
    name = _name(job.number)
    # The release's 17 MB a tile point to JPEG.
    photo = {"compress": "jpeg", "photometric": "YCBCR", "interleave": "pixel"}
    _write_tiff(job, f"image/{name}.tif", image.transpose(2, 0, 1), photo)
    _write_tiff(job, f"label/{name}.tif", roof[None], {"compress": "deflate"})
    preview = np.broadcast_to(roof * np.uint8(255), (3, *roof.shape))
    _write_tiff(job, f"label/{name}_vis.tif", preview, {"compress": "deflate"})


def _draw_tile(job: _Job) -> tuple[_Bands, _Bands]:
    """(H, W, 3) uint8 RGB, and (H, W) uint8 0/1 roof, of as many scenes as the tile needs."""
    image = np.empty((job.size_px, job.size_px, 3), np.uint8)
    roof = np.empty((job.size_px, job.size_px), np.uint8)
    num_scenes = math.ceil(job.size_px / _MAX_SCENE_PX)
    scene_px = math.ceil(job.size_px / num_scenes)
    for index in range(num_scenes**2):
        scene = make_scene((job.seed, job.number, index), scene_px, GSD_M)
        row, column = (place * scene_px for place in divmod(index, num_scenes))
        # The last scenes of a row and of a column may stand out of the tile.
        height, width = (min(scene_px, job.size_px - start) for start in (row, column))
        inside = np.s_[row : row + height, column : column + width]
        image[inside] = scene.image[:height, :width]
        roof[inside] = scene.segments[:height, :width] != BACKGROUND_CLASS
    return image, roof


def _write_tiff(job: _Job, name: str, bands: _Bands, options: dict[str, str]) -> None:
    write_tiff(
        job.split_dir / name,
        bands,
        _CRS,
        job.transform,
        **IN_BLOCKS,
        **options,
    )
