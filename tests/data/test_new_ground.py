"""Roofs laid onto other ground: what of it is seen, and what is known."""

import numpy as np
import pytest
import torch

from app.base.tasks import IGNORE_INDEX
from app.data.new_ground import is_ground, lay_on_ground, wants_ground
from app.data.order import SampleKey, TrainSource
from app.data.sample import PLANES, make_planes
from app.data.train_samples import TrainDataset
from app.data.transforms import TrainTransform
from tests.support.samples import check_sample

BACKGROUND, SOME_ROOF = 17, 18
SIDE = 80
ROOF = (slice(20, 40), slice(20, 40))
# Half a metre of 0.1 m each way, of which the labels know.
BESIDE = (slice(15, 45), slice(15, 45))
HOUSE = (slice(60, 80), slice(60, 80))


class Draws:
    """Draws that are no chance: the sun to the east, a shadow of 1 m, ground darkened to 0.4.

    A roof moves by the next of some offsets, rows and columns in turn.
    """

    def __init__(self, first=0.9, offsets=(0, 0)):
        self.first, self.offsets, self.ranges = first, list(offsets), []

    def random(self):
        return self.first

    def uniform(self, low, _high):
        return low

    def integers(self, low, high):
        self.ranges.append((low, high))
        return self.offsets.pop(0)


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


def lay(window=None, ground=None, draws=None):
    return lay_on_ground(
        cropped_roof() if window is None else window,
        scene() if ground is None else ground,
        BACKGROUND,
        draws or Draws(),
    )


def test_a_roof_lies_on_ground_that_is_known_all_around():
    laid = lay()
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


def test_a_roof_comes_to_any_place_that_holds_all_of_it():
    draws = Draws(offsets=(-15, 30))
    laid = lay(draws=draws)
    assert draws.ranges == [(-15, 36)] * 2  # what is taken goes from 15 to 45, of 80
    assert bool((laid["segments"][5:25, 50:70] == 3).all())
    assert bool((laid["image"][0, 5:25, 50:70] == 200).all())
    assert laid["lines"][0, 5, 50:70].sum() == 20
    assert int((laid["segments"] == 3).sum()) == 400


def test_a_roof_that_ends_at_the_edge_of_its_window_stays_there():
    window = blank(SIDE, 200)
    window["segments"][:20, 20:40] = 3
    draws = Draws(offsets=(7,))
    segments = lay(window, draws=draws)["segments"]
    assert draws.ranges == [(-20, 41)]
    assert bool((segments[:20, 27:47] == 3).all())


def test_places_with_roofs_are_passed_over():
    ground = scene()
    ground["segments"][20:40, 20:25] = SOME_ROOF  # a quarter of the first place
    laid = lay(ground=ground, draws=Draws(offsets=(0, 0, 30, 0)))
    assert bool((laid["segments"][50:70, 20:40] == 3).all())
    assert lay(ground=ground, draws=Draws(offsets=[0] * 24)) is ground


def test_a_shadow_falls_away_from_the_sun_alone():
    row = lay()["image"][0, 30].tolist()
    # 10 px from the roof's edge at column 20; nearer than 4 px the roof's own ground is lighter.
    assert [column for column in range(SIDE) if row[column] < 100] == list(range(9, 17))
    assert row[11:15] == [40] * 4
    assert row[9:11] == [80, 60]  # soft: a third and two thirds of the shadow


def test_an_outline_may_be_filled_with_ground_and_is_no_roof_then():
    ground = scene()
    ground["image"][:, :, 40:60] = 30
    laid = lay(ground=ground, draws=Draws(first=0.1))
    assert not bool((laid["segments"] == 3).any())
    assert bool((laid["segments"][ROOF] == BACKGROUND).all())
    # The ground mirrored: columns 40 to 59 come to 20 to 39.
    assert bool((laid["image"][0][ROOF] == 30).all())
    assert bool((laid["lines"][:, *ROOF] == IGNORE_INDEX).all())
    assert bool(laid["depth"][ROOF].isnan().all())


def test_an_outline_is_not_filled_with_houses():
    ground = scene()
    ground["segments"][20:40, 40:44] = SOME_ROOF  # mirrored a fifth of the place
    assert bool((lay(ground=ground, draws=Draws(first=0.1))["segments"][ROOF] == 3).all())


def test_what_is_partly_covered_is_unknown_at_its_end():
    ground = scene()
    ground["segments"][15:20, 15:45] = SOME_ROOF
    laid = lay(ground=ground)
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


def test_ground_is_known_and_open():
    assert is_ground(scene(), BACKGROUND)
    unknown, built_up = scene(), scene()
    unknown["segments"][:17] = IGNORE_INDEX  # 21 %
    built_up["segments"][:50] = SOME_ROOF  # 63 %
    assert not is_ground(unknown, BACKGROUND)
    assert not is_ground(built_up, BACKGROUND)


class Photos:
    """A reader of four photos that are as large as asked for."""

    span_m = 1e9

    def __init__(self, name, make):
        self.name, self.make = name, make

    def __len__(self):
        return 4

    def draw(self, _index, span_m, _rng):
        return self.make(round(span_m / 0.1) + 1)


def samples(fraction, num_roofs=1):
    sources = [
        TrainSource(Photos(name, make), 0.5, per_side, None)
        for name, make, per_side in (
            ("own", cropped_roof, round(num_roofs**0.5)),
            ("airs", scene, 1),
        )
    ]
    dataset = TrainDataset(sources, TrainTransform(96, 0.1), 0, fraction)
    keys = (SampleKey(0, draw, 0, tuple(range(num_roofs))) for draw in range(12))
    return [dataset[key][0] for key in keys]


def test_as_many_samples_as_asked_for_get_other_ground():
    unchanged, half, laid = (samples(fraction) for fraction in (0.0, 0.5, 1.0))
    assert [sample["sample_id"] for sample in unchanged] == ["photo 200"] * 12
    counts = [
        sum(sample["sample_id"] == "photo 200 on scene" for sample in part) for part in (half, laid)
    ]
    assert 0 < counts[0] < counts[1]
    again = samples(1.0)
    assert all(np.array_equal(a["image"], b["image"]) for a, b in zip(laid, again, strict=True))


def test_roofs_that_lie_side_by_side_come_onto_one_ground():
    laid = samples(1.0, num_roofs=4)
    names = {sample["sample_id"] for sample in laid}
    assert "photo 200 on photo 200 on scene" in names
    assert all(sample["segments"].shape == (96, 96) for sample in laid)
