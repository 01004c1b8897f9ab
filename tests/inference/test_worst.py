"""The photos that a model does worst on, by hand."""

import pytest
import torch

from app.base.tasks import build_tasks
from app.data.sample import with_unknown
from app.inference.scoring import Scores
from app.inference.worst import PhotoScore, WorstPhotos

TASKS = build_tasks(1)  # 0 is roof, 1 is not
SIDE_PX = 8


def photo(predicted_rows):
    """Logits and targets of a photo: its upper half is roof, and so are the predicted rows."""
    is_roof = torch.zeros(SIDE_PX, SIDE_PX, dtype=torch.bool)
    is_roof[:predicted_rows] = True
    logits = torch.stack([is_roof.float(), 1 - is_roof.float()])
    segments = torch.ones(SIDE_PX, SIDE_PX, dtype=torch.uint8)
    segments[: SIDE_PX // 2] = 0
    image = torch.zeros(3, SIDE_PX, SIDE_PX, dtype=torch.uint8)
    targets = {**with_unknown(image, {}), "segments": segments}
    batch = {name: value[None] for name, value in targets.items() if torch.is_tensor(value)}
    return {"segments": logits[None]}, batch


def test_sums_are_taken_apart_by_photo():
    scores = Scores(TASKS, ["rid", "own"])
    worst = WorstPhotos(scores, {"rid": "abc", "own": "d"})
    for name, predicted_rows in (("rid", 8), ("rid", None), ("rid", 4), ("own", 2)):
        if predicted_rows is not None:  # that one cannot be read
            scores.metrics[name].update(*photo(predicted_rows))
        worst.take_next()
    found = worst.worst(2)
    assert found == [
        PhotoScore("rid", 0, pytest.approx(0.5), "roof IoU 0.50"),
        PhotoScore("own", 0, pytest.approx(0.5), "roof IoU 0.50"),
    ]
    assert worst.worst(9)[2:] == [PhotoScore("rid", 2, pytest.approx(1.0), "roof IoU 1.00")]
