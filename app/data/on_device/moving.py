"""How cut photos and labels come into their windows' frames: as app.data.moving, in torch.

All windows of one size at once. Places are whole numbers of a fraction of a pixel, as OpenCV's, so
that both ways give the same pixels.
"""

import math
from typing import Final, NamedTuple, Self

import torch
from torch import Tensor

from app.data.on_device.batches import WindowNumbers

# OpenCV takes places as 1/1024 px; images are interpolated between places of 1/32 px.
_PLACE_BITS: Final = 10
_TAP_BITS: Final = 5
_MAX_WEIGHT: Final = (1 << 15) - 1
_MAX_WEIGHT_BITS: Final = 22


def move_images(pixels: Tensor, windows: WindowNumbers, size_px: int) -> Tensor:
    """The windows' photos.

    Args:
        pixels: (P, 3) uint8, of all photos.
        windows: The M windows.
        size_px: Side of a window.

    Returns:
        (M, S, S, 3) uint8.
    """
    x, y = _places(windows, size_px, _TAP_BITS)
    one = 1 << _TAP_BITS
    share_x, share_y = (((place & (one - 1)) / one)[..., None] for place in (x, y))
    x, y = (x >> _TAP_BITS) - _each(windows.left), (y >> _TAP_BITS) - _each(windows.top)
    columns, first = _each(windows.columns), _each(windows.pixels)
    left, right = (_reflect(x + i, columns) for i in range(2))

    def between_columns(row: Tensor) -> Tensor:
        begin = first + _reflect(row, _each(windows.rows)) * columns
        return torch.lerp(_take(pixels, begin + left), _take(pixels, begin + right), share_x)

    # Whole numbers of 1/1024, so nothing is lost in float32 before the sum is rounded.
    mixed = torch.lerp(between_columns(y), between_columns(y + 1), share_y)
    return mixed.add_(0.5).byte()


def _take(pixels: Tensor, places: Tensor) -> Tensor:
    """(M, H, W, 3) float32: pixels, (P, 3) uint8, at places, (M, H, W) int32."""
    return pixels.index_select(0, places.flatten()).float().view(*places.shape, -1)


class ScaledSize(NamedTuple):
    """What holds for all boxes that are scaled together.

    Attributes:
        box_rows: Most rows of a box.
        rows: Most rows of a scaled box.
        columns: Most columns of a scaled box.
        num_taps: Most pixels of a row, or column, that one of a scaled box is a mean of.
    """

    box_rows: int
    rows: int
    columns: int
    num_taps: int

    @classmethod
    def of(cls, windows: WindowNumbers) -> Self:
        """That of windows, whose numbers are in host memory."""
        row_scale = windows.box_rows / windows.scaled_rows
        column_scale = windows.box_columns / windows.scaled_columns
        scale = float(torch.maximum(row_scale, column_scale).max())
        return cls(
            box_rows=int(windows.box_rows.max()),
            rows=int(windows.scaled_rows.max()),
            columns=int(windows.scaled_columns.max()),
            num_taps=math.ceil(2 * max(1.0, scale)),
        )


def scale_images(pixels: Tensor, windows: WindowNumbers, size: ScaledSize) -> Tensor:
    """The windows' boxes at the windows' scale, as by torch's bilinear filter against aliasing.

    Args:
        pixels: (P, 3) uint8, of all photos.
        windows: The M windows.
        size: Of these windows.

    Returns:
        (M, rows, columns, 3) uint8; beyond a window's own size it is of no use.
    """
    y = torch.arange(size.box_rows, device=pixels.device)[None, :, None] - _each(windows.top)
    begin = _each(windows.pixels) + _reflect(y, _each(windows.rows)) * _each(windows.columns)
    taps = _Taps.of(windows.box_columns, windows.scaled_columns, size.columns, size.num_taps)
    half = torch.full((1,), 0.5, device=pixels.device)
    total = half
    for place, weight in zip(taps.places, taps.weights, strict=True):
        column = _reflect(place[:, None] - _each(windows.left), _each(windows.columns))
        total = torch.addcmul(total, _take(pixels, begin + column), weight[:, None, :, None])
    # Bytes lie between both directions, as in torch.
    narrow = total.byte()
    window = torch.arange(len(narrow), device=pixels.device)[:, None]
    taps = _Taps.of(windows.box_rows, windows.scaled_rows, size.rows, size.num_taps)
    total = half
    for place, weight in zip(taps.places, taps.weights, strict=True):
        total = torch.addcmul(total, narrow[window, place].float(), weight[:, :, None, None])
    return total.byte()


class _Taps(NamedTuple):
    """The pixels that those of scaled boxes are means of, in one direction.

    Attributes:
        places: Places in the boxes, each (M, length) int32.
        weights: Their weights, each (M, length) float32: as torch's, which are whole numbers of 16
            bits over a power of 2. Float32 holds sums of bytes times such weights to the last bit,
            as long as boxes have at most twice the rows.
    """

    places: list[Tensor]
    weights: list[Tensor]

    @classmethod
    def of(cls, side: Tensor, scaled_side: Tensor, length: int, num_taps: int) -> Self:
        """Those of sides, (M,), that become other sides of at most `length`."""
        side, scaled_side = side[:, None], scaled_side[:, None]
        scale = side / scaled_side
        reach = scale.clamp(min=1)
        number = torch.arange(length, dtype=torch.float64, device=side.device)
        middle = scale * (number + 0.5)
        last = torch.minimum((middle + reach + 0.5).floor(), side) - 1
        first = (middle - reach + 0.5).floor().clamp_(min=0)
        places = torch.stack([first + i for i in range(num_taps)])
        weights = (1 - ((places + 0.5 - middle) / reach).abs()).clamp_(min=0)
        weights *= (places <= last) & (number < scaled_side)
        weights /= weights.sum(dim=0).clamp_(min=1e-6)
        largest = weights.amax(dim=(0, 2))
        num_bits = torch.log2((_MAX_WEIGHT + 0.5) / largest).floor().clamp_(max=_MAX_WEIGHT_BITS)
        one = torch.ones_like(num_bits, dtype=torch.int32) << num_bits.int()
        rounded = (weights * one[:, None] + 0.5).floor() / one[:, None]
        places = torch.minimum(places, last).clamp_(min=0).int()
        return cls(list(places), list(rounded.float()))


class LabelPlaces(NamedTuple):
    """Where the windows' pixels find their labels.

    Attributes:
        inside: (M, S, S) bool, whether in the photo.
        places: (M, S, S) int32, the pixels' numbers in the labels; 0 beyond the photo.
    """

    inside: Tensor
    places: Tensor

    @classmethod
    def of(cls, windows: WindowNumbers, size_px: int) -> Self:
        """Those of the nearest pixels."""
        columns, rows = _places(windows, size_px, num_bits=0)
        columns, rows = columns - _each(windows.label_left), rows - _each(windows.label_top)
        num_rows, num_columns = _each(windows.label_rows), _each(windows.label_columns)
        inside = (rows >= 0) & (rows < num_rows) & (columns >= 0) & (columns < num_columns)
        return cls(inside, (rows * num_columns).add_(columns).mul_(inside))

    def find(self, values: Tensor, begin: Tensor, step: Tensor, unknown: float) -> Tensor:
        """The windows of a label.

        Args:
            values: (Q,), where the labels of all windows lie.
            begin: (M,) where each begins.
            step: (M,) from one value to the next.
            unknown: What lies beyond the photos.

        Returns:
            (M, S, S).
        """
        places = torch.addcmul(_each(begin), self.places, _each(step))
        found = values.index_select(0, places.flatten()).view(places.shape)
        return torch.where(self.inside, found, unknown)


def _places(windows: WindowNumbers, size_px: int, num_bits: int) -> tuple[Tensor, Tensor]:
    """(M, S, S) int32 x and y of the windows' pixels in their scaled boxes, of 2**-num_bits px."""
    steps = torch.arange(size_px, dtype=torch.float64, device=windows.x.device)
    half = 1 << (_PLACE_BITS - num_bits - 1)

    def find(by_x: Tensor, by_y: Tensor, shift: Tensor) -> Tensor:
        scale = 1 << _PLACE_BITS
        along = (by_x[:, None] * steps * scale).round_().int()
        down = ((by_y[:, None] * steps + shift[:, None]) * scale).round_().int() + half
        return (down[:, :, None] + along[:, None]).bitwise_right_shift_(_PLACE_BITS - num_bits)

    return (
        find(windows.xx, windows.xy, windows.x),
        find(windows.yx, windows.yy, windows.y),
    )


def _each(numbers: Tensor) -> Tensor:
    """(M,) as (M, 1, 1) int32."""
    return numbers.int()[:, None, None]


def _reflect(places: Tensor, side: Tensor) -> Tensor:
    """Places within a side, beyond which it is mirrored about its last pixel's middle."""
    last = side - 1
    # Of a side's mirrored copies every other one is the same.
    turned = places.remainder((2 * last).clamp(min=1))
    return last - turned.sub_(last).abs_()
