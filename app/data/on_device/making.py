"""Training samples made on a device of what data workers have cut."""

import functools
import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from app.base.tasks import IGNORE_INDEX, AzimuthBins, TaskName, relabelling, segments_after_turns
from app.data.line_bits import NUM_LINE_KINDS, UNKNOWN_BITS
from app.data.loading import Batch
from app.data.on_device.batches import NOTHING, CutBatch, LightNumbers, WindowNumbers
from app.data.on_device.light import SentLight, SentNoise, apply_light
from app.data.on_device.lines import collect_centres, split_kinds, widen_lines
from app.data.on_device.moving import LabelPlaces, ScaledSize, move_images, scale_images
from app.data.sample import PLANES, PlaneName, make_planes
from app.data.transforms import SEAM_PX, TrainTransform, edges_of_windows

# Windows of more pixels are made in turns: what lies between the steps takes some 100 bytes each.
_MAX_PIXELS: Final = 1 << 21
# As `collate`, where nothing could be read.
_EMPTY_PX: Final = 32
_TONES: Final = (256, 3)
_NUM_LEVELS: Final = 256


class SampleMaker:
    """Makes micro-batches as TrainTransform would have.

    Targets are its own. Images are, too, but for what a JPEG rounds the other way, and for a level
    where a window that is not turned freely enlarges its photo.

    Args:
        transform: The transform that it stands for.
        tasks: Those whose targets are needed; the others are unknown everywhere.
    """

    def __init__(self, transform: TrainTransform, tasks: Collection[TaskName]) -> None:
        self._transform = transform
        self._needed: frozenset[PlaneName] = frozenset({"image", *tasks})

    def make(self, batch: CutBatch, windows: Tensor) -> Batch:
        """A micro-batch, on the device where the cut one lies.

        Args:
            batch: What the workers sent.
            windows: Its windows' numbers once more, in host memory: nothing waits for the device.
        """
        num_samples, device = len(batch["sample_id"]), batch["pixels"].device
        side_px = self._transform.crop_size_px if num_samples else _EMPTY_PX

        def prepare(name: PlaneName) -> Tensor:
            one = PLANES[name].blank(1, 1).to(device)
            shape = (num_samples, *one.shape[:-2], side_px, side_px)
            # What is not needed is a single value that is seen everywhere.
            return one.new_empty(shape) if name in self._needed else one.expand(shape)

        planes = make_planes(prepare)
        for part in _parts(batch, windows, self._transform):
            made = self._make_part(batch, part)
            for name, plane in made.items():
                for sample, value in zip(part.samples, plane, strict=True):
                    planes[name][sample] = value
        return {**planes, "sample_id": batch["sample_id"], "bad_files": batch["bad_files"]}

    def _make_part(self, batch: CutBatch, part: "_Part") -> dict[PlaneName, Tensor]:
        size_px, windows = self._transform.window_px(part.per_side), part.windows
        places = LabelPlaces.of(windows, size_px)
        lit = [
            apply_light(image, _find_light(batch["bytes"], batch["lights"][sample], image))
            for sample, image in zip(
                part.samples,
                self._lay_out(_move_images(batch["pixels"], part, size_px), part),
                strict=True,
            )
        ]
        made: dict[PlaneName, Tensor] = {"image": torch.stack(lit).permute(0, 3, 1, 2)}
        small = batch["bytes"]
        if "segments" in self._needed:
            segments = places.find(small, windows.segments, windows.segments_step, IGNORE_INDEX)
            for window, drawn in part.drawn(small, size_px):
                segments[window] = torch.where(
                    segments[window] == IGNORE_INDEX, IGNORE_INDEX, drawn[0]
                )
            table = _classes(self._transform.azimuth_bins, small.device)
            turned = windows.turned_classes.long()[:, None, None]
            made["segments"] = self._lay_out(table[turned, segments.long()], part, IGNORE_INDEX)
        if "lines" in self._needed:
            made["lines"] = self._make_lines(batch, part, places)
        if "superstructures" in self._needed:
            begin, step = windows.superstructures, windows.superstructures_step
            made["superstructures"] = self._lay_out(
                places.find(small, begin, step, IGNORE_INDEX), part, IGNORE_INDEX
            )
        if "depth" in self._needed:
            depth = places.find(batch["heights"], windows.depth, windows.depth_step, torch.nan)
            depth = depth * windows.zoom.float()[:, None, None]
            made["depth"] = self._lay_out(depth, part, torch.nan)
        return made

    def _make_lines(self, batch: CutBatch, part: "_Part", places: LabelPlaces) -> Tensor:
        size_px, windows = self._transform.window_px(part.per_side), part.windows
        bits = places.find(batch["bytes"], windows.lines, windows.lines_step, UNKNOWN_BITS)
        unknown = bits & UNKNOWN_BITS
        points = torch.cat([batch["points"][piece] for piece in part.points])
        centres = collect_centres(points, windows.num_points, size_px)
        for window, (_, drawn) in part.drawn(batch["bytes"], size_px):
            centres[window] = (drawn >> NUM_LINE_KINDS) & ~unknown[window]
            unknown[window] |= drawn & UNKNOWN_BITS
        lines, hidden = widen_lines(unknown, centres, self._transform.gsd_m)
        return split_kinds(self._lay_out(lines, part, 0), self._lay_out(hidden, part, UNKNOWN_BITS))

    def _lay_out(self, windows: Tensor, part: "_Part", at_seams: float | None = None) -> Tensor:
        """(N, H, W, ...) samples of (M, S, S, ...) windows with margins, side by side.

        Args:
            windows: All windows of the samples.
            part: Which these are.
            at_seams: What is put where windows meet; None for nothing.
        """
        inner = slice(self._transform.margin_px, -self._transform.margin_px)
        windows = windows[:, inner, inner]
        if part.per_side == 1:
            return windows
        windows = windows.reshape(-1, part.per_side, part.per_side, *windows.shape[1:])
        window, place, is_seam = _mosaic(
            self._transform.crop_size_px, part.per_side, windows.device
        )
        samples = windows[:, window[:, None], window, place[:, None], place]
        if at_seams is not None:
            samples[:, is_seam] = at_seams
            samples[:, :, is_seam] = at_seams
        return samples


class _Part(NamedTuple):
    """Samples of a batch that are made together, of as many windows each.

    Attributes:
        per_side: Windows side by side in a sample.
        samples: Their numbers in the batch.
        windows: Their windows' numbers, on the device.
        at_host: The same in host memory.
        points: Their windows' centres of lines, among all.
    """

    per_side: int
    samples: Sequence[int]
    windows: WindowNumbers
    at_host: WindowNumbers
    points: Sequence[slice]

    def drawn(self, small: Tensor, size_px: int) -> Iterator[tuple[int, Tensor]]:
        """Windows of which targets were drawn; each with its segments and lines, (2, S, S)."""
        num_values = 2 * size_px**2
        for window, begin in enumerate(map(int, self.at_host.drawn.tolist())):
            if begin != NOTHING:
                yield window, small[begin : begin + num_values].view(2, size_px, size_px)


def _parts(batch: CutBatch, windows: Tensor, transform: TrainTransform) -> Iterator[_Part]:
    """The batch in parts."""
    ends = [0]
    by_number: defaultdict[int, list[int]] = defaultdict(list)
    for sample, number in enumerate(batch["num_windows"]):
        ends.append(ends[-1] + number)
        by_number[number].append(sample)
    num_points = WindowNumbers(*windows.T).num_points
    point_ends = [0, *num_points.cumsum(0).long().tolist()]
    for number, samples in by_number.items():
        per_side = math.isqrt(number)
        pixels = number * transform.window_px(per_side) ** 2
        at_once = max(1, _MAX_PIXELS // pixels)
        for first in range(0, len(samples), at_once):
            chosen = samples[first : first + at_once]
            pieces = [slice(ends[sample], ends[sample + 1]) for sample in chosen]
            on_device, at_host = (
                WindowNumbers(*torch.cat([numbers[piece] for piece in pieces]).T)
                for numbers in (batch["windows"], windows)
            )
            points = [slice(point_ends[p.start], point_ends[p.stop]) for p in pieces]
            yield _Part(per_side, chosen, on_device, at_host, points)


def _move_images(pixels: Tensor, part: _Part, size_px: int) -> Tensor:
    """(M, S, S, 3): the windows of a part, those that are scaled first by way of these."""
    windows, at_host = part.windows, part.at_host
    is_scaled = (at_host.box_rows != at_host.scaled_rows) | (
        at_host.box_columns != at_host.scaled_columns
    )
    if not is_scaled.any():
        return move_images(pixels, windows, size_px)
    host_index = is_scaled.nonzero()[:, 0]
    index = host_index.to(pixels.device, non_blocking=True)
    chosen = WindowNumbers(*(numbers[index] for numbers in windows))
    size = ScaledSize.of(WindowNumbers(*(numbers[host_index] for numbers in at_host)))
    scaled = scale_images(pixels, chosen, size)
    begin = torch.arange(len(index), device=pixels.device) * (size.rows * size.columns)
    changed: dict[str, Any] = {
        "pixels": (begin + len(pixels)).double(),
        "rows": size.rows,
        "columns": size.columns,
        "top": 0,
        "left": 0,
    }
    updated = {}
    for name, value in changed.items():
        numbers = getattr(windows, name).clone()
        numbers[index] = value
        updated[name] = numbers
    together = torch.cat((pixels, scaled.view(-1, 3)))
    return move_images(together, windows._replace(**updated), size_px)


def _find_light(small: Tensor, numbers: LightNumbers, image: Tensor) -> SentLight:
    """A light whose arrays are views of the bytes."""

    def take(begin: int, *shape: int) -> Tensor:
        return small[begin : begin + math.prod(shape)].view(shape)

    noise = None
    if numbers.noise != NOTHING:
        levels = take(numbers.noise_levels, _NUM_LEVELS).view(torch.int8).short()
        noise = SentNoise(levels, take(numbers.noise, *image.shape))
    return SentLight(
        tones=take(numbers.tones, *_TONES),
        saturation=numbers.saturation,
        shadows=None if numbers.shadows == NOTHING else take(numbers.shadows, *image.shape[:2]),
        blur_px=numbers.blur_px,
        sharpening=numbers.sharpening,
        noise=noise,
        jpeg_quality=numbers.jpeg_quality,
    )


@functools.cache
def _classes(azimuth_bins: AzimuthBins, device: torch.device) -> Tensor:
    """(32, 256) uint8: by `Cut.turned_classes`, labels of the task of a photo's segments."""
    turned = segments_after_turns().reshape(-1, 256)
    return torch.from_numpy(relabelling(azimuth_bins)[turned]).to(device)


@functools.cache
def _mosaic(side_px: int, per_side: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Of each row, or column, of a sample: window, place in it, and whether it is of a seam."""
    edges = torch.tensor(edges_of_windows(side_px, per_side))
    number = torch.arange(side_px)
    window = torch.bucketize(number, edges[1:], right=True)
    distance = (number[:, None] + 0.5 - edges[1:-1]).abs().amin(dim=1)
    return (
        window.to(device),
        (number - edges[window]).to(device),
        (distance < SEAM_PX).to(device),
    )
