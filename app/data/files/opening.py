"""Raster files opened: bounded memory, never another file, errors in one line."""

import contextlib
import functools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import rasterio
from rasterio.env import set_gdal_config
from rasterio.errors import RasterioError

from app.data.files.problems import FileProblem, check_inside

# Unpacked blocks in memory. GDAL's default is 5 % of the memory, in every process.
CACHE_BYTES: Final = 64 * 2**20
_OPTIONS: Final = {
    # rasterio takes bytes here, GDAL's own environment variable megabytes.
    "GDAL_CACHEMAX": CACHE_BYTES,
    # GDAL's fast path for whole PNGs leaves what a truncated file lacks uninitialised and reports
    # no error (GDAL 3.10).
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO",
    # A truncated JPEG is a warning of its library, and grey from there on.
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "TRUE",
    # GDAL lists the folder at every opening, unless told not to, and follows what it finds there.
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
}
# By the ending; all others are TIFFs.
_DRIVERS: Final = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
# A text beside a raster; of more than this it is none.
_MAX_TEXT_BYTES: Final = 2**20
_MAX_FOLDERS_KEPT: Final = 32
_MASK_END: Final = ".msk"
_TEXT_END: Final = ".aux.xml"


_threads = threading.local()


def _set_options() -> None:
    """Set GDAL's options, which hold for reads too: once in every thread.

    In the main thread rasterio sets them for the process, in others for that thread alone.
    rasterio.Env would take them back while other threads read.
    """
    if not getattr(_threads, "is_set", False):
        for key, value in _OPTIONS.items():
            set_gdal_config(key, value)
        _threads.is_set = True


def hold_blocks(num_bytes: int) -> None:
    """Let GDAL keep so many bytes of unpacked blocks from here on, where that is more than usual.

    For the whole process, until a thread opens its first file.
    """
    _set_options()
    set_gdal_config("GDAL_CACHEMAX", max(CACHE_BYTES, num_bytes))


def open_source(
    path: Path,
    root: Path,
    remedy: str,
    *,
    complete_size_bytes: int | None = None,
    with_georeference: bool = True,
) -> rasterio.DatasetReader:
    """A raster file, open.

    Args:
        path: A TIFF, or a PNG or JPEG where the name ends so.
        root: The dataset's folder; a symlink must not lead outside it.
        remedy: What the user should do about a bad file.
        complete_size_bytes: Size of the file when all of it was there. Where it still has this
            size, windows of uncompressed strips are read without the rest of their rows, several
            times sooner; that way GDAL takes what a truncated file lacks as zeros.
        with_georeference: Whether to look where it lies, which takes four times as long.

    Raises:
        FileProblem: If it is no raster file, or leads outside of root.
    """
    check_inside(path, root, remedy)
    _set_options()
    # Named, because GDAL goes by content, and some formats point to other files.
    driver = _DRIVERS.get(path.suffix.lower(), "GTiff")
    options = {} if with_georeference or driver != "GTiff" else {"GEOREF_SOURCES": "NONE"}
    is_complete = complete_size_bytes is not None and path.stat().st_size == complete_size_bytes
    # Looked at when a file is opened, for all of its reads; off by default.
    direct_io = rasterio.Env(GTIFF_DIRECT_IO="YES") if is_complete else contextlib.nullcontext()
    with problems_of(path, remedy), direct_io:
        return rasterio.open(path, driver=driver, **options)


@contextlib.contextmanager
def problems_of(path: Path, remedy: str) -> Iterator[None]:
    """Turns errors of opening and reading a file into a FileProblem that names their cause."""
    try:
        yield
    except UnicodeEncodeError as error:
        expected = "names of folders and files that are"
        raise FileProblem(
            path, "a name that is not UTF-8", expected, "rename the folder"
        ) from error
    # MemoryError: a lying header.
    except (RasterioError, OSError, MemoryError) as error:
        reason = error.__cause__ or error  # rasterio's own text only points to its cause
        raise FileProblem(
            path,
            f"an unreadable file ({str(reason) or type(reason).__name__})",
            "a complete TIFF or PNG; is it truncated?",
            remedy,
        ) from error
    except ValueError as error:  # rasterio's for types of pixels and names it cannot take
        raise FileProblem(
            path, f"a file that cannot be used ({error})", "a plain TIFF or PNG", remedy
        ) from error


def mask_beside(path: Path) -> Path | None:
    """The mask that GDAL keeps beside a raster, if there is one."""
    mask_path = path.with_name(path.name + _MASK_END)
    return mask_path if mask_path.name in _names_beside(path) else None


def texts_beside(path: Path, root: Path, remedy: str) -> tuple[str | None, str | None]:
    """What files beside a raster say of where it lies: GDAL's `.aux.xml`, and a world file.

    Args:
        path: The raster.
        root: The dataset's folder; a symlink must not lead outside it.
        remedy: What the user should do about a bad file.

    Returns:
        Both texts, None where there is no such file.

    Raises:
        FileProblem: If one is there and cannot be read.
    """
    names = {name.lower(): name for name in _names_beside(path)}
    world = [name.lower() for name in world_names(path)]
    texts: list[str | None] = []
    for candidates in ([f"{path.name}{_TEXT_END}".lower()], world):
        found = [path.with_name(names[name]) for name in candidates if name in names]
        texts.append(_read_text(found[0], root, remedy) if found else None)
    return texts[0], texts[1]


def world_names(path: Path) -> list[str]:
    """What a world file of a raster may be called, in any case."""
    ending = path.suffix[1:].lower()
    return [f"{path.stem}.{end}" for end in (f"{ending[:1]}{ending[-1:]}w", f"{ending}w", "wld")]


def find_misnamed(path: Path) -> list[str]:
    """Files beside a raster without georeference that seem to be meant as its world file."""
    stems = (path.stem.lower(), path.name.lower())
    return sorted(
        name
        for name in _names_beside(path)
        if name.lower().rpartition(".")[0] in stems and name.lower().endswith(("w", ".wld"))
    )


def _read_text(path: Path, root: Path, remedy: str) -> str:
    check_inside(path, root, remedy)
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_TEXT_BYTES + 1)
    except OSError as error:
        raise FileProblem(path, f"no text ({error.strerror})", "a readable file", remedy) from error
    if len(content) > _MAX_TEXT_BYTES:
        got = f"more than {_MAX_TEXT_BYTES} bytes"
        raise FileProblem(path, got, "a short text beside an image", remedy)
    return content.decode("utf-8", errors="replace")


def _names_beside(path: Path) -> frozenset[str]:
    """The files of a raster's folder that say something of the rasters there."""
    try:
        return _list_beside(path.parent, path.parent.stat().st_mtime_ns)
    except OSError:
        return frozenset()  # the raster itself will not open either


# On a mount of S3 every look is a request: a folder is listed once, while its time is the same.
@functools.lru_cache(maxsize=_MAX_FOLDERS_KEPT)
def _list_beside(folder: Path, modified_ns: int) -> frozenset[str]:  # noqa: ARG001 - part of the key
    ends = (_MASK_END, _TEXT_END, ".wld", "w")
    return frozenset(p.name for p in folder.iterdir() if p.name.lower().endswith(ends))
