"""Damaged datasets: every way we know in which a file, a list or a folder can be wrong.

A variant is a whole tree in the real layout with one thing wrong in it. It says which samples must
be set aside, or that the dataset must be refused as a whole.
"""

import gzip
import os
import pickle
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import rasterio
from rasterio import Affine

from tests.support.fakes import write_raster

Damage = Callable[[Path], None]

# A header that promises 10 GB, in a file of a few hundred bytes.
LYING_PX = 60_000


@dataclass(frozen=True)
class Variant:
    """A damaged tree and the result that reading it must have.

    Attributes:
        name: What is wrong.
        dataset: "rid", "roofline", "airs" or "own".
        damage: Spoils a good tree; gets its root.
        bad: Samples that must be set aside; all others must be read.
        num_features: Shapes that must be set aside; all samples are read.
        num_absent: Names beyond the good samples that a list holds and no file has.
        refused: Whether the dataset as a whole must be refused instead.
        too_many: Whether its readers open, and so much is bad that a run stops.
        culprit: What every message must name: a file, a folder or a sample.
    """

    name: str
    dataset: str
    damage: Damage
    bad: frozenset[str] = frozenset()
    num_features: int = 0
    num_absent: int = 0
    refused: bool = False
    too_many: bool = False
    culprit: str = ""

    def __str__(self) -> str:
        return f"{self.dataset}: {self.name}"


# --- Damages of one file, whatever it holds ---


def keep(num_bytes: int) -> Damage:
    """Only the first bytes are left."""
    return lambda path: _replace(path, path.read_bytes()[:num_bytes])


def keep_share(share: float) -> Damage:
    """Only the first part is left."""
    return lambda path: _replace(path, path.read_bytes()[: int(share * path.stat().st_size)])


def fill(content: bytes) -> Damage:
    """Something else under the file's name."""
    return lambda path: _replace(path, content)


def zero(first: float, last: float) -> Damage:
    """A part overwritten with zeros, as a full disk or a lost block leaves it."""

    def damage(path: Path) -> None:
        content = path.read_bytes()
        start, stop = int(first * len(content)), int(last * len(content))
        _replace(path, content[:start] + bytes(stop - start) + content[stop:])

    return damage


def link_to(target: str) -> Damage:
    """A symbolic link in place of the file."""

    def damage(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return damage


def link_outside(path: Path) -> None:
    """The file itself, moved out of the dataset, and a link to it."""
    root = next(folder for folder in path.parents if folder.name == "dataset")
    outside = root.with_name(f"outside-{path.name}")
    shutil.move(path, outside)
    path.symlink_to(outside)


def become_folder(path: Path) -> None:
    """A folder with the file's name."""
    path.unlink()
    path.mkdir()


def become_pipe(path: Path) -> None:
    """A named pipe, which nobody writes to: opening it waits for ever."""
    path.unlink()
    os.mkfifo(path)


def zip_it(path: Path) -> None:
    """An archive under the file's own name."""
    archive = path.with_name("archive.zip")
    with zipfile.ZipFile(archive, "w") as file:
        file.write(path, path.name)
    archive.replace(path)


def gzip_it(path: Path) -> None:
    """Compressed once more, the name kept."""
    _replace(path, gzip.compress(path.read_bytes()))


def _replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


# What no reader may take for its file.
ANY_FILE: Mapping[str, Damage] = {
    "of no bytes": keep(0),
    "of 1 byte": keep(1),
    "of 4 bytes": keep(4),
    "of 8 bytes": keep(8),
    "of 100 bytes": keep(100),
    "cut to a quarter": keep_share(0.25),
    "cut to half": keep_share(0.5),
    "cut to three quarters": keep_share(0.75),
    "all zeros": zero(0, 1),
    "first half zeros": zero(0, 0.5),
    "random bytes": fill(np.random.default_rng(0).bytes(5000)),
    "text": fill(b"hello\n"),
    "git lfs pointer": fill(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"),
    "web page": fill(b"<!DOCTYPE html><html><body>Quota exceeded</body></html>\n"),
    "zip": zip_it,
    "gzip": gzip_it,
    "pickle": fill(pickle.dumps({"a": 1})),
    "virtual raster": fill(
        b'<VRTDataset rasterXSize="64" rasterYSize="64"><VRTRasterBand dataType="Byte" band="1">'
        b"<SimpleSource><SourceFilename>/etc/hostname</SourceFilename></SimpleSource>"
        b"</VRTRasterBand></VRTDataset>"
    ),
    "folder": become_folder,
    "pipe": become_pipe,
    "link outside": link_outside,
    "link to /dev/zero": link_to("/dev/zero"),
    "link to a secret": link_to("/etc/passwd"),
    "link to nothing": link_to("nowhere"),
}


# --- Damages of a raster file ---


def other_bands(change: Callable[[npt.NDArray[np.generic]], npt.NDArray[np.generic]]) -> Damage:
    """The same file with other (B, H, W) bands; its georeference is kept."""

    def damage(path: Path) -> None:
        with rasterio.open(path) as file:
            bands, crs, transform = file.read(), file.crs, file.transform
        path.unlink()
        options = {} if crs is None else {"crs": crs, "transform": transform}
        write_raster(path, np.ascontiguousarray(change(bands)), **options)

    return damage


def georeference(crs: str, transform: Affine) -> Damage:
    """The same pixels in another place or scale."""

    def damage(path: Path) -> None:
        with rasterio.open(path) as file:
            bands = file.read()
        path.unlink()
        write_raster(path, bands, crs=crs, transform=transform)

    return damage


def as_type(dtype: str) -> Damage:
    """The same values in another type."""
    return other_bands(lambda bands: bands.astype(dtype))


def set_value(value: int) -> Damage:
    """A few pixels of a value."""

    def change(bands: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        bands[:, 3:5, 7:11] = value
        return bands

    return other_bands(change)


def encode(suffix: str) -> Damage:
    """The picture in another format under the old name."""

    def damage(path: Path) -> None:
        picture = np.full((64, 64, 3), 99, np.uint8)
        _replace(path, cv2.imencode(suffix, picture)[1].tobytes())

    return damage


def lying_png(colour_type: int) -> Damage:
    """A PNG whose header promises 60,000 x 60,000 pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", LYING_PX, LYING_PX, 8, colour_type, 0, 0, 0)
    parts = [
        chunk(b"IHDR", header),
        chunk(b"IDAT", zlib.compress(bytes(1000))),
        chunk(b"IEND", b""),
    ]
    return fill(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def lying_tiff(num_bands: int, num_strips: int) -> Damage:
    """A TIFF whose header promises 60,000 x 60,000 pixels, in strips that are not there."""
    rows_per_strip = LYING_PX // num_strips
    size = LYING_PX * rows_per_strip * num_bands % 2**32
    values: dict[int, list[int]] = {
        256: [LYING_PX],
        257: [LYING_PX],
        258: [8] * num_bands,
        259: [1],
        262: [2 if num_bands == 3 else 1],
        273: [8] * num_strips,
        277: [num_bands],
        278: [rows_per_strip],
        279: [size] * num_strips,
    }
    directory_end = 8 + 2 + 12 * len(values) + 4
    entries, extra = b"", b""
    for tag, numbers in values.items():
        content = struct.pack(f"<{len(numbers)}I", *numbers)
        if len(content) > 4:
            offset = directory_end + len(extra)
            extra += content
            content = struct.pack("<I", offset)
        entries += struct.pack("<HHI", tag, 4, len(numbers)) + content
    directory = struct.pack("<H", len(values)) + entries + struct.pack("<I", 0)
    return fill(b"II*\0" + struct.pack("<I", 8) + directory + extra)


def sparse_tiff(num_bands: int) -> Damage:
    """A sound TIFF of 60,000 x 60,000 pixels none of which is stored."""

    def damage(path: Path) -> None:
        path.unlink()
        options = {"driver": "GTiff", "width": LYING_PX, "height": LYING_PX, "dtype": "uint8"}
        tiles = {"tiled": True, "blockxsize": 4096, "blockysize": 4096, "sparse_ok": True}
        with rasterio.open(path, "w", count=num_bands, **options, **tiles):
            pass

    return damage


def missing_strips(path: Path) -> None:
    """The header points at pixel data behind the end of the file."""
    content = bytearray(path.read_bytes())
    order = "<" if content[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", content, 4)
    (num_entries,) = struct.unpack_from(f"{order}H", content, start)
    for entry in range(num_entries):
        place = start + 2 + 12 * entry
        tag, kind, count = struct.unpack_from(f"{order}HHI", content, place)
        if tag in (273, 324):  # offsets of strips or tiles, or where they are if there are several
            offsets = place + 8
            if count > 1:
                (offsets,) = struct.unpack_from(f"{order}I", content, place + 8)
            for number in range(count):
                struct.pack_into(f"{order}I", content, offsets + 4 * number, len(content) + 999)
            assert kind == 4
    _replace(path, bytes(content))


# What no reader may take for its raster file.
ANY_RASTER: Mapping[str, Damage] = {
    "of uint16": as_type("uint16"),
    "of int16": as_type("int16"),
    "of float32": as_type("float32"),
    "of float64": as_type("float64"),
    "of int8": as_type("int8"),
    "of two bands": other_bands(lambda bands: np.concatenate((bands, bands))[:2]),
    "smaller": other_bands(lambda bands: bands[:, :60, :60]),
    "larger": other_bands(lambda bands: np.tile(bands, (1, 2, 2))),
    "of one row": other_bands(lambda bands: bands[:, :1]),
    "of one pixel": other_bands(lambda bands: bands[:, :1, :1]),
    "jpeg": encode(".jpg"),
    "bmp": encode(".bmp"),
}
# PNG has no other types than uint8 and uint16.
_TIFF_ONLY = ("of int16", "of float32", "of float64", "of int8")
ANY_PNG = {name: damage for name, damage in ANY_RASTER.items() if name not in _TIFF_ONLY}
