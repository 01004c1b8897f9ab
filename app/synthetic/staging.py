"""How a synthetic dataset comes to a disk: whole or not at all, and on every core."""

import contextlib
import json
import logging
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import rasterio
from rasterio import Affine
from rasterio.errors import RasterioError
from tqdm import tqdm

from app.base.errors import ConfigError, join_problems
from app.resources.cores import num_cores
from app.synthetic.scene import GENERATOR_VERSION

PARAMETERS_FILE = "sample.json"

_MIN_JOBS_FOR_POOL = 16  # fewer are done sooner than processes start
_JOBS_PER_TASK = 4

# A file that is read by windows, as GDAL's options of its creation.
IN_BLOCKS: Final[Mapping[str, object]] = {"tiled": True, "blockxsize": 256, "blockysize": 256}

logger = logging.getLogger(__name__)

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class SplitParameters:
    """The photos of a sample with three splits.

    Attributes:
        num_train: To train on.
        num_val: To validate on.
        num_test: To test on.
        seed: Same seed, same bytes.
        size_px: Rows and columns of a photo.
    """

    num_train: int
    num_val: int = 0
    num_test: int = 0
    seed: int = 0
    size_px: int = 512

    @property
    def num_photos(self) -> int:
        """Photos of all splits together."""
        return self.num_train + self.num_val + self.num_test


def check_lowest(parameters: Mapping[str, int], lowest: Mapping[str, int]) -> None:
    """Make sure that no number is below what can be written.

    Args:
        parameters: What a writer was asked for, by name.
        lowest: The lowest value of each; a name that is absent may have any.

    Raises:
        ConfigError: With every number that is too low.
    """
    problems = [
        f"{name} is {value}, expected at least {lowest[name]}"
        for name, value in parameters.items()
        if value < lowest.get(name, value)
    ]
    if problems:
        raise ConfigError(f"synthetic sample: {join_problems(problems)}")


def write_splits(
    root: Path,
    parameters: SplitParameters,
    write: Callable[[Path, SplitParameters], None],
    *,
    title: str,
    lowest_px: int,
) -> None:
    """Write a dataset with three splits, as `write_whole` does.

    Args:
        root: The dataset's folder: absent, empty, or written by an earlier call.
        parameters: Parameters of its photos.
        write: Function that writes them.
        title: What its photos are called, for the log.
        lowest_px: The smallest size of a photo.

    Raises:
        ConfigError: If a number is out of range, or the root holds something else.
    """
    values = asdict(parameters)
    lowest = {"num_train": 1, "num_val": 0, "num_test": 0, "seed": 0, "size_px": lowest_px}
    check_lowest(values, lowest)
    summary = (
        f"{parameters.num_photos} synthetic {title} of {parameters.size_px} px (train "
        f"{parameters.num_train}, val {parameters.num_val}, test {parameters.num_test})"
    )
    write_whole(root, values, summary, lambda folder: write(folder, parameters))


def write_whole(
    root: Path, parameters: Mapping[str, int], summary: str, write: Callable[[Path], None]
) -> None:
    """Have a dataset's folder written, with a sample.json that holds its parameters.

    The root appears only when all is written, so a root that is there is whole; one with the same
    parameters is left unchanged.

    Args:
        root: The dataset's folder: absent, empty, or written by an earlier call.
        parameters: All that the files depend on, besides the generator's version.
        summary: What is written, for the log: "4 synthetic scenes of 32 px".
        write: Writes everything but sample.json into the folder it is given, which exists.

    Raises:
        ConfigError: If the root holds something else, or cannot be written.
    """
    start_s = time.monotonic()
    stored = {**parameters, "generator_version": GENERATOR_VERSION}
    with write_problems(root):
        if _is_filled(root):
            _check_same(root, stored)
            logger.info("Kept the %s in %s", summary, root)
            return
        _check_name(root)
        root.parent.mkdir(parents=True, exist_ok=True)
        target = root.resolve()  # a link to an empty folder stays one
        with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as temporary:
            staging = Path(temporary) / target.name
            staging.mkdir()
            write(staging)
            (staging / PARAMETERS_FILE).write_text(json.dumps(stored, indent=2) + "\n")
            staging.replace(target)
    logger.info("Wrote %s to %s in %.1f s", summary, root, time.monotonic() - start_s)


def is_synthetic(root: Path) -> bool:
    """Whether a dataset's folder was written by one of this room's writers."""
    try:
        return "generator_version" in json.loads((root / PARAMETERS_FILE).read_text())
    except (OSError, TypeError, ValueError):
        return False


@contextlib.contextmanager
def write_problems(place: Path) -> Iterator[None]:
    """Turns errors of the disk about a file or folder into ConfigError."""
    try:
        yield
    # h5py's and rasterio's errors are OSError without a strerror, or RasterioError.
    except (OSError, RasterioError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(
            f"synthetic sample: {place}: cannot be written: {reason}; choose another folder, or "
            "make room on the disk"
        ) from error


def write_tiff(
    path: Path, bands: npt.NDArray[np.generic], crs: str, transform: Affine, **options: object
) -> None:
    """Write (B, H, W) bands as a GeoTIFF; `options` are GDAL's of its creation."""
    count, height, width = bands.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        dtype=bands.dtype,
        count=count,
        height=height,
        width=width,
        crs=crs,
        transform=transform,
        **options,
    ) as file:
        file.write(bands)


def _is_filled(root: Path) -> bool:
    """Whether a folder is there that is not empty.

    Raises:
        OSError: If what is there is no folder, or cannot be read.
    """
    if not os.path.lexists(root):
        return False
    with os.scandir(root) as entries:
        return next(entries, None) is not None


def _check_name(root: Path) -> None:
    """Raise ConfigError where the libraries that write images would not take the path."""
    try:
        str(root.absolute()).encode()
    except UnicodeEncodeError as error:
        raise ConfigError(
            f"synthetic sample: {root}: got a name that is not UTF-8, expected names of folders "
            "that are; choose another folder"
        ) from error


def _check_same(root: Path, parameters: Mapping[str, int]) -> None:
    """Raise ConfigError unless the root was written with the same parameters."""
    path = root / PARAMETERS_FILE
    try:
        found = dict(json.loads(path.read_text()))
    except (OSError, TypeError, ValueError) as error:
        raise ConfigError(
            f"synthetic sample: {root} is not empty and {path} cannot be read ({error}), so it was "
            "not written by this command; choose another folder"
        ) from error
    problems = [
        f"{name} is {found.get(name)}, expected {value}"
        for name, value in parameters.items()
        if found.get(name) != value
    ]
    if problems:
        raise ConfigError(
            f"synthetic sample: {root} was written with other parameters: "
            f"{join_problems(problems)}; delete the folder or choose another"
        )


@contextlib.contextmanager
def each_result(
    function: Callable[[_Job], _Result], jobs: Sequence[_Job]
) -> Iterator[Iterator[_Result]]:
    """An iterator over the jobs' results in their order, made on every core if they are many.

    Args:
        function: Does one job; a module's function, as it travels to processes.
        jobs: What it is called with, each.

    Yields:
        The results, with a progress bar on a terminal.
    """
    if len(jobs) < _MIN_JOBS_FOR_POOL:
        yield _with_bar(map(function, jobs), len(jobs))
        return
    num_processes = min(num_cores(), len(jobs) // _JOBS_PER_TASK)
    # Not fork: the caller may have threads, and a fork of them can hang.
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(num_processes, context, initializer=_use_one_thread) as pool:
        yield _with_bar(pool.map(function, jobs, chunksize=_JOBS_PER_TASK), len(jobs))


def _with_bar(results: Iterator[_Result], num_results: int) -> Iterator[_Result]:
    # disable=None: no bar where stderr is no terminal, as in a job's log.
    return iter(tqdm(results, total=num_results, desc="scenes", disable=None))


def _use_one_thread() -> None:
    """One core for each process: OpenCV would start a thread per core in every one."""
    cv2.setNumThreads(1)
