"""The story of a training run: build everything, train, validate, checkpoint, leave the results."""

import logging
import math
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from tqdm import tqdm

from app.base.errors import DataError, PeerLostError
from app.base.storage import writing_to
from app.base.tasks import build_tasks
from app.data.datasets import open_datasets, read_train_batches
from app.data.distribution import measure_distribution
from app.data.loading import Batch
from app.inference.panels import collect_panels
from app.inference.predictor import Predictor
from app.inference.scoring import Scores, check_scored, score_datasets
from app.job.job import Job
from app.job.paths import Paths
from app.metrics.roof_metrics import ConfusionMatrix, MetricValue
from app.model.class_weights import choose_class_weights
from app.model.devices import Compute, choose_autocast_dtype, choose_device
from app.model.export import describe_model
from app.model.network import HybridRoofModel
from app.resources.cores import num_cores
from app.resources.memory_sampler import MemorySampler
from app.settings.hyperparameters import Hyperparameters
from app.training.artifacts import write_artifacts
from app.training.build import (
    build_state,
    build_step_settings,
    choose_task_weights,
    settle_settings,
)
from app.training.compilation import CompileTrial
from app.training.log import (
    log_epoch,
    log_findings,
    log_gradient_norms,
    log_start,
    log_task_weights,
)
from app.training.progress import (
    check_same_data,
    check_space_for_run,
    identify_run,
    resume_run,
    save_run,
    share_bad_files,
)
from app.training.ranks.distributed import (
    all_reduce_sum,
    is_any,
    is_lost_peer,
    joined_ranks,
    rank,
    world_size,
    wrap_model,
)
from app.training.rate_search import RateSearch, settle_learning_rate
from app.training.state import LossSums
from app.training.step import StepResult, train_steps
from app.training.task_weighting import describe_weighting, weigh_tasks
from app.training.watch.step_profile import StepProfiler

logger = logging.getLogger(__name__)

# Pictures are what a job that was stopped can do without: the platform waits for 120 s in all.
_STOP_PANELS_S = 2.0
# What PyTorch says when a worker dies, or finds no room for a batch.
_WORKER_ERRORS = ("DataLoader worker", "shared memory", "</torch_")


def train(job: Job, largest_pass: int | None = None, recalled_pass: int | None = None) -> None:
    """Train on the channels given and leave everything in the model folder.

    Args:
        job: Where it is asked to stop, the run saves its state and its results and returns.
        largest_pass: For batch_size=auto, the most samples of a pass that this rank's host holds,
            where it was this rank that found out.
        recalled_pass: Likewise, of the run that goes on here.

    Raises:
        RoofError: For everything the user can cure.
        PeerLostError: If another rank is gone.
    """
    paths, hyperparameters, channels = job.paths, job.hyperparameters, job.channels
    device = choose_device(hyperparameters.device)
    with MemorySampler(hyperparameters.memory_interval_s, is_watched=True) as memory:
        try:
            with joined_ranks(device):
                hyperparameters = settle_settings(
                    hyperparameters, largest_pass, recalled_pass, paths, channels
                )
                run = _Run(paths, hyperparameters, channels, job.stop_requested, memory, device)
                if not run.begin():
                    logger.info("asked to stop before training began")
                    return
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
        self.channels = channels
        self.stop_requested = stop_requested
        self.memory = memory
        self.started_s = time.monotonic()
        memory.enter_phase("load")
        self.device = device
        self.autocast_dtype = choose_autocast_dtype(hyperparameters.precision, self.device)
        self.compute = Compute(self.device, self.autocast_dtype)
        self.tasks = build_tasks(
            hyperparameters.azimuth_bins,
            superstructures=hyperparameters.superstructures_weight > 0,
        )
        self.datasets = open_datasets(channels, hyperparameters, paths.scratch_dir, world_size())
        check_same_data(self.datasets)
        log_findings(self.datasets, hyperparameters.seed)
        self.trained_classes = self.datasets.labelled_classes(self.tasks)
        self.task_weights = choose_task_weights(hyperparameters, self.trained_classes)
        self.micro_batches_per_step = hyperparameters.grad_accum_steps * world_size()
        self.num_micro_batches = self.datasets.samples_per_epoch // hyperparameters.micro_batch_size
        self.distribution = measure_distribution(
            self.datasets.train, self.tasks, hyperparameters.seed
        )
        self.datasets.set_aside(self.distribution.bad_files)
        self.class_weights = choose_class_weights(self.tasks, self.distribution.counts)
        self.settings = build_step_settings(
            hyperparameters,
            self.tasks,
            self.task_weights,
            self.class_weights,
            hyperparameters.epochs * self.num_micro_batches // self.micro_batches_per_step,
            self.device,
            self.autocast_dtype,
        )

    def begin(self) -> bool:
        """Build the network, or go on with that of a checkpoint; False if asked to stop before."""
        self.rate_search: RateSearch | None = None
        if self.hyperparameters.learning_rate == "auto" and not self._settle_learning_rate():
            return False
        hyperparameters, datasets = self.hyperparameters, self.datasets
        self.state = build_state(
            hyperparameters, self.channels, self.tasks, self.task_weights, self.device
        )
        check_space_for_run(self.paths, hyperparameters.keep_checkpoints, self.state)
        self.identity = identify_run(hyperparameters, datasets, self.state)
        self.progress = resume_run(
            self.paths.checkpoint_dir, hyperparameters.resume, self.identity, self.state, datasets
        )
        self.first_step = self.state.step
        self.profiler = StepProfiler(self.state, is_wanted=hyperparameters.memory_profile)
        self.compilation = CompileTrial(
            self.state.model,
            hyperparameters.torch_compile,
            self.device,
            self.settings.num_steps - self.first_step,
        )
        self.state.model = wrap_model(self.state.model, self.device)
        self.started_s -= self.progress.duration_s
        log_start(
            hyperparameters,
            datasets,
            self.distribution,
            self.class_weights,
            self.tasks,
            self.task_weights,
            self.num_micro_batches // self.micro_batches_per_step,
            self.state.model,
            self.device,
            self.autocast_dtype,
        )
        return True

    def train_epochs(self) -> bool:
        """Train and validate all epochs that are left; True if the run was asked to stop."""
        progress = self.progress
        order = self.datasets.train_order(
            self.hyperparameters,
            progress.epoch,
            progress.num_micro_batches,
            rank(),
            world_size(),
        )
        batches = read_train_batches(self.datasets, self.hyperparameters, order)
        while progress.epoch < self.hyperparameters.epochs:
            if self._train_epoch(batches) or self._validate():
                logger.info("asked to stop at step %d: saving what there is", self.state.step)
                share_bad_files(self.datasets)
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
            Predictor(model, tuple(tasks), self.compute),
            list(self.datasets.val.values()),
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
            "memory_profile": self.profiler.profile,
            "trained_tasks": tasks,
            "task_weighting": describe_weighting(self.task_weights, self.state.log_variances),
            "gradient_norms": self.progress.gradient_norms,
            "learning_rate_search": self.rate_search and self.rate_search.to_json(),
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

    def _settle_learning_rate(self) -> bool:
        """Put a number in the place of learning_rate=auto; False if asked to stop meanwhile."""
        self.memory.enter_phase("train")  # of another network, but it takes as much
        self.rate_search = settle_learning_rate(
            self.hyperparameters,
            self.channels,
            self.datasets,
            self.tasks,
            self.settings,
            self.paths.checkpoint_dir,
            self.stop_requested,
        )
        self.memory.enter_phase("load")
        if self.rate_search is None:
            return False
        settled = {"learning_rate": self.rate_search.chosen}
        self.hyperparameters = self.hyperparameters.model_copy(update=settled)
        return True

    def _train_epoch(self, batches: Iterator[Batch]) -> bool:
        """Train on what is left of the epoch; True if the run was asked to stop."""
        self.memory.enter_phase("train")
        progress = self.progress
        num_left = (self.num_micro_batches - progress.num_micro_batches) // world_size()
        steps = train_steps(self.state, batches, num_left, self.settings, self.stop_requested)
        title = f"epoch {progress.epoch + 1}/{self.hyperparameters.epochs}"
        num_steps = math.ceil(num_left / self.hyperparameters.grad_accum_steps)
        has_bar = sys.stderr.isatty() and rank() == 0
        watched = self.profiler.watch(steps)
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

    def _count(self, result: StepResult) -> None:
        self.progress.num_micro_batches += result.num_micro_batches * world_size()
        self.progress.num_samples += result.num_samples
        self.progress.losses.add(result.losses)
        loss = result.losses.weighted_mean(self.task_weights)
        self.progress.steps.add(self.state.step, result.num_samples, loss, result.seconds)
        if result.gradient_norms:
            log_gradient_norms(result.gradient_norms, self.progress.gradient_norms)
            self.progress.gradient_norms.append(
                {"step": self.state.step, "norms": dict(result.gradient_norms)}
            )

    def _validate(self) -> bool:
        """Score the averaged weights and close the epoch; True if asked to stop before the end."""
        self.memory.enter_phase("val")
        model = self.state.ema.module
        assert isinstance(model, HybridRoofModel)
        scores = Scores(self.tasks, list(self.datasets.val))
        predictor = Predictor(model, tuple(self.task_weights), self.compute)
        scored = score_datasets(
            predictor,
            self.datasets.val,
            scores,
            self.hyperparameters.num_workers,
            rank(),
            world_size(),
        )
        for batch in scored:
            self.datasets.set_aside(batch["bad_files"])
            if self.stop_requested():
                break
        # Other ranks may have more or fewer images, so they agree only now.
        if is_any(self.stop_requested()):
            return True
        scores.add_other_ranks(all_reduce_sum)
        check_scored(scores, self.datasets.val)
        share_bad_files(self.datasets)
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
            **{
                f"train/{name}/log_variance": round(value.item(), 6)
                for name, value in self.state.log_variances.items()
            },
            **{name: metric.value for name, metric in values.items()},
        }
        progress.results.close_epoch(row, values, confusion)
        progress.num_micro_batches = 0
        progress.losses = LossSums()
        self.memory.close_epoch(self.hyperparameters.epochs - progress.epoch)
        log_epoch(row, self.hyperparameters.epochs, self.memory.peak_rss_gib())
        if self.state.log_variances:
            log_task_weights(weigh_tasks(self.task_weights, self.state.log_variances))
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
