"""Measure on this machine what training takes, in a process of its own.

Memory has to be measured in a process that has held nothing else before. On a CPU the kernel ends a
process that asks for too much: only the child ends, and its parent keeps the answers until then.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from app.base.children import Reply, ask_child
from app.base.errors import ConfigError
from app.resources.measurements import Loading, Measurements, Point, ValPoint

logger = logging.getLogger(__name__)

_TIMEOUT_S: Final = 900.0
# Windows to validate by: what larger ones take is extrapolated by their pixels.
VAL_SIDES_PX: Final = (256, 512)


@dataclass(frozen=True)
class ProbeRequest:
    """What a probe is to measure.

    Attributes:
        settings: Hyperparameters, as texts.
        channels: Folders of datasets, by name.
        points: Samples of a pass and side of a window in pixels, in any order.
        with_loading: Whether data workers are started and timed.
        with_trial: Whether a GPU is tried for the most samples of a pass.
        val_sides: Sides of windows to validate by, in pixels; with any, scoring is timed, too.
    """

    settings: Mapping[str, str]
    channels: Mapping[str, str]
    points: tuple[tuple[int, int], ...]
    with_loading: bool = True
    with_trial: bool = False
    val_sides: tuple[int, ...] = VAL_SIDES_PX

    def to_json(self) -> str:
        """For the probe's standard input."""
        return json.dumps(vars(self))

    @classmethod
    def from_json(cls, text: str) -> "ProbeRequest":
        """The inverse of `to_json`."""
        document = json.loads(text)
        document["points"] = tuple((size, side) for size, side in document["points"])
        document["val_sides"] = tuple(document["val_sides"])
        return cls(**document)


def measure(
    settings: Mapping[str, str],
    channels: Mapping[str, Path],
    points: Sequence[tuple[int, int]],
    *,
    with_loading: bool = True,
) -> Measurements:
    """Memory and time of training on this machine, at each of the points.

    Args:
        settings: Hyperparameters, as texts; batch_size and crop_size_px are those of the points.
        channels: Folders of datasets, by name.
        points: Samples of a pass and side of a window in pixels; the smallest has to fit.
        with_loading: Whether data workers are started and timed, too.

    Raises:
        ConfigError: If not even the first two points could be measured; says why.
    """
    request = ProbeRequest(
        dict(settings),
        {name: str(path) for name, path in channels.items()},
        tuple(sorted(points, key=lambda point: (point[0] * point[1] ** 2, point[0]))),
        with_loading,
    )
    reply = ask_probe(request)
    found = read_answers(reply)
    if found is None:
        raise ConfigError(f"could not measure what training takes here: {reply.failure}")
    if reply.failure:
        logger.warning(
            "measured at %d of %d sizes: %s", len(found.points), len(points), reply.failure
        )
    return found


def ask_probe(
    request: ProbeRequest,
    stop_requested: Callable[[], bool] = lambda: False,
    timeout_s: float = _TIMEOUT_S,
) -> Reply:
    """What a child process measured, one answer for each number.

    Args:
        request: What to measure.
        stop_requested: Asked while it measures; on True it is ended.
        timeout_s: After so long it is ended, too.
    """
    return ask_child("measure", request.to_json(), timeout_s, stop_requested)


def read_answers(reply: Reply) -> Measurements | None:
    """The answers of a probe put together; None where they are too few to fit anything to."""
    points = tuple(Point(**values) for values in reply.of_kind("point"))
    machine, loading = reply.of_kind("machine"), reply.of_kind("loading")
    scoring = reply.of_kind("scoring")
    if not machine or len(points) < 2:
        return None
    return Measurements(
        points=points,
        loading=Loading(**loading[-1]) if loading else None,
        val_points=tuple(ValPoint(**values) for values in reply.of_kind("val_point")),
        score_s=scoring[-1] if scoring else {},
        **machine[0],
    )
