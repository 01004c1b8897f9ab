"""Everything a run is made of."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.base.tasks import Task, TaskName
from app.data.datasets import Datasets, TrainBatches
from app.data.distribution import Distribution
from app.data.label_looks import Looks
from app.inference.predictor import Predictor
from app.job.job import Job
from app.model.class_weights import ClassWeights
from app.model.devices import Compute
from app.model.network import HybridRoofModel
from app.resources.memory_sampler import MemorySampler
from app.settings.hyperparameters import Hyperparameters
from app.training.bar import RunBar
from app.training.checkpoints import RunCheckpoints
from app.training.progress import Progress
from app.training.ranks.distributed import rank, world_size
from app.training.state import StepSettings, TrainingState
from app.training.watch.step_profile import StepProfiler


@dataclass(frozen=True)
class Learned:
    """What a network is taught.

    Attributes:
        tasks: Heads of the network.
        task_weights: Weight of every task that is trained.
        class_weights: Weights of pixels by class: more for rare ones.
        classes: The classes that the data can teach, for every task that is trained.
    """

    tasks: tuple[Task, ...]
    task_weights: Mapping[TaskName, float]
    class_weights: ClassWeights
    classes: Mapping[TaskName, tuple[str, ...]]


@dataclass
class Run:
    """A run under way.

    Attributes:
        job: The job, with its settings as given.
        hyperparameters: The job's settings, as settled for these machines.
        memory: The run's sampler.
        datasets: Training and validation samples.
        looks: What looks at the labels found, by dataset.
        distribution: Shares of the classes among the training samples.
        learned: Tasks and weights.
        settings: What stays unchanged from step to step.
        state: What a step changes.
        identity: What a run that resumes this one must have in common with it.
        checkpoints: Where it is saved.
        progress: How far the run has come, and what it has found.
        profiler: Watches one step tensor by tensor, where the job asks for it.
        batches: This rank's micro-batches that are left.
        started_s: Start by time.monotonic(), set back by the duration of earlier runs.
        first_step: Steps done before this process began.
        initial_model: What is known of the model that it starts from, for metrics.json; None where
            it starts from no whole model.
    """

    job: Job
    hyperparameters: Hyperparameters
    memory: MemorySampler
    datasets: Datasets
    looks: Looks
    distribution: Distribution
    learned: Learned
    settings: StepSettings
    state: TrainingState
    identity: Mapping[str, Any]
    checkpoints: RunCheckpoints
    progress: Progress
    profiler: StepProfiler
    batches: TrainBatches
    started_s: float
    first_step: int
    initial_model: Mapping[str, Any] | None = None

    @functools.cached_property
    def bar(self) -> RunBar:
        """Shows people how far the run is."""
        return RunBar(self.hyperparameters.epochs, self.steps_per_epoch, is_first=rank() == 0)

    @property
    def compute(self) -> Compute:
        """Where the network computes, and in which precision."""
        return self.settings.compute

    @property
    def averaged_model(self) -> HybridRoofModel:
        """The network with averaged weights: what is evaluated and exported."""
        model = self.state.ema.module
        assert isinstance(model, HybridRoofModel)
        return model

    @functools.cached_property
    def predictor(self) -> Predictor:
        """The averaged network, ready to be asked."""
        return Predictor(
            self.averaged_model,
            tuple(self.learned.task_weights),
            self.compute,
            self.hyperparameters.window_px,
        )

    @property
    def num_micro_batches(self) -> int:
        """Micro-batches of an epoch, on all ranks."""
        return self.datasets.samples_per_epoch // self.hyperparameters.micro_batch_size

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps of an epoch."""
        return self.num_micro_batches // (self.hyperparameters.grad_accum_steps * world_size())

    def count_steps_left(self) -> int:
        """Optimizer steps of the epoch under way that are still to be done."""
        num_passes = self.hyperparameters.grad_accum_steps * world_size()
        return -(-(self.num_micro_batches - self.progress.num_micro_batches) // num_passes)
