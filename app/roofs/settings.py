"""How roofs are found: lengths in metres, so that they hold at any resolution."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RoofSettings:
    """What decides what is a plane, an edge, a direction. The defaults are for photos of 0.1 m.

    Attributes:
        min_plane_m2: Smaller planes go to a neighbour.
        min_outlined_m2: The same of planes that lines set apart from their neighbours: dormers.
        min_width_m: Thinner ones are shared out among all neighbours.
        cut_probability: A line of this probability parts planes of one class.
        alike_deg: Neighbours of nearly the same direction, with no line between, are one plane.
        simplify_m: Of the outlines' first simplification: the side of a square of the area that a
            corner must cut off to stay.
        straight_m: How far an edge may leave the straight line that stands for it.
        ragged_m: The same at most, where outlines are ragged.
        snap_m: How far an end of an edge may move for the edge to take a main direction.
        snap_deg: And how far it may turn.
        merge_m: Corners so close together are one.
        line_weight: What a metre of line of probability 1 weighs against a metre of outline.
        flat_deg: A plane of unknown class that is less steep is flat.
    """

    min_plane_m2: float = 0.8
    min_outlined_m2: float = 0.3
    min_width_m: float = 0.3
    cut_probability: float = 0.5
    alike_deg: float = 15.0
    simplify_m: float = 0.2
    straight_m: float = 0.2
    ragged_m: float = 0.5
    snap_m: float = 0.12
    snap_deg: float = 6.0
    merge_m: float = 0.35
    line_weight: float = 0.5
    flat_deg: float = 4.0
