"""Roofs found in predictions are scored photo by photo, beside the pixels."""

import numpy as np
import pytest
import shapely

from app.base.tasks import IGNORE_INDEX, LINE_KINDS, build_tasks, find_task
from app.data.loading import EvalDataset
from app.data.own.dataset import OwnDataset
from app.data.transforms import EvalTransform
from app.inference.layers import LayerMaker
from app.inference.predictor import Predictor
from app.inference.scoring import Scores, score_datasets
from app.inference.shape_scores import RoofSearch
from app.inference.true_roofs import roofs_of_mask
from app.metrics.roofs import FoundRoofs
from tests.inference.test_scoring import COMPUTE, TASKS
from tests.metrics.test_ranks import PointWise
from tests.support.own import write_village

SEGMENTS = find_task("segments")


def pieces(photo):
    """Roofs that are the pieces of the predicted classes: not good ones, but all of them."""
    roofs = roofs_of_mask(photo.evidence.classes, SEGMENTS, photo.gsd_m)
    sd = np.full(len(roofs.planes), 10.0)
    return FoundRoofs(
        roofs.planes, roofs.azimuth_deg, sd, np.full(len(sd), 30.0), sd, sd / 20, roofs.buildings,
        np.array([shapely.LineString([(10, 10), (60, 10)])]), ("ridge",),
    )  # fmt: skip


def score(datasets, find_roofs, num_workers=0, taught=LINE_KINDS):
    tasks = build_tasks()
    maker = LayerMaker([find_task(name, tasks) for name in TASKS], taught, 1)
    search = None if find_roofs is None else RoofSearch(maker, find_roofs)
    scores = Scores(tasks, list(datasets), None, search)
    (window_px,) = {dataset.window_px for dataset in datasets.values()}
    predictor = Predictor(PointWise(), TASKS, COMPUTE, window_px)
    assert not any(score_datasets(predictor, datasets, scores, num_workers))
    return scores


@pytest.fixture(scope="module")
def village(tmp_path_factory):
    root = write_village(tmp_path_factory.mktemp("village"), num_photos=3)
    return OwnDataset(root, "all")


def dataset_of(reader, window_px=512):
    return EvalDataset(reader, EvalTransform(0.1, 16, True), None, window_px)


@pytest.fixture(scope="module")
def at_once(village):
    """Scores of photos and their shapes, and the photos that were searched."""
    seen = []

    def find_roofs(photo):
        seen.append(photo)
        return pieces(photo)

    return score({"own": dataset_of(village)}, find_roofs).compute("val"), seen


def test_shapes_stand_beside_pixels_and_change_none(village, at_once):
    plain = score({"own": dataset_of(village)}, None).compute("val")
    both, seen = at_once
    assert [photo.name for photo in seen] == village.sample_ids
    assert {photo.evidence.classes.shape for photo in seen} == {(240, 240)}
    assert not any("height_m" in photo.evidence.bands for photo in seen)  # not predicted
    assert all(photo.gsd_m == pytest.approx(0.1, rel=1e-3) for photo in seen)
    assert {name: both[name] for name in plain} == plain
    new = both.keys() - plain.keys()
    assert {name.split("/")[1] for name in new} == {"planes", "buildings", "lengths"}
    assert both["val/planes/recall"].support == 12
    # The network is no good; a ridge of 5 m in each of three photos. Their ridges of 4 m follow
    # from planes, and end a pixel or two short of the hips.
    ridge = both["val/lengths/ridge_total_error"]
    assert ridge.support == pytest.approx(12, abs=1)
    assert ridge.value == pytest.approx(15 / (12 - 0.8) - 1, abs=0.05)


def test_a_photo_by_windows_is_searched_whole(village, at_once):
    by_windows = score({"own": dataset_of(village, 96)}, pieces).compute("val")
    for name, expected in at_once[0].items():
        if name.split("/")[1] in ("planes", "buildings", "lengths"):
            assert by_windows[name].support == expected.support, name
            assert by_windows[name].value == pytest.approx(expected.value, abs=0.01), name


def test_workers_hand_shapes_over(village, at_once):
    with_workers = score({"own": dataset_of(village)}, pieces, num_workers=1)
    assert with_workers.compute("val") == at_once[0]


def test_lines_that_nobody_taught_are_no_data(village):
    seen = []

    def find_roofs(photo):
        seen.append(photo.evidence.bands["lines"])
        return pieces(photo)

    score({"own": dataset_of(village)}, find_roofs, taught=("eave", "hip"))
    for lines in seen:
        assert (lines[[1, 3]] == IGNORE_INDEX).all()
        assert (lines[[0, 2]] <= 200).all()


def test_datasets_are_scored_apart_and_together(village, small_ml):
    from app.data.rid.dataset import RidDataset

    rid = RidDataset(small_ml / "input/data/rid", "val")
    values = score({"rid": dataset_of(rid), "own": dataset_of(village)}, pieces).compute("val")
    for dataset in ("rid", "own"):
        assert values[f"val/{dataset}/planes/recall"].dataset == dataset
    total = values["val/planes/recall"]
    assert total.dataset == "rid+own"
    parts = [values[f"val/{name}/planes/recall"].support for name in ("rid", "own")]
    assert total.support == sum(parts)
    assert min(parts) > 0
    # Masks tell directions by their classes alone.
    assert values["val/rid/planes/azimuth_in_interval_90"].support == 0
