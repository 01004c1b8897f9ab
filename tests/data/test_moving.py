"""What becomes of planes in a window, beside what NumPy makes of them."""

import numpy as np
import pytest
import torch

from app.base.tasks import IGNORE_INDEX
from app.data.frame import Frame, Pose
from app.data.moving import _turn_quarters, move
from app.data.sample import PLANES, with_unknown

FRAMES = [
    Frame(Pose(0, 0.0, 1.0, True), (20.0, 24.0), (16, 16), 1.0),
    Frame(Pose(8, 0.0, 1.0, False), (3.0, 24.0), (16, 16), 1.0),  # beyond the photo
    Frame(Pose(3, 1.5, 0.9, True), (20.0, 24.0), (16, 16), 1.2),
    Frame(Pose(5, -1.0, 1.0, False), (1.0, 47.0), (16, 16), 0.7),
]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_quarter_turns_are_those_of_numpy(shape, dtype):
    plane = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    for quarters in range(4):
        for flip in (False, True):
            turned = np.rot90(plane, -quarters)
            expected = turned[:, ::-1] if flip else turned
            found = _turn_quarters(plane, quarters, flip=flip)
            assert np.array_equal(found, expected)
            assert not np.shares_memory(found, plane)
            assert found.flags.c_contiguous


def sample_of(targets):
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.integers(0, 256, (3, 40, 48), np.uint8))
    return {**with_unknown(image, targets), "dataset": "own", "sample_id": "x", "gsd_m": 0.1}


@pytest.mark.parametrize("frame", FRAMES)
def test_a_plane_of_one_value_is_moved_as_its_pixels_are(frame):
    one = {
        "segments": torch.tensor([[17]], dtype=torch.uint8).expand(40, 48),
        "lines": torch.zeros(4, 1, 1, dtype=torch.uint8).expand(-1, 40, 48),
    }
    seen = move(sample_of(one), frame, 0.1)
    stored = move(sample_of({name: plane.clone() for name, plane in one.items()}), frame, 0.1)
    for name in PLANES:
        assert torch.equal(seen[name].nan_to_num(-1.0), stored[name].nan_to_num(-1.0)), name
    assert (seen["superstructures"] == IGNORE_INDEX).all()
    assert seen["depth"].isnan().all()


@pytest.mark.parametrize("frame", FRAMES)
def test_the_order_of_an_images_memory_changes_nothing(frame):
    sample = sample_of({})
    by_band = move(sample, frame, 0.1)["image"]
    pixels = sample["image"].permute(1, 2, 0).contiguous().permute(2, 0, 1)
    side_by_side = move({**sample, "image": pixels}, frame, 0.1)["image"]
    assert torch.equal(by_band, side_by_side)
    assert side_by_side.permute(1, 2, 0).is_contiguous()


@pytest.mark.parametrize("frame", FRAMES)
def test_every_kind_of_line_is_moved_as_if_it_were_alone(frame):
    rng = np.random.default_rng(1)
    lines = rng.choice(np.array([0, 1, 255], np.uint8), (4, 40, 48), p=(0.6, 0.1, 0.3))
    together = move(sample_of({"lines": torch.from_numpy(lines)}), frame, 0.1)["lines"]
    for kind in range(4):
        alone = np.full_like(lines, IGNORE_INDEX)
        alone[kind] = lines[kind]
        moved = move(sample_of({"lines": torch.from_numpy(alone)}), frame, 0.1)["lines"]
        assert torch.equal(moved[kind], together[kind])
        others = [other for other in range(4) if other != kind]
        assert (moved[others] == IGNORE_INDEX).all()
