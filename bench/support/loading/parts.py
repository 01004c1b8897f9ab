"""Where the CPU time of a training sample goes: timers around the product's own functions.

A timer stands where the function is called from, and counts the time of its thread without that of
the timers inside it. So the parts of a sample add up to all of its time.
"""

import contextlib
import importlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple, ParamSpec, TypeVar
from unittest import mock

P = ParamSpec("P")
Result = TypeVar("Result")

REST: Final = "rest"


class Timed(NamedTuple):
    """A function with a timer around it.

    Attributes:
        part: What the table calls its time.
        place: Module it is called from, or class that it is a method of, dotted.
        name: Its name there.
    """

    part: str
    place: str
    name: str


# Several functions may be one part. What is new in a sample's way belongs here: it would count as
# the part around it.
TIMED: Final = (
    Timed("read photo", "app.data.rid.dataset", "read_photo"),
    Timed("read label", "app.data.rid.dataset", "read_classes"),
    Timed("read photo", "app.data.files.rasters.OpenRasters", "read_photo"),
    Timed("read label", "app.data.files.rasters.OpenRasters", "read_label"),
    Timed("read heights", "app.data.own.reading", "read_heights"),
    Timed("read photo", "app.data.roofline.dataset.RooflineDataset", "_read_scaled"),
    Timed("read heights", "app.data.roofline.dataset.RooflineDataset", "_read"),
    Timed("derive lines", "app.data.rid.dataset", "lines_from_segments"),
    Timed("derive lines", "app.data.own.drawing", "lines_from_segments"),
    Timed("derive lines", "app.data.airs.dataset", "_outline"),
    Timed("derive lines", "app.data.roofline.dataset", "centre_lines"),
    Timed("draw shapes", "app.data.own.drawing.Roofs", "draw"),
    Timed("other reading", "app.data.transforms.TrainTransform", "cut"),
    Timed("other reading", "app.data.on_device.cutting.CutTransform", "cut"),
    Timed("cut", "app.data.on_device.cutting", "cut_out"),
    Timed("draw light", "app.data.on_device.cutting", "draw_light"),
    Timed("warp", "app.data.transforms", "cut_window"),
    Timed("widen lines", "app.data.transforms", "draw_lines"),
    Timed("trim", "app.data.transforms", "_trim"),
    Timed("lay out", "app.data.transforms.TrainTransform", "_lay_out"),
    Timed("light", "app.data.transforms", "change_light"),
    Timed("noise", "app.data.photometry", "_add_noise"),
    Timed("JPEG", "app.data.photometry", "_compress"),
)


class PartTimer:
    """CPU seconds by part of what runs within `timing`.

    Attributes:
        part_s: Seconds of each part so far.
    """

    def __init__(self) -> None:
        self.part_s: defaultdict[str, float] = defaultdict(float)
        self._inner_s: list[float] = []

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what runs within as this part, parts inside it aside."""
        self._inner_s.append(0.0)
        begun_s = time.thread_time()
        try:
            yield
        finally:
            took_s = time.thread_time() - begun_s
            self.part_s[name] += took_s - self._inner_s.pop()
            if self._inner_s:
                self._inner_s[-1] += took_s

    def around(self, function: Callable[P, Result], name: str) -> Callable[P, Result]:
        """The function, timed as a part."""

        def timed(*args: P.args, **kwargs: P.kwargs) -> Result:
            with self.part(name):
                return function(*args, **kwargs)

        return timed

    @contextlib.contextmanager
    def timing(self) -> Iterator[None]:
        """Timers around all of TIMED."""
        with contextlib.ExitStack() as stack:
            for timed in TIMED:
                place = find_place(timed.place)
                function = self.around(getattr(place, timed.name), timed.part)
                stack.enter_context(mock.patch.object(place, timed.name, function))
            yield

    def take(self) -> dict[str, float]:
        """Seconds by part since the last call."""
        taken = dict(self.part_s)
        self.part_s.clear()
        return taken


def find_place(dotted: str) -> object:
    """The module or class of a dotted name."""
    module, _, last = dotted.rpartition(".")
    if last[:1].isupper():
        found: object = getattr(importlib.import_module(module), last)
        return found
    return importlib.import_module(dotted)
