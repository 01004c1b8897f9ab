"""Planes found on some photos of validation, with their true partners."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np

from app.base.dataset_names import DatasetName
from app.base.errors import StopRequested
from app.data.loading import EvalDataset
from app.data.waiting import wait_for
from app.inference.predictor import Predictor
from app.inference.shape_scores import ShapeScores, ShapesOfPhoto
from app.inference.shortage import explained_shortage
from app.inference.tiles import predict_blocks


def match_photos(
    predictor: Predictor,
    datasets: Mapping[DatasetName, EvalDataset],
    scores: ShapeScores,
    most_px: int,
    stop_requested: Callable[[], bool] = lambda: False,
) -> int:
    """Find and match the planes of photos until these are so many pixels; returns how many.

    Always the same photos in the same order, of all datasets in turn. Those that are larger alone
    are left out, and so are those that cannot be read.

    Args:
        predictor: The network.
        datasets: Photos with true planes.
        scores: Keeps the planes.
        most_px: So many pixels are looked at at most.
        stop_requested: Asked within photos, and while one cannot be read.

    Raises:
        ConfigError: If memory does not suffice.
        StopRequested: If asked to stop meanwhile.
    """
    num_photos = num_px = 0
    for name, index in _in_turn(datasets):
        dataset = datasets[name]
        if _estimate_px(dataset, index) > most_px - num_px:
            continue
        what = f"a validation image of {dataset.reader.title}"
        with explained_shortage(f"finding roofs on {what}"):
            photo, _ = wait_for(partial(dataset.open_photo, index), what, stop_requested)
            if photo is None:
                continue
            num_px += photo.height_px * photo.width_px
            if num_px > most_px:
                break
            of_photo = ShapesOfPhoto(scores, name, photo)
            for block in predict_blocks(predictor, photo):
                of_photo.add(block)
                if stop_requested():
                    raise StopRequested
            of_photo.close()
            num_photos += 1
            del photo, of_photo  # or they would lie beside the next ones
    return num_photos


def _in_turn(datasets: Mapping[DatasetName, EvalDataset]) -> Iterator[tuple[DatasetName, int]]:
    """Photos of one dataset after the other, each dataset's in an order of chance."""
    orders = [
        [(name, int(index)) for index in np.random.default_rng(0).permutation(len(dataset))]
        for name, dataset in datasets.items()
    ]
    for photos in itertools.zip_longest(*orders):
        yield from (photo for photo in photos if photo is not None)


def _estimate_px(dataset: EvalDataset, index: int) -> float:
    """Pixels of a photo, found without reading it; 0 where that cannot be told."""
    extent_m = dataset.reader.extent_m(dataset.indices[index])
    if extent_m is None:
        return 0.0
    height_m, width_m = extent_m
    return height_m * width_m / dataset.transform.gsd_m**2
