"""Files for the benchmark of loading: tiles of AIRS's size, and datasets of many small files."""

import os
from pathlib import Path
from typing import Final

import numpy as np
import rasterio
from rasterio.transform import Affine

from app.base.tasks import BACKGROUND_CLASS
from app.synthetic.scene import make_scene

TILE_PX: Final = 10_000
GSD_M: Final = 0.075
_SCENE_PX: Final = 1000
_NUM_SCENES: Final = 3

# How the pixels of a tile lie in its files. From strips with compression, every window needs whole
# rows unpacked.
KINDS: Final[dict[str, dict[str, object]]] = {
    "striped": {},
    "tiled": {"tiled": True, "blockxsize": 256, "blockysize": 256, "compress": "deflate"},
    "striped_lzw": {"compress": "lzw"},
}


def write_tiles(folder: Path) -> dict[str, Path]:
    """Write a tile in every kind, each as an AIRS tree of its own: the kinds' folders.

    The tile is laid out of a few scenes, turned at random.
    """
    rng = np.random.default_rng(0)
    scenes = [make_scene((0, index), _SCENE_PX, GSD_M) for index in range(_NUM_SCENES)]
    image = np.empty((TILE_PX, TILE_PX, 3), np.uint8)
    roof = np.empty((TILE_PX, TILE_PX), np.uint8)
    for row in range(0, TILE_PX, _SCENE_PX):
        for column in range(0, TILE_PX, _SCENE_PX):
            scene = scenes[rng.integers(_NUM_SCENES)]
            turns = int(rng.integers(4))
            place = np.s_[row : row + _SCENE_PX, column : column + _SCENE_PX]
            image[place] = np.rot90(scene.image, turns)
            roof[place] = np.rot90(scene.segments != BACKGROUND_CLASS, turns)
    folders = {kind: folder / kind for kind in KINDS}
    for kind, options in KINDS.items():
        _write(folders[kind] / "train/image", image.transpose(2, 0, 1), options)
        _write(folders[kind] / "train/label", roof[None], options)
    return folders


def _write(folder: Path, bands: np.ndarray, options: dict[str, object]) -> None:
    folder.mkdir(parents=True)
    with rasterio.open(
        folder / "christchurch_1.tif",
        "w",
        driver="GTiff",
        width=TILE_PX,
        height=TILE_PX,
        count=len(bands),
        dtype="uint8",
        crs="EPSG:2193",
        transform=Affine(GSD_M, 0, 1_570_000, 0, -GSD_M, 5_180_000),
        interleave="pixel",
        **options,
    ) as file:
        file.write(bands)


def link_together(folders: dict[str, Path], kinds: tuple[str, ...], folder: Path) -> Path:
    """One AIRS tree with the tiles of several kinds, which take no more space on the disk."""
    for name in ("image", "label"):
        (folder / "train" / name).mkdir(parents=True)
        for number, kind in enumerate(kinds):
            source = folders[kind] / "train" / name / "christchurch_1.tif"
            os.link(source, folder / "train" / name / f"christchurch_{number}.tif")
    return folder
