"""What the fields of planes and lines say, feature by feature."""

from typing import Final, NamedTuple

import numpy as np

from app.base.arrays import Flags, Floats, Ints
from app.base.errors import DataError, printable
from app.data.own.fields import (
    FLAT_FIELDS,
    KIND_FIELDS,
    KINDS_SHOWN,
    LINE_KINDS,
    PITCH_FIELDS,
    RAKES,
    UNCLEAR,
    find_azimuth_field,
    find_field,
    find_flat,
    read_degrees,
    read_flags,
)
from app.data.own.layers import Layer
from app.data.own.layout import TITLE
from app.data.sample import BadFeature

_MAX_AZIMUTH_DEG: Final = 360.0
# Many angles that all lie within a turn, or a right angle, of radians are no degrees.
_MAX_AZIMUTH_RADIANS: Final = 6.2832
_MAX_PITCH_RADIANS: Final = 1.5708
_MIN_FOR_RADIANS: Final = 20
_AZIMUTHS_SHOWN: Final = "degrees from -360 to 360, or N, NNE .. NNW"


class Planes(NamedTuple):
    """What is said of N planes.

    Attributes:
        azimuth_field: The field of azimuths; empty without one.
        azimuth_deg: (N,) as stored; NaN where there is none or the plane is flat.
        pitch_deg: (N,) tilt against the horizontal; NaN where there is none.
        is_flat: (N,).
        bad: Planes whose azimuth is none: they become some roof.
        where: File, layer and field, for messages.
        doubts: What is odd about its other fields, one line each.
    """

    azimuth_field: str
    azimuth_deg: Floats
    pitch_deg: Floats
    is_flat: Flags
    bad: tuple[BadFeature, ...]
    where: str
    doubts: tuple[str, ...] = ()

    @property
    def has_azimuth(self) -> bool:
        """Whether any plane has one."""
        return bool(np.isfinite(self.azimuth_deg).any())


class Lines(NamedTuple):
    """What is said of L lines.

    Attributes:
        kinds: (L,) channel of the lines task, or UNCLEAR.
        is_rake: (L,).
        drawn_kinds: Channels of which there is any line.
        bad: Lines of a kind that is not known.
    """

    kinds: Ints
    is_rake: Flags
    drawn_kinds: tuple[int, ...]
    bad: tuple[BadFeature, ...]


def read_planes(layer: Layer) -> Planes:
    """Azimuths and flatness of a layer's planes.

    Raises:
        DataError: If azimuths or pitches are in radians.
    """
    num_planes = len(layer.geometries)
    field = find_azimuth_field(list(layer.fields))
    azimuth_deg, is_wrong = np.full(num_planes, np.nan), np.zeros(num_planes, np.bool_)
    if field is not None:
        azimuth_deg, is_wrong = read_degrees(layer.fields[field])
        is_wrong |= np.abs(np.nan_to_num(azimuth_deg)) > _MAX_AZIMUTH_DEG
    azimuth_deg = np.where(is_wrong, np.nan, azimuth_deg)
    where = _where(layer, field)
    _check_degrees(azimuth_deg, f"{where}: azimuths", _MAX_AZIMUTH_RADIANS)
    pitch_deg, doubts = _read_pitches(layer, azimuth_deg)
    flags, flag_doubts = _read_flat(layer)
    directed_deg, is_flat = find_flat(azimuth_deg, pitch_deg, flags)
    doubts += flag_doubts
    if len(np.unique(azimuth_deg[np.isfinite(azimuth_deg)])) > 1 and is_flat.all():
        doubts.append(
            f"{layer.path}: layer {layer.name}: every plane is flat by a pitch of 0 to 3 degrees "
            "or by its flag, although azimuths differ; empty these fields where nobody knows"
        )
    bad = []
    for i in np.flatnonzero(is_wrong):
        value = _show(layer.fields[field or ""][i])
        got = f"azimuth {value}, expected {_AZIMUTHS_SHOWN}: the plane is taken as some roof"
        remedy = f"correct the field {field}, or empty it where nobody knows"
        bad.append(_bad(layer, int(i), got, remedy))
    if pitch_deg is None:
        pitch_deg = np.full(num_planes, np.nan)
    is_tilt = (pitch_deg >= 0) & (pitch_deg < 90)
    pitch_deg = np.where(is_tilt, pitch_deg, np.nan)
    shown = tuple(map(printable, doubts))
    return Planes(field or "", directed_deg, pitch_deg, is_flat, tuple(bad), where, shown)


def _read_pitches(layer: Layer, azimuth_deg: Floats) -> tuple[Floats | None, list[str]]:
    """(N,) pitches as stored, None without a field; and what is odd about them.

    Raises:
        DataError: If they are in radians.
    """
    field = find_field(list(layer.fields), PITCH_FIELDS)
    if field is None:
        return None, []
    pitch_deg, is_wrong = read_degrees(layer.fields[field])
    # A town without a steep roof has no azimuths either.
    is_steep = np.isfinite(azimuth_deg) & (pitch_deg != 0)
    _check_degrees(pitch_deg[is_steep], f"{_where(layer, field)}: pitches", _MAX_PITCH_RADIANS)
    return pitch_deg, _describe_odd(layer, field, is_wrong, "no degrees", "write degrees")


def _read_flat(layer: Layer) -> tuple[Flags | None, list[str]]:
    """(N,) whether a plane is said to be flat, None without a field; and what is odd about it."""
    field = find_field(list(layer.fields), FLAT_FIELDS)
    if field is None:
        return None, []
    flags, is_unknown = read_flags(layer.fields[field])
    what = "neither true nor false"
    return flags, _describe_odd(layer, field, is_unknown, what, "write true or false")


def _describe_odd(layer: Layer, field: str, is_odd: Flags, what: str, remedy: str) -> list[str]:
    """A line on values of a field that mean nothing; none if all do."""
    if not is_odd.any():
        return []
    value = _show(layer.fields[field][np.flatnonzero(is_odd)[0]])
    return [
        f"{_where(layer, field)}: {is_odd.sum()} of {len(is_odd)} values are {what}, such as "
        f"{value}, and are not used; {remedy}"
    ]


def _where(layer: Layer, field: str | None) -> str:
    return printable(f"{layer.path}: layer {layer.name}, field {field}")


def _check_degrees(angles: Floats, what: str, most_radians: float) -> None:
    """Raise DataError where all of many angles are so small that they are radians."""
    known = angles[np.isfinite(angles)]
    num_fractions = int((known % 1 != 0).sum())
    if num_fractions >= _MIN_FOR_RADIANS and np.abs(known).max() <= most_radians:
        raise DataError(
            f"{TITLE}: {what} from {known.min():.3g} to {known.max():.3g}, expected degrees, got "
            "radians as it seems; multiply by 57.29578"
        )


def read_lines(layer: Layer | None) -> Lines:
    """Kinds of a layer's lines; no lines without a layer.

    Raises:
        DataError: If the layer has no field of kinds.
    """
    if layer is None:
        return Lines(np.zeros(0, np.int64), np.zeros(0, np.bool_), (), ())
    field = find_field(list(layer.fields), KIND_FIELDS)
    if field is None:
        there = ", ".join(layer.fields) or "none"
        raise DataError(
            f"{TITLE}: {layer.path}: layer {layer.name}: got the fields {there}, expected kind; "
            f"name the field so, with the values {KINDS_SHOWN}"
        )
    names = ["" if value is None else str(value).strip().lower() for value in layer.fields[field]]
    kinds = np.array([LINE_KINDS.get(name, UNCLEAR) for name in names], np.int64)
    bad = [
        _bad(
            layer,
            i,
            f"{field} {_show(layer.fields[field][i])}, expected {KINDS_SHOWN}: lines around it are "
            "unknown",
            f"correct the field {field}",
        )
        for i, name in enumerate(names)
        if name not in LINE_KINDS
    ]
    drawn = tuple(int(kind) for kind in np.unique(kinds) if kind != UNCLEAR)
    is_rake = np.array([name in RAKES for name in names], np.bool_)
    return Lines(kinds, is_rake, drawn, tuple(bad))


def _bad(layer: Layer, i: int, got: str, remedy: str) -> BadFeature:
    return BadFeature(layer.path, layer.name, int(layer.fids[i]), got, remedy)


def _show(value: object) -> str:
    return printable(f"{value!s:.40}")
