"""Photos to predict: synthetic villages of any size, and large ones of which a part has data."""

import itertools
import tempfile
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio import Affine
from rasterio.windows import Window

from app.synthetic.staging import SplitParameters
from app.synthetic.write_airs import write_airs

_GSD_M: Final = 0.1
_BLOCK_PX: Final = 512
_VILLAGE_PX: Final = 3072

_Bands = npt.NDArray[np.uint8]


def draw_village(side_px: int = _VILLAGE_PX) -> _Bands:
    """(3, H, W) of synthetic roofs, streets and trees."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "airs"
        write_airs(root, SplitParameters(1, 1, 1, seed=0, size_px=side_px))
        (path,) = (root / "train/image").iterdir()
        with rasterio.open(path) as file:
            bands: _Bands = file.read()
    return bands


def write_photo(
    path: Path, village: _Bands, side_px: int, places: list[tuple[int, int]] | None = None
) -> Path:
    """A tiled GeoTIFF of a village, again and again.

    Args:
        path: The file.
        village: (3, h, w).
        side_px: Rows and columns.
        places: Rows and columns where a village is, nothing elsewhere; None is everywhere.
    """
    height, width = village.shape[1:]
    nodata = None
    if places is None:
        starts = range(0, side_px, height), range(0, side_px, width)
        places = list(itertools.product(*starts))
    else:
        nodata = 0
        village = np.maximum(village, 1)
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=side_px, width=side_px, dtype="uint8",
        crs="EPSG:32632", transform=Affine(_GSD_M, 0, 600_000, 0, -_GSD_M, 5_400_000),
        nodata=nodata, tiled=True, blockxsize=_BLOCK_PX, blockysize=_BLOCK_PX,
        compress="deflate", zlevel=1, sparse_ok=True, photometric="RGB", bigtiff="IF_SAFER",
    ) as file:  # fmt: skip
        for top, left in places:
            rows, columns = min(height, side_px - top), min(width, side_px - left)
            file.write(village[:, :rows, :columns], window=Window(left, top, columns, rows))
    return path
