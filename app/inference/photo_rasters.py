"""The rasters of one photo: predicted window by window, then written as people get them."""

import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, NamedTuple

from app import __version__
from app.base.errors import StopRequested
from app.base.window import Window
from app.data.files.problems import FileProblem
from app.inference.layers import LayerName, Values
from app.inference.photo_source import FilePhoto
from app.inference.rasters import TiledRaster, finish
from app.inference.shortage import explained_shortage
from app.inference.tiles import predict_averages
from app.inference.trained import TrainedNetwork
from app.inference.unlike import Likeness

GridChoice = Literal["model", "photo"]


class PhotoRasters(NamedTuple):
    """What was predicted of a photo, in files that are complete but not yet as people get them.

    Attributes:
        photo: The photo.
        tags: What files made of them say of their origin.
        layers: The file of every layer.
    """

    photo: FilePhoto
    tags: Mapping[str, str]
    layers: Mapping[LayerName, TiledRaster]


def predict_rasters(
    network: TrainedNetwork,
    looked_at: Likeness,
    scratch: Path,
    advance: Callable[[], object],
    stop_requested: Callable[[], bool],
) -> PhotoRasters:
    """Predict a photo of any size.

    Args:
        network: The network.
        looked_at: The photo.
        scratch: A folder for the files.
        advance: Called after every window.
        stop_requested: Asked after every window.

    Raises:
        FileProblem: If the photo cannot be read, or shows nothing.
        ConfigError: If memory does not hold a window.
        StopRequested: If asked to stop.
        OSError: If the files cannot be written.
    """
    photo = looked_at.photo
    tags = _make_tags(network, photo)
    layers = {
        layer.name: TiledRaster(scratch / f"{layer.name}.tif", layer, photo.grid, tags)
        for layer in network.maker.layers
    }
    is_empty = True
    written: Future[None] | None = None
    what = f"predicting {photo.path.name} ({photo.width_px} x {photo.height_px} px)"
    with (
        explained_shortage(what),
        contextlib.closing(predict_averages(network.predictor, looked_at)) as blocks,
        # What one block holds is compressed and written while the next is predicted.
        ThreadPoolExecutor(1, "writer") as writer,
    ):
        for block in blocks:
            values = network.maker.make(block) if block.averages else {}
            if written is not None:
                written.result()
            written = writer.submit(_add, layers, block.window, values)
            is_empty = is_empty and not block.averages
            del block, values  # or they would lie beside the next windows
            advance()
            if stop_requested():
                raise StopRequested
        if written is not None:
            written.result()
    if is_empty:
        got, remedy = "nothing but what is declared as empty", "leave it out"
        raise FileProblem(photo.path, got, "some pixels", remedy)
    for raster in layers.values():
        raster.close()
    return PhotoRasters(photo, tags, layers)


def _add(
    rasters: Mapping[LayerName, TiledRaster], window: Window, values: Mapping[LayerName, Values]
) -> None:
    for name, raster in rasters.items():
        raster.add(window, values.get(name))


def write_rasters(
    rasters: PhotoRasters,
    name: str,
    out: Path,
    grid: GridChoice,
    stop_requested: Callable[[], bool],
) -> list[Path]:
    """Write the files that people get; returns them.

    Args:
        rasters: What was predicted.
        name: How the files' names begin.
        out: Where they go.
        grid: Whose pixels they have.
        stop_requested: Asked before every file.

    Raises:
        StopRequested: If asked to stop.
        OSError: If they cannot be written.
    """
    photo = rasters.photo
    wanted = photo.own_grid if grid == "photo" else photo.grid
    outputs = []
    for layer, raster in rasters.layers.items():
        if stop_requested():
            raise StopRequested
        outputs += finish(raster, wanted, out / f"{name}_{layer}.tif", rasters.tags)
    return outputs


def _make_tags(network: TrainedNetwork, photo: FilePhoto) -> dict[str, str]:
    """What the rasters of a photo say of their origin: the same whenever they are made."""
    modified = datetime.fromtimestamp(photo.facts.modified_ns // 10**9, UTC)
    return {
        "MODEL_SHA256": network.sha256,
        "MODEL_VERSION": network.version,
        "MODEL_GSD_M": f"{network.gsd_m:.6g}",
        "PHOTO": photo.path.name,
        "PHOTO_GSD_M": f"{photo.own_grid.gsd_m:.6g}",
        "PHOTO_MODIFIED": modified.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "TTA": str(network.predictor.num_poses),
        "TIFFTAG_SOFTWARE": f"roof-model {__version__}",
    }
