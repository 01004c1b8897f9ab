"""Synthetic crops on disk, in the one file of Roofline-Extraction."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import h5py
import numpy as np
import numpy.typing as npt

from app.base.tasks import BACKGROUND_CLASS
from app.synthetic.scene import Scene, make_scene
from app.synthetic.staging import check_lowest, each_result, write_whole

MAT_FILE = "imdb.mat"
GSD_M = 0.05
BLOCK_PX = 9  # lines are drawn in pixels of 0.45 m and enlarged

_NUM_ELEMENTS = 3  # eave, ridge, hip: the first three kinds of a scene's lines
_TILES_PER_SCENE = 8
_SCENE_TILES = 3.5  # a scene's side in tiles: its crops overlap, as crops of one scene may
# Of crops larger than usual a scene is smaller, so that it takes no gigabytes.
_MAX_USUAL_PX, _LARGE_SCENE_TILES = 512, 2.0
_STEP_TILES = 0.25
_LOWEST = {"num_tiles": 1, "seed": 0, "size_px": 32}

_USER_BLOCK_BYTES = 512
_TEXT_BYTES = 116
_HEADER_TEXT = "MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Thu Jan  1 00:00:00 1970"
_DEFLATE_LEVEL = 3  # as MATLAB


@dataclass(frozen=True)
class CropParameters:
    """The crops of a file.

    Attributes:
        num_tiles: How many.
        seed: Same seed, same bytes.
        size_px: Rows and columns of a crop; 224 in the original.
    """

    num_tiles: int
    seed: int = 0
    size_px: int = 224


class _Job(NamedTuple):
    """Crops of one scene to draw."""

    seed: int
    scene_index: int
    num_tiles: int
    size_px: int


class _Tiles(NamedTuple):
    """Crops of one scene, n of them.

    Attributes:
        images: (n, size, size, 3) uint8, RGB.
        elements: (n, size, size, 3) uint8 0/1: eave, ridge, hip, in blocks.
        depths: (n, size, size) float32, metres above ground.
    """

    images: npt.NDArray[np.uint8]
    elements: npt.NDArray[np.uint8]
    depths: npt.NDArray[np.float32]


def write_roofline(root: Path, parameters: CropParameters) -> None:
    """Write an imdb.mat as MATLAB writes version 7.3.

    It holds the struct `imdb` with `images`, `elements` and `depths`, all float32: crops of roofs
    at 0.05 m per pixel; their eaves, ridges and hips in blocks of 9 px, on a lattice of its own for
    every crop; and metres above ground. Neighbouring crops are of one scene and overlap. A
    sample.json beside the file holds the parameters.

    Args:
        root: Folder of the file, not there yet, empty, or of an earlier call.
        parameters: Parameters of the crops.

    Raises:
        ConfigError: If a number is out of range, or the root holds something else.
    """
    check_lowest(asdict(parameters), _LOWEST)
    summary = f"{parameters.num_tiles} synthetic crops of {parameters.size_px} px in {MAT_FILE}"
    write_whole(root, asdict(parameters), summary, lambda folder: _write_file(folder, parameters))


def _write_file(folder: Path, parameters: CropParameters) -> None:
    path = folder / MAT_FILE
    num_scenes = math.ceil(parameters.num_tiles / _TILES_PER_SCENE)
    jobs = [
        _Job(
            parameters.seed,
            index,
            min(_TILES_PER_SCENE, parameters.num_tiles - index * _TILES_PER_SCENE),
            parameters.size_px,
        )
        for index in range(num_scenes)
    ]
    with (
        h5py.File(path, "w", userblock_size=_USER_BLOCK_BYTES) as file,
        each_result(_draw_tiles, jobs) as results,
    ):
        file.create_group("#refs#")  # where MATLAB keeps the contents of cells
        imdb = file.create_group("imdb")
        imdb.attrs["MATLAB_class"] = np.bytes_("struct")
        size_px, num_tiles = parameters.size_px, parameters.num_tiles
        images = _create(imdb, "images", (num_tiles, 3, size_px, size_px))
        elements = _create(imdb, "elements", (num_tiles, _NUM_ELEMENTS, size_px, size_px))
        depths = _create(imdb, "depths", (num_tiles, size_px, size_px))
        first = 0
        for tiles in results:
            last = first + len(tiles.images)
            # MATLAB's order of axes is the reverse of HDF5's: the last one runs down the rows.
            images[first:last] = tiles.images.transpose(0, 3, 2, 1)
            elements[first:last] = tiles.elements.transpose(0, 3, 2, 1)
            depths[first:last] = tiles.depths.transpose(0, 2, 1)
            first = last
    with path.open("r+b") as raw:
        raw.write(_header())


def _create(group: h5py.Group, name: str, shape: tuple[int, ...]) -> h5py.Dataset:
    dataset = group.create_dataset(
        name,
        shape,
        np.float32,
        chunks=(1, *shape[1:]),
        compression="gzip",
        compression_opts=_DEFLATE_LEVEL,
    )
    dataset.attrs["MATLAB_class"] = np.bytes_("single")
    return dataset


def _header() -> bytes:
    """The 128 bytes by which MATLAB knows a file of its own, of version 7.3."""
    text = f"{_HEADER_TEXT} HDF5 schema 1.00 .".ljust(_TEXT_BYTES).encode("ascii")
    return text + bytes(8) + (0x0200).to_bytes(2, "little") + b"IM"


def _draw_tiles(job: _Job) -> _Tiles:
    size_px = job.size_px
    num_tiles = _SCENE_TILES if size_px <= _MAX_USUAL_PX else _LARGE_SCENE_TILES
    scene_px = round(num_tiles * size_px)
    scene = make_scene((job.seed, job.scene_index), scene_px, GSD_M)
    rng = np.random.default_rng((job.seed, job.scene_index, 1))
    corners = _choose_corners(rng, scene.segments != BACKGROUND_CLASS, job)
    windows = [np.s_[row : row + size_px, column : column + size_px] for row, column in corners]
    return _Tiles(
        np.stack([scene.image[window] for window in windows]),
        np.stack([_draw_blocks(rng, scene, *corner, size_px) for corner in corners]),
        np.stack([scene.height_m[window] for window in windows]),
    )


def _choose_corners(
    rng: np.random.Generator, is_roof: npt.NDArray[np.bool_], job: _Job
) -> list[tuple[int, int]]:
    """Upper left corners of crops that are mostly roof: some of the best places of a scene."""
    last_px = len(is_roof) - job.size_px
    places_px = np.arange(0, last_px + 1, max(1, round(_STEP_TILES * job.size_px)))
    corners = [(int(row), int(column)) for row in places_px for column in places_px]
    shares = [
        is_roof[row : row + job.size_px, column : column + job.size_px].mean()
        for row, column in corners
    ]
    best = np.argsort(shares, kind="stable")[::-1][: 2 * _TILES_PER_SCENE]
    chosen = rng.choice(best, job.num_tiles, replace=False)
    return [corners[index] for index in chosen]


def _draw_blocks(
    rng: np.random.Generator, scene: Scene, row: int, column: int, size_px: int
) -> npt.NDArray[np.uint8]:
    """Eave, ridge and hip of a crop, drawn one block thick on a lattice of random phase.

    Returns:
        (size, size, 3) uint8 0/1.
    """
    # Two blocks more on every side, so that a line runs on over the border of the crop.
    margin_px = 2 * BLOCK_PX
    phase_row, phase_column = rng.integers(0, BLOCK_PX, 2)
    num_blocks = math.ceil((size_px + BLOCK_PX) / BLOCK_PX) + 4
    lines = np.zeros((num_blocks * BLOCK_PX, num_blocks * BLOCK_PX, _NUM_ELEMENTS), np.uint8)
    top, left = row - margin_px - phase_row, column - margin_px - phase_column
    part = scene.lines[
        :_NUM_ELEMENTS, max(0, top) : top + len(lines), max(0, left) : left + len(lines)
    ]
    target = lines[max(0, -top) :, max(0, -left) :]
    for kind in range(_NUM_ELEMENTS):
        # Back to the one pixel that the scene's lines were drawn around.
        thin = cv2.erode(part[kind], np.ones((3, 3), np.uint8))
        target[: thin.shape[0], : thin.shape[1], kind] = thin

    grid = (num_blocks, BLOCK_PX, num_blocks, BLOCK_PX, _NUM_ELEMENTS)
    coarse = lines.reshape(grid).max(axis=(1, 3))
    for kind in range(_NUM_ELEMENTS):
        one_block = cv2.ximgproc.thinning(
            np.ascontiguousarray(coarse[..., kind] * np.uint8(255)),
            thinningType=cv2.ximgproc.THINNING_GUOHALL,
        )
        coarse[..., kind] = one_block > 0
    blocks = coarse.repeat(BLOCK_PX, axis=0).repeat(BLOCK_PX, axis=1)
    first_row, first_column = margin_px + phase_row, margin_px + phase_column
    return np.ascontiguousarray(
        blocks[first_row : first_row + size_px, first_column : first_column + size_px], np.uint8
    )
