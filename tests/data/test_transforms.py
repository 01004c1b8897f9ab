import math

import numpy as np
import pytest
import torch

from app.base.tasks import IGNORE_INDEX
from app.data.lines import draw_lines
from app.data.sample import PLANES
from app.data.transforms import EvalTransform, TrainTransform, windows_per_side
from tests.support.photos import OnePhoto
from tests.support.samples import check_sample


def make(transform, reader, per_side=1, seed=0):
    rng = np.random.default_rng(seed)
    windows = [transform.cut(reader, 0, per_side, rng) for _ in range(per_side**2)]
    return transform.compose(windows, rng)


def test_a_sample_is_made_of_its_generator_alone():
    transform = TrainTransform(32, 0.1)
    first, again, other = (make(transform, OnePhoto(), seed=seed) for seed in (5, 5, 6))
    for name in PLANES:
        assert torch.equal(first[name].nan_to_num(-1), again[name].nan_to_num(-1)), name
    assert not torch.equal(first["image"], other["image"])


@pytest.mark.parametrize("gsd_m", [0.05, 0.075, 0.099, 0.1, 0.2])
def test_every_sample_has_the_size_asked_for(gsd_m):
    reader = OnePhoto(200, gsd_m)
    for seed in range(20):
        sample = make(TrainTransform(64, 0.1), reader, seed=seed)
        assert sample["image"].shape == (3, 64, 64)
        assert sample["gsd_m"] == 0.1
        check_sample({**sample, "lines": sample["lines"]})


def test_lines_have_their_width_whatever_the_zoom_and_turn():
    transform = TrainTransform(64, 0.1)
    for seed in range(30):
        ridge = make(transform, OnePhoto(256), seed=seed)["lines"][1].numpy() == 1
        if ridge.sum() < 50:
            continue
        # Area over length: the line crosses the whole window.
        y, x = np.nonzero(ridge)
        spread = np.hypot(x - x.mean(), y - y.mean())
        length_px = 2 * math.sqrt(3) * math.sqrt((spread**2).mean())
        assert 2.3 <= ridge.sum() / length_px <= 4.2


def test_a_line_beyond_the_edge_reaches_into_the_window(monkeypatch):
    class Stripes(OnePhoto):
        def draw(self, index, span_m, rng):
            sample = super().draw(index, span_m, rng)
            sample["lines"].zero_()
            sample["lines"][0, :, ::7] = 1
            return sample

    monkeypatch.setattr("app.data.transforms.draw_centre", lambda *_: (200.0, 200.0))
    for seed in range(20):
        small = make(TrainTransform(32, 0.1), Stripes(400), seed=seed)["lines"]
        large = make(TrainTransform(64, 0.1), Stripes(400), seed=seed)["lines"]
        # Zoomed windows are resampled by whole pixels: only where the grids agree must they too.
        differing = (small != large[:, 16:48, 16:48]).float().mean()
        assert differing < 0.06
        border = small[0, :2] != large[0, 16:18, 16:48]
        assert border.float().mean() < 0.2


def test_heights_follow_the_zoom():
    heights = [
        float(make(TrainTransform(32, 0.1), OnePhoto(256), seed=seed)["depth"].mean())
        for seed in range(60)
    ]
    assert min(heights) >= 4 * 0.8 - 1e-4
    assert max(heights) <= 4 * 1.25 + 1e-4
    assert max(heights) > 4.3
    assert heights.count(4.0) > 15


def test_no_more_of_the_photo_is_asked_for_than_is_shown():
    reader = OnePhoto(1200)
    for seed in range(50):
        make(TrainTransform(256, 0.1), reader, seed=seed)
    # 256 px and the reach of lines on both sides, turned by 45 degrees and shrunk at most
    assert max(reader.spans_m) <= (256 + 8) * 0.1 * math.sqrt(2) / 0.8
    assert min(reader.spans_m) >= 25.6 / 1.25


@pytest.mark.parametrize(
    ("crop_size_px", "photo_size_px", "per_side"),
    [(256, 512, 1), (512, 512, 1), (512, 508, 1), (1024, 508, 2), (256, 112, 2), (512, 112, 4),
     (320, 112, 3), (64, 112, 1), (128, 112, 1), (2048, 112, 16), (1024, 37, 24), (512, 1, 16)],
)  # fmt: skip
def test_small_photos_are_laid_side_by_side(crop_size_px, photo_size_px, per_side):
    assert windows_per_side(crop_size_px, photo_size_px) == per_side


@pytest.mark.parametrize("crop_size_px", [64, 128, 192, 256, 320, 512])
def test_less_than_30_percent_of_packed_samples_is_padding(crop_size_px):
    reader = OnePhoto(224, 0.05)
    per_side = windows_per_side(crop_size_px, reader.span_m / 0.1)
    transform = TrainTransform(crop_size_px, 0.1)
    shares = []
    for seed in range(12):
        # Heights are known wherever a photo is; seams are left out of the count of padding.
        sample = make(transform, reader, per_side, seed)
        assert sample["image"].shape == (3, crop_size_px, crop_size_px)
        shares.append(float(sample["depth"].isnan().float().mean()))
    seam_share = 1 - (1 - 8 * (per_side - 1) / crop_size_px) ** 2
    assert np.mean(shares) - seam_share < 0.30


def test_nothing_is_taught_where_packed_photos_meet():
    sample = make(TrainTransform(256, 0.1), OnePhoto(224, 0.1), per_side=2)
    for name in ("segments", "superstructures"):
        assert (sample[name][124:132] == IGNORE_INDEX).all()
        assert (sample[name][:, 124:132] == IGNORE_INDEX).all()
    assert (sample["lines"][:, 124:132] == IGNORE_INDEX).all()
    assert sample["depth"][:, 124:132].isnan().all()
    assert sample["sample_id"] == "7+7+7+7"


def test_validation_sees_the_whole_photo_unturned():
    sample = OnePhoto(64, 0.05).draw(0, 0, None)
    sample["segments"][:, :32] = 17
    scored = EvalTransform(0.1)(sample)
    check_sample(scored)
    assert scored["image"].shape == (3, 32, 32)
    assert (scored["segments"][:, :16] == 17).all()
    assert (scored["segments"][:, 16:] == 3).all()
    # a ridge 3 px wide, with its ring of unknown
    assert sorted((scored["lines"][1] == 1).sum(1).unique().tolist()) == [0, 32]
    assert (scored["lines"][1] == 1).any(1).sum() == 3
    unchanged = OnePhoto(64, 0.1).draw(0, 0, None)
    expected = draw_lines(unchanged["lines"].numpy(), 0.1)
    assert np.array_equal(EvalTransform(0.1)(unchanged)["lines"].numpy(), expected)


def test_classes_are_those_of_the_task():
    sample = OnePhoto().draw(0, 0, None)
    sample["segments"][0, :5] = torch.tensor([2, 3, 16, 17, 18], dtype=torch.uint8)
    assert EvalTransform(0.1, 16)(sample)["segments"][0, :5].tolist() == [2, 3, 16, 17, 18]
    halves = EvalTransform(0.1, 8)(sample)["segments"][0, :5].tolist()
    assert halves[0] == 1  # NE
    assert halves[1] > 10  # ENE: NE or E
    assert halves[2:] == [8, 9, 10]
    assert EvalTransform(0.1, 1)(sample)["segments"][0, :5].tolist() == [0, 0, 0, 1, 0]
