"""What the numbers of a photo or a label mean, by what its file declares."""

from collections.abc import Collection
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
import rasterio

from app.base.arrays import Flags
from app.base.errors import join_problems
from app.data.files.header import RasterHeader
from app.data.files.problems import FileProblem

# Less than half opaque is not seen.
MIN_ALPHA: Final = 128
_RGB: Final = ("red", "green", "blue")
_ALPHA: Final = "alpha"
_MAX_COLOURS_SHOWN: Final = 6
# Of the colour code that most aerial benchmarks share.
_ISPRS_BUILDING: Final = (0, 0, 255)
_Pixels = npt.NDArray[np.uint8]


class Meaning(NamedTuple):
    """Which bands of a file to read, and how they become a photo or a label.

    Attributes:
        bands: From 1: red, green and blue, the band of a colour table or of a label, or a label's
            three that must be equal.
        alpha: The band that says how opaque a pixel is; None if none does.
        nodata: Values that stand for nothing, one for each of `bands`; None if none do.
        has_mask: Whether a mask inside the file says which pixels are there.
        colours: (256, 4) uint8, red, green, blue and alpha of a colour table; None without.
    """

    bands: tuple[int, ...]
    alpha: int | None
    nodata: npt.NDArray[np.float64] | None
    has_mask: bool
    colours: _Pixels | None = None

    @property
    def all_bands(self) -> list[int]:
        """Bands to read: alpha is the last."""
        return [*self.bands] if self.alpha is None else [*self.bands, self.alpha]

    def split(self, pixels: _Pixels, mask: Flags | None) -> tuple[_Pixels, Flags | None]:
        """Values and what is seen of them.

        Args:
            pixels: (B, H, W) of `all_bands`.
            mask: (H, W), what other masks show; None is all.

        Returns:
            (B, H, W) of `bands`, or of a colour table's three, and (H, W); None where all is seen.
        """
        values, seen = pixels, mask
        if self.alpha is not None:
            values = pixels[:-1]
            seen = _both(seen, pixels[-1] >= MIN_ALPHA)
        if self.nodata is not None:
            seen = _both(seen, (values != self.nodata[:, None, None]).any(axis=0))
        if self.colours is not None:
            coloured = self.colours[values[0]]
            values = np.ascontiguousarray(coloured[..., :3].transpose(2, 0, 1))
            seen = _both(seen, coloured[..., 3] >= MIN_ALPHA)
        return values, None if seen is None or seen.all() else seen


def _both(first: Flags | None, second: Flags) -> Flags:
    return second if first is None else first & second


def photo_meaning(header: RasterHeader, source: rasterio.DatasetReader, remedy: str) -> Meaning:
    """How a photo is read: by the colours that its bands are declared to be.

    Bands of other colours, such as near infrared, are left aside.

    Raises:
        FileProblem: If it has no bands of red, green and blue, or not of eight bits.
    """
    path = header.path
    expected = "3 bands (R, G, B) of uint8, or these and others such as alpha"
    if header.dtype != "uint8" or header.num_bits != 8:
        bits = f" with {header.num_bits} bits" if header.dtype == "uint8" else ""
        cure = f"`gdal_translate -ot Byte -scale {path.name} eight_bits.tif`, or {remedy}"
        raise FileProblem(path, header.bands + bits, expected, cure)
    if header.colour_space:
        cure = f"`gdal_translate -b 1 -b 2 -b 3 {path.name} rgb.tif`, or {remedy}"
        raise FileProblem(path, header.bands, expected, cure)
    if header.colours[0] == "palette" and set(header.colours[1:]) <= {_ALPHA}:
        return _meaning(header, (1,), _colour_table(source))
    if any(header.colours.count(colour) != 1 for colour in _RGB):
        cure = f"`gdal_translate -colorinterp red,green,blue {path.name} rgb.tif` names them"
        if header.num_bands - header.colours.count(_ALPHA) < 3:
            cure = remedy
        elif header.num_bands > 3:
            cure = cure.replace("translate", "translate -b 1 -b 2 -b 3")
        raise FileProblem(path, header.bands, expected, cure)
    bands = tuple(header.colours.index(colour) + 1 for colour in _RGB)
    return _meaning(header, bands)


def label_meaning(header: RasterHeader, classes: Collection[int], remedy: str) -> Meaning:
    """How a label is read: its numbers as they are, also those of a colour table.

    Args:
        header: Header of the label.
        classes: Numbers that mean something, which therefore cannot stand for nothing.
        remedy: What the user should do about a bad one.

    Raises:
        FileProblem: If it holds no plain numbers of one band, or three that might be equal.
    """
    path = header.path
    bands = tuple(n for n, colour in enumerate(header.colours, start=1) if colour != _ALPHA)
    if header.dtype != "uint8" or len(bands) not in (1, 3):
        expected = "1 band of uint8, class numbers, or 3 that are equal"
        raise FileProblem(path, header.bands, expected, remedy)
    if max(classes) >= 2**header.num_bits:
        got = f"{header.num_bits} bits a pixel, which cannot hold class {max(classes)}"
        raise FileProblem(path, got, "8 bits", remedy)
    if header.colour_space:
        copy = f"gdal_translate -co PHOTOMETRIC=MINISBLACK {path.name} plain.tif"
        cure = f"if its numbers are right, `{copy}`, else write them again"
        raise FileProblem(path, header.bands, "numbers that mean what they are", cure)
    meaning = _meaning(header, bands)
    if meaning.nodata is not None:
        clash = {int(v) for v in meaning.nodata.tolist() if v in classes}
        if clash:
            got = f"{clash.pop()} declared as nodata, which is a class"
            cure = (
                f"`gdal_edit.py -unsetnodata {path.name}` if it is meant as the class, else give "
                "what is unknown another number"
            )
            raise FileProblem(path, got, "another number for what is unknown", cure)
    return meaning


def one_band(path: Path, values: _Pixels) -> _Pixels:
    """(H, W) of a label's bands, which must be equal.

    Args:
        path: The label.
        values: (B, H, W).

    Raises:
        FileProblem: If they differ, as in labels written as colours.
    """
    first: _Pixels = values[0]
    if all(np.array_equal(first, other) for other in values[1:]):
        return np.ascontiguousarray(first)
    colours, counts = np.unique(values.reshape(len(values), -1), axis=1, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    tops = [tuple(colours[:, index].tolist()) for index in order[:_MAX_COLOURS_SHOWN]]
    shares = counts[order] / counts.sum()
    # Of what was read, which may be every 32nd pixel.
    found = [f"{top} {share:.1%}" for top, share in zip(tops, shares, strict=False)]
    if len(order) > len(found):
        found.append(f"{len(order) - len(found)} more")
    names = " ".join(
        f"-{letter} {path.name} --{letter}_band={n}" for n, letter in enumerate("ABC", 1)
    )
    example = _ISPRS_BUILDING if _ISPRS_BUILDING in tops else tops[-1]
    test = "*".join(f"({letter}=={value})" for letter, value in zip("ABC", example, strict=True))
    raise FileProblem(
        path,
        f"3 bands that differ, as colours do: {join_problems(found)}",
        "class numbers in 1 band",
        f"write numbers instead, as `gdal_calc.py {names} --calc='{test}' --type=Byte "
        "--outfile=label.tif` gives 1 for one colour and 0 for the others",
    )


def check_seen(path: Path, alpha: _Pixels | None, seen: Flags | None, remedy: str) -> None:
    """Check that a file shows something, and that what is called alpha is no other band.

    Args:
        path: A photo or a label.
        alpha: Its alpha, or some of it; None without.
        seen: What is seen; None is all.
        remedy: What the user should do about an empty file.

    Raises:
        FileProblem: If not.
    """
    if alpha is not None and np.mean((alpha > 0) & (alpha < 255)) > 0.5:
        got = f"alpha between {alpha.min()} and {alpha.max()}, most of it neither 0 nor 255"
        copy = f"gdal_translate -b 1 -b 2 -b 3 {path.name} rgb.tif"
        cure = f"if it is another band, leave it out: `{copy}`"
        raise FileProblem(path, got, "0 where nothing is, and 255", cure)
    if seen is not None and not seen.any():
        raise FileProblem(path, "nothing but what is declared as empty", "some pixels", remedy)


def _meaning(
    header: RasterHeader, bands: tuple[int, ...], colours: _Pixels | None = None
) -> Meaning:
    alpha = header.colours.index(_ALPHA) + 1 if _ALPHA in header.colours else None
    nodata = [header.nodata[band - 1] for band in bands]
    return Meaning(
        bands,
        alpha,
        None if None in nodata else np.array(nodata, np.float64),
        header.has_mask,
        colours,
    )


def _colour_table(source: rasterio.DatasetReader) -> _Pixels:
    """(256, 4) uint8; black for indices without a colour."""
    table = np.zeros((256, 4), np.uint8)
    table[:, 3] = 255
    for index, colour in source.colormap(1).items():
        table[index] = colour
    return table
