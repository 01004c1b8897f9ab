"""At the end of a run: how right the directions are that will be stated of planes."""

import logging
from collections.abc import Mapping
from typing import Any, Final

from app.base.azimuth import BIN_NAMES
from app.base.dataset_names import DatasetName
from app.base.tasks import LINE_KINDS, find_task
from app.data.loading import EvalDataset
from app.data.transforms import EvalTransform
from app.inference.layers import LayerMaker
from app.inference.match_photos import match_photos
from app.inference.shape_scores import RoofSearch, ShapeScores
from app.roofs.calibrating import fit_calibration
from app.roofs.scored import find_scored_roofs
from app.training.run import Run

logger = logging.getLogger(__name__)

# As many as 64 windows of 512 px: about a minute of two cores, seconds of a GPU.
_MOST_PX: Final = 64 * 512 * 512


def measure_calibration(run: Run) -> dict[str, Any] | None:
    """What model.json says of it; None where no validation photo can have planes with directions.

    The photos, and so the numbers, are the same in every run with the same data and weights.

    Raises:
        ConfigError: If memory does not suffice.
        StopRequested: If the job was asked to stop meanwhile.
    """
    datasets = _find_datasets(run)
    if "segments" not in run.learned.task_weights or not datasets:
        return None
    tasks = [find_task(name, run.learned.tasks) for name in run.learned.task_weights]
    maker = LayerMaker(tasks, run.learned.classes.get("lines", LINE_KINDS), num_poses=1)
    search = RoofSearch(maker, find_scored_roofs)
    scores = ShapeScores(run.learned.tasks, list(datasets), search)
    num_photos = match_photos(run.predictor, datasets, scores, _MOST_PX, run.job.stop_requested)
    calibration = fit_calibration(scores.matched())
    logger.info(
        "calibration of directions, on %d validation photos: %s",
        num_photos,
        calibration.describe(),
    )
    return calibration.to_json() | {"data": "+".join(datasets), "split": "val", "tta": 1}


def _find_datasets(run: Run) -> Mapping[DatasetName, EvalDataset]:
    """Validation photos with directions, and with the shapes that people drew."""
    segments = find_task("segments", run.learned.tasks)
    if not segments.azimuth_bins:
        return {}
    settings = run.hyperparameters
    transform = EvalTransform(settings.gsd_m, settings.azimuth_bins, with_shapes=True)
    return {
        name: EvalDataset(dataset.reader, transform, dataset.indices, dataset.window_px)
        for name, dataset in run.datasets.val.items()
        if set(dataset.reader.labels.get("segments", ())) & set(BIN_NAMES)
    }
