"""Roofs laid onto other ground: what of it is seen, and what is known."""

import numpy as np
import pytest
import torch

from app.base.tasks import IGNORE_INDEX
from app.data.loading import TrainDataset
from app.data.new_ground import lay_on_ground, suits, wants_ground
from app.data.order import SampleKey, TrainSource
from app.data.sample import PLANES, make_planes
from app.data.transforms import TrainTransform
from tests.support.samples import check_sample

BACKGROUND, SOME_ROOF = 17, 18
SIDE = 80
ROOF = (slice(20, 40), slice(20, 40))
# Half a metre of 0.1 m each way, of which the labels know.
BESIDE = (slice(15, 45), slice(15, 45))
HOUSE = (slice(60, 80), slice(60, 80))


class Draws:
    """Draws that are no chance: the sun to the east, a shadow of 1 m, ground darkened to 0.4."""

    def __init__(self, first):
        self.first = first

    def random(self):
        return self.first

    def uniform(self, low, _high):
        return low


def blank(side, value):
    image = torch.full((3, side, side), value, dtype=torch.uint8)
    planes = make_planes(lambda name: image if name == "image" else PLANES[name].blank(side, side))
    return {**planes, "dataset": "own", "sample_id": f"photo {value}", "gsd_m": 0.1}


def cropped_roof(side=SIDE):
    sample = blank(side, 200)
    sample["segments"][BESIDE] = BACKGROUND
    sample["segments"][ROOF] = 3
    sample["lines"][:, *BESIDE] = 0
    sample["lines"][0, 20, 20:40] = 1
    sample["depth"][ROOF] = 5.0
    return sample


def scene(side=SIDE):
    sample = blank(side, 100) | {"dataset": "airs", "sample_id": "scene"}
    sample["segments"][:] = BACKGROUND
    sample["segments"][HOUSE] = SOME_ROOF
    sample["lines"][0] = 0
    sample["depth"][:] = 1.0
    return sample


def test_a_roof_lies_on_ground_that_is_known_all_around():
    laid = lay_on_ground(cropped_roof(), scene(), BACKGROUND, Draws(0.9))
    check_sample(laid)
    segments = laid["segments"]
    assert bool((segments[ROOF] == 3).all())
    assert bool((segments[HOUSE] == SOME_ROOF).all())
    assert int((segments == 3).sum()) == 400
    assert int((segments == BACKGROUND).sum()) == SIDE**2 - 400 - 400
    assert laid["lines"][0].sum() == 20
    assert bool((laid["depth"][ROOF] == 5).all())
    assert laid["depth"][70, 10] == 1
    assert bool(laid["depth"][18, 30].isnan())  # neither that of the one nor of the other
    assert laid["sample_id"] == "photo 200 on scene"
    image = laid["image"][0]
    assert bool((image[ROOF] == 200).all())
    assert image[70, 10] == 100
    # Three pixels off the roof half of its own ground is left: 1 - 3 / 6.
    assert image[17, 30] == 150


def test_a_shadow_falls_away_from_the_sun_alone():
    image = lay_on_ground(cropped_roof(), scene(), BACKGROUND, Draws(0.9))["image"][0]
    row = image[30].tolist()
    # 10 px from the roof's edge at column 20; nearer than 4 px the roof's own ground is lighter.
    assert [column for column in range(SIDE) if row[column] < 100] == list(range(9, 17))
    assert row[11:15] == [40] * 4
    assert row[9:11] == [80, 60]  # soft: a third and two thirds of the shadow


def test_an_outline_may_be_filled_with_ground_and_is_no_roof_then():
    ground = scene()
    ground["image"][:, :40, :40] = 30
    laid = lay_on_ground(cropped_roof(), ground, BACKGROUND, Draws(0.1))
    assert not bool((laid["segments"] == 3).any())
    # Ground from 40 pixels further on, where the house stands.
    assert bool((laid["segments"][20:40, 20:40] == SOME_ROOF).all())
    assert laid["image"][0, 30, 30] == 100
    assert bool((laid["lines"][:, *ROOF] == IGNORE_INDEX).all())


def test_what_is_partly_covered_is_unknown_at_its_end():
    ground = scene()
    ground["segments"][15:20, 15:45] = SOME_ROOF
    laid = lay_on_ground(cropped_roof(), ground, BACKGROUND, Draws(0.9))
    assert bool((laid["segments"][15:20, 20:40] == IGNORE_INDEX).all())
    assert bool((laid["lines"][0, 15:20, 20:40] == IGNORE_INDEX).all())
    assert laid["lines"][0, 60, 10] == 0


@pytest.mark.parametrize(
    ("change", "is_wanted"),
    [
        (lambda _: None, True),
        (lambda segments: segments.masked_fill_(segments == IGNORE_INDEX, BACKGROUND), False),
        (lambda segments: segments.masked_fill_(segments == 3, BACKGROUND), False),
    ],
)
def test_only_roofs_with_little_known_ground_want_another(change, is_wanted):
    window = cropped_roof()
    change(window["segments"])
    assert wants_ground(window, BACKGROUND) is is_wanted


def test_ground_is_known_and_free_where_the_roof_comes():
    window = cropped_roof()
    assert suits(window, scene(), BACKGROUND)
    built_up, unknown = scene(), scene()
    built_up["segments"][20:40, 20:29] = SOME_ROOF  # 45 % of the roof
    unknown["segments"][:17] = IGNORE_INDEX  # 21 %
    assert not suits(window, built_up, BACKGROUND)
    assert not suits(window, unknown, BACKGROUND)


class Photos:
    """A reader of one photo that is as large as asked for."""

    span_m = 1e9

    def __init__(self, name, make):
        self.name, self.make = name, make

    def __len__(self):
        return 1

    def draw(self, _index, span_m, _rng):
        return self.make(round(span_m / 0.1) + 1)


def samples(fraction):
    sources = [
        TrainSource(Photos(name, make), 0.5, 1, None)
        for name, make in (("own", cropped_roof), ("airs", scene))
    ]
    dataset = TrainDataset(sources, TrainTransform(64, 0.1), 0, fraction)
    return [dataset[SampleKey(0, draw, 0, (0,))][0] for draw in range(12)]


def test_as_many_windows_as_asked_for_get_other_ground():
    unchanged, laid = samples(0.0), samples(1.0)
    assert all(sample["sample_id"] == "photo 200" for sample in unchanged)
    names = [sample["sample_id"] for sample in laid]
    assert names.count("photo 200 on scene") > 6
    for before, after in zip(unchanged, laid, strict=True):
        known = [(one["segments"] != IGNORE_INDEX).float().mean() for one in (before, after)]
        assert known[1] >= known[0]
    again = samples(1.0)
    assert all(np.array_equal(a["image"], b["image"]) for a, b in zip(laid, again, strict=True))
