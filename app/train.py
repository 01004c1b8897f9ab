"""The story of a training run: build everything, train, validate, checkpoint, leave the results."""

import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from app.artifacts import collect_panels, describe_model, write_artifacts
from app.class_weights import choose_class_weights
from app.compilation import CompileTrial
from app.config import Hyperparameters
from app.cores import num_cores
from app.data.datasets import open_datasets
from app.data.distribution import Distribution, measure_distribution
from app.data.loading import Batch, build_train_loader
from app.devices import choose_autocast_dtype, choose_device
from app.distributed import (
    gather_json,
    is_any,
    is_lost_peer,
    joined_ranks,
    rank,
    world_size,
    wrap_model,
)
from app.engine import StepResult, StepSettings, train_steps
from app.errors import DataError, PeerLostError, join_problems
from app.losses import RoofLoss
from app.memory import MemorySampler
from app.metrics import ConfusionMatrix, MetricValue
from app.model import HybridRoofModel
from app.optimisation import build_state, choose_task_weights, settle_settings
from app.progress import check_same_data, check_space_for_run, resume_run, save_run
from app.run_log import log_epoch, log_findings, log_start
from app.sagemaker import Paths
from app.scoring import Scores, finish_scores, score_datasets
from app.storage import writing_to
from app.tasks import build_tasks
from app.tensor_memory import StepMemoryWatch, read_outside_gib
from app.training_state import LossSums

logger = logging.getLogger(__name__)

# Pictures are what a job that was stopped can do without: the platform waits for 120 s in all.
_STOP_PANELS_S = 2.0
# What PyTorch says when a worker dies, or finds no room for a batch.
_WORKER_ERRORS = ("DataLoader worker", "shared memory", "</torch_")


def train(
    paths: Paths,
    hyperparameters: Hyperparameters,
    channels: Mapping[str, Path],
    stop_requested: Callable[[], bool],
    largest_pass: int | None = None,
    recalled_pass: int | None = None,
) -> None:
    """Train on the channels given and leave everything in the model folder.

    Args:
        paths: Where to write.
        hyperparameters: Checked settings.
        channels: Folders of datasets, and perhaps of `pretrained`.
        stop_requested: Asked once a step; on True the run saves its state and its results and
            returns.
        largest_pass: For batch_size=auto, the most samples of a pass that this rank's host holds,
            where it was this rank that found out.
        recalled_pass: Likewise, of the run that goes on here.

    Raises:
        RoofError: For everything the user can cure.
        PeerLostError: If another rank is gone.
    """
    device = choose_device(hyperparameters.device)
    with MemorySampler(hyperparameters.memory_interval_s, is_watched=True) as memory:
        try:
            with joined_ranks(device):
                hyperparameters = settle_settings(
                    hyperparameters, largest_pass, recalled_pass, paths
                )
                run = _Run(paths, hyperparameters, channels, stop_requested, memory, device)
                stopped = run.train_epochs()
                if rank() == 0:
                    run.export(stopped)
        except RuntimeError as error:
            if is_lost_peer(error):
                raise PeerLostError(str(error).splitlines()[0]) from error
            if not any(words in str(error) for words in _WORKER_ERRORS):
                raise
            raise DataError(
                f"a data worker was killed, probably out of memory or of /dev/shm: "
                f"{memory.describe_peak()}; lower num_workers, batch_size or crop_size_px, or give "
                "the container more (docker run --memory, --shm-size)"
            ) from error


class _Run:
    """Everything a run is made of, built in order, and its epoch loop."""

    def __init__(
        self,
        paths: Paths,
        hyperparameters: Hyperparameters,
        channels: Mapping[str, Path],
        stop_requested: Callable[[], bool],
        memory: MemorySampler,
        device: torch.device,
    ) -> None:
        self.paths = paths
        self.hyperparameters = hyperparameters
        self.stop_requested = stop_requested
        self.memory = memory
        started_s = time.monotonic()
        memory.enter_phase("load")
        self.device = device
        self.autocast_dtype = choose_autocast_dtype(hyperparameters.precision, self.device)
        self.tasks = build_tasks(
            hyperparameters.azimuth_bins,
            superstructures=hyperparameters.superstructures_weight > 0,
        )
        self.datasets = open_datasets(channels, hyperparameters, paths.scratch_dir)
        check_same_data(self.datasets)
        log_findings(self.datasets, hyperparameters.seed)
        self.trained_classes = self.datasets.labelled_classes(self.tasks)
        self.task_weights = choose_task_weights(hyperparameters, self.trained_classes)
        self.micro_batches_per_step = hyperparameters.grad_accum_steps * world_size()
        self.num_micro_batches = self.datasets.samples_per_epoch // hyperparameters.micro_batch_size
        self.state = build_state(
            hyperparameters, channels, self.tasks, self.task_weights, self.device
        )
        check_space_for_run(paths, hyperparameters.keep_checkpoints, self.state)
        self.distribution = self._measure_distribution()
        self.class_weights = choose_class_weights(self.tasks, self.distribution.counts)
        self.settings = self._build_settings()
        self.identity = {
            **hyperparameters.result_affecting(),
            **self.datasets.identify(),
            # Four processes do in one go what one does in four, so a run may go on with more or
            # fewer of them as long as the product is the same.
            "grad_accum_steps": f"{self.micro_batches_per_step} (times processes)",
            # None stands for two values: which of them, the channel `pretrained` decides.
            "backbone_learning_rate": self.state.optimizer.param_groups[-1]["peak_lr"],
        }
        self.progress = resume_run(
            paths.checkpoint_dir, hyperparameters.resume, self.identity, self.state, self.datasets
        )
        self.first_step = self.state.step
        self.memory_profile: dict[str, Any] | None = None
        self.compilation = CompileTrial(
            self.state.model,
            hyperparameters.torch_compile,
            device,
            self.settings.num_steps - self.first_step,
        )
        self.state.model = wrap_model(self.state.model, device)
        self.started_s = started_s - self.progress.duration_s
        log_start(
            hyperparameters,
            self.datasets,
            self.distribution,
            self.tasks,
            self.task_weights,
            self.num_micro_batches // self.micro_batches_per_step,
            self.state.model,
            device,
            self.autocast_dtype,
        )

    def train_epochs(self) -> bool:
        """Train and validate all epochs that are left; True if the run was asked to stop."""
        batches = self._read_batches()
        while self.progress.epoch < self.hyperparameters.epochs:
            if self._train_epoch(batches) or self._validate():
                logger.info("asked to stop at step %d: saving what there is", self.state.step)
                self._share_bad_files()
                self._save_checkpoint()
                return True
        return False

    def export(self, stopped: bool) -> None:
        """Write the model folder from the averaged weights."""
        self.memory.enter_phase("export")
        model = self.state.ema.module
        assert isinstance(model, HybridRoofModel)
        tasks = list(self.task_weights)
        panels = collect_panels(
            model,
            list(self.datasets.val.values()),
            tasks,
            self.device,
            self.autocast_dtype,
            _STOP_PANELS_S if stopped else math.inf,
        )
        document = {
            "format_version": 1,
            "stopped": stopped,
            "epochs": self.progress.epoch,
            "steps": self.state.step,
            "num_samples": self.progress.num_samples,
            "num_processes": world_size(),
            "duration_s": round(time.monotonic() - self.started_s, 1),
            "step_time": self.progress.steps.summary(),
            "machine": {
                "device": self.device.type,
                "num_cores": num_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
            },
            "memory_profile": self.memory_profile,
            "trained_tasks": tasks,
            "datasets": self.datasets.describe(),
            "class_distribution": {
                "num_samples": self.distribution.num_samples,
                "shares": self.distribution.describe(self.tasks),
                "weights": self.class_weights.describe(self.tasks),
            },
        }
        trained = {name: self.trained_classes[name] for name in tasks}
        description = describe_model(
            model, self.hyperparameters, trained, self.hyperparameters.gsd_m
        )
        with writing_to(self.paths.model_dir):
            write_artifacts(
                self.paths.model_dir,
                model,
                description,
                document,
                self.progress.results,
                self.progress.steps,
                self.memory,
                panels,
            )

    def _read_batches(self) -> Iterator[Batch]:
        """Micro-batches of all epochs that are left; bad files are set aside on the way."""
        hyperparameters = self.hyperparameters
        order = self.datasets.train_order(
            hyperparameters, self.progress.epoch, self.progress.num_micro_batches
        )
        loader = build_train_loader(
            self.datasets.train, order, hyperparameters.num_workers, hyperparameters.prefetch_factor
        )
        for batch in loader:
            self.datasets.set_aside(batch["bad_files"])
            if not batch["sample_id"]:
                reasons = {bad.reason for files in batch["bad_files"].values() for bad in files}
                raise DataError(f"no training sample can be read: {join_problems(sorted(reasons))}")
            yield batch

    def _train_epoch(self, batches: Iterator[Batch]) -> bool:
        """Train on what is left of the epoch; True if the run was asked to stop."""
        self.memory.enter_phase("train")
        progress = self.progress
        num_left = (self.num_micro_batches - progress.num_micro_batches) // world_size()
        steps = train_steps(self.state, batches, num_left, self.settings, self.stop_requested)
        title = f"epoch {progress.epoch + 1}/{self.hyperparameters.epochs}"
        num_steps = math.ceil(num_left / self.hyperparameters.grad_accum_steps)
        has_bar = sys.stderr.isatty() and rank() == 0
        watched = self._profile_memory(steps)
        for result in tqdm(watched, title, num_steps, leave=False, disable=not has_bar):
            self._count(result)
            self.compilation.see_step(result.seconds["step"] - result.seconds["wait"])
            if self.state.step == self.first_step + 1:
                logger.info("first step done")
            if result.stop:
                return True
            if self.state.step % self.hyperparameters.checkpoint_every_steps == 0:
                self._save_checkpoint()
        return False

    def _profile_memory(self, steps: Iterator[StepResult]) -> Iterator[StepResult]:
        """The steps, the second of the run watched tensor by tensor where that is asked for.

        The first one makes the optimizer's state on its way, and is like no other.
        """
        state = self.state
        while True:
            is_profiled = self.hyperparameters.memory_profile and not self.memory_profile
            if is_profiled and state.step > self.first_step:
                watch = StepMemoryWatch(state.model, state.optimizer, state.ema.module)
                with watch:
                    result = next(steps, None)
                if result is not None:
                    self.memory_profile = watch.to_json(read_outside_gib())
            else:
                result = next(steps, None)
            if result is None:
                return
            yield result

    def _count(self, result: StepResult) -> None:
        self.progress.num_micro_batches += len(result.micro_batches) * world_size()
        self.progress.num_samples += result.num_samples
        self.progress.losses.add(result.losses)
        loss = result.losses.weighted_mean(self.task_weights)
        self.progress.steps.add(self.state.step, result.num_samples, loss, result.seconds)

    def _validate(self) -> bool:
        """Score the averaged weights and close the epoch; True if asked to stop before the end."""
        self.memory.enter_phase("val")
        model = self.state.ema.module
        assert isinstance(model, HybridRoofModel)
        scores = Scores(self.tasks, list(self.datasets.val))
        scored = score_datasets(
            model,
            self.datasets.val,
            scores,
            self.task_weights,
            self.device,
            self.autocast_dtype,
            self.hyperparameters.num_workers,
        )
        for batch in scored:
            self.datasets.set_aside(batch["bad_files"])
            if self.stop_requested():
                break
        # Other ranks may have more or fewer images, so they agree only now.
        if is_any(self.stop_requested()):
            return True
        finish_scores(scores, self.datasets.val)
        self._share_bad_files()
        self._close_epoch(scores.compute("val"), scores.confusion_matrices("val"))
        return False

    def _close_epoch(
        self, values: Mapping[str, MetricValue], confusion: Mapping[str, ConfusionMatrix]
    ) -> None:
        progress = self.progress
        progress.epoch += 1
        losses = progress.losses.means()
        duration_s = time.monotonic() - self.started_s
        row: dict[str, float | int | None] = {
            "epoch": progress.epoch,
            "step": self.state.step,
            "time_s": round(duration_s, 2),
            "learning_rate": self.state.optimizer.param_groups[0]["lr"],
            "samples_per_s": round(progress.num_samples / duration_s, 3),
            "train/loss": progress.losses.weighted_mean(self.task_weights),
            **{f"train/{name}/loss": loss for name, loss in losses.items()},
            **{name: metric.value for name, metric in values.items()},
        }
        progress.results.close_epoch(row, values, confusion)
        progress.num_micro_batches = 0
        progress.losses = LossSums()
        self.memory.close_epoch(self.hyperparameters.epochs - progress.epoch)
        log_epoch(row, self.hyperparameters.epochs, self.memory.peak_rss_gib())
        if progress.epoch == self.hyperparameters.epochs:
            self._save_checkpoint()

    def _save_checkpoint(self) -> None:
        self.progress.duration_s = time.monotonic() - self.started_s
        save_run(
            self.paths.checkpoint_dir,
            self.hyperparameters.keep_checkpoints,
            self.identity,
            self.state,
            self.progress,
            self.datasets,
        )

    def _share_bad_files(self) -> None:
        """Set aside on every rank what any of them could not read."""
        for files in gather_json(self.datasets.quarantined_files()):
            self.datasets.restore_quarantines(files)

    def _measure_distribution(self) -> Distribution:
        """How often each class comes in training; what cannot be read meanwhile is set aside."""
        distribution = measure_distribution(
            self.datasets.train, self.tasks, self.hyperparameters.seed
        )
        self.datasets.set_aside(distribution.bad_files)
        return distribution

    def _build_settings(self) -> StepSettings:
        hyperparameters = self.hyperparameters
        num_steps = hyperparameters.epochs * self.num_micro_batches // self.micro_batches_per_step
        return StepSettings(
            task_weights=self.task_weights,
            loss=RoofLoss(
                self.tasks,
                hyperparameters.dice_weight,
                hyperparameters.azimuth_smoothing,
                self.class_weights,
            ),
            grad_accum_steps=hyperparameters.grad_accum_steps,
            grad_clip_norm=hyperparameters.grad_clip_norm,
            num_steps=num_steps,
            num_warmup_steps=round(hyperparameters.warmup_fraction * num_steps),
            device=self.device,
            autocast_dtype=self.autocast_dtype,
        )
