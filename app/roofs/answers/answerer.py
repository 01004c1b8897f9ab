"""A trained network that answers: the bytes of a photo in, its roofs in the wanted form out."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Final, NamedTuple

import rasterio.shutil

from app.base.errors import DataError
from app.base.logs import ignore_expected_warnings
from app.data.files.problems import FileProblem
from app.inference.photo_rasters import PhotoRasters, predict_rasters, write_rasters
from app.inference.photo_source import FilePhoto, NoScaleProblem, open_photo
from app.inference.poses import NumPoses
from app.inference.self_test import run_self_test
from app.inference.trained import TrainedNetwork, load_network, with_poses
from app.inference.unlike import Likeness
from app.model.devices import choose_compute
from app.roofs.answers.question import BEGINNING_BYTES, AnswerType, Question, find_ending
from app.roofs.answers.refusal import ATTRIBUTES_HEADER, Refusal
from app.roofs.calibration import Calibration
from app.roofs.found import FoundRoofs, find_roofs_of
from app.roofs.writing.geojson import render_geojson, render_pixels
from app.roofs.writing.geopackage import write_geopackage
from app.roofs.writing.takeoff_json import render_takeoff_json
from app.settings.texts import parse_hyperparameters

# At a million pixels a second, which two cores do, less than two minutes. What GDAL holds of a file
# without tiles is bounded besides.
MAX_PHOTO_PX: Final = 100_000_000
# What comes as bytes has no time of its own, and equal bytes are to have equal answers.
_NO_TIME: Final = (0, 0)

_NEVER: Final[Callable[[], bool]] = lambda: False  # noqa: E731
_NOTHING: Final[Callable[[], None]] = lambda: None  # noqa: E731


class Said(NamedTuple):
    """What a network said of a photo.

    Attributes:
        rasters: Files that are gone after the block.
        roofs: None where the network was not taught planes.
        doubts: Why it may be wrong, each a sentence.
    """

    rasters: PhotoRasters
    roofs: FoundRoofs | None
    doubts: list[str]


class Answer(NamedTuple):
    """An answer.

    Attributes:
        content: Its bytes.
        content_type: What they are.
        width_px: Of the photo itself.
        height_px: Of the photo itself.
        doubts: Why it may be wrong, each a sentence.
    """

    content: bytes
    content_type: str
    width_px: int
    height_px: int
    doubts: list[str]


class Answerer:
    """A trained network, ready to answer one question at a time.

    Attributes:
        network: The network.
        calibration: How right what it says of planes is.
        max_photo_px: The most pixels of a photo, its own and those at the network's scale.
        is_known: Whether what it said in its self-test was compared with a known answer.
    """

    def __init__(
        self, folder: Path, network: TrainedNetwork, max_photo_px: int = MAX_PHOTO_PX
    ) -> None:
        """Take the network of a folder, and test it.

        Raises:
            CheckpointError: If it fails.
        """
        self._folder = folder
        self.network = network
        self.calibration = Calibration.of_model(network.description)
        self.max_photo_px = max_photo_px
        self._networks: dict[NumPoses, TrainedNetwork] = {1: network}
        self.is_known = self.check()

    def check(self) -> bool:
        """Whether the folder has a known answer, which is what the network still says.

        Raises:
            CheckpointError: If it says something else.
        """
        network = self.network
        return run_self_test(self._folder, network.predictor, network.gsd_m, network.sha256)

    @contextlib.contextmanager
    def ask(
        self,
        photo: bytes | Path,
        photo_type: str,
        question: Question,
        stop_requested: Callable[[], bool] = _NEVER,
    ) -> Iterator[Said]:
        """What the network says of a photo, and the roofs in that.

        Args:
            photo: Its bytes, or a file of them, which is moved.
            photo_type: What they are, as check_photo_type gives it.
            question: What is asked.
            stop_requested: Asked after every window.

        Raises:
            Refusal: If the photo cannot be used.
            StopRequested: If asked to stop.
            ConfigError: If memory does not suffice.
            OSError: If the folder of temporary files cannot be written to.
        """
        with tempfile.TemporaryDirectory(prefix="roof-model-") as name:
            scratch = Path(name).resolve()  # as problems name it
            with _refused(path := _lay_down(photo, photo_type, question.name, scratch)):
                opened = open_photo(path, self.network.gsd_m, question.gsd_m)
                self._check_size(opened)
                network = self._in_poses(question.num_poses)
                looked_at = Likeness(opened, network.gsd_m, question.gsd_m, network.colours)
                rasters = predict_rasters(network, looked_at, scratch, _NOTHING, stop_requested)
                roofs = find_roofs_of(network, rasters, question.name, self.calibration)
            yield Said(rasters, roofs, looked_at.doubts())

    def answer(
        self,
        photo: bytes | Path,
        photo_type: str,
        question: Question,
        stop_requested: Callable[[], bool] = _NEVER,
    ) -> Answer:
        """The answer to a question; as `ask`.

        Raises:
            Refusal: Also if the network was not taught what is asked for.
        """
        with self.ask(photo, photo_type, question, stop_requested) as said:
            rasters, own = said.rasters, said.rasters.photo.own_grid
            kind: str = question.answer_type
            if question.answer_type == "image/tiff":
                content = _make_tiff(rasters, question)
            elif question.answer_type == "image/png":
                content = _make_png(rasters)
            else:
                with _refused(rasters.photo.path):
                    content, kind = render_roofs(said.roofs, question.answer_type, question.layer)
        return Answer(content, kind, own.width_px, own.height_px, said.doubts)

    def _in_poses(self, num_poses: NumPoses) -> TrainedNetwork:
        if num_poses not in self._networks:
            self._networks[num_poses] = with_poses(self.network, num_poses)
        return self._networks[num_poses]

    def _check_size(self, photo: FilePhoto) -> None:
        for grid, where in ((photo.own_grid, ""), (photo.grid, f" at {photo.grid.gsd_m:g} m")):
            if grid.width_px * grid.height_px > self.max_photo_px:
                raise Refusal(
                    HTTPStatus.UNPROCESSABLE_ENTITY,
                    f"{photo.path.name}: got {grid.width_px} x {grid.height_px} px{where}, "
                    f"expected at most {self.max_photo_px} px in all; send it in parts, or predict "
                    "it with `predict`, which takes photos of any size",
                )


def load_answerer(
    folder: Path, device: str = "auto", precision: str = "auto", max_photo_px: int = MAX_PHOTO_PX
) -> Answerer:
    """The network of a model folder that has passed its self-test.

    Args:
        folder: As a training run has written it.
        device: "auto", "cpu" or "cuda".
        precision: "auto", "fp32", "bf16" or "fp16".
        max_photo_px: The most pixels of a photo.

    Raises:
        CheckpointError: If it cannot be used, or fails.
        ConfigError: If there is no such device.
    """
    ignore_expected_warnings()  # in a server of somebody's own nothing else has done it
    compute = choose_compute(parse_hyperparameters({"device": device, "precision": precision}))
    return Answerer(folder, load_network(folder, 1, compute), max_photo_px)


def render_roofs(
    found: FoundRoofs | None, answer_type: AnswerType, layer: str
) -> tuple[bytes, str]:
    """Roofs as GeoJSON, GeoPackage or take-off; and what that is.

    Args:
        found: The roofs.
        answer_type: One of the three.
        layer: Of GeoJSON: planes, lines, buildings or all.

    Raises:
        Refusal: If there are none, or the type holds no roofs.
        DataError: If no map leads from the photo's reference system to longitude and latitude.
    """
    if found is None:
        raise Refusal(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"Accept: got {answer_type}, but the model was not trained on planes; expected "
            "image/tiff with layer=lines or layer=height in the custom attributes",
        )
    roofs, origin = found
    if answer_type == "application/geo+json":
        if roofs.crs is None:
            return render_pixels(roofs, origin), "application/json"
        return render_geojson(roofs, origin, layer), answer_type  # type: ignore[arg-type]
    if answer_type == "application/json":
        return render_takeoff_json(roofs, origin), answer_type
    if answer_type == "application/geopackage+sqlite3":
        with tempfile.TemporaryDirectory(prefix="roof-model-") as name:
            path = Path(name, "roofs.gpkg")
            write_geopackage(path, roofs, origin)
            return path.read_bytes(), answer_type
    raise Refusal(
        HTTPStatus.NOT_ACCEPTABLE,
        f"Accept: got {answer_type}, expected application/geo+json, "
        "application/geopackage+sqlite3 or application/json; `serve` gives images, too",
    )


def _lay_down(photo: bytes | Path, photo_type: str, name: str, scratch: Path) -> Path:
    """The photo as a file of its own that is named as its kind wants.

    Raises:
        Refusal: If it is no photo, or of another type.
    """
    if isinstance(photo, Path):
        with photo.open("rb") as file:
            beginning = file.read(BEGINNING_BYTES)
    else:
        beginning = photo[:BEGINNING_BYTES]
    folder = scratch / "photo"
    folder.mkdir()
    path = folder / f"{name}{find_ending(beginning, photo_type)}"
    if isinstance(photo, Path):
        shutil.move(photo, path)
    else:
        path.write_bytes(photo)
    os.utime(path, _NO_TIME)
    return path


@contextlib.contextmanager
def _refused(path: Path) -> Iterator[None]:
    """Turn what is wrong with a photo into a refusal, without the folder that nobody knows."""
    try:
        yield
    except NoScaleProblem as problem:
        raise Refusal(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"{path.name}: got no word of its scale, expected a georeference in the file; give "
            f"metres per pixel in the header {ATTRIBUTES_HEADER}: gsd_m=0.1",
        ) from problem
    except (FileProblem, DataError) as problem:
        text = str(problem).replace(str(path), path.name)
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, text) from problem


def _make_tiff(rasters: PhotoRasters, question: Question) -> bytes:
    """A raster as `predict` writes it, in the network's pixels.

    Raises:
        Refusal: If the network was not taught it.
    """
    chosen = {name: raster for name, raster in rasters.layers.items() if name == question.layer}
    if not chosen:
        raise Refusal(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"{ATTRIBUTES_HEADER}: layer is {question.layer}, but the model was not trained on it; "
            f"expected one of {', '.join(rasters.layers)}",
        )
    with tempfile.TemporaryDirectory(prefix="roof-model-") as name:
        part = rasters._replace(layers=chosen)
        path = write_rasters(part, question.name, Path(name), "model", _NEVER)[0]
        return path.read_bytes()


def _make_png(rasters: PhotoRasters) -> bytes:
    """The planes' classes in their colours, in the network's pixels.

    Raises:
        Refusal: If the network was not taught planes.
    """
    raster = rasters.layers.get("segments")
    if raster is None:
        raise Refusal(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "Accept: got image/png, but the model was not trained on planes; expected image/tiff "
            "with layer=lines or layer=height in the custom attributes",
        )
    path = raster.path.with_suffix(".png")
    rasterio.shutil.copy(raster.path, path, driver="PNG")
    return path.read_bytes()
