"""Everything a run starts from: settings, data, weights, optimizer; or a checkpoint."""

import logging
import os
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

import torch

from app.base.errors import ConfigError
from app.base.tasks import Task, TaskName
from app.data.datasets import Datasets, TrainBatches, open_datasets
from app.data.distribution import Distribution, measure_distribution, merge_distributions
from app.data.label_looks import (
    Looks,
    check_looks,
    log_looks,
    look_at_datasets,
    merge_looks,
)
from app.data.order import Shard, Start
from app.data.transforms import build_train_transform
from app.data.waiting import Result, wait_for
from app.job.inputs import PRETRAINED_CHANNEL
from app.job.job import Job
from app.model.backbone_weights import find_pretrained_weights, load_backbone_weights
from app.model.class_weights import choose_class_weights
from app.model.devices import Compute, choose_autocast_dtype
from app.model.initial_model import StartingWeights
from app.model.losses import RoofLoss
from app.model.network import HybridRoofModel
from app.resources.batch_size import settle_batch_size
from app.resources.memory_sampler import MemorySampler
from app.resources.pass_limit import PassLimit, agree_on_pass
from app.resources.shared_memory import fit_workers
from app.settings.hyperparameters import Hyperparameters
from app.training.checkpoints import RunCheckpoints
from app.training.compilation import compile_network
from app.training.initial import build_start, find_initial_model, read_for_run
from app.training.optimizer import group_parameters
from app.training.ranks.distributed import gather_json, rank, world_size, wrap_model
from app.training.resume import (
    check_same_data,
    check_space_for_run,
    identify_run,
    resume_run,
)
from app.training.run import Learned, Run
from app.training.state import StepSettings, TrainingState, build_ema
from app.training.watch.gradient_norms import NORM_INTERVAL_STEPS
from app.training.watch.step_profile import StepProfiler

logger = logging.getLogger(__name__)

# A pass of fewer samples gives only a rough mean and spread of a channel.
_FEW_SAMPLES_OF_A_PASS = 8
# Opening datasets may take minutes, as when tiles are indexed. A stop waits for it this long, and
# finds a run to save; afterwards nothing has begun that could be saved.
_FIRST_WARNING_S = 120.0
_STOP_PATIENCE_S = 20.0


def build_run(
    job: Job,
    compute: Compute,
    memory: MemorySampler,
    pass_limit: PassLimit,
    looks: Looks | None = None,
) -> Run:
    """A run at its beginning, or where its newest checkpoint was written.

    Args:
        job: The job, with its settings as given; the run holds them as settled.
        compute: Device and precision.
        memory: The run's sampler.
        pass_limit: This rank's limit of samples per pass, for batch_size=auto.
        looks: Looks at the labels that this rank has taken already.

    Raises:
        RoofError: For everything the user can cure.
        StopRequested: As settle_settings, or if asked to stop and the data cannot be read.
    """
    hyperparameters = settle_settings(job, pass_limit, compute.device.type)
    started_s = time.monotonic()
    memory.enter_phase("load")
    initial = read_for_run(hyperparameters, job.channels, job.paths.scratch_dir)
    datasets = _read_patiently(
        job,
        "opening the datasets",
        lambda: open_datasets(job.channels, hyperparameters, job.paths.scratch_dir, world_size()),
    )
    check_same_data(datasets)
    looks = share_looks(job, datasets, looks)
    # Ranks add up what they count: one whose data stalls keeps the others waiting here, too.
    learned, distribution = _read_patiently(
        job, "a look at the first samples", lambda: choose_learned(hyperparameters, datasets)
    )
    start = None
    if initial is not None:
        start = _read_patiently(
            job,
            "a look at samples with the initial model",
            lambda: build_start(initial, learned, datasets.train, hyperparameters),
        )
    num_steps = (
        hyperparameters.epochs
        * datasets.samples_per_epoch
        // (hyperparameters.micro_batch_size * hyperparameters.grad_accum_steps * world_size())
    )
    settings = build_step_settings(hyperparameters, learned, num_steps, compute)
    state = build_state(
        hyperparameters,
        job.channels,
        learned.tasks,
        learned.task_weights,
        compute.device,
        None if start is None else start.weights,
    )
    identity = identify_run(hyperparameters, datasets, state)
    if initial is not None:
        identity["initial_model"] = initial.sha256
    checkpoints = RunCheckpoints(
        job.paths.checkpoint_dir,
        hyperparameters.keep_checkpoints,
        job.identifier,
        keeps_best=hyperparameters.keep == "best",
    )
    progress = resume_run(checkpoints, hyperparameters.resume, identity, state, datasets)
    check_space_for_run(job.paths, checkpoints, state)
    profiler = StepProfiler(state, is_wanted=hyperparameters.memory_profile)
    if hyperparameters.torch_compile == "on":
        compile_network(state.model)
    state.model = wrap_model(state.model, compute.device)
    order = datasets.train_order(
        hyperparameters,
        Start(progress.epoch, progress.num_micro_batches),
        Shard(rank(), world_size()),
    )
    return Run(
        job=job,
        hyperparameters=hyperparameters,
        memory=memory,
        datasets=datasets,
        looks=looks,
        distribution=distribution,
        learned=learned,
        settings=settings,
        state=state,
        identity=identity,
        checkpoints=checkpoints,
        progress=progress,
        profiler=profiler,
        batches=TrainBatches(
            datasets, hyperparameters, order, job.stop_requested, compute.device.type
        ),
        started_s=started_s - progress.duration_s,
        first_step=state.step,
        initial_model=None if start is None else start.note,
    )


def _read_patiently(job: Job, what: str, read: Callable[[], Result]) -> Result:
    """What a read gives; whatever it takes, a stop is heard."""
    return wait_for(
        read,
        what,
        job.stop_requested,
        patience_s=_STOP_PATIENCE_S,
        first_warning_s=_FIRST_WARNING_S,
    )


def settle_settings(job: Job, pass_limit: PassLimit, device: str = "cpu") -> Hyperparameters:
    """The settings as settled for these machines and channels, the same on all ranks.

    Args:
        job: The job, with its settings as given.
        pass_limit: This rank's limit of samples per pass, for batch_size=auto.
        device: Kind of the device that trains.

    Raises:
        RoofError: If numbers contradict each other.
        StopRequested: On all ranks, if any was to measure and was asked to stop before it knew.
    """
    hyperparameters = job.hyperparameters
    limits = [PassLimit(**limit) for limit in gather_json(vars(pass_limit))]
    settled = settle_batch_size(hyperparameters, agree_on_pass(limits), world_size())
    settled = _settle_backbone(settled, job.channels)
    return fit_workers(settled, int(os.environ.get("LOCAL_WORLD_SIZE", "1")), device)


def share_looks(job: Job, datasets: Datasets, own: Looks | None = None) -> Looks:
    """What looks at the labels have found: the first rank of each host looks, all know.

    Args:
        job: The job.
        datasets: The samples of the run.
        own: Looks that this rank has taken already.

    Raises:
        DataError: If labels make training pointless, on all ranks.
        StopRequested: If asked to stop and the data cannot be read.
    """
    if own is None and os.environ.get("LOCAL_RANK", "0") == "0":
        own = _read_patiently(
            job,
            "a look at the labels",
            lambda: look_at_datasets(datasets, job.channels, job.hyperparameters),
        )
    looks = merge_looks([found for found in gather_json(own) if found is not None])
    if rank() == 0:
        log_looks(looks)
    check_looks(looks, job.hyperparameters)
    return looks


def choose_learned(
    hyperparameters: Hyperparameters, datasets: Datasets
) -> tuple[Learned, Distribution]:
    """Tasks and weights to train with, and the shares of classes that the weights follow from.

    Raises:
        RoofError: If nothing is to be taught, or too much of a dataset is bad.
    """
    tasks = hyperparameters.tasks
    classes = datasets.labelled_classes(tasks)
    task_weights = choose_task_weights(hyperparameters, classes)
    distribution = _measure_together(datasets, tasks, hyperparameters.seed)
    datasets.set_aside(distribution.bad_files)
    class_weights = choose_class_weights(tasks, distribution.counts)
    taught = {name: classes[name] for name in task_weights}
    return Learned(tasks, task_weights, class_weights, taught), distribution


def _measure_together(datasets: Datasets, tasks: Sequence[Task], seed: int) -> Distribution:
    """The distribution that all ranks have counted, each a part of the samples: equal on all."""
    own = measure_distribution(datasets.train, tasks, seed, Shard(rank(), world_size()))
    return merge_distributions(
        [Distribution.from_plain(plain) for plain in gather_json(own.to_plain())]
    )


def choose_task_weights(
    hyperparameters: Hyperparameters, labelled: Collection[TaskName]
) -> dict[TaskName, float]:
    """Weights of the tasks that some dataset labels and the user wants trained.

    Raises:
        ConfigError: If there is no such task.
    """
    weights = {name: getattr(hyperparameters, f"{name}_weight") for name in labelled}
    weights = {name: weight for name, weight in weights.items() if weight > 0}
    if not weights:
        names = " or ".join(f"{name}_weight" for name in labelled)
        raise ConfigError(
            f"nothing to train: the datasets label {', '.join(labelled)}, but the weights of these "
            f"tasks are 0; set {names} above 0, or add a dataset that labels other tasks"
        )
    return weights


def build_step_settings(
    hyperparameters: Hyperparameters,
    learned: Learned,
    num_steps: int,
    compute: Compute,
) -> StepSettings:
    """The settings that stay the same over the num_steps steps of a run."""
    return StepSettings(
        task_weights=learned.task_weights,
        loss=RoofLoss(
            learned.tasks,
            hyperparameters.dice_weight,
            hyperparameters.azimuth_smoothing,
            learned.class_weights,
        ),
        grad_accum_steps=hyperparameters.grad_accum_steps,
        grad_clip_norm=hyperparameters.grad_clip_norm,
        num_steps=num_steps,
        num_warmup_steps=round(hyperparameters.warmup_fraction * num_steps),
        compute=compute,
        # Never all steps, so that a backbone that is to learn later does learn.
        num_frozen_steps=min(
            round(hyperparameters.freeze_backbone_fraction * num_steps), num_steps - 1
        ),
        keeps_statistics=hyperparameters.backbone_batchnorm == "frozen",
        norm_interval_steps=NORM_INTERVAL_STEPS if len(learned.task_weights) > 1 else 0,
        transform=build_train_transform(hyperparameters),
    )


def build_state(
    hyperparameters: Hyperparameters,
    channels: Mapping[str, Path],
    tasks: Sequence[Task],
    trained_tasks: Collection[TaskName],
    device: torch.device,
    start: StartingWeights | None = None,
) -> TrainingState:
    """Model on its device, optimizer, averaged weights, all before the first step.

    Args:
        hyperparameters: Checked settings.
        channels: Folders by channel; `pretrained` is looked for among them.
        tasks: Heads of the model.
        trained_tasks: Heads that learn; the others keep their first weights.
        device: Where the model goes.
        start: Weights of an initial model, in place of those of a backbone; None for none.

    Raises:
        RoofError: If the backbone's weights cannot be used.
    """
    torch.manual_seed(hyperparameters.seed)
    model = HybridRoofModel(tasks, checkpoint_activations=hyperparameters.checkpoint_activations)
    if start is None:
        _load_backbone(model, hyperparameters.backbone_weights, channels)
    else:
        model.load_state_dict(start.tensors, strict=False)
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    for name, head in model.heads.items():
        head.requires_grad_(name in trained_tasks)
    groups = group_parameters(
        model,
        hyperparameters,
        is_pretrained=_is_pretrained(hyperparameters.backbone_weights, channels),
        known=frozenset() if start is None else start.known,
    )
    optimizer = torch.optim.AdamW(groups, fused=True)
    scaler = torch.amp.GradScaler(
        device.type,
        enabled=choose_autocast_dtype(hyperparameters.precision, device) == torch.float16,
    )
    ema = build_ema(model, hyperparameters.ema_decay)
    return TrainingState(model, ema, optimizer, scaler)


def _settle_backbone(
    hyperparameters: Hyperparameters, channels: Mapping[str, Path]
) -> Hyperparameters:
    """The settings, less those that only fit pretrained weights where the weights are random."""
    settings = {
        "freeze_backbone_fraction": hyperparameters.freeze_backbone_fraction,
        "backbone_batchnorm": hyperparameters.backbone_batchnorm,
    }
    initial_model = find_initial_model(hyperparameters.initial_model, channels)
    if initial_model or _is_pretrained(hyperparameters.backbone_weights, channels):
        size = hyperparameters.micro_batch_size
        if size < _FEW_SAMPLES_OF_A_PASS and hyperparameters.backbone_batchnorm == "train":
            logger.info(
                "a pass of %d samples says little about batch statistics; "
                "backbone_batchnorm=frozen keeps those of the pretrained weights",
                size,
            )
        return hyperparameters
    defaults = {name: Hyperparameters.model_fields[name].default for name in settings}
    for name, value in settings.items():
        if value != defaults[name]:
            logger.warning(
                "%s=%s has no effect: the backbone starts from random weights", name, value
            )
    return hyperparameters.model_copy(update=defaults)


def _is_pretrained(choice: str, channels: Mapping[str, Path]) -> bool:
    """Whether `backbone_weights` stands for weights from a file."""
    return choice != "none" and (choice != "auto" or PRETRAINED_CHANNEL in channels)


def _load_backbone(model: HybridRoofModel, choice: str, channels: Mapping[str, Path]) -> None:
    """Load what `backbone_weights` asks for."""
    channel = channels.get(PRETRAINED_CHANNEL)
    if choice == "pretrained" and channel is None:
        raise ConfigError(
            "backbone_weights=pretrained, but the job has no channel named pretrained; add the "
            "channel, or name a file of weights, or set backbone_weights=none for random weights"
        )
    if not _is_pretrained(choice, channels):
        logger.warning(
            "backbone starts from random weights: it needs more samples and steps than a "
            "pretrained one (backbone_weights; docs/model.md says where to get one)"
        )
        return
    path = (
        find_pretrained_weights(channel)
        if channel and choice in ("auto", "pretrained")
        else Path(choice)
    )
    load_backbone_weights(model, path)
