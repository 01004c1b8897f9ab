"""What a raster file says of itself before its pixels are read."""

import contextlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, NamedTuple

import rasterio

from app.base.errors import join_problems
from app.data.files.georeference import Georeference, offset_px, read_georeference
from app.data.files.opening import open_source, problems_of
from app.data.files.problems import FileProblem
from app.data.files.turns import AS_STORED, Turn

_MAX_COLOURS_SHOWN: Final = 5
_STRUCTURE: Final = "IMAGE_STRUCTURE"
# A label further off is another place's; half a pixel is the rounding of a writer.
_MAX_OFFSET_PX: Final = 0.5
_ROUNDING_PX: Final = 0.01


class RasterHeader(NamedTuple):
    """What a raster file says of itself before its pixels are read.

    Attributes:
        path: The file.
        num_bands: Alpha included.
        dtype: Type of all bands, as NumPy names it.
        height_px: Rows, north up.
        width_px: Columns, north up.
        colours: What each band is declared to be, as GDAL names it: red, alpha, gray, undefined.
        num_bits: Bits of a value that are stored.
        colour_space: What the numbers are if no plain colours: CMYK, or MINISWHITE, where 0 is
            white. Empty if they are.
        nodata: The value that stands for nothing, by band.
        has_mask: Whether a mask inside the file says which pixels are there.
        georeference: Where it lies; None where nothing says so, or nobody asked.
    """

    path: Path
    num_bands: int
    dtype: str
    height_px: int
    width_px: int
    colours: tuple[str, ...]
    num_bits: int = 8
    colour_space: str = ""
    nodata: tuple[float | None, ...] = ()
    has_mask: bool = False
    georeference: Georeference | None = None

    @property
    def size(self) -> str:
        """Width x height, for messages."""
        return f"{self.width_px} x {self.height_px}"

    @property
    def bands(self) -> str:
        """Bands, their type and their colours, for messages."""
        shown = ", ".join(self.colours[:_MAX_COLOURS_SHOWN])
        more = ", ..." if self.num_bands > _MAX_COLOURS_SHOWN else ""
        plural = "s" if self.num_bands != 1 else ""
        space = f" in {self.colour_space}" if self.colour_space else ""
        return f"{self.num_bands} band{plural} of {self.dtype}{space} ({shown}{more})"

    @property
    def gsd_m(self) -> float | None:
        """Metres per pixel; None without georeference."""
        return None if self.georeference is None else self.georeference.gsd_m

    @property
    def bounds(self) -> tuple[float, float, float, float] | None:
        """West, south, east, north in units of `crs`; None without georeference."""
        return None if self.georeference is None else self.georeference.bounds

    @property
    def crs(self) -> str | None:
        """Coordinate reference system as text; None if none is named."""
        return None if self.georeference is None else self.georeference.crs

    def assumed_scale(self, assumed_gsd_m: float) -> str:
        """What has to be taken for granted of its scale; empty if nothing.

        Args:
            assumed_gsd_m: Metres per pixel that are taken where nothing says so.
        """
        if self.georeference is None:
            return f"no georeference, taken as {assumed_gsd_m} m per pixel"
        return self.georeference.assumed


def describe_assumed(assumed: Mapping[str, int]) -> str:
    """What is taken for granted of the scales of several files; empty if nothing.

    Args:
        assumed: Files by `RasterHeader.assumed_scale`.
    """
    total = sum(assumed.values())
    found = [f"{what} ({count} of {total} looked at)" for what, count in assumed.items() if what]
    return join_problems(found)


@contextlib.contextmanager
def open_raster(
    path: Path, root: Path, remedy: str
) -> Iterator[tuple[RasterHeader, rasterio.DatasetReader]]:
    """A raster file while it is open, and its header.

    Args:
        path: A TIFF, or a PNG where the name ends so.
        root: The dataset's folder; a symlink must not lead outside it.
        remedy: What the user should do about a bad file.

    Raises:
        FileProblem: If it cannot be read, now or in the with block, or leads outside of root.
    """
    # The reader's own `with` would set up an environment for every file.
    with contextlib.closing(open_source(path, root, remedy)) as source:
        header = describe(source, path)
        georeference = read_georeference(source, path, root, remedy)
        if georeference is not None:
            height_px, width_px = georeference.turn.size(source.height, source.width)
            header = header._replace(
                height_px=height_px, width_px=width_px, georeference=georeference
            )
        with problems_of(path, remedy):
            yield header, source


def read_header(path: Path, root: Path, remedy: str) -> RasterHeader:
    """A raster file's header.

    Args:
        path: A TIFF, or a PNG where the name ends so.
        root: The dataset's folder; a symlink must not lead outside it.
        remedy: What the user should do about a bad file.

    Raises:
        FileProblem: If it is no raster file, or leads outside of root.
    """
    with open_raster(path, root, remedy) as (header, _):
        return header


def describe(source: rasterio.DatasetReader, path: Path) -> RasterHeader:
    """An open raster's header, as stored, without its place."""
    structure = source.tags(ns=_STRUCTURE)
    colour_space = structure.get("SOURCE_COLOR_SPACE", "")
    if structure.get("MINISWHITE") == "YES":
        colour_space = "MINISWHITE"
    flags = {flag.name for band_flags in source.mask_flag_enums[:1] for flag in band_flags}
    return RasterHeader(
        path=path,
        num_bands=source.count,
        dtype=source.dtypes[0] if len(set(source.dtypes)) == 1 else " and ".join(source.dtypes),
        height_px=source.height,
        width_px=source.width,
        colours=tuple(colour.name for colour in source.colorinterp),
        num_bits=int(source.tags(1, ns=_STRUCTURE).get("NBITS", "8")),
        # JPEG's own; GDAL returns red, green and blue.
        colour_space="" if colour_space == "YCbCr" else colour_space,
        nodata=source.nodatavals,
        # Where nodata values make the mask, they are read from the pixels.
        has_mask="per_dataset" in flags and not flags & {"alpha", "nodata"},
    )


def fit_label(label: RasterHeader, photo: RasterHeader, remedy: str) -> Turn:
    """How a label is turned to lie on its photo, which is turned north up.

    A label that does not say where it lies has the photo's rows.

    Raises:
        FileProblem: If it is of another size, or lies more than half a pixel off.
    """
    own, place = label.georeference, photo.georeference
    photo_turn = AS_STORED if place is None else place.turn
    turn = photo_turn if own is None else own.turn
    height_px, width_px = label.height_px, label.width_px
    if own is None:
        height_px, width_px = turn.size(height_px, width_px)
    if (height_px, width_px) != (photo.height_px, photo.width_px):
        expected = f"{photo.size}, the size of {photo.path}"
        raise FileProblem(label.path, f"{label.size} pixels", expected, remedy)
    if own is None:
        return turn
    if place is None:
        if turn != AS_STORED:
            got = "a georeference by which it is not stored north up"
            expected = f"one in {photo.path} as well, which has none"
            raise FileProblem(label.path, got, expected, "give both the same one")
        return turn
    distance_px = offset_px(own, place, (height_px, width_px))
    # Written so that a distance that is no number is refused.
    if not distance_px <= _MAX_OFFSET_PX + _ROUNDING_PX:
        off = f"{distance_px:.4g} pixels off" if math.isfinite(distance_px) else "nowhere near"
        expected = f"the place of {photo.path}, {place.place} ({off})"
        raise FileProblem(label.path, f"a label whose {own.place}", expected, remedy)
    return turn
