"""Train a few steps at several sizes and read some samples, to learn what a run takes.

The work of the process that `app.resources.measuring` starts: its own command, so that memory is
measured where nothing else was held before.
"""

import contextlib
import gc
import itertools
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import torch

from app.base.children import tell_parent
from app.base.dataset_names import DatasetName
from app.base.errors import ConfigError, DataError, join_problems
from app.base.units import GIB
from app.commands.probe.peaks import cuda_peak_gib, forget_peaks
from app.commands.probe.reading import measure_loading
from app.commands.probe.validation import fill_window, time_scoring
from app.data.datasets import Datasets, open_datasets
from app.data.loading import Batch, collate
from app.data.photos import Photo
from app.inference.predictor import Predictor
from app.inference.scoring import score_photo
from app.job.paths import scratch_folder
from app.metrics.roof_metrics import RoofMetrics
from app.model.devices import choose_compute, is_out_of_memory
from app.model.losses import RoofLoss
from app.resources.batch_size import DEFAULT_GLOBAL_BATCH_SIZE
from app.resources.cores import num_cores
from app.resources.forecast import resize_pass
from app.resources.measurements import Loading, Point, ValPoint
from app.resources.measuring import ProbeRequest
from app.resources.process_memory import own_sizes_gib, read_own_sizes_gib
from app.settings.hyperparameters import Hyperparameters
from app.settings.texts import parse_hyperparameters
from app.training.build import build_state, choose_task_weights
from app.training.state import StepSettings, TrainingState
from app.training.step import train_steps

# The first step of a size pays for what is done once.
_NUM_STEPS: Final = 4
_MAX_TIMED_S: Final = 20.0
_NUM_BATCHES: Final = 2
# Of a GPU's memory, what a trial may reserve: the rest is for fragments and for larger batches.
_TRIAL_SHARE: Final = 0.9


def run_probe(request: ProbeRequest, launcher_gib: float) -> None:
    """Tell the parent everything that was measured, each number as soon as it is known.

    Args:
        request: What to measure.
        launcher_gib: Memory of a process that has not imported torch.

    Raises:
        RoofError: If the data cannot be used.
    """
    volunteer_for_oom()
    with scratch_folder() as scratch_dir:
        probe = _Probe(request, scratch_dir)
        tell_parent(
            "machine",
            launcher_gib=launcher_gib,
            num_cores=num_cores(),
            device=probe.device.type,
            precision=probe.compute.precision,
        )
        if request.with_loading:  # first: a large size may be the last thing that is measured
            tell_parent("loading", **vars(probe.measure_loading()))
        for size, side_px in request.points:
            tell_parent("point", **vars(probe.measure_point(size, side_px)))
        for side_px in request.val_sides:
            tell_parent("val_point", **vars(probe.measure_window(side_px)))
        if request.val_sides:
            tell_parent("scoring", **probe.time_scoring())
        if request.with_trial:
            tell_parent("trial", micro_batch_size=probe.try_sizes())


def volunteer_for_oom() -> None:
    """Let the kernel end this process first, and not its parent, where memory runs out."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def find_largest(fits: Callable[[int], bool], maximum: int) -> int:
    """The largest number from 1 to the maximum that fits, 0 if none does.

    Args:
        fits: Whether a number fits; if one fits, all smaller ones do, too.
        maximum: At least 1.
    """
    largest, too_large = 0, maximum + 1
    size = 1
    while largest + 1 < too_large:
        if fits(size):
            largest = size
        else:
            too_large = size
        is_doubling = too_large > maximum
        size = min(2 * size, maximum) if is_doubling else (largest + too_large) // 2
    return largest


class _Probe:
    """A network in training, and datasets opened for one size of window after the other."""

    def __init__(self, request: ProbeRequest, scratch_dir: Path) -> None:
        # Any numbers: those of the points take their place.
        self.hyperparameters = parse_hyperparameters({**request.settings, "batch_size": 1})
        self.channels = {name: Path(folder) for name, folder in request.channels.items()}
        self.scratch_dir = scratch_dir
        self.compute = choose_compute(self.hyperparameters)
        self.device = self.compute.device
        self.tasks = self.hyperparameters.tasks
        self.largest_global_batch = (
            self.hyperparameters.global_batch_size or DEFAULT_GLOBAL_BATCH_SIZE
        )
        datasets = self._open(self.hyperparameters)
        self.task_weights = choose_task_weights(
            self.hyperparameters, datasets.labelled_classes(self.tasks)
        )
        self.state = self._build_state()

    def measure_point(self, size: int, side_px: int) -> Point:
        """Train a few steps with passes of `size` samples."""
        hyperparameters = resize_pass(self.hyperparameters, size, side_px).model_copy(
            update={"grad_accum_steps": 1}
        )
        datasets = self._open(hyperparameters)
        order = iter(datasets.train_order(hyperparameters))
        batches = [
            collate([datasets.train[key] for key in keys])
            for keys in itertools.islice(order, _NUM_BATCHES)
        ]
        forget_peaks(self.device)
        seconds = self._train(itertools.cycle(batches), _NUM_STEPS)
        trainer_gib, _ = own_sizes_gib()
        [files_gib] = read_own_sizes_gib("RssFile")
        return Point(
            micro_batch_size=size,
            side_px=side_px,
            trainer_gib=trainer_gib,
            files_gib=files_gib,
            cuda_gib=cuda_peak_gib(self.device),
            pass_s=statistics.median(step["forward"] + step["backward"] for step in seconds),
            optimizer_s=statistics.median(
                step["step"] - step["wait"] - step["forward"] - step["backward"] for step in seconds
            ),
        )

    def measure_window(self, side_px: int) -> ValPoint:
        """Predict and score a photo of one window."""
        photo = fill_window(next(iter(self._read_val_photos().values())), side_px)
        predictor = self._build_predictor(side_px)
        forget_peaks(self.device)
        score_photo(predictor, photo, RoofMetrics(self.tasks), self._loss)
        trainer_gib, _ = own_sizes_gib()
        return ValPoint(side_px, trainer_gib, cuda_peak_gib(self.device))

    def time_scoring(self) -> dict[str, float]:
        """As `app.commands.probe.validation.time_scoring`, by dataset."""
        photos = self._read_val_photos()
        return {str(name): time_scoring(photo, self.tasks) for name, photo in photos.items()}

    def measure_loading(self) -> Loading:
        """As `app.commands.probe.reading.measure_loading`."""
        return measure_loading(self.hyperparameters, self._open, self.device)

    def try_sizes(self) -> int:
        """The most samples of a pass that the GPU holds; 0 if not even one."""
        return find_largest(self._fits, self.largest_global_batch)

    def _fits(self, size: int) -> bool:
        point = None
        try:
            point = self.measure_point(size, self.hyperparameters.crop_size_px)
            # Of validation, one window at a time: it takes fewer where more do not fit.
            window_px = self.hyperparameters.window_px
            self._build_predictor(window_px).predict(_blank_images(window_px))
        except (RuntimeError, ConfigError) as error:
            # A ConfigError of a predictor's that has no room.
            if not is_out_of_memory(error.__cause__ or error):
                raise
        # Out here the error is gone, and with it all that its traceback holds.
        self.state = self._build_state()
        if point is None or self.device.type != "cuda":
            return point is not None
        total_gib = torch.cuda.get_device_properties(self.device).total_memory / GIB
        return point.cuda_gib is not None and point.cuda_gib <= _TRIAL_SHARE * total_gib

    def _train(self, batches: Iterator[Batch], num_steps: int) -> list[dict[str, float]]:
        settings = StepSettings(
            task_weights=self.task_weights,
            loss=self._loss,
            grad_accum_steps=1,
            grad_clip_norm=self.hyperparameters.grad_clip_norm,
            # Far from the end of the warm-up: the weights hardly move.
            num_steps=10**9,
            num_warmup_steps=10**8,
            compute=self.compute,
        )
        begun_s = time.monotonic()
        seconds = []
        for result in train_steps(self.state, batches, num_steps, settings, lambda: False):
            seconds.append(dict(result.seconds))
            if len(seconds) > 1 and time.monotonic() - begun_s > _MAX_TIMED_S:
                break
        return seconds[1:]

    def _read_val_photos(self) -> dict[DatasetName, Photo]:
        """A photo of each dataset that is validated on."""
        photos: dict[DatasetName, Photo] = {}
        for name, dataset in self._open(self.hyperparameters).val.items():
            photo, bad_files = dataset.open_photo(0)
            if photo is None:
                raise DataError(join_problems([bad.reason for bad in bad_files[name]]))
            photos[name] = photo
        return photos

    def _build_predictor(self, window_px: int) -> Predictor:
        return Predictor(self.state.ema.module, tuple(self.task_weights), self.compute, window_px)

    @property
    def _loss(self) -> RoofLoss:
        return RoofLoss(
            self.tasks, self.hyperparameters.dice_weight, self.hyperparameters.azimuth_smoothing
        )

    def _open(self, hyperparameters: Hyperparameters) -> Datasets:
        # Few samples, in an epoch that is long enough for any number of batches.
        update = {"steps_per_epoch": 1000, "max_val_samples": 1}
        return open_datasets(
            self.channels, hyperparameters.model_copy(update=update), self.scratch_dir
        )

    def _build_state(self) -> TrainingState:
        self.state = None  # type: ignore[assignment] # two at a time would not fit
        gc.collect()
        hyperparameters = self.hyperparameters.model_copy(update={"backbone_weights": "none"})
        return build_state(hyperparameters, {}, self.tasks, self.task_weights, self.device)


def _blank_images(side_px: int) -> torch.Tensor:
    return torch.zeros(1, 3, side_px, side_px, dtype=torch.uint8)
