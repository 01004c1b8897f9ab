import numpy as np
import pytest

from app.base.tasks import build_tasks, find_task
from app.model.class_shares import share_classes


def shares_of(old_bins, new_bins):
    old, new = (find_task("segments", build_tasks(bins)) for bins in (old_bins, new_bins))
    return share_classes(old, new), old.class_names, new.class_names


def row_of(name, old_bins, new_bins):
    """The old classes that a new one gets a part of, and which."""
    shares, old_names, new_names = shares_of(old_bins, new_bins)
    row = shares[new_names.index(name)]
    return {old_names[i]: pytest.approx(row[i]) for i in np.flatnonzero(row)}


@pytest.mark.parametrize(
    ("old_bins", "new_bins", "name", "expected"),
    [
        # A bin of 45 degrees holds all of N and half of its neighbours, whose middle is its border.
        (16, 8, "N", {"N": 1, "NNE": 0.5, "NNW": 0.5}),
        (16, 4, "E", {"NE": 0.5, "ENE": 1, "E": 1, "ESE": 1, "SE": 0.5}),
        (8, 4, "S", {"SE": 0.5, "S": 1, "SW": 0.5}),
        (16, 8, "flat", {"flat": 1}),
        (8, 16, "N", {"N": 0.5}),
        (8, 16, "NNE", {"N": 0.25, "NE": 0.25}),
        (4, 16, "NNE", {"N": 0.25}),
        (4, 16, "NE", {"N": 0.125, "E": 0.125}),
        (1, 4, "W", {"roof": 0.055 / 0.26}),
        (1, 4, "flat", {"roof": 0.04 / 0.26}),
        (1, 16, "background", {"background": 1}),
    ],
)
def test_parts_by_hand(old_bins, new_bins, name, expected):
    assert row_of(name, old_bins, new_bins) == expected


def test_roof_is_the_sum_of_all_its_directions():
    shares, _, _ = shares_of(16, 1)
    assert shares[0].tolist() == pytest.approx([1.0] * 17 + [0.0])


@pytest.mark.parametrize("old_bins", [16, 8, 4, 1])
@pytest.mark.parametrize("new_bins", [16, 8, 4, 1])
def test_no_probability_is_lost(old_bins, new_bins):
    shares, _, _ = shares_of(old_bins, new_bins)
    assert shares.sum(axis=0) == pytest.approx(np.ones(shares.shape[1]))
    if old_bins == new_bins:
        assert shares == pytest.approx(np.eye(len(shares)))


def test_other_classes_go_by_name():
    lines = find_task("lines")
    assert share_classes(lines, lines).tolist() == np.eye(4).tolist()
