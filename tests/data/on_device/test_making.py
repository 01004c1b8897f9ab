"""Samples that a device makes of what workers cut, beside those that workers make."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from app.base.tasks import IGNORE_INDEX, TASK_NAMES
from app.data import transforms
from app.data.frame import Frame, Pose
from app.data.line_bits import pack_lines, unpack_lines
from app.data.moving import move
from app.data.on_device import cutting
from app.data.on_device.batches import collate_cut
from app.data.on_device.cutting import CutTransform, cut_out
from app.data.on_device.making import SampleMaker
from app.data.photometry import Light, apply_light, draw_light
from app.data.sample import PLANES, hide_unseen, with_unknown
from app.data.transforms import TrainTransform

AS_IT_IS = Light(np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1), 1.0)


class Shapes:
    """Draws a plane and a line of which the place depends on how the window lies."""

    def draw(self, view):
        height, width = view.size
        y, x = np.mgrid[:height, :width] + 0.5
        in_photo_x = view.to_photo[0, 0] * x + view.to_photo[0, 1] * y + view.to_photo[0, 2]
        segments = np.where(in_photo_x < 30, 5, 17).astype(np.uint8)
        lines = np.zeros((4, height, width), np.uint8)
        lines[2][np.abs(in_photo_x - 30) < 0.6] = 1
        lines[0][in_photo_x > 50] = IGNORE_INDEX
        return {"segments": torch.from_numpy(segments), "lines": torch.from_numpy(lines)}


class Photos:
    """A reader of made-up photos: of any size and scale, with parts unseen, drawn or in bytes."""

    name = "rid"

    def __init__(self, size=(90, 110), gsd_m=0.1, kind="pixels"):
        self.size, self.gsd_m, self.kind = size, gsd_m, kind

    def __len__(self):
        return 4

    def draw(self, index, _span_m, _rng):
        rng, (height, width) = np.random.default_rng(index), self.size
        image = rng.integers(0, 256, (3, height, width), np.uint8)
        one = {
            "segments": torch.full((1, 1), 17, dtype=torch.uint8).expand(height, width),
            "lines": torch.zeros(4, 1, 1, dtype=torch.uint8).expand(-1, height, width),
        }
        segments = rng.integers(0, 19, (height // 6, width // 6), np.uint8)
        segments = np.kron(segments, np.ones((6, 6), np.uint8))
        segments = np.pad(segments, ((0, height % 6), (0, width % 6)), constant_values=255)
        lines = rng.choice(np.array([0, 0, 0, 0, 0, 0, 1, 255], np.uint8), (4, height, width))
        depth = rng.normal(4, 2, (height, width)).astype(np.float32)
        depth[:20, :9] = np.nan
        targets = {"segments": torch.from_numpy(segments), "lines": torch.from_numpy(lines)}
        targets = one if self.kind == "drawn" else targets
        targets["depth"] = torch.from_numpy(depth)
        if self.kind == "unseen":
            seen = np.ones(self.size, np.bool_)
            seen[10:30, 40:80] = False
            targets = hide_unseen(targets, seen, self.gsd_m)
        sample = {
            **with_unknown(torch.from_numpy(image), targets),
            "dataset": "rid",
            "sample_id": str(index),
            "gsd_m": self.gsd_m,
        }
        if self.kind == "drawn":
            sample["drawing"] = Shapes()
        if self.kind == "bits":
            sample["line_bits"] = torch.from_numpy(pack_lines(lines))
        return sample


def make_both(transform, reader, per_side, seed, tasks=TASK_NAMES):
    """A sample as a worker makes it, and as a device does; both from generators of one seed."""
    cut = CutTransform(transform)
    made = []
    for each in (transform, cut):
        rng = np.random.default_rng(seed)
        windows = [each.cut(reader, i % len(reader), per_side, rng) for i in range(per_side**2)]
        made.append(each.compose(windows, rng))
        made.append(rng.random())
    whole, next_draw, sent, next_draw_of_device = made
    assert next_draw == next_draw_of_device
    batch = collate_cut([(sent, {})])
    return whole, SampleMaker(transform, tasks).make(batch, batch["windows"])


def assert_same(sample, batch, *, off=0, tasks=TASK_NAMES):
    assert batch["sample_id"] == [sample["sample_id"]]
    difference = (batch["image"][0].int() - sample["image"].int()).abs()
    assert int(difference.max()) <= off
    for name in tasks:
        made, expected = batch[name][0], sample[name]
        assert made.dtype == expected.dtype
        assert made.shape == expected.shape
        assert torch.equal(made.nan_to_num(-9.0), expected.nan_to_num(-9.0)), name


@pytest.fixture
def without_jpeg(monkeypatch):
    """A JPEG made by a device is another one's in a few pixels; test_light.py compares them."""

    def draw(size, rng):
        return replace(draw_light(size, rng), jpeg_quality=None)

    monkeypatch.setattr(cutting, "draw_light", draw)
    monkeypatch.setattr(
        transforms,
        "change_light",
        lambda image, rng: apply_light(image, draw(image.shape[:2], rng)),
    )


@pytest.mark.usefixtures("without_jpeg")
class TestSamplesAreThoseOfWorkers:
    @pytest.mark.parametrize("kind", ["pixels", "unseen", "drawn", "bits"])
    @pytest.mark.parametrize("gsd_m", [0.05, 0.075, 0.1])
    def test_of_one_photo(self, kind, gsd_m):
        for seed in range(12):
            transform = TrainTransform(48, 0.1)
            assert_same(*make_both(transform, Photos(gsd_m=gsd_m, kind=kind), 1, seed))

    @pytest.mark.parametrize("crop_size_px", [64, 67])
    @pytest.mark.parametrize("kind", ["pixels", "drawn"])
    def test_of_several_side_by_side(self, crop_size_px, kind):
        for seed in range(3):
            transform = TrainTransform(crop_size_px, 0.1)
            reader = Photos((40, 36), 0.05, kind)
            sample, batch = make_both(transform, reader, 3, seed)
            assert_same(sample, batch)
        assert (batch["segments"] == IGNORE_INDEX).any()

    def test_of_a_photo_smaller_than_its_window(self):
        for seed in range(6):
            assert_same(*make_both(TrainTransform(64, 0.1), Photos((20, 31)), 1, seed))

    @pytest.mark.parametrize("azimuth_bins", [1, 4, 8, 16])
    def test_with_fewer_directions(self, azimuth_bins):
        for seed in range(4):
            transform = TrainTransform(48, 0.1, azimuth_bins)
            assert_same(*make_both(transform, Photos(), 1, seed))

    def test_of_photos_that_become_larger(self):
        # OpenCV rounds once where a photo is enlarged, and the device after each direction; the
        # light makes more of it: a level of a dark pixel becomes three.
        for seed in range(8):
            assert_same(*make_both(TrainTransform(48, 0.1), Photos(gsd_m=0.2), 1, seed), off=4)

    def test_of_photos_that_become_much_smaller(self):
        # So that not too much is sent.
        transform, reader = TrainTransform(24, 0.3), Photos((300, 300), 0.05)
        for seed in range(6):
            sample, batch = make_both(transform, reader, 1, seed)
            assert_same(sample, batch)
            cut = CutTransform(transform).cut(reader, 0, 1, np.random.default_rng(seed))
            assert cut.image.shape[:2] == cut.scaled_size

    def test_of_tasks_that_are_trained(self):
        sample, batch = make_both(TrainTransform(48, 0.1), Photos(), 1, 0, tasks=["lines"])
        assert_same(sample, batch, tasks=["lines"])
        assert (batch["segments"] == IGNORE_INDEX).all()
        assert batch["depth"].isnan().all()
        assert batch["depth"].shape == (1, 48, 48)


@pytest.mark.parametrize("turn_bins", range(16))
@pytest.mark.parametrize("flip", [False, True])
def test_every_pose_is_moved_within_a_level(turn_bins, flip):
    for ratio in (0.6, 1.0, 1.4):
        small = turn_bins % 3 - 1 if turn_bins % 4 else 0
        frame = Frame(Pose(turn_bins, small, 1.1, flip), (40.0, 70.0), (54, 54), ratio)
        sample = Photos().draw(0, None, None)
        expected = move(sample, frame, 0.1)["image"]
        cut = cut_out(sample, frame, 0.1)
        sent = cutting.CutSample((cut,), AS_IT_IS, "0")
        batch = collate_cut([(sent, {})])
        transform = TrainTransform(54 - 2 * TrainTransform(1, 0.1).margin_px, 0.1)
        made = SampleMaker(transform, ()).make(batch, batch["windows"])["image"][0]
        margin_px = transform.margin_px
        inner = expected[:, margin_px:-margin_px, margin_px:-margin_px]
        assert int((made.int() - inner.int()).abs().max()) <= 1


def test_a_batch_of_samples_of_several_kinds():
    transform = TrainTransform(48, 0.1)
    cut = CutTransform(transform)
    kinds = [(Photos(), 1), (Photos((30, 30), 0.05), 2), (Photos(kind="drawn"), 1)]
    items = []
    for seed, (reader, per_side) in enumerate(kinds):
        rng = np.random.default_rng(seed)
        windows = [cut.cut(reader, i % 4, per_side, rng) for i in range(per_side**2)]
        items.append((cut.compose(windows, rng), {}))
    maker = SampleMaker(transform, TASK_NAMES)
    together = collate_cut([items[0], (None, {"rid": ["bad"]}), *items[1:]])
    made = maker.make(together, together["windows"])
    assert made["bad_files"] == {"rid": ["bad"]}
    for number, item in enumerate(items):
        alone = collate_cut([item])
        expected = maker.make(alone, alone["windows"])
        assert made["sample_id"][number] == expected["sample_id"][0]
        for name in PLANES:
            found, wanted = made[name][number], expected[name][0]
            assert torch.equal(found.nan_to_num(-9.0), wanted.nan_to_num(-9.0)), name


def test_a_batch_in_which_nothing_could_be_read():
    batch = collate_cut([(None, {})])
    made = SampleMaker(TrainTransform(48, 0.1), TASK_NAMES).make(batch, batch["windows"])
    assert made["image"].shape == (0, 3, 32, 32)
    assert made["lines"].shape == (0, 4, 32, 32)
    assert made["sample_id"] == []


def test_lines_in_bytes_are_the_lines():
    lines = np.random.default_rng(0).choice(np.array([0, 1, 255], np.uint8), (4, 9, 7))
    assert np.array_equal(unpack_lines(pack_lines(lines)), lines)
