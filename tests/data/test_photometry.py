from dataclasses import fields, replace

import cv2
import numpy as np
import pytest

from app.data import photometry
from app.data.photometry import Light, apply_light, change_light, draw_light


def ramp(size_px=96):
    grey = np.linspace(40, 200, size_px * size_px).reshape(size_px, size_px)
    return cv2.merge([grey.astype(np.uint8)] * 3)


def test_light_changes_values_but_not_the_picture():
    image = ramp()
    for seed in range(30):
        changed = change_light(image, np.random.default_rng(seed))
        assert changed.dtype == np.uint8
        assert changed.shape == image.shape
        assert not np.array_equal(changed, image)
        correlation = np.corrcoef(changed[..., 0].ravel(), image[..., 0].ravel())[0, 1]
        assert correlation > 0.6
        assert 0.3 < changed.mean() / image.mean() < 1.6


def test_light_comes_from_the_generator_alone():
    first, again, other = (change_light(ramp(), np.random.default_rng(s)) for s in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_light_leaves_its_input_alone():
    image = ramp()
    before = image.copy()
    for seed in range(30):
        change_light(image, np.random.default_rng(seed))
    assert np.array_equal(image, before)


NOTHING = Light(np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1), 1.0)


def test_a_light_that_does_nothing_changes_nothing():
    assert np.array_equal(apply_light(ramp(), NOTHING), ramp())


@pytest.mark.parametrize("change", [field.name for field in fields(Light)])
def test_each_change_shows_and_stays_mild(change):
    image = cv2.merge([ramp()[..., 0], ramp()[::-1, :, 0].copy(), ramp()[:, ::-1, 0].copy()])
    image[::4, ::4] = 0
    lights = [draw_light((96, 96), np.random.default_rng(seed)) for seed in range(80)]
    drawn = [getattr(light, change) for light in lights]
    drawn = [value for value in drawn if value is not None]
    # A share of the samples gets the costly ones.
    assert len(drawn) == 80 if change in ("tones", "saturation") else 8 <= len(drawn) <= 40
    differences = []
    for value in drawn[:10]:
        changed = apply_light(image, replace(NOTHING, **{change: value}))
        assert changed.shape == image.shape
        assert changed.dtype == np.uint8
        differences.append(np.abs(changed.astype(int) - image).mean())
    assert max(differences) > 0.2
    assert max(differences) < 70


def test_no_hue_is_turned():
    image = np.full((32, 32, 3), (180, 90, 60), np.uint8)
    for seed in range(40):
        red, green, blue = change_light(image, np.random.default_rng(seed)).mean(axis=(0, 1))
        assert red > green > blue


def test_noise_is_normal_and_of_every_value_by_itself(monkeypatch):
    monkeypatch.setattr(photometry, "_MAX_NOISE", 1e9)

    class Drawn(np.random.Generator):
        def uniform(self, low, high):
            assert (low, high) == (0, 1e9)
            return 4.0

    image = np.full((256, 256, 3), 128, np.uint8)
    drawn = photometry._draw_noise((256, 256), Drawn(np.random.PCG64(0)))
    noise = apply_light(image, replace(NOTHING, noise=drawn)).astype(float) - 128
    assert abs(noise.mean()) < 0.05
    assert noise.std() == pytest.approx(4.0, abs=0.05)
    # Of a normal number 68.3 % lie within one deviation: here within 4, by halves of a level.
    assert np.mean(np.abs(noise) < 4.5) == pytest.approx(0.739, abs=0.01)
    assert np.abs(noise).max() >= 10
    bands = noise.reshape(-1, 3)
    assert np.abs(np.corrcoef(bands.T) - np.eye(3)).max() < 0.02
    assert abs(np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]) < 0.02


def test_noise_ends_at_black_and_white():
    for value in (0, 255):
        image = np.full((33, 7, 3), value, np.uint8)  # no whole number of words
        drawn = photometry._draw_noise((33, 7), np.random.default_rng(1))
        changed = apply_light(image, replace(NOTHING, noise=drawn))
        assert (np.abs(changed.astype(int) - value) < 40).all()
        assert (changed == value).mean() > 0.4
