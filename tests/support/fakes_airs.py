"""Tiny AIRS trees in the layouts of the original release and of its mirror."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rasterio import Affine

from app.data.airs.dataset import AirsDataset
from tests.support.fakes import write_raster

# New Zealand Transverse Mercator, which shows metres 0.03896 % too short here.
GEO_TAGS = {"crs": "EPSG:2193", "transform": Affine(0.075, 0, 1_570_000, 0, -0.075, 5_180_000)}
GROUND_GSD_M = 0.0750292


def houses(height_px: int, width_px: int | None = None) -> npt.NDArray[np.uint8]:
    """(H, W) uint8 0/1 roof: rows of square houses 8 m wide, 4 m apart (at 0.075 m)."""
    rows = np.arange(height_px)[:, None] % 160
    columns = np.arange(width_px or height_px)[None] % 160
    return ((rows >= 53) & (columns >= 53)).astype(np.uint8)


def aerial(roof: npt.NDArray[np.uint8], seed: int = 0) -> npt.NDArray[np.uint8]:
    """(3, H, W) uint8: grass, and red roofs on it, with noise by which every pixel is known."""
    colours = np.array([[60, 90, 50], [150, 80, 60]])
    noise = np.random.default_rng(seed).integers(0, 50, (*roof.shape, 3))
    image = (colours[roof] + noise).astype(np.uint8)
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def write_tile(
    split_dir: Path,
    name: str,
    roof: npt.NDArray[np.uint8],
    *,
    seed: int = 0,
    roof_value: int = 1,
    label_bands: int = 1,
    has_preview: bool = True,
    options: dict[str, object] | None = None,
) -> tuple[Path, Path]:
    """Write image, label and preview of a tile; the paths of the first two.

    Args:
        split_dir: Such as `train/`.
        name: Such as christchurch_3.
        roof: (H, W) uint8 0/1.
        seed: Seed of the image's noise.
        roof_value: 1 or 255.
        label_bands: 1 or 3.
        has_preview: Whether there is a file _vis, as in both releases.
        options: Options of rasterio, for image and label; by default georeference and deflate.
    """
    options = {"compress": "deflate", **GEO_TAGS} if options is None else options
    image_path = write_raster(split_dir / f"image/{name}.tif", aerial(roof, seed), **options)
    label = np.repeat((roof * np.uint8(roof_value))[None], label_bands, axis=0)
    label_path = write_raster(split_dir / f"label/{name}.tif", label, **options)
    if has_preview:
        preview = np.repeat((roof * np.uint8(255))[None], 3, axis=0)
        write_raster(split_dir / f"label/{name}_vis.tif", preview, compress="deflate")
    return image_path, label_path


def write_list(path: Path, names: Sequence[str], ending: str = "") -> None:
    """A list of tiles, one a line."""
    path.write_text("".join(f"{name}{ending}\n" for name in names))


def write_mirror(root: Path, size_px: int = 160) -> None:
    """The mirror: train tiles 1, 2 and 11 (listed with .tif), val 3 (without), test 4 (no list)."""
    for split, numbers in (("train", (1, 2, 11)), ("val", (3,)), ("test", (4,))):
        for number in numbers:
            write_tile(root / split, f"christchurch_{number}", houses(size_px), seed=number)
    write_list(root / "train.txt", [f"christchurch_{n}" for n in (1, 2, 11)], ".tif")
    write_list(root / "val.txt", ["christchurch_3"])


def write_original(root: Path, size_px: int = 160) -> None:
    """The original release: trainval/ with tiles 1, 2 and 3, test images without labels apart."""
    for split, numbers in (("train", (1, 2)), ("val", (3,))):
        names = [f"christchurch_{number}" for number in numbers]
        for number, name in zip(numbers, names, strict=True):
            write_tile(root / "trainval" / split, name, houses(size_px), seed=number)
        write_list(root / f"trainval/{split}.txt", names, ".tif" if split == "train" else "")
    write_raster(root / "test/image/christchurch_4.tif", aerial(houses(size_px)), **GEO_TAGS)


def tile_names(dataset: AirsDataset) -> list[str]:
    """Of its tiles, in order."""
    return list(dict.fromkeys(sample_id.split("@")[0] for sample_id in dataset.sample_ids))


def numbers(dataset: AirsDataset) -> list[int]:
    """In the names of its tiles."""
    return [int(name.removeprefix("christchurch_")) for name in tile_names(dataset)]
