"""Photos smaller than the network's largest stride, from their files to losses and metrics."""

import numpy as np
import pytest
import torch
from torch import nn

from app.base.azimuth import turn_class
from app.base.tasks import BACKGROUND_CLASS, IGNORE_INDEX, SOME_ROOF, build_tasks
from app.data.datasets import TrainBatches, open_datasets
from app.data.geometry import draw_pose
from app.data.loading import read_photos
from app.inference.predictor import Predictor
from app.inference.scoring import Scores, check_scored, score_datasets
from app.model.devices import Compute
from app.model.losses import RoofLoss
from app.model.network import HybridRoofModel
from app.settings.hyperparameters import Hyperparameters
from tests.support.fakes import RID_IDS, write_rid_image, write_rid_list, write_rid_mask
from tests.support.fakes_airs import write_tile

HEIGHT_PX, WIDTH_PX = 17, 20
N, S = 0, 8
SETTINGS = Hyperparameters(
    crop_size_px=64, batch_size=2, epochs=1, steps_per_epoch=2, num_workers=0, precision="fp32"
)


class TaughtByColour(nn.Module):
    """Logits that are sure of the class that a pixel's red tells: a tenth of it."""

    def forward(self, image, tasks):
        assert list(tasks) == ["segments"]
        classes = (image[:, 0].float() / 10).round().long()
        return {"segments": 50.0 * nn.functional.one_hot(classes, 18).movedim(-1, 1)}


def write_rid(root):
    """Houses of 11 x 14 px: the northern part runs down to N, the southern to S."""
    segments = np.full((HEIGHT_PX, WIDTH_PX), BACKGROUND_CLASS, np.uint8)
    segments[3:8, 3:17], segments[8:14, 3:17] = N, S
    for sample_id in RID_IDS[:6]:
        write_rid_image(root, sample_id, np.repeat(10 * segments[None], 3, axis=0))
        write_rid_mask(root, sample_id, segments)
    for split, ids in (("train", RID_IDS[:3]), ("val", RID_IDS[3:5]), ("test", RID_IDS[5:6])):
        write_rid_list(root, f"{split}_filenames_1_rev.txt", ids)


def write_airs(root):
    """Tiles of 0.075 m with a roof of 12 x 12 px."""
    roof = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
    roof[3:15, 4:16] = 1
    for number, split in enumerate(("train", "val", "test")):
        write_tile(root / split, f"christchurch_{number}", roof, seed=number)


@pytest.fixture(params=["rid", "airs"])
def name(request):
    return request.param


@pytest.fixture
def datasets(name, tmp_path):
    {"rid": write_rid, "airs": write_airs}[name](tmp_path / name)
    scratch_dir = tmp_path / "scratch"
    scratch_dir.mkdir()
    return open_datasets({name: tmp_path / name}, SETTINGS, scratch_dir)


def score(model, datasets, tasks):
    scores = Scores(build_tasks(), list(datasets.val))
    predictor = Predictor(model, tuple(tasks), Compute(torch.device("cpu")))
    assert not any(score_datasets(predictor, datasets.val, scores, num_workers=0))
    check_scored(scores, datasets.val)
    return sizes_of(datasets), scores.compute("val")


def sizes_of(datasets):
    [dataset] = datasets.val.values()
    return [(photo.height_px, photo.width_px) for photo, _ in read_photos(dataset, num_workers=0)]


def test_training_samples_hold_labels_and_lead_to_a_finite_loss(name, datasets):
    batches = list(TrainBatches(datasets, SETTINGS, datasets.train_order(SETTINGS)))
    assert [len(batch["sample_id"]) for batch in batches] == [2, 2]
    for batch in batches:
        assert batch["image"].shape == (2, 3, 64, 64)
        segments = batch["segments"]
        known = segments[segments != IGNORE_INDEX]
        # Between photos laid side by side nothing is taught; of each, some is left.
        assert len(known) > 0.1 * segments.numel()
        roof = {SOME_ROOF} if name == "airs" else set(range(16))
        assert set(known.tolist()) <= roof | {BACKGROUND_CLASS}
        assert set(known.tolist()) & roof
        logits = {
            "segments": torch.zeros(2, 18, 64, 64, requires_grad=True),
            "lines": torch.zeros(2, 4, 64, 64, requires_grad=True),
            "depth": torch.zeros(2, 1, 64, 64, requires_grad=True),
        }
        losses = RoofLoss(build_tasks())(logits, batch)
        sum(losses.values()).backward()
        assert losses["segments"] > 0
        assert losses["lines"] > 0
        assert losses["depth"] == 0
        assert all(values.grad.isfinite().all() for values in logits.values())


@pytest.mark.parametrize("name", ["rid"], indirect=True)
def test_a_larger_window_holds_the_whole_photo_and_unknown_labels_around_it(datasets):
    reader, transform = datasets.train.sources[0].reader, datasets.train.transform
    num_upright = 0
    for seed in range(12):
        window = transform.cut(reader, 0, 1, np.random.default_rng(seed))
        pose = draw_pose(np.random.default_rng(seed))
        if pose.zoom != 1:
            continue
        labels, counts = window["segments"].unique(return_counts=True)
        north, south = (int(turn_class(label, pose.turn_bins, pose.flip)) for label in (N, S))
        assert dict(zip(labels.tolist(), counts.tolist(), strict=True)) == {
            north: 5 * 14,
            south: 6 * 14,
            BACKGROUND_CLASS: 17 * 20 - 11 * 14,
            IGNORE_INDEX: 64 * 64 - 17 * 20,
        }
        num_upright += 1
    assert num_upright > 3


@pytest.mark.parametrize("name", ["rid"], indirect=True)
def test_every_pixel_is_scored_in_its_place(datasets):
    sizes, metrics = score(TaughtByColour(), datasets, ["segments"])
    assert sizes == 2 * [(HEIGHT_PX, WIDTH_PX)]
    expected = {"N": 2 * 5 * 14, "S": 2 * 6 * 14, "background": 2 * (17 * 20 - 11 * 14)}
    for class_name, num_pixels in expected.items():
        iou = metrics[f"val/segments/iou_{class_name}"]
        assert (iou.value, iou.support) == (1.0, num_pixels)
    per_image = metrics["val/segments/per_image_miou"]
    assert (per_image.value, per_image.support) == (1.0, 2)


def test_the_network_scores_them(name, datasets):
    torch.manual_seed(0)
    sizes, metrics = score(HybridRoofModel(), datasets, ["segments", "lines"])
    # AIRS is read at 0.075 m and scored at 0.1 m.
    size = {"rid": (HEIGHT_PX, WIDTH_PX), "airs": (13, 15)}[name]
    assert set(sizes) == {size}
    num_roof = metrics["val/segments/roof_recall"].support
    assert num_roof == {"rid": 2 * 11 * 14, "airs": 9 * 9}[name]
    assert metrics["val/lines/eave_recall_3px"].support > 0
    assert (metrics["val/segments/per_image_miou"].support > 0) == (name == "rid")
