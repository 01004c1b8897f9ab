"""What an edge is, by the planes beside it."""

import numpy as np
import pytest

from app.roofs.kinds import Neighbour, find_kind

EAST = np.array([1.0, 0.0])


def down(azimuth_deg: float, steepness: float = 0.7, height_m: float | None = None) -> Neighbour:
    angle = np.radians(azimuth_deg)
    return Neighbour(steepness * np.array([np.sin(angle), np.cos(angle)]), height_m)


FLAT = Neighbour(np.zeros(2), None)
UNKNOWN = Neighbour(None, None)


@pytest.mark.parametrize(
    ("own", "other", "kind"),
    [
        # The edge is to the east of its plane, and runs from south to north.
        (down(90), None, "eave"),
        (down(270), None, "eave"),  # the upper edge of a shed roof
        (down(0), None, "rake"),
        (down(70), None, "eave"),
        (down(20), None, "rake"),
        (FLAT, None, "eave"),
        (down(270), down(90), "ridge"),
        (down(90), down(270), "valley"),
        (down(315), down(45), "hip"),  # both fall away, and the edge runs down to the north
        (down(225), down(135), "hip"),
        (down(45), down(315), "valley"),
        (FLAT, down(90), "ridge"),
        (down(90), FLAT, "eave"),
        # One plane beyond which another goes on lower, or that ends at a wall.
        (down(90, height_m=6.0), down(90, height_m=4.0), "eave"),
        (down(0, height_m=6.0), down(0, height_m=4.0), "rake"),
        (down(90, height_m=4.0), down(270, height_m=6.0), "eave"),
        # A dormer's wall: no crease of these two runs so.
        (down(90), down(180), "eave"),
    ],
)
def test_kind_by_planes(own: Neighbour, other: Neighbour | None, kind: str) -> None:
    found, confidence = find_kind(EAST, own, other, None)
    assert found == kind
    assert 0.2 < confidence <= 1.0
    if other is not None:
        # The same edge as its other plane sees it.
        assert find_kind(-EAST, other, own, None)[0] == kind


def test_steps_need_heights_apart() -> None:
    assert find_kind(EAST, down(270, height_m=6.0), down(90, height_m=6.05), None)[0] == "ridge"
    assert find_kind(EAST, down(270, height_m=6.0), down(90, height_m=4.0), None)[0] == "eave"


def test_heights_a_little_apart_make_no_step_where_planes_are_opposed() -> None:
    """A network's heights on the two sides of a ridge differ by as much."""
    assert find_kind(EAST, down(270, height_m=6.0), down(90, height_m=5.2), None)[0] == "ridge"
    assert find_kind(EAST, down(90, height_m=6.0), down(270, height_m=5.2), None)[0] == "valley"
    assert find_kind(EAST, down(90, height_m=6.0), down(90, 0.2, height_m=5.2), None)[0] == "eave"


def test_lines_are_the_second_witness() -> None:
    hip, ridge = np.array([0.0, 0.0, 0.9, 0.0]), np.array([0.0, 0.9, 0.0, 0.0])
    own, other = down(315), down(45)
    by_planes = find_kind(EAST, own, other, None)[1]
    kind, agreed = find_kind(EAST, own, other, hip)
    assert kind == "hip"
    assert agreed >= by_planes
    assert find_kind(EAST, own, other, ridge)[1] < 0.9, "they disagree, and it shows"
    assert find_kind(EAST, UNKNOWN, UNKNOWN, ridge)[0] == "ridge"
    # Outside of all planes there is no ridge, whatever the lines say.
    assert find_kind(EAST, down(90), None, ridge)[0] == "eave"
