"""Turns and flips: what is predicted of a turned photo is the turned prediction, to the class."""

import pytest
import torch
from torch import nn

from app.base.tasks import TASK_NAMES, build_tasks
from app.inference.blending import to_averages
from app.inference.poses import Pose, PosesPredictor
from app.inference.predictor import Predictor
from app.model.devices import Compute
from tests.inference.test_tiles import Local

COMPUTE = Compute(torch.device("cpu"))
POSES = [Pose(quarters, flip) for flip in (False, True) for quarters in range(4)]


def predictor_of(model, num_poses, bins=16, tasks=TASK_NAMES):
    return PosesPredictor(model, tasks, COMPUTE, 64, num_poses=num_poses, azimuth_bins=bins)


def averages_of(predictor, images):
    return {name: to_averages(name, x) for name, x in predictor.predict(images).items()}


def images_of(height, width):
    generator = torch.Generator().manual_seed(1)
    return torch.randint(256, (2, 3, height, width), generator=generator).byte()


class Downhill(nn.Module):
    """Sure that a plane runs down to where the photo gets darker: right in every pose."""

    def __init__(self, bins):
        super().__init__()
        self.num_classes = build_tasks(bins)[0].num_classes
        self.bins = bins

    def forward(self, image, tasks):  # noqa: ARG002
        green = image[:, 1].float()
        slopes = torch.zeros(len(image), self.num_classes, *image.shape[-2:])
        down, right = torch.zeros_like(green), torch.zeros_like(green)
        down[:, :-1] = green[:, :-1] - green[:, 1:]
        right[:, :, :-1] = green[:, :, :-1] - green[:, :, 1:]
        quarter = self.bins // 4
        for number, slope in enumerate((-down, right, down, -right)):
            slopes[:, number * quarter] = slope
        return {"segments": slopes * 100}


@pytest.mark.parametrize("bins", [4, 8, 16])
@pytest.mark.parametrize("num_poses", [1, 2, 4, 8])
@pytest.mark.parametrize(("direction", "quarters"), [("N", 0), ("E", 1), ("S", 2), ("W", 3)])
def test_a_direction_that_every_pose_sees_rightly_stays(bins, num_poses, direction, quarters):
    ramp = torch.arange(40)[:, None].expand(40, 40)  # brighter to the south: runs down to north
    image = torch.stack([ramp.rot90(-quarters, (0, 1)).byte()] * 3)[None] * 6
    predictor = predictor_of(Downhill(bins), num_poses, bins, ("segments",))
    segments = averages_of(predictor, image)["segments"][0]
    names = build_tasks(bins)[0].class_names
    inside = segments[:, 2:-2, 2:-2]
    assert (inside[names.index(direction)] > 0.99).all()


@pytest.mark.parametrize("size", [(40, 40), (24, 40)])
@pytest.mark.parametrize("pose", POSES)
def test_the_prediction_of_a_turned_photo_is_the_turned_prediction(size, pose):
    predictor = predictor_of(Local(2), 8)
    images = images_of(*size)
    upright = averages_of(predictor, images)
    turned = averages_of(predictor, pose.apply(images))
    for name, values in upright.items():
        if name == "segments":
            values = values[:, torch.tensor(pose.turned_classes(16, 18)).argsort()]
        assert torch.allclose(pose.apply(values), turned[name], atol=1e-4), name


def test_one_pose_is_what_the_network_says():
    images = images_of(40, 24)
    model = Local(1)
    expected = Predictor(model, TASK_NAMES, COMPUTE, 64).predict(images)
    got = predictor_of(model, 1).predict(images)
    assert all(torch.equal(got[name], expected[name]) for name in TASK_NAMES)


def test_averages_are_those_of_the_poses_and_heights_have_their_squares_too():
    images = images_of(24, 24)
    model = Local(1)
    network = Predictor(model, TASK_NAMES, COMPUTE, 64)
    flipped = averages_of(network, images.flip(-1))
    upright = averages_of(network, images)
    got = averages_of(predictor_of(model, 2), images)
    for name in ("lines", "superstructures"):
        expected = (upright[name] + flipped[name].flip(-1)) / 2
        assert torch.allclose(got[name], expected, atol=1e-5), name
    heights = torch.cat((upright["depth"], flipped["depth"].flip(-1)), 1)
    assert torch.allclose(got["depth"][:, 0], heights.mean(1), atol=1e-4)
    assert torch.allclose(got["depth"][:, 1], heights.square().mean(1), atol=1e-4)
    # East and west change places, north and south stay.
    west = flipped["segments"].flip(-1)[:, 12]
    expected = (upright["segments"][:, 4] + west) / 2
    assert torch.allclose(got["segments"][:, 4], expected, atol=1e-5)
