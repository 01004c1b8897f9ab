"""Photos with truth and prediction, for the report."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch

from app.base.errors import StopRequested
from app.base.tasks import TaskName
from app.data.loading import Batch, EvalDataset, collate
from app.data.waiting import wait_for
from app.inference.predictor import Predictor
from app.report.pictures import Image8, Panel

_NUM_PANELS = 6
_LINE_THRESHOLD = 0.5


def collect_panels(
    predictor: Predictor,
    datasets: Sequence[EvalDataset],
    limit_s: float = math.inf,
    stop_requested: Callable[[], bool] = lambda: False,
) -> list[Panel]:
    """About six images, shared among the datasets and evenly spread in each.

    Every dataset gives at least one, unless it cannot be read. Once limit_s is over, no further
    image is begun, and one that is still being read is left out; likewise after a stop.
    """
    deadline_s = time.monotonic() + limit_s

    def is_over() -> bool:
        return time.monotonic() > deadline_s or stop_requested()

    panels: list[Panel] = []
    for number, dataset in enumerate(datasets):
        share = _NUM_PANELS // len(datasets) + (number < _NUM_PANELS % len(datasets))
        num_panels = min(max(1, share), len(dataset))
        for i in range(num_panels):
            if is_over():
                return panels
            index = i * len(dataset) // num_panels
            what = f"a picture of {dataset.reader.title}"
            try:
                batch = wait_for(partial(_read, dataset, index), what, is_over)
            except StopRequested:
                return panels
            if batch["sample_id"]:
                logits = predictor.predict(batch["image"])
                panels.append(_build_panel(dataset.reader.title, batch, logits))
    return panels


def _read(dataset: EvalDataset, index: int) -> Batch:
    return collate([dataset[index]])


def _build_panel(dataset: str, batch: Batch, logits: Mapping[TaskName, torch.Tensor]) -> Panel:
    """The panel of a batch of one image."""

    def find_classes(name: TaskName) -> Image8 | None:
        return logits[name][0].argmax(0).byte().numpy() if name in logits else None

    lines = logits["lines"][0].sigmoid() > _LINE_THRESHOLD if "lines" in logits else None
    return Panel(
        dataset=dataset,
        sample_id=batch["sample_id"][0],
        image=batch["image"][0].permute(1, 2, 0).numpy(),
        segments_target=batch["segments"][0].numpy(),
        segments_prediction=find_classes("segments"),
        lines_target=batch["lines"][0].numpy(),
        lines_prediction=None if lines is None else lines.byte().numpy(),
        depth_target=batch["depth"][0].numpy(),
        depth_prediction=logits["depth"][0, 0].numpy() if "depth" in logits else None,
        superstructures_target=batch["superstructures"][0].numpy(),
        superstructures_prediction=find_classes("superstructures"),
    )
