"""What is known of pixels, as networks and rasters have it."""

import numpy as np
import pytest

from app.roofs.blocks import find_blocks
from app.roofs.evidence import as_shares, class_table
from app.roofs.votes import pixel_votes, sum_votes
from tests.support.roofs import evidence_of


@pytest.mark.parametrize(
    ("num_bins", "meanings"),
    [
        (16, {0: 0, 15: 15, 16: 16, 17: 17, 18: 18, 19: 255, 255: 255}),
        (8, {0: 0, 7: 7, 8: 16, 9: 17, 10: 255, 18: 18}),
        (4, {3: 3, 4: 16, 5: 17, 16: 255}),
        (1, {0: 18, 1: 17, 2: 255, 18: 18, 255: 255}),
    ],
)
def test_classes_of_any_number_of_directions(num_bins: int, meanings: dict[int, int]) -> None:
    table = class_table(num_bins)
    assert {value: int(table[value]) for value in meanings} == meanings


def test_probabilities_are_steps_of_half_a_percent() -> None:
    shares = as_shares(np.array([0, 100, 200, 201, 255], np.uint8))
    assert shares.tolist() == [0.0, 0.5, 1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (np.array([[0.5, -0.25]], np.float16), [0.5, -0.25]),
        (np.array([[200, 0]], np.uint8), [1.0, -1.0]),
        (np.array([[100, 255]], np.uint8), [0.0, 0.0]),
    ],
)
def test_directions_as_they_are_stored(stored: np.ndarray, expected: list[float]) -> None:
    classes = np.zeros((1, 2), np.uint8)
    part = evidence_of(classes, direction_x=stored, direction_y=np.zeros_like(stored))
    assert pixel_votes(part, classes)[0][0].tolist() == expected


def test_votes_of_a_plane_are_their_mean() -> None:
    classes = np.array([[0, 4, 4, 16, 16, 16, 16]], np.uint8)
    labels = np.array([[1, 1, 1, 1, 2, 2, 2]], np.int32)
    probability = np.array([[200, 200, 100, 100, 200, 200, 0]], np.uint8)
    votes = sum_votes(evidence_of(classes, roof_probability=probability), classes, labels, 2)
    assert votes.mean[0] == pytest.approx([2 / 3, 1 / 3])  # one to the north, two to the east
    assert votes.flat_share.tolist() == [0.25, 1.0]
    assert votes.roof_share == pytest.approx([0.75, 2 / 3])


def test_groups_are_what_stands_within_half_a_metre() -> None:
    classes = np.full((1000, 900), 17, np.uint8)
    classes[100:150, 100:150] = 0
    classes[100:150, 153:200] = 8  # 0.3 m further
    classes[100:150, 220:260] = 0  # 2 m further
    classes[990:, 895:] = 16  # in the corner
    is_roof = np.arange(256) < 17
    blocks = list(find_blocks(classes, is_roof, 0.1))
    assert len(blocks) == 3
    seen = np.zeros(classes.shape, np.int64)
    for block in blocks:
        part = seen[block.rows, block.columns]
        assert part.shape == block.mask().shape
        part += block.mask()
    # Every roof is in one group, and no group takes another's.
    assert (seen[is_roof[classes]] == 1).all()
    assert seen.max() == 1
