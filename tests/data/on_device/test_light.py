"""The light that a device makes, beside that of a data worker."""

from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
import torch

from app.data.on_device.jpeg import compress
from app.data.on_device.light import SentLight, SentNoise, apply_light
from app.data.photometry import Light, draw_light
from app.data.photometry import apply_light as apply_at_worker

SIZE = (70, 93)


def picture():
    """Smooth places and sharp edges, of all colours."""
    rng = np.random.default_rng(0)
    smooth = cv2.GaussianBlur(rng.integers(0, 256, (*SIZE, 3), np.uint8), (0, 0), 5)
    image = cv2.normalize(smooth, None, 0, 255, cv2.NORM_MINMAX)
    image[20:40, 30:60] = (200, 60, 50)
    image[50:, :20] = rng.integers(0, 256, (20, 20, 3), np.uint8)
    return image


def send(light):
    def put(array):
        return None if array is None else torch.from_numpy(array)

    noise = light.noise
    return SentLight(
        torch.from_numpy(light.tones),
        light.saturation,
        put(light.shadows),
        light.blur_px,
        light.sharpening,
        None if noise is None else SentNoise(put(noise.levels), put(noise.drawn)),
        light.jpeg_quality,
    )


def lights(*, without=()):
    drawn = [draw_light(SIZE, np.random.default_rng(seed)) for seed in range(60)]
    return [replace(light, **dict.fromkeys(without)) for light in drawn]


def test_lights_of_whole_samples_are_the_workers_to_the_level():
    image, found = picture(), 0
    for light in lights(without=["jpeg_quality"]):
        made = apply_light(torch.from_numpy(image), send(light)).numpy()
        assert np.array_equal(made, apply_at_worker(image, light)), light
        found += light.shadows is not None and light.noise is not None
    assert found > 0


@pytest.mark.parametrize("change", ["shadows", "blur_px", "sharpening", "noise"])
def test_each_change_is_the_workers_to_the_level(change):
    others = {field.name for field in fields(Light)} - {"tones", "saturation", change}
    drawn = [light for light in lights(without=others) if getattr(light, change) is not None]
    assert len(drawn) >= 5
    for light in drawn:
        made = apply_light(torch.from_numpy(picture()), send(light)).numpy()
        assert np.array_equal(made, apply_at_worker(picture(), light))


@pytest.mark.parametrize("quality", [50, 62, 75, 88, 94])
def test_a_jpeg_does_what_opencvs_does(quality):
    image = picture()
    light = replace(Light(np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1), 1.0))
    theirs = apply_at_worker(image, replace(light, jpeg_quality=quality)).astype(int)
    ours = compress(torch.from_numpy(image), quality).numpy().astype(int)
    error = np.abs(theirs - image).mean()
    assert error > 0.5
    # The same error in the same places: what is left between both is a fraction of it.
    assert np.abs(ours - image).mean() == pytest.approx(error, rel=0.05)
    assert np.abs(ours - theirs).mean() < 0.25 * error
    assert np.mean(np.abs(ours - theirs) <= 1) > 0.85
    assert np.abs((ours - theirs).mean(axis=(0, 1))).max() < 0.1


@pytest.mark.parametrize("size", [(16, 16), (1, 1), (17, 40), (33, 7)])
def test_a_jpeg_of_any_size(size):
    image = torch.full((*size, 3), 96, dtype=torch.uint8)
    made = compress(image, 90)
    assert made.shape == image.shape
    assert (made.int() - 96).abs().max() <= 2
