"""Tiny datasets in the real layouts, written at test time."""

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import rasterio
from rasterio import Affine
from rasterio.errors import NotGeoreferencedWarning

from app.base.azimuth import NUM_BINS, class_to_degrees, degrees_to_class
from app.base.tasks import BACKGROUND_CLASS, FLAT_CLASS

Points = npt.ArrayLike  # (K, 2), x and y in pixels

IMAGES, MASKS, LISTS = (
    "images_roof_centered_geotiff",
    "masks_segments_reviewed",
    "filenames_train_val_test_split",
)

# Where one of RID's images lies: pixels in degrees of longitude and latitude, north up.
RID_TRANSFORM = Affine(1.341104507446289e-06, 0, 11.99156, 0, -8.903e-07, 48.40017)
# From one image to the next: more than the 512 of a real one, so that they share no ground.
_STEP_PX = 600
# Real names: whole numbers with gaps.
RID_IDS = ("2", "3", "7", "8", "9", "10", "11", "12", "14", "391", "811", "1011", "1439", "2060")


def draw_planes(size_px: int, planes: Mapping[int, Points]) -> npt.NDArray[np.uint8]:
    """Segments as RID drew them: polygons class by class, edges included, later classes on top."""
    segments = np.full((size_px, size_px), BACKGROUND_CLASS, np.uint8)
    for class_id in sorted(planes):
        corners = np.floor(np.asarray(planes[class_id])).astype(np.int32)
        cv2.fillPoly(segments, [corners], class_id)
    return segments


def gable(size_px: int, azimuth_deg: float) -> npt.NDArray[np.uint8]:
    """A gable roof in the middle, one plane running down towards azimuth_deg."""
    long, wide = 0.36 * size_px, 0.27 * size_px
    planes = {
        0: [(-long, 0), (long, 0), (long, -wide), (-long, -wide)],
        180: [(-long, 0), (long, 0), (long, wide), (-long, wide)],
    }
    return _draw_turned(size_px, planes, azimuth_deg)


def hip_roof(size_px: int, azimuth_deg: float) -> npt.NDArray[np.uint8]:
    """A hip roof in the middle: four planes of equal slope, a long one towards azimuth_deg."""
    long, wide = 0.4 * size_px, 0.25 * size_px
    top = long - wide  # half the ridge: hips run at 45 degrees in plan
    planes = {
        0: [(-long, -wide), (long, -wide), (top, 0), (-top, 0)],
        90: [(long, -wide), (long, wide), (top, 0)],
        180: [(long, wide), (-long, wide), (-top, 0), (top, 0)],
        270: [(-long, wide), (-long, -wide), (-top, 0)],
    }
    return _draw_turned(size_px, planes, azimuth_deg)


def _draw_turned(
    size_px: int, planes: Mapping[int, Points], azimuth_deg: float
) -> npt.NDArray[np.uint8]:
    """Segments of a roof given around its centre, turned clockwise. planes: by degrees."""
    turn = np.radians(azimuth_deg)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    turned = {
        int(degrees_to_class(plane_deg + azimuth_deg)): np.asarray(points) @ matrix.T + size_px / 2
        for plane_deg, points in planes.items()
    }
    return draw_planes(size_px, turned)


def photograph(segments: npt.NDArray[np.uint8], seed: int) -> npt.NDArray[np.uint8]:
    """(3, H, W) uint8: green ground, planes the brighter the more they face south, some noise."""
    rng = np.random.default_rng(seed)
    colours = np.zeros((BACKGROUND_CLASS + 1, 3))
    facing_south = -np.cos(np.radians(class_to_degrees(np.arange(NUM_BINS))))
    colours[:NUM_BINS] = np.array([150, 90, 70]) * (1 + 0.6 * facing_south[:, None])
    colours[FLAT_CLASS] = (160, 160, 160)
    colours[BACKGROUND_CLASS] = (60, 90, 50)
    image = colours[segments] + rng.normal(0, 6, (*segments.shape, 3))
    return np.ascontiguousarray(np.clip(image, 0, 255).astype(np.uint8).transpose(2, 0, 1))


def write_fake_rid(
    root: Path,
    num_train: int = 4,
    num_val: int = 2,
    num_test: int = 2,
    size_px: int = 64,
    superstructures: bool = False,
) -> list[str]:
    """A RID tree with one house per image, gables and hip roofs of all directions in turn.

    No two images show the same ground.

    Args:
        root: Where the folders go, e.g. `channel/RID_dataset`.
        num_train: Samples of the train list; with the other two lists 14 at most.
        num_val: Samples of the val list.
        num_test: Samples of the test list.
        size_px: Width and height of images and masks.
        superstructures: Whether there are masks of superstructures: a chimney on each house.

    Returns:
        The IDs, train first, then val, then test, as in the lists of fold 1.
    """
    ids = list(RID_IDS[: num_train + num_val + num_test])
    for index, sample_id in enumerate(ids):
        draw = (gable, hip_roof)[index % 2]
        segments = draw(size_px, 22.5 * (5 * index % NUM_BINS))
        write_rid_image(root, sample_id, photograph(segments, seed=index))
        write_rid_mask(root, sample_id, segments)
        if superstructures:
            parts = np.full_like(segments, 8)
            parts[size_px // 2 :, size_px // 2 :][:4, :4] = 4
            write_rid_mask(root, sample_id, parts, "masks_superstructures_reviewed")
    for fold in range(1, 6):
        # The folds differ in val; test is the same in all.
        rest = np.roll(ids[: num_train + num_val], num_val * (fold - 1)).tolist()
        write_rid_list(root, f"train_filenames_{fold}_rev.txt", rest[:num_train])
        write_rid_list(root, f"val_filenames_{fold}_rev.txt", rest[num_train:])
        write_rid_list(root, f"test_filenames_{fold}_rev.txt", ids[num_train + num_val :])
    return ids


def rid_transform(east_px: float = 0, south_px: float = 0) -> Affine:
    """Where an image lies that is so many pixels east and south of RID_TRANSFORM."""
    return RID_TRANSFORM @ Affine.translation(east_px, south_px)


def image_path(root: Path, sample_id: str) -> Path:
    """Of a RID tree's image."""
    return root / IMAGES / f"{sample_id}.tif"


def mask_path(root: Path, sample_id: str) -> Path:
    """Of a RID tree's mask of segments."""
    return root / MASKS / f"{sample_id}.png"


def write_rid_image(
    root: Path,
    sample_id: str,
    image: npt.NDArray[np.uint8],
    transform: Affine | None = None,
) -> Path:
    """A GeoTIFF as in RID's release: RGB, deflate, EPSG:4326.

    Args:
        root: Root of the tree.
        sample_id: A number, which gives the image its own ground unless `transform` does.
        image: (3, H, W).
        transform: From pixels to degrees.
    """
    path = image_path(root, sample_id)
    transform = transform or rid_transform(east_px=_STEP_PX * int(sample_id))
    return write_raster(path, image, compress="deflate", crs="EPSG:4326", transform=transform)


def write_rid_mask(
    root: Path,
    sample_id: str,
    mask: npt.NDArray[np.uint8],
    folder: str = MASKS,
) -> Path:
    """A PNG of class numbers, as in RID's release."""
    return write_raster(root / folder / f"{sample_id}.png", mask[None])


def write_rid_list(root: Path, name: str, sample_ids: Sequence[str]) -> None:
    """A list as in RID's release: names end in .png though the images are .tif, lines in CR LF."""
    folder = root / LISTS
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{sample_id}.png\r\n" for sample_id in sample_ids)
    (folder / name).write_bytes(text.encode())


def write_raster(path: Path, bands: npt.NDArray[np.generic], **options: object) -> Path:
    """Write (B, H, W) bands as PNG or TIFF, whichever the name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = bands.shape
    options["driver"] = "PNG" if path.suffix.lower() == ".png" else "GTiff"
    options |= {"count": count, "height": height, "width": width, "dtype": bands.dtype}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", **options) as file:
            file.write(bands)
    return path
