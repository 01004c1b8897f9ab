"""A large photo of many roofs, and what it takes to find them on one core."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio import Affine
from rasterio.windows import Window

from app.base.logs import ignore_expected_warnings
from app.resources.process_memory import own_sizes_gib
from app.roofs.evidence import PROBABILITY_SCALE, RoofEvidence, StoredLayer
from app.roofs.find import find_roofs
from app.synthetic.labels import lines_from, segments_from
from bench.support.environment import ROOT
from bench.support.roofs.scenes import CORNER, CRS, draw_village

_SIDE_PX: Final = 10_000
_TILE_PX: Final = 2_500
_BUILDINGS_PER_TILE: Final = 86
_GSD_M: Final = 0.1
# So many wrong pixels, in blobs of this size, as a network has them.
_WRONG_SHARE: Final = 0.02
_BLOB_PX: Final = 5
_LAYERS: Final[dict[str, tuple[int, str]]] = {
    **dict.fromkeys(("classes", "direction_x", "direction_y", "roof_probability"), (1, "uint8")),
    "lines": (4, "uint8"),
    "height_m": (1, "float32"),
}
_TRANSFORM: Final = Affine(_GSD_M, 0, CORNER[0], 0, -_GSD_M, CORNER[1])


def measure_large(folder: Path) -> dict[str, float]:
    """Write the photo's rasters, find its roofs in a process of its own, and say what it took."""
    _write(folder)
    environment = os.environ | dict.fromkeys(
        ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GDAL_NUM_THREADS"), "1"
    )
    command = [sys.executable, "-m", "bench.support.roofs.large", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, check=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _write(folder: Path) -> None:
    sources = {
        name: rasterio.open(
            folder / f"{name}.tif",
            "w",
            driver="GTiff",
            width=_SIDE_PX,
            height=_SIDE_PX,
            count=count,
            dtype=dtype,
            crs=CRS,
            transform=_TRANSFORM,
            tiled=True,
            blockxsize=512,
            blockysize=512,
            compress="deflate",
        )
        for name, (count, dtype) in _LAYERS.items()
    }
    for number, (row, column) in enumerate(_corners()):
        window = Window(column, row, _TILE_PX, _TILE_PX)
        for name, values in _draw_tile(number).items():
            sources[name].write(values.reshape(-1, _TILE_PX, _TILE_PX), window=window)
    for source in sources.values():
        source.close()


def _corners() -> Iterator[tuple[int, int]]:
    steps = range(0, _SIDE_PX, _TILE_PX)
    return ((row, column) for row in steps for column in steps)


def _draw_tile(number: int) -> dict[str, npt.NDArray[Any]]:
    rng = np.random.default_rng(number)
    village = draw_village(1000 + number, _BUILDINGS_PER_TILE, _TILE_PX, _GSD_M)
    classes = segments_from(village.roofs)
    small = rng.random((_TILE_PX // _BLOB_PX,) * 2) < _WRONG_SHARE
    is_wrong = small.repeat(_BLOB_PX, axis=0).repeat(_BLOB_PX, axis=1) & (classes < 17)
    classes[is_wrong] = rng.integers(0, 18, int(is_wrong.sum()))
    angle = np.radians(np.arange(16) * 22.5)
    east, north = np.full((2, 256), PROBABILITY_SCALE // 2, np.uint8)
    east[:16] = np.rint((1 + np.sin(angle)) * PROBABILITY_SCALE / 2)
    north[:16] = np.rint((1 + np.cos(angle)) * PROBABILITY_SCALE / 2)
    is_roof = (classes < 17).astype(np.uint8)
    noise = rng.normal(0, 0.1, classes.shape).astype(np.float32)
    return {
        "classes": classes,
        "direction_x": east[classes],
        "direction_y": north[classes],
        "roof_probability": is_roof * np.uint8(PROBABILITY_SCALE - 10),
        "lines": lines_from(village.roofs) * np.uint8(PROBABILITY_SCALE - 20),
        "height_m": village.roofs.height_m + noise,
    }


def _find(folder: Path) -> dict[str, float]:
    ignore_expected_warnings()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    layers = {
        name: StoredLayer(folder / f"{name}.tif", 1 if count == 1 else tuple(range(1, count + 1)))
        for name, (count, _) in _LAYERS.items()
    }
    evidence = RoofEvidence(photo="large", gsd_m=_GSD_M, transform=_TRANSFORM, crs=CRS, **layers)
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    roofs = find_roofs(evidence)
    return {
        "vectors_s": time.perf_counter() - start_s,
        "vectors_cpu_s": time.process_time() - start_cpu_s,
        "vectors_gib": own_sizes_gib()[0],
        "vectors_planes": len(roofs.planes),
        "vectors_buildings": len(roofs.buildings),
        "vectors_lines": len(roofs.lines),
    }


if __name__ == "__main__":
    print(json.dumps(_find(Path(sys.argv[1]))))
