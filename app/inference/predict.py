"""Photos predicted one after the other into a folder; what is done there is not done again."""

import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tqdm import tqdm

from app import __version__
from app.base.errors import (
    EXIT_OK,
    EXIT_USER_ERROR,
    ConfigError,
    DataError,
    StopRequested,
    join_problems,
    printable,
)
from app.base.storage import remove_unfinished
from app.data.files.names import PHOTO_ENDINGS
from app.data.files.problems import FileProblem
from app.inference.photo_rasters import (
    GridChoice,
    PhotoRasters,
    predict_rasters,
    write_rasters,
)
from app.inference.photo_source import FilePhoto, open_photo
from app.inference.rasters import explained_writes
from app.inference.record import RECORD_FILE, Record
from app.inference.tiles import count_blocks
from app.inference.trained import TrainedNetwork
from app.inference.unlike import Likeness

logger = logging.getLogger(__name__)

# On the same mount as the outputs, so that these can be moved.
_SCRATCH: Final = ".unfinished"

# Makes further files of what was predicted of a photo, in a folder that it knows; their names begin
# as given.
Further = Callable[[PhotoRasters, str], Sequence[Path]]
# Told of a photo whose outputs are complete and in the record: its name, and these files.
Finished = Callable[[str, Sequence[Path]], None]


@dataclass(frozen=True)
class Request:
    """What is to be done with every photo.

    Attributes:
        out: The folder of the outputs; nobody else may write there.
        gsd_m: Metres per pixel of photos that say nothing of it; None where all should.
        grid: Whose pixels rasters have.
        formats: In which files roofs are written.
        further: Makes files of what was predicted, beside the rasters; None makes none.
        calibration: What these depend on besides, as plain JSON.
        finished: Told of each photo that is done.
    """

    out: Path
    gsd_m: float | None = None
    grid: GridChoice = "model"
    formats: tuple[str, ...] = ()
    further: Further | None = None
    calibration: Mapping[str, Any] = field(default_factory=dict)
    finished: Finished | None = None


def find_photos(paths: Sequence[Path], out: Path) -> dict[str, Path]:
    """Files of photos by the names of their outputs.

    Args:
        paths: Files, and folders of which all photos are taken.
        out: The folder of the outputs.

    Raises:
        ConfigError: If two have one name, or a folder holds no photo; names all of them.
    """
    problems: list[str] = []
    found: dict[str, Path] = {}
    for path in paths:
        files = [path]
        if path.is_dir():
            files = [file for file in sorted(path.iterdir()) if _is_photo(file)]
            if not files:
                problems.append(f"{path}: got a folder without photos ({', '.join(PHOTO_ENDINGS)})")
            if path.resolve() == out.resolve():
                problems.append(f"{path}: got the folder of the outputs; give --out another one")
        for file in files:
            if file.stem in found and found[file.stem].resolve() != file.resolve():
                problems.append(
                    f"{file} and {found[file.stem]}: got two photos whose outputs would have one "
                    "name; rename one, or give them --out folders of their own"
                )
            found[file.stem] = file
    if problems:
        raise ConfigError(join_problems(problems))
    return found


def predict_photos(
    network: TrainedNetwork,
    photos: Mapping[str, Path],
    request: Request,
    stop_requested: Callable[[], bool],
) -> int:
    """Write the outputs of photos; returns the exit code of the command.

    A photo whose outputs are there, made of the same file by the same network and settings, is left
    as it is. One that cannot be predicted is named in the log and in the record, and the others are
    done.

    Args:
        network: The network.
        photos: Files by the names of their outputs.
        request: What is to be done.
        stop_requested: Asked after every window.

    Raises:
        ConfigError: If memory does not suffice, or the record of an earlier run cannot be read.
        StorageError: If the folder cannot be written to; what is finished stays.
    """
    run = _Run(network, request, Record.read(request.out), stop_requested)
    _remove_unfinished(request.out, photos)
    waiting = []
    num_done = num_failed = 0
    for name, path in photos.items():
        try:
            photo = open_photo(path, network.gsd_m, request.gsd_m)
        except FileProblem as problem:
            run.fail(name, path, problem)
            num_failed += 1
            continue
        if run.is_done(name, photo):
            num_done += 1
        else:
            waiting.append((name, photo))
    if num_done:
        logger.info("%d of %d photos are done already", num_done, len(photos))
    total = sum(count_blocks(network.predictor, photo) for _, photo in waiting)
    with tqdm(total=total, unit=" windows", disable=None) as bar:
        for name, photo in waiting:
            bar.set_description(name)
            try:
                run.predict(name, photo, bar.update)
                num_done += 1
            except (FileProblem, DataError) as problem:
                run.fail(name, photo.path, problem)
                num_failed += 1
            except StopRequested:
                logger.info(
                    "stopped with %d of %d photos done; the same command resumes",
                    num_done,
                    len(photos),
                )
                return EXIT_OK
    logger.info("%d of %d photos done, in %s", num_done, len(photos), request.out)
    return EXIT_USER_ERROR if num_failed else EXIT_OK


@dataclass(frozen=True)
class _Run:
    """What all photos of a run have in common."""

    network: TrainedNetwork
    request: Request
    record: Record
    stop_requested: Callable[[], bool]

    def is_done(self, name: str, photo: FilePhoto) -> bool:
        return self.record.is_done(name, self._made_of(photo))

    def fail(self, name: str, path: Path, problem: FileProblem | DataError) -> None:
        reason = printable(str(problem))
        logger.error("%s", reason)
        with explained_writes(self.request.out):
            self.record.fail(name, path, reason)

    def predict(self, name: str, photo: FilePhoto, advance: Callable[[], object]) -> None:
        """Write the outputs of a photo.

        Raises:
            FileProblem: If it cannot be predicted.
            StorageError: If they cannot be written.
            StopRequested: If asked to stop.
        """
        start_s = time.monotonic()
        request, predictor = self.request, self.network.predictor
        looked_at = Likeness(photo, self.network.gsd_m, request.gsd_m, self.network.colours)
        with explained_writes(request.out), _scratch_folder(request.out) as scratch:
            made_of = self._made_of(photo)
            rasters = predict_rasters(
                self.network, looked_at, scratch, advance, self.stop_requested
            )
            doubts = looked_at.doubts()
            self.record.begin(name)
            outputs = write_rasters(rasters, name, request.out, request.grid, self.stop_requested)
            if request.further is not None:
                outputs += request.further(rasters, name)
            grid = photo.own_grid if request.grid == "photo" else photo.grid
            seconds = time.monotonic() - start_s
            facts = {
                "width_px": grid.width_px,
                "height_px": grid.height_px,
                "gsd_m": round(grid.gsd_m, 6),
                "crs": grid.crs,
                "device": predictor.compute.device.type,
                "precision": predictor.compute.precision,
                "warnings": doubts,
            }
            self.record.finish(name, made_of, outputs, facts)
            if request.finished is not None:
                request.finished(name, outputs)
        if doubts:
            logger.warning("%s: %s", photo.path, join_problems(doubts))
        size = f"{grid.width_px} x {grid.height_px} px at {grid.gsd_m:.4g} m"
        logger.info("%s: %s, %d files in %.1f s", name, size, len(outputs), seconds)

    def _made_of(self, photo: FilePhoto) -> dict[str, Any]:
        """What a photo's outputs depend on."""
        return {
            "photo": str(photo.path),
            "size_bytes": photo.facts.size_bytes,
            "modified_ns": photo.facts.modified_ns,
            "model_sha256": self.network.sha256,
            "model_gsd_m": self.network.gsd_m,
            "version": __version__,
            "tta": self.network.predictor.num_poses,
            "gsd_m": self.request.gsd_m,
            "grid": self.request.grid,
            "formats": list(self.request.formats),
            "calibration": dict(self.request.calibration),
        }


def _remove_unfinished(out: Path, names: Collection[str]) -> None:
    """Remove what a process that was killed has left half written.

    Args:
        out: The folder of the outputs.
        names: How those of the photos begin.
    """
    shutil.rmtree(out / _SCRATCH, ignore_errors=True)
    remove_unfinished(out, "*", (RECORD_FILE, *(f"{name}_" for name in names)))


def _is_photo(path: Path) -> bool:
    return path.suffix.lower() in PHOTO_ENDINGS and not path.name.startswith(".")


@contextlib.contextmanager
def _scratch_folder(out: Path) -> Iterator[Path]:
    """An empty folder for what is not finished; removed at the end, or by the next run."""
    folder = out / _SCRATCH
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
