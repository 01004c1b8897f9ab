"""All files about the roofs of a photo, in one call."""

from collections.abc import Collection
from pathlib import Path
from typing import Final, Literal, get_args

from app.roofs.model import Roofs
from app.roofs.writing.drawn import PhotoView
from app.roofs.writing.geojson import write_geojson
from app.roofs.writing.geopackage import write_geopackage
from app.roofs.writing.origin import Origin
from app.roofs.writing.page import write_page
from app.roofs.writing.takeoff_json import write_takeoff_json

Format = Literal["gpkg", "geojson"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
DEFAULT_FORMATS: Final[tuple[Format, ...]] = ("gpkg",)


def write_outputs(
    folder: Path,
    roofs: Roofs,
    view: PhotoView,
    origin: Origin,
    formats: Collection[Format] = DEFAULT_FORMATS,
    scratch: Path | None = None,
) -> tuple[Path, ...]:
    """Write the take-off as page and JSON, and the shapes in each of the formats.

    Equal input makes equal bytes. Each file is replaced as a whole or not at all; the page comes
    last, so where it is new, all others are.

    Args:
        folder: Where they go; it is there. Names begin with the photo's.
        roofs: The roofs.
        view: The photo below them on the page.
        origin: Where they come from.
        formats: Of the shapes.
        scratch: A folder on a disk of this machine, for what is not finished; by default that of
            temporary files.

    Returns:
        The files, in the order in which they were written.

    Raises:
        DataError: If the photo's reference system cannot be brought to longitude and latitude.
        OSError: If a file cannot be written.
    """
    written: list[Path] = []
    if "gpkg" in formats:
        written.append(folder / f"{roofs.photo}_roofs.gpkg")
        write_geopackage(written[-1], roofs, origin, scratch)
    if "geojson" in formats:
        written.extend(write_geojson(folder, roofs, origin))
    written.append(folder / f"{roofs.photo}_takeoff.json")
    write_takeoff_json(written[-1], roofs, origin)
    written.append(folder / f"{roofs.photo}_takeoff.html")
    write_page(written[-1], roofs, view, origin)
    return tuple(written)
