"""Photos at another sampling distance: windows are parts of the whole, gaps are left out."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from app.inference.resampling import Axis, resample

OWN = (97, 130)
WANTED = [(97, 130), (40, 54), (61, 81), (194, 260), (210, 199)]


def photo(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (3, *OWN)).astype(np.uint8)


def part_of(values, seen, wanted, rows, columns):
    axes = [Axis(own, new) for own, new in zip(OWN, wanted, strict=True)]
    parts = [axis.needed(part) for axis, part in zip(axes, (rows, columns), strict=True)]
    weights = [
        axis.weights(part, needed)
        for axis, part, needed in zip(axes, (rows, columns), parts, strict=True)
    ]
    cut = values[:, parts[0], parts[1]]
    return resample(cut, None if seen is None else seen[parts[0], parts[1]], *weights)


@pytest.mark.parametrize("wanted", WANTED)
def test_the_whole_is_what_torch_makes_of_it(wanted):
    values = photo()
    got, seen = part_of(values, None, wanted, slice(0, wanted[0]), slice(0, wanted[1]))
    expected = F.interpolate(
        torch.from_numpy(values)[None].float(), wanted, mode="bilinear", antialias=True
    )[0]
    assert seen is None
    assert np.abs(got - expected.numpy()).max() <= 0.51


@pytest.mark.parametrize("wanted", WANTED)
@pytest.mark.parametrize("has_gaps", [False, True])
def test_a_window_is_a_part_of_the_whole(wanted, has_gaps):
    values = photo()
    seen = np.random.default_rng(1).random(OWN) < 0.7 if has_gaps else None
    whole, whole_seen = part_of(values, seen, wanted, slice(0, wanted[0]), slice(0, wanted[1]))
    for rows, columns in [
        (slice(0, 7), slice(3, 50)),
        (slice(11, 40), slice(20, 21)),
        (slice(wanted[0] - 9, wanted[0]), slice(wanted[1] - 30, wanted[1])),
    ]:
        got, got_seen = part_of(values, seen, wanted, rows, columns)
        np.testing.assert_array_equal(got, whole[:, rows, columns])
        if has_gaps:
            shown = np.ones(got.shape[1:], bool) if got_seen is None else got_seen
            np.testing.assert_array_equal(shown, whole_seen[rows, columns])


@pytest.mark.parametrize("wanted", WANTED[1:])
def test_what_shows_nothing_is_never_averaged_in(wanted):
    values = np.full((3, *OWN), 100, np.uint8)
    values[:, :, 60:] = 255
    seen = np.ones(OWN, bool)
    seen[:, 60:] = False
    got, got_seen = part_of(values, seen, wanted, slice(0, wanted[0]), slice(0, wanted[1]))
    assert set(got[:, got_seen].ravel()) == {100}
    assert set(got[:, ~got_seen].ravel()) == {0}
    assert abs(got_seen.mean() - 60 / OWN[1]) < 0.02
