import re

import cv2
import numpy as np
import pytest
import torch

from app.base.errors import ConfigError, DataError, StopRequested
from app.base.tasks import TASK_NAMES, build_tasks
from app.data.loading import EvalDataset
from app.data.rid.dataset import RidDataset
from app.data.transforms import EvalTransform
from app.inference import panels
from app.inference.predictor import Predictor
from app.inference.scoring import Scores, check_scored, score_datasets
from app.inference.shortage import explained_shortage
from app.model.devices import Compute
from app.model.losses import RoofLoss, count_known
from app.training.state import LossSums
from tests.metrics.test_ranks import PointWise
from tests.support.fakes_roofline import open_roofline
from tests.support.steps import OUT_OF_MEMORY

TASKS = ("segments", "lines")
COMPUTE = Compute(torch.device("cpu"))


@pytest.fixture(scope="module")
def datasets(three_ml):
    data_dir = three_ml / "input/data"
    readers = {
        "rid": RidDataset(data_dir / "rid", "val"),
        "roofline": open_roofline(data_dir / "roofline", "val"),
    }
    return {name: EvalDataset(reader, EvalTransform(0.1)) for name, reader in readers.items()}


@pytest.mark.parametrize(
    ("num_rid", "num_roofline", "message"),
    [
        (3, 0, r"^Roofline\S*: no image to score can be read; repair the files named above$"),
        (
            0,
            0,
            r"^RID: no image to score can be read; repair the files named above; Roofline\S*: no "
            r"image to score can be read; repair the files named above$",
        ),
    ],
)
def test_a_dataset_without_one_image_that_can_be_read(datasets, num_rid, num_roofline, message):
    scores = Scores(build_tasks(), list(datasets))
    scores.num_samples.update(rid=num_rid, roofline=num_roofline)
    with pytest.raises(DataError, match=message):
        check_scored(scores, datasets)


def test_one_image_of_each_is_enough(datasets):
    scores = Scores(build_tasks(), list(datasets))
    scores.num_samples.update(rid=1, roofline=1)
    check_scored(scores, datasets)
    assert scores.num_samples == {"rid": 1, "roofline": 1}


@pytest.fixture(scope="module")
def rid_photos(small_ml):
    """Validation photos of 96 px, at once and by windows of 64."""
    reader = RidDataset(small_ml / "input/data/rid", "val")
    return [EvalDataset(reader, EvalTransform(0.1), None, window_px) for window_px in (96, 64)]


def score_by(dataset, loss=None, **settings):
    scores = Scores(build_tasks(), ["rid"], loss)
    predictor = Predictor(PointWise(), TASKS, COMPUTE, dataset.window_px)
    assert not any(score_datasets(predictor, {"rid": dataset}, scores, 0, **settings))
    return scores


def test_a_photo_by_windows_has_the_scores_of_the_whole(rid_photos):
    at_once, by_windows = (score_by(dataset, RoofLoss(build_tasks())) for dataset in rid_photos)
    assert by_windows.num_samples == at_once.num_samples == {"rid": 3}
    # Every pixel counts once.
    counts = [
        np.array(one.confusion_matrices("val")["val/segments"]["counts"])
        for one in (at_once, by_windows)
    ]
    assert counts[0].sum() == 3 * 96 * 96
    assert np.array_equal(*counts)
    values = by_windows.compute("val")
    for name, expected in at_once.compute("val").items():
        assert values[name].support == expected.support, name
        # Dice, a part of the loss, is that of a part of a photo.
        tolerance = 0.1 if name.endswith("/loss") else 1e-3
        got = values[name].value
        assert (got is None) == (expected.value is None), name
        assert got is None or got == pytest.approx(expected.value, rel=tolerance), name
    assert values["val/segments/loss"].support == 3 * 96 * 96
    assert values["val/depth/loss"].value is None


def test_the_loss_of_a_photo_is_that_of_training(rid_photos):
    values = score_by(rid_photos[0], RoofLoss(build_tasks())).compute("val")
    sums, counts = LossSums().sums, LossSums().counts
    for index in range(3):
        sample, _ = rid_photos[0][index]
        batch = {name: sample[name][None] for name in TASKS}
        losses = RoofLoss(build_tasks())(PointWise()(sample["image"][None], TASKS), batch)
        counts += count_known(batch)
        for position, name in enumerate(TASK_NAMES):
            sums[position] += losses.get(name, torch.zeros(())).double()
    for position, name in enumerate(TASK_NAMES[:2]):
        expected = float(sums[position] / counts[position])
        assert values[f"val/{name}/loss"].value == pytest.approx(expected, rel=1e-6)
        assert values[f"val/{name}/loss"].support == counts[position]


def test_without_the_settings_of_training_there_is_no_loss(rid_photos):
    values = score_by(rid_photos[0]).compute("val")
    assert values["val/segments/loss"].value is None
    assert values["val/segments/miou"].value is not None


def test_a_stop_does_not_wait_for_the_end_of_a_photo(rid_photos):
    asked = []

    def stop():
        asked.append(True)
        return len(asked) == 2

    with pytest.raises(StopRequested):
        score_by(rid_photos[1], stop_requested=stop)
    assert len(asked) == 2  # of the four parts of the first photo
    score_by(rid_photos[0], stop_requested=lambda: True)  # asked by the caller, between photos


NO_MEMORY = (
    *OUT_OF_MEMORY,
    MemoryError("Unable to allocate 745. GiB for an array"),
    cv2.error("OpenCV(4) alloc.cpp:73: error: (-4:Insufficient memory) Failed to allocate 3600 b"),
    RuntimeError("Caught _ArrayMemoryError in DataLoader worker process 0."),
)


@pytest.mark.parametrize("error", NO_MEMORY, ids=lambda error: type(error).__name__)
def test_every_word_for_a_lack_of_memory_becomes_a_line_that_says_where(error):
    words = re.escape(str(error))
    with (
        pytest.raises(
            ConfigError, match=rf"^out of memory while scoring 7: {words}; lower num_workers or"
        ),
        explained_shortage("scoring 7"),
    ):
        raise error


@pytest.mark.parametrize(
    "error", [RuntimeError("mat1"), cv2.error("(-215:Assertion failed)"), DataError("bad file")]
)
def test_other_errors_stay_what_they_are(error):
    with pytest.raises(type(error)) as caught, explained_shortage("scoring 7"):
        raise error
    assert caught.value is error


def test_a_large_photo_is_drawn_at_the_size_that_is_shown(rid_photos, monkeypatch):
    monkeypatch.setattr(panels, "MAX_SIDE_PX", 40)  # every third pixel of 96
    predictor = Predictor(PointWise(), TASKS, COMPUTE, 64)
    photo, _ = rid_photos[1].open_photo(0)
    whole, _ = rid_photos[0][0]
    panel = panels.draw_panel(predictor, photo, "RID")
    assert np.array_equal(panel.segments_target, whole["segments"][1::3, 1::3].numpy())
    cells = whole["image"].numpy().reshape(3, 32, 3, 32, 3).astype(float).mean((2, 4))
    assert np.abs(panel.image.transpose(2, 0, 1) - cells).max() <= 0.5
    logits = PointWise()(whole["image"][None], TASKS)
    is_line = logits["lines"][0].sigmoid().numpy() > 0.5
    shares = is_line.reshape(4, 32, 3, 32, 3).mean((2, 4))
    assert np.array_equal(panel.lines_prediction, (shares > 0.25).astype(np.uint8))
    assert panel.depth_prediction is None
    with pytest.raises(StopRequested):
        panels.draw_panel(predictor, photo, "RID", lambda: True)


def test_a_photo_as_large_as_shown_is_drawn_as_it_is(rid_photos):
    predictor = Predictor(PointWise(), TASKS, COMPUTE, 96)
    whole, _ = rid_photos[0][0]
    [panel, *_] = panels.collect_panels(predictor, rid_photos[:1])
    assert np.array_equal(panel.image, whole["image"].permute(1, 2, 0).numpy())
    for name in ("segments", "lines"):
        assert np.array_equal(getattr(panel, f"{name}_target"), whole[name].numpy()), name
    expected = PointWise()(whole["image"][None], TASKS)
    assert np.array_equal(panel.segments_prediction, expected["segments"][0].argmax(0).numpy())
    assert np.array_equal(panel.lines_prediction, (expected["lines"][0] > 0).numpy())


def test_a_picture_without_room_is_left_out_with_a_warning(rid_photos, monkeypatch, caplog):
    def fill(*_):
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(Predictor, "_run", fill)
    predictor = Predictor(PointWise(), TASKS, COMPUTE, 96)
    assert panels.collect_panels(predictor, rid_photos[:1]) == []
    assert len(caplog.records) == 3
    assert "a picture less: out of memory with a single window" in caplog.messages[0]
