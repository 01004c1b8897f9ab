"""Planes of validation photos, found and matched for calibration: always the same, so many."""

import numpy as np
import pytest

from app.base.errors import StopRequested
from app.base.tasks import build_tasks
from app.data.loading import EvalDataset
from app.data.own.dataset import OwnDataset
from app.data.transforms import EvalTransform
from app.inference.layers import LayerMaker
from app.inference.match_photos import match_photos
from app.inference.predictor import Predictor
from app.inference.shape_scores import RoofSearch, ShapeScores
from tests.inference.test_scoring import COMPUTE, TASKS
from tests.inference.test_shape_scores import pieces
from tests.metrics.test_ranks import PointWise
from tests.support.own import write_village

PHOTO_PX = 240 * 240


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = write_village(tmp_path_factory.mktemp("village"), num_photos=4)
    return EvalDataset(OwnDataset(root, "all"), EvalTransform(0.1, 16, True))


def match(dataset, most_px, **stop):
    seen = []

    def find_roofs(photo):
        seen.append(photo.name)
        return pieces(photo)

    tasks = build_tasks()
    maker = LayerMaker([task for task in tasks if task.name in TASKS], (), num_poses=1)
    scores = ShapeScores(tasks, ["own"], RoofSearch(maker, find_roofs))
    predictor = Predictor(PointWise(), TASKS, COMPUTE)
    num_photos = match_photos(predictor, {"own": dataset}, scores, most_px, **stop)
    assert num_photos == len(seen)
    return seen, scores.matched()


def test_so_many_pixels_are_looked_at_always_the_same(dataset):
    all_names, planes = match(dataset, 10 * PHOTO_PX)
    assert sorted(all_names) == sorted(dataset.reader.sample_ids)
    some, fewer = match(dataset, 2.5 * PHOTO_PX)
    assert some == all_names[:2]
    assert fewer.num_planes <= planes.num_planes
    again = match(dataset, 2.5 * PHOTO_PX)
    assert again[0] == some
    for one, other in zip(again[1], fewer, strict=True):
        np.testing.assert_array_equal(one, other)
    assert match(dataset, PHOTO_PX - 1)[0] == []


def test_a_stop_ends_it(dataset):
    with pytest.raises(StopRequested):
        match(dataset, 10 * PHOTO_PX, stop_requested=lambda: True)
