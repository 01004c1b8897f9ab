"""Parts of photos are those of the whole photo, resampled and drawn."""

import numpy as np
import pytest
import torch

from app.base.window import Window
from app.data.lines import lines_from_segments
from app.data.loading import EvalDataset, read_photos
from app.data.photos import LargePhoto, ReadyPhoto
from app.data.rid.dataset import RidDataset
from app.data.sample import TARGETS, with_unknown
from app.data.transforms import EvalTransform

HEIGHT, WIDTH = 120, 90
WINDOWS = [Window(0, 0, 40, 40), Window(31, 17, 29, 13), Window(0, 0, 1, 1)]


@pytest.fixture(scope="module")
def sample():
    rng = np.random.default_rng(0)
    segments = np.full((HEIGHT, WIDTH), 17, np.uint8)
    segments[20:60, 10:70], segments[60:100, 10:70] = 0, 8
    coarse = rng.integers(0, 256, (HEIGHT // 10, WIDTH // 10, 3)).astype(np.uint8)
    image = np.repeat(np.repeat(coarse, 10, axis=0), 10, axis=1).transpose(2, 0, 1)
    depth = rng.random((HEIGHT, WIDTH)).astype(np.float32)
    depth[:10] = np.nan
    targets = {
        "segments": torch.from_numpy(segments),
        "lines": torch.from_numpy(lines_from_segments(segments, 0.1)),
        "depth": torch.from_numpy(depth),
    }
    return {
        **with_unknown(torch.from_numpy(np.ascontiguousarray(image)), targets),
        "dataset": "rid",
        "sample_id": "7",
        "gsd_m": 0.1,
    }


@pytest.mark.parametrize("gsd_m", [0.1, 0.098, 0.03, 0.04, 0.071, 0.25])
def test_a_part_is_that_of_the_whole(sample, gsd_m):
    transform = EvalTransform(gsd_m, 8)
    whole = transform(sample)
    photo = LargePhoto(sample, transform)
    size = (photo.height_px, photo.width_px)
    assert size == tuple(whole["image"].shape[-2:])
    for window in (*WINDOWS, Window(0, 0, *size), Window(size[0] - 9, size[1] - 9, 9, 9)):
        window = Window(
            *window[:2], min(window[2], size[0] - window[0]), min(window[3], size[1] - window[1])
        )
        if min(window) < 0:
            continue
        targets = photo.read_targets(window)
        for name in TARGETS:
            expected = whole[name][..., window.rows, window.columns]
            assert torch.equal(targets[name].nan_to_num(nan=-1), expected.nan_to_num(nan=-1)), name
        off = photo.read_image(window).int() - whole["image"][:, window.rows, window.columns].int()
        # OpenCV places a turned pixel to a 32nd, a resized one exactly.
        assert off.abs().max() <= (6 if gsd_m < 0.09 else 0)


def test_an_enlarged_photo_is_kept_as_it_is_in_its_file(sample):
    photo = LargePhoto(sample, EvalTransform(0.03))
    assert (photo.height_px, photo.width_px) == (400, 300)
    assert photo._sample["image"] is sample["image"]
    # Of what is unknown everywhere, nothing is kept.
    assert photo._sample["superstructures"].untyped_storage().nbytes() == 1


@pytest.mark.slow
def test_photos_larger_than_a_window_do_not_come_through_shared_memory(small_ml):
    reader = RidDataset(small_ml / "input/data/rid", "val")
    small, large = (EvalDataset(reader, EvalTransform(0.1), None, side) for side in (96, 64))
    # A worker hands over the number alone, and has not read the photo.
    assert [large[i] for i in range(3)] == [0, 1, 2]
    assert not any(isinstance(small[i], int) for i in range(3))
    photos = [photo for photo, _ in read_photos(large, num_workers=1)]
    assert [type(photo) for photo in photos] == [LargePhoto] * 3
    assert [photo.sample_id for photo in photos] == list(reader.sample_ids)
    window = Window(8, 8, 50, 60)
    for photo, (here, _) in zip(photos, read_photos(small, num_workers=0), strict=True):
        assert type(here) is ReadyPhoto
        assert torch.equal(photo.read_image(window), here.read_image(window))
