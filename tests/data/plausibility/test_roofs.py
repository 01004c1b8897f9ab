"""Roof and background exchanged, and classes with other numbers."""

import numpy as np
import torch

from app.base.tasks import BACKGROUND_CLASS, SOME_ROOF
from app.data.findings.report import count_values
from app.data.plausibility.roofs import RoofFacts, find_roofs, judge_roofs
from app.data.sample import with_unknown
from tests.support.fakes import hip_roof

SIDE_PX = 200


def make_sample(segments, image=None):
    image = np.full((3, *segments.shape), 90, np.uint8) if image is None else image
    planes = with_unknown(torch.from_numpy(image), {"segments": torch.from_numpy(segments)})
    return {**planes, "dataset": "airs", "sample_id": "1", "gsd_m": 0.1}


def village(roof=SOME_ROOF, ground=BACKGROUND_CLASS):
    """Two houses inside, one cut by the border, each with its shadow; and a speck."""
    segments = np.full((SIDE_PX, SIDE_PX), ground, np.uint8)
    image = np.full((3, SIDE_PX, SIDE_PX), 100, np.uint8)
    for top, left in ((20, 20), (20, 120), (150, 150)):
        image[:, top - 10 : top + 50, left - 10 : left] = 10
        segments[top : top + 60, left : left + 60] = roof
        image[:, top : top + 60, left : left + 60] = 140
    segments[190, 5] = roof
    return make_sample(segments, image)


def judge(samples):
    facts = {str(i): find_roofs(sample) for i, sample in enumerate(samples)}
    return judge_roofs(facts, sum(count_values(s["segments"].numpy()) for s in samples))


def test_islands_holes_and_shadows_of_a_sound_and_an_inverted_label():
    assert find_roofs(village()) == RoofFacts(2, 0, shadow_on_roof=False)
    inverted = village(roof=BACKGROUND_CLASS, ground=SOME_ROOF)
    assert find_roofs(inverted) == RoofFacts(0, 2, shadow_on_roof=True)


def test_labels_without_planes_say_nothing():
    assert find_roofs(make_sample(np.full((64, 64), 255, np.uint8))) is None


def test_inverted_labels_are_named_with_their_numbers():
    assert judge([village()] * 8) == []
    [found] = judge([village(roof=BACKGROUND_CLASS, ground=SOME_ROOF)] * 8)
    assert (found.severity, found.kind) == ("error", "labels are inverted")
    assert "with 16 pieces of ground that roof surrounds and 0 roofs that ground" in found.what
    assert "in 8 of 8 samples shadows lie on what is called roof" in found.what


def test_blocks_of_an_old_town_are_not_inverted():
    # Courts are enclosed by roofs, and hold the shadows.
    segments = np.full((SIDE_PX, SIDE_PX), SOME_ROOF, np.uint8)
    image = np.full((3, SIDE_PX, SIDE_PX), 140, np.uint8)
    for top, left in ((20, 20), (20, 120), (120, 70)):
        segments[top : top + 50, left : left + 50] = BACKGROUND_CLASS
        image[:, top : top + 50, left : left + 50] = 90
        image[:, top : top + 50, left : left + 20] = 10
    court = make_sample(segments, image)
    assert find_roofs(court) == RoofFacts(0, 3, shadow_on_roof=False)
    assert judge([court] * 8) == []


def test_a_direction_that_stands_for_background_is_named():
    sound = [make_sample(hip_roof(SIDE_PX, deg)) for deg in (0, 30, 90)]
    assert judge(sound) == []
    shifted = []
    for sample in sound:
        segments = sample["segments"].numpy()
        table = np.array([*range(1, 17), 17, 0], np.uint8)  # 0 is background, 1 is north
        shifted.append(make_sample(table[segments]))
    [found] = judge(shifted)
    assert (found.severity, found.kind) == ("error", "class numbers")
    share = np.mean([sample["segments"].numpy() == 0 for sample in shifted])
    assert f"class 0 (N) covers {100 * share:.0f} % of 3 samples" in found.what
    assert "background (class 17) 0 %" in found.what
