"""Colours of photos, and which photos are unlike those of a dataset."""

import json

import numpy as np
import pytest
import rasterio

from app.data.colours import KnownColours, find_unlike, measure_colours
from app.synthetic.staging import SplitParameters
from app.synthetic.write_own import write_own


def photo(rng, brightness=100.0, contrast=20.0, balance=(1.0, 1.0, 1.0)):
    """(3, 128, 128) of noise around a brightness."""
    grey = rng.normal(brightness, contrast, (128, 128))
    return np.stack([grey * share for share in balance]).clip(1, 255).astype(np.uint8)


def known_of(seed=0, spread=0.1, num_photos=64):
    rng = np.random.default_rng(seed)
    brightnesses = 100 * np.exp(rng.normal(0, spread, num_photos))
    return KnownColours.of([measure_colours(photo(rng, each)) for each in brightnesses])


def unlike(image, **known):
    known = known or {"rid": known_of()}
    found = find_unlike([measure_colours(image)], known)
    return (
        None if found is None else (found[0], {name: round(f, 1) for name, f in found[1].items()})
    )


def test_mean_and_deviation_of_what_is_seen():
    image = np.zeros((3, 100, 100), np.uint8)
    image[:, :, :50] = np.array([10, 20, 30])[:, None, None]
    image[:, :, :50][:, ::8] = np.array([30, 20, 50])[:, None, None]
    seen = np.zeros((100, 100), np.bool_)
    seen[:, :50] = True
    # Of every fourth row every second one is of the second colour: 13 of 25.
    share = 13 / 25
    expected = [10 + 20 * share, 20, 30 + 20 * share]
    deviation = 20 * np.sqrt(share * (1 - share))
    for found in (measure_colours(image), measure_colours(image, seen)):
        assert found == pytest.approx([*expected, deviation, 0, deviation])
    assert measure_colours(np.zeros_like(image)) is None
    assert measure_colours(image, np.zeros_like(seen)) is None


def test_a_photo_at_half_brightness_is_named_with_what_is_half():
    rng = np.random.default_rng(1)
    assert unlike(photo(rng)) is None
    assert unlike(photo(rng, brightness=120)) is None  # as training itself changes photos
    assert unlike(photo(rng) // 2) == ("rid", {"brightness": 0.5, "contrast": 0.5})
    assert unlike(photo(rng, contrast=4)) == ("rid", {"contrast": 0.2})


def test_an_infrared_photo_is_red():
    rng = np.random.default_rng(1)
    infrared = photo(rng, balance=(1.6, 1.0, 0.9))
    found = find_unlike([measure_colours(infrared)], {"rid": known_of()})
    assert found is not None
    assert found[1]["red against green"] == pytest.approx(1.6, abs=0.05)
    assert unlike(photo(rng, balance=(0.8, 1.0, 1.5)))[1].keys() == {
        "red against green",
        "blue against green",
    }


def test_what_a_dataset_has_in_it_is_like_it():
    rng = np.random.default_rng(1)
    dark = photo(rng, brightness=60)
    assert unlike(dark) == ("rid", {"brightness": 0.6})
    assert unlike(dark, rid=known_of(spread=0.25)) is None
    # Of several datasets one is enough.
    bright = KnownColours.of([measure_colours(photo(rng, 180)) for _ in range(20)])
    assert unlike(dark, own=bright, rid=known_of(spread=0.25)) is None
    assert unlike(dark, own=bright, rid=known_of()) == ("rid", {"brightness": 0.6})


def village_of(root, seed):
    """Colours of the photos of a synthetic village."""
    write_own(root, SplitParameters(10, 1, 1, seed=seed, size_px=320))
    measured = []
    for path in sorted((root / "photos").glob("*.tif")):
        with rasterio.open(path) as file:
            measured.append(measure_colours(file.read()))
    return measured


def test_a_village_of_another_seed_is_like_it_and_not_at_half_brightness(tmp_path):
    known = {"own": KnownColours.of(village_of(tmp_path / "own", 0))}
    other = village_of(tmp_path / "other", 5)
    assert find_unlike(other, known) is None
    dark = [[value / 2 for value in window] for window in other]
    assert find_unlike(dark, known)[1]["contrast"] == pytest.approx(0.5, abs=0.15)


def test_a_photo_is_the_mean_of_its_windows():
    rng = np.random.default_rng(1)
    windows = [measure_colours(photo(rng, brightness)) for brightness in (60, 100, 140)]
    assert find_unlike(windows[:1], {"rid": known_of()}) is not None
    assert find_unlike(windows, {"rid": known_of()}) is None


def test_nothing_is_said_where_too_little_is_known():
    rng = np.random.default_rng(1)
    infrared = measure_colours(photo(rng, balance=(1.6, 1.0, 0.9)))
    few = KnownColours.of([measure_colours(photo(rng)) for _ in range(7)])
    assert find_unlike([infrared], {}) is None
    assert find_unlike([], {"rid": known_of()}) is None
    assert find_unlike([infrared], {"rid": known_of(), "own": few}) is None


def test_it_comes_back_from_json_whichever_process_has_seen_what():
    rng = np.random.default_rng(0)
    samples = [measure_colours(photo(rng, each)) for each in (80, 90, 100, 110)]
    plain = KnownColours.of(samples).to_json()
    assert KnownColours.of(samples[::-1]).to_json() == plain
    back = KnownColours.from_json(json.loads(json.dumps(plain)))
    assert back.to_json() == plain
    assert plain["num_samples"] == 4
    assert plain["mean"] == pytest.approx([94.5] * 3, abs=1)
    assert plain["logarithms"]["red against green"] == {"mean": 0.0, "spread": 0.0}
    with pytest.raises(KeyError):
        KnownColours.from_json({**plain, "logarithms": {}})
