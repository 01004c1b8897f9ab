import math

import numpy as np
import pytest
import torch

from app.azimuth import BIN_NAMES
from app.data.sample import check_sample
from app.data.transforms import TrainTransform, apply_symmetry, change_light, crop, pad_to


def sample(height=6, width=8):
    pixels = torch.arange(height * width).view(height, width)
    lines = torch.zeros(4, height, width, dtype=torch.uint8)
    lines[1, 2] = 1
    return {
        "image": (pixels.byte() * 3).expand(3, -1, -1).clone(),
        "segments": (pixels % 19).to(torch.uint8),
        "lines": lines,
        "depth": pixels.float(),
        "dataset": "rid",
        "sample_id": "7",
        "gsd_m": 0.1,
    }


def test_all_targets_move_together():
    before = sample(8, 8)
    for symmetry in range(8):
        after = apply_symmetry(before, symmetry)
        check_sample(after)
        # depth numbers the pixels, so it says where each came from
        source = after["depth"].long()
        assert torch.equal(after["image"][0], before["image"][0].flatten()[source])
        for channel in range(4):
            moved = before["lines"][channel].flatten()[source]
            assert torch.equal(after["lines"][channel], moved)


@pytest.mark.parametrize(
    ("symmetry", "corner", "name"),
    # A plane that faces NE, in the north-east corner: it must face the corner it is moved to.
    [(0, (0, -1), "NE"), (1, (0, 0), "NW"), (2, (-1, 0), "SW"), (3, (-1, -1), "SE"),
     (4, (0, 0), "NW"), (5, (0, -1), "NE"), (6, (-1, -1), "SE"), (7, (-1, 0), "SW")],
)  # fmt: skip
def test_directions_follow_their_planes(symmetry, corner, name):
    before = sample(8, 8)
    before["segments"].fill_(17)
    before["segments"][0, -1] = BIN_NAMES.index("NE")
    after = apply_symmetry(before, symmetry)["segments"]
    assert BIN_NAMES[after[corner]] == name
    assert (after != 17).sum() == 1


def test_padding_is_unknown():
    padded = pad_to(sample(), 10)
    check_sample(padded)
    assert padded["image"].shape == (3, 10, 10)
    assert (padded["segments"][6:] == 255).all()
    assert (padded["lines"][:, :, 8:] == 255).all()
    assert padded["depth"][6:].isnan().all()
    assert torch.equal(padded["depth"][:6, :8], sample()["depth"])


def test_crop_takes_one_window_of_all():
    window = crop(sample(), 1, 2, 4)
    assert window["depth"][0, 0] == 1 * 8 + 2
    assert window["depth"][3, 3] == 4 * 8 + 5
    assert window["lines"].shape == (4, 4, 4)


def test_transform_is_made_of_its_generator_alone():
    transform = TrainTransform(4)
    first = transform(sample(), np.random.default_rng(5))
    again = transform(sample(), np.random.default_rng(5))
    check_sample(first)
    assert first["image"].shape == (3, 4, 4)
    for name in ("image", "segments", "lines", "depth"):
        assert torch.equal(first[name], again[name])


def test_light_changes_values_but_not_the_picture():
    image = torch.linspace(40, 200, 64 * 64).view(64, 64).byte().expand(3, -1, -1)
    changed = change_light(image, np.random.default_rng(1))
    assert changed.dtype == torch.uint8
    assert not torch.equal(changed, image)
    correlation = torch.corrcoef(torch.stack([changed[0].flatten(), image[0].flatten()]).float())
    assert correlation[0, 1] > 0.99
    assert math.isclose(changed.float().mean(), image.float().mean(), rel_tol=0.5)
