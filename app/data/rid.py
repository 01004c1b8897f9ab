"""RidDataset: the Roof Information Dataset, read from the folders of its release."""

import math
import warnings
from collections.abc import Mapping
from pathlib import Path, PureWindowsPath
from typing import ClassVar, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import rasterio
import torch
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from torch.utils.data import Dataset

from app.data.sample import BadFile, Sample, unknown_depth, unknown_labels
from app.data.targets import lines_from_segments
from app.errors import DataError, join_problems
from app.tasks import BACKGROUND_CLASS, find_task

Split = Literal["train", "val", "test", "all"]

# RID's documented scale, for images without georeference.
_DEFAULT_GSD_M: Final = 0.1
# Outside of this the georeference is wrong, and with it every length in metres.
_MIN_GSD_M, _MAX_GSD_M = 0.01, 1.0


class RidDataset(Dataset[Sample]):
    """Aerial images of houses, and the azimuth class of every roof plane.

    Source: Krapf et al. 2022, "RID - Roof Information Dataset for Computer Vision-Based
    Photovoltaic Potential Assessment", Remote Sens. 14, 2299; release 1.0, doi
    10.14459/2022mp1655470. Licence CC BY-NC; the images are from the Google Maps Static API, for
    non-commercial research only.

    Folders, at the root or in `RID_dataset/` inside it::

        images_roof_centered_geotiff/    ID.tif; or images_roof_centered_png/ with ID.png
        masks_segments_reviewed/         ID.png; or masks_segments/ with ID.png
        filenames_train_val_test_split/  {train,val,test}_filenames_{1..5}_rev.txt

    ID is a whole number without leading zeros, 2..2074 with gaps. A list holds one `ID.png` a line,
    even where the images are .tif, often with CR LF; images, masks and lines are paired by ID. The
    folds 1..5 differ in the part of the village that is val; test is the same in all.

    Images (1880) are 512 x 512 RGB uint8, north up, EPSG:4326, 0.099 m per pixel. Masks are one
    band of uint8 of the same size:

    ======  ================================================================
    value   meaning
    ======  ================================================================
    0..15   roof plane that runs down to N, NNE, NE .. NNW (compass, clockwise)
    16      flat roof plane
    17      background: the last value, not 0
    ======  ================================================================

    Lines are derived from the masks (app.data.targets); depth is not labelled.

    Known defects: images of neighbouring houses overlap, also train with test; 16 groups of images
    are identical; some sheds, garages and large flat roofs are background; the village's streets
    run along the edges of the azimuth bins, so planes of one row may differ by one class.

    Attributes:
        sample_ids: The samples of the split, in the order of its list.
        missing: Files of listed samples that are not there. Those samples are not in sample_ids.
    """

    name: ClassVar = "rid"
    class_names: ClassVar[tuple[str, ...]] = find_task("segments").class_names
    # Folders and the endings of their files; the first that holds any is used.
    image_dirs: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "images_roof_centered_geotiff": (".tif", ".tiff"),
        "images_roof_centered_png": (".png",),
    }
    mask_dirs: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "masks_segments_reviewed": (".png",),
        "masks_segments": (".png",),
    }
    split_dir: ClassVar = "filenames_train_val_test_split"

    def __init__(self, root: Path, split: Split, fold: int = 1) -> None:
        """Find the files of a split. None is opened yet.

        Args:
            root: Folder that holds the folders above, or holds `RID_dataset/` with them.
            split: Name of a list, or "all" for the three lists together.
            fold: Which of the five splits.

        Raises:
            DataError: If a folder or a list is absent or empty, or no listed sample is complete.
        """
        folder = _find_dataset_folder(root)
        problems: list[str] = []
        images = _index_files(folder, self.image_dirs, problems)
        masks = _index_files(folder, self.mask_dirs, problems)
        listed_ids = _read_lists(folder / self.split_dir, split, fold, problems)
        if images is None or masks is None or problems:
            raise DataError(f"RID: {join_problems(problems)}")

        self.missing = [
            _missing_file(sample_id, files)
            for sample_id in listed_ids
            for files in (images, masks)
            if sample_id not in files.by_id
        ]
        incomplete = {bad.sample_id for bad in self.missing}
        self.sample_ids = [sample_id for sample_id in listed_ids if sample_id not in incomplete]
        if not self.sample_ids:
            paths = join_problems([str(bad.path) for bad in self.missing])
            raise DataError(
                f"RID: none of the {len(listed_ids)} samples of split {split}, fold {fold}, has "
                f"an image and a mask: not found: {paths}; copy all folders from the same release"
            )
        self._image_paths = [images.by_id[sample_id] for sample_id in self.sample_ids]
        self._mask_paths = [masks.by_id[sample_id] for sample_id in self.sample_ids]

    def __len__(self) -> int:
        return len(self.sample_ids)

    def paths(self, index: int) -> tuple[Path, Path]:
        """The image and the mask of a sample."""
        return self._image_paths[index], self._mask_paths[index]

    def __getitem__(self, index: int) -> Sample:
        """Read one sample, whole.

        Raises:
            DataError: If its image or mask cannot be read or is not what RID's files are.
        """
        image_path, mask_path = self.paths(index)
        image, gsd_m = _read_image(image_path)
        segments = _read_mask(mask_path)
        if segments.shape != image.shape[1:]:
            raise _file_error(
                mask_path, f"{_size(segments)} pixels", f"{_size(image)}, the size of {image_path}"
            )
        return Sample(
            image=torch.from_numpy(image),
            segments=torch.from_numpy(segments),
            lines=torch.from_numpy(lines_from_segments(segments, gsd_m)),
            depth=unknown_depth(*segments.shape),
            superstructures=unknown_labels(*segments.shape),
            dataset=self.name,
            sample_id=self.sample_ids[index],
            gsd_m=gsd_m,
        )


class _Files(NamedTuple):
    """The files of one folder by the ID in their name, and the ending a new one would have."""

    folder: Path
    suffix: str
    by_id: dict[str, Path]


def _find_dataset_folder(root: Path) -> Path:
    """The folder that holds RID's folders: root, or `RID_dataset` in it."""
    expected = f"a folder with {_either(RidDataset.image_dirs)}, {_either(RidDataset.mask_dirs)} "
    expected += f"and {RidDataset.split_dir}"
    if not root.is_dir():
        raise DataError(f"RID: folder not found: {root}: expected {expected}; correct the path")
    if not any(root.iterdir()):
        raise DataError(
            f"RID: folder is empty: {root}: expected {expected}; copy the dataset there"
        )
    inner = root / "RID_dataset"
    return inner if inner.is_dir() else root


def _index_files(
    folder: Path, names: Mapping[str, tuple[str, ...]], problems: list[str]
) -> _Files | None:
    """The files of the first of the named folders that holds any; None, and a problem, if none."""
    for name, suffixes in names.items():
        by_id: dict[str, Path] = {}
        paths = sorted((folder / name).iterdir()) if (folder / name).is_dir() else []
        for path in paths:
            if path.suffix.lower() not in suffixes:
                continue
            if path.stem in by_id:
                problems.append(
                    f"two files for sample {path.stem} in {folder / name}: got "
                    f"{by_id[path.stem].name} and {path.name}, expected one; remove the other"
                )
            by_id[path.stem] = path
        if by_id:
            return _Files(folder / name, suffixes[0], by_id)
    endings = " or ".join(sorted({suffix for suffixes in names.values() for suffix in suffixes}))
    problems.append(
        f"no folder {_either(names)} with {endings} files in {folder}: found {_found(folder)}; "
        "keep the folder names of the release"
    )
    return None


def _missing_file(sample_id: str, files: _Files) -> BadFile:
    """The file that a listed sample lacks."""
    path = files.folder / f"{sample_id}{files.suffix}"
    reason = f"RID: file not found: {path}; add it, or remove {sample_id} from the lists"
    return BadFile(sample_id, path, reason)


def _read_lists(folder: Path, split: Split, fold: int, problems: list[str]) -> list[str]:
    """The sample IDs that the lists of a split name, each once, in their order."""
    splits = ("train", "val", "test") if split == "all" else (split,)
    if not folder.is_dir():
        problems.append(
            f"no folder {folder.name} in {folder.parent}: found {_found(folder.parent)}; "
            "keep the folder names of the release"
        )
        return []
    paths = [folder / f"{name}_filenames_{fold}_rev.txt" for name in splits]
    sample_ids: list[str] = []
    for path in paths:
        try:
            # Windows wrote the lists: CR LF, perhaps a byte order mark, perhaps backslashes.
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except FileNotFoundError:
            problems.append(
                f"list not found: {path}: found {_found(folder)}; "
                "copy the list there, or choose another fold"
            )
        except (OSError, UnicodeDecodeError) as error:
            problems.append(
                f"list cannot be read: {path}: {error}; expected UTF-8 text, one file name a line"
            )
        else:
            sample_ids += [PureWindowsPath(line.strip()).stem for line in lines if line.strip()]
    if not sample_ids and not problems:
        problems.append(
            f"no sample named in {join_problems([str(path) for path in paths])}: "
            "expected one file name a line; copy the lists of the release"
        )
    return list(dict.fromkeys(sample_ids))


def _either(names: Mapping[str, tuple[str, ...]]) -> str:
    return " or ".join(names)


def _found(folder: Path) -> str:
    """What is in a folder, for a message."""
    return join_problems(sorted(path.name for path in folder.iterdir())) or "nothing"


class _Raster(NamedTuple):
    """A whole raster file: (B, H, W) bands, and for each band whether it is alpha."""

    bands: npt.NDArray[np.generic]
    is_alpha: tuple[bool, ...]
    gsd_m: float


def _read_image(path: Path) -> tuple[npt.NDArray[np.uint8], float]:
    """(3, H, W) uint8 RGB, and metres per pixel."""
    raster = _read_raster(path)
    bands = raster.bands
    if raster.is_alpha == (False, False, False, True):
        bands = bands[:3]
    if bands.dtype != np.uint8 or len(bands) != 3:
        raise _file_error(
            path, _bands(raster), "3 bands (R, G, B) of uint8, or these and an alpha band"
        )
    if not _MIN_GSD_M <= raster.gsd_m <= _MAX_GSD_M:
        raise _file_error(
            path,
            f"a georeference of {raster.gsd_m:.6g} m per pixel",
            f"{_MIN_GSD_M} to {_MAX_GSD_M} m (RID has 0.099)",
        )
    return np.ascontiguousarray(bands, np.uint8), raster.gsd_m


def _read_mask(path: Path) -> npt.NDArray[np.uint8]:
    """(H, W) uint8, classes 0..17. Of a palette image its indices."""
    raster = _read_raster(path)
    if raster.bands.dtype != np.uint8 or len(raster.bands) != 1:
        raise _file_error(path, _bands(raster), "1 band of uint8, class numbers")
    mask = np.ascontiguousarray(raster.bands[0], np.uint8)
    if mask.max() > BACKGROUND_CLASS:
        values, counts = np.unique(mask[mask > BACKGROUND_CLASS], return_counts=True)
        found = [f"{value} in {count} pixels" for value, count in zip(values, counts, strict=True)]
        raise _file_error(
            path,
            f"class {join_problems(found)}",
            f"0..{BACKGROUND_CLASS} ({BACKGROUND_CLASS} is background)",
        )
    return mask


def _read_raster(path: Path) -> _Raster:
    """All bands of a TIFF or PNG, opened and closed here: data loader workers share no handle."""
    # GDAL's fast path for whole PNGs leaves what a truncated file lacks uninitialised and reports
    # no error (GDAL 3.10). And it lists the folder at every opening, unless told not to.
    environment = rasterio.Env(
        GDAL_PNG_WHOLE_IMAGE_OPTIM="NO", GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"
    )
    try:
        with environment, warnings.catch_warnings():
            # PNGs have no georeference; _gsd_m knows what to do.
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            # Named, because GDAL goes by content, and some formats point to other files.
            driver = "PNG" if path.suffix.lower() == ".png" else "GTiff"
            with rasterio.open(path, driver=driver) as source:
                is_alpha = tuple(band == ColorInterp.alpha for band in source.colorinterp)
                return _Raster(source.read(), is_alpha, _gsd_m(source))
    except (RasterioError, OSError) as error:
        reason = error.__cause__ or error  # rasterio's own text only points to its cause
        raise _file_error(
            path, f"an unreadable file ({reason})", "a complete TIFF or PNG; is it truncated?"
        ) from error


def _gsd_m(source: rasterio.DatasetReader) -> float:
    """Metres per pixel, the mean of both axes at the centre of the image.

    Source: lengths of a degree from the series of the WGS 84 ellipsoid, as published by the
    National Geospatial-Intelligence Agency.
    """
    if source.crs is None:
        return _DEFAULT_GSD_M
    transform = source.transform
    if source.crs.is_geographic:
        latitude_deg = transform.f + (transform.d * source.width + transform.e * source.height) / 2
        latitude = math.radians(latitude_deg)
        x_unit_m = 111412.84 * math.cos(latitude) - 93.5 * math.cos(3 * latitude)
        y_unit_m = 111132.92 - 559.82 * math.cos(2 * latitude) + 1.175 * math.cos(4 * latitude)
    else:
        x_unit_m = y_unit_m = source.crs.linear_units_factor[1]
    column_m = math.hypot(transform.a * x_unit_m, transform.d * y_unit_m)
    row_m = math.hypot(transform.b * x_unit_m, transform.e * y_unit_m)
    return (column_m + row_m) / 2


def _bands(raster: _Raster) -> str:
    """The bands of a file, for a message."""
    count = len(raster.bands)
    alpha = " with alpha" if any(raster.is_alpha) else ""
    return f"{count} band{'s' if count != 1 else ''}{alpha} of {raster.bands.dtype}"


def _size(array: npt.NDArray[np.generic]) -> str:
    height, width = array.shape[-2:]
    return f"{width} x {height}"


def _file_error(path: Path, got: str, expected: str) -> DataError:
    return DataError(
        f"RID: {path}: got {got}, expected {expected}; copy the file from the release again"
    )
