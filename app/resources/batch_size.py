"""`batch_size=auto`: the largest micro-batch that memory holds, and what would have fitted.

A GPU says when its memory is full, so there sizes are tried. On a CPU the kernel ends a process
without notice, so there a model is fitted to small sizes, and the container's limit bounds it.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import psutil

from app.base.children import Reply
from app.base.errors import ConfigError, StopRequested
from app.base.units import GIB
from app.resources.cgroup import read_memory_limit_gib
from app.resources.forecast import (
    USABLE_SHARE,
    CostModel,
    MemoryLimits,
    resize_pass,
    split_global_batch,
)
from app.resources.gpus import read_gpus
from app.resources.measuring import VAL_SIDES_PX, ProbeRequest, ask_probe, read_answers
from app.settings.hyperparameters import Hyperparameters
from app.settings.settled import recall

logger = logging.getLogger(__name__)

# Samples of a step where the settings name no number.
DEFAULT_GLOBAL_BATCH_SIZE: Final = 16
# A limit, since the job has failed and its machine still costs money.
_REMEDY_TIMEOUT_S: Final = 90.0
_SMALL_SIDE_PX: Final = 256


def find_largest_pass(
    hyperparameters: Hyperparameters,
    channels: Mapping[str, Path],
    num_local_processes: int,
    stop_requested: Callable[[], bool] = lambda: False,
) -> int:
    """The most samples of a pass that this host's memory holds.

    Args:
        hyperparameters: The settings, checked.
        channels: Folders of datasets.
        num_local_processes: Training processes on this host, which share its memory, or have a GPU
            each.
        stop_requested: Asked repeatedly while measuring.

    Raises:
        ConfigError: If not even one fits; names what would, if anything does.
        StopRequested: If asked to stop meanwhile.
    """
    if stop_requested():
        raise StopRequested
    on_gpu = _is_for_gpu(hyperparameters)
    reply = ask_probe(_build_request(hyperparameters, channels, with_trial=on_gpu), stop_requested)
    if stop_requested():
        raise StopRequested
    if on_gpu:
        return _read_trial(reply)
    measurements = read_answers(reply)
    if measurements is None:
        raise ConfigError(f"batch_size=auto: could not measure any: {reply.failure}; set a number")
    model, limits = CostModel(measurements), _limits()
    total = hyperparameters.global_batch_size or DEFAULT_GLOBAL_BATCH_SIZE
    largest = model.largest_micro_batch(
        hyperparameters, limits, num_local_processes, max_size=total, total=total
    )
    tried = resize_pass(hyperparameters, max(1, largest))
    needed_gib = model.forecast(tried, {}, num_local_processes).needed_gib
    if largest == 0:
        raise ConfigError(
            f"batch_size=auto: one sample of {hyperparameters.crop_size_px} px needs "
            f"{needed_gib:.1f} GiB, more than {100 * USABLE_SHARE:.0f} % of the limit of "
            f"{limits.host_gib:.1f} GiB; "
            f"{_describe_smaller(model, hyperparameters, limits, num_local_processes)}"
        )
    logger.info(
        "batch_size=auto: at most %d samples a pass: %.2f GiB of a limit of %.2f GiB expected "
        "(fitted to %d measurements)",
        largest,
        needed_gib,
        limits.host_gib,
        len(measurements.points),
    )
    return largest


def settle_batch_size(
    hyperparameters: Hyperparameters, largest: int | None, num_processes: int
) -> Hyperparameters:
    """The settings with numbers for batch_size and grad_accum_steps that make up the global batch.

    Args:
        hyperparameters: As asked for.
        largest: The most samples of a pass that memory holds; asked for where batch_size is auto.
        num_processes: Training processes of all hosts.

    Raises:
        ConfigError: If the numbers given do not make up the global batch.
    """
    is_auto = hyperparameters.batch_size == "auto"
    total = hyperparameters.global_batch_size
    if total is None:
        if not is_auto:
            return hyperparameters
        total = -(-DEFAULT_GLOBAL_BATCH_SIZE // num_processes) * num_processes
    if total % num_processes:
        near = max(1, round(total / num_processes)) * num_processes
        raise ConfigError(
            f"global_batch_size={total} cannot be shared evenly by {num_processes} training "
            f"processes; set {near}"
        )
    if is_auto:
        assert largest is not None
        if hyperparameters.grad_accum_steps > 1 and hyperparameters.global_batch_size is None:
            logger.warning(
                "batch_size=auto makes up %d samples a step and takes no notice of "
                "grad_accum_steps=%d; set global_batch_size for another number",
                total,
                hyperparameters.grad_accum_steps,
            )
        size, num_passes = split_global_batch(total, num_processes, largest)
        logger.info(
            "batch_size=auto: %d samples a pass, %d passes a step: %d samples a step of %d "
            "training process%s",
            size,
            num_passes,
            total,
            num_processes,
            "" if num_processes == 1 else "es",
        )
    else:
        size = hyperparameters.micro_batch_size
        num_passes = total // num_processes // size
        given = hyperparameters.grad_accum_steps
        if num_passes * size * num_processes != total or given not in (1, num_passes):
            raise ConfigError(
                f"global_batch_size={total} is not batch_size={size} x grad_accum_steps={given} x "
                f"{num_processes} training processes; leave grad_accum_steps out and set "
                "batch_size to a divisor of a process's part of the global batch, or to auto"
            )
    return hyperparameters.model_copy(update={"batch_size": size, "grad_accum_steps": num_passes})


def describe_fitting(
    hyperparameters: Hyperparameters,
    channels: Mapping[str, Path],
    num_local_processes: int,
    stop_requested: Callable[[], bool] = lambda: False,
) -> str | None:
    """Which settings would have fitted into this host's memory, as a remedy; None if not known.

    Args:
        hyperparameters: Those that did not fit.
        channels: Folders of datasets.
        num_local_processes: Training processes on this host.
        stop_requested: Asked repeatedly while measuring.
    """
    if _is_for_gpu(hyperparameters):
        return None
    request = _build_request(hyperparameters, channels, with_trial=False)
    measurements = read_answers(ask_probe(request, stop_requested, _REMEDY_TIMEOUT_S))
    if measurements is None or stop_requested():  # a stop leaves too few points to go by
        return None
    model, limits = CostModel(measurements), _limits()
    largest = model.largest_micro_batch(hyperparameters, limits, num_local_processes)
    if largest == 0:
        return _describe_smaller(model, hyperparameters, limits, num_local_processes)
    if hyperparameters.batch_size == "auto":
        return None
    if largest >= hyperparameters.micro_batch_size:
        return None  # the size of a pass was not the cause
    if hyperparameters.global_batch_size is not None:
        size, _ = split_global_batch(
            hyperparameters.global_batch_size, num_local_processes, largest
        )
        return f"batch_size={size} would fit"
    total = hyperparameters.micro_batch_size * hyperparameters.grad_accum_steps
    size, num_passes = split_global_batch(total, 1, largest)
    return f"batch_size={size} with grad_accum_steps={num_passes} would fit"


def describe_settled(
    settled: Hyperparameters, asked: Hyperparameters, num_processes: int
) -> dict[str, object]:
    """What is kept beside the checkpoints, by name: a resumed run has to split its steps alike."""
    if asked.batch_size != "auto":
        return {}
    document = {**_key(asked, num_processes), "batch_size": settled.micro_batch_size}
    return {"batch_size": document}


def recall_batch_size(
    folder: Path, hyperparameters: Hyperparameters, num_processes: int, job: str | None = None
) -> int | None:
    """The size settled for the checkpoints in a folder; None where there are none of this kind.

    Args:
        folder: Folder of the checkpoints.
        hyperparameters: As asked for.
        num_processes: Training processes of all hosts.
        job: Identifier of the platform's job; None where there is none.
    """
    document = recall(folder, "batch_size", hyperparameters.resume, job)
    key = _key(hyperparameters, num_processes)
    if not isinstance(document, dict) or any(document.get(k) != v for k, v in key.items()):
        return None
    size = document.get("batch_size")
    if not isinstance(size, int) or size < 1:
        return None
    logger.info("batch_size=auto: at most %d samples a pass, as in the run that resumes here", size)
    return size


def _key(hyperparameters: Hyperparameters, num_processes: int) -> dict[str, object]:
    return {
        "global_batch_size": hyperparameters.global_batch_size,
        "crop_size_px": hyperparameters.crop_size_px,
        "num_processes": num_processes,
    }


def _is_for_gpu(hyperparameters: Hyperparameters) -> bool:
    if hyperparameters.device == "auto":
        return bool(read_gpus().names)
    return hyperparameters.device == "cuda"


def _build_request(
    hyperparameters: Hyperparameters, channels: Mapping[str, Path], *, with_trial: bool
) -> ProbeRequest:
    side_px = hyperparameters.crop_size_px
    small_px = min(_SMALL_SIDE_PX, side_px)
    points = sorted({(1, small_px), (2, small_px), (1, side_px), (2, side_px)}, key=_num_pixels)
    return ProbeRequest(
        settings=hyperparameters.to_texts(),
        channels={name: str(path) for name, path in channels.items()},
        points=() if with_trial else tuple(points),
        with_loading=not with_trial and hyperparameters.num_workers > 0,
        with_trial=with_trial,
        val_sides=() if with_trial else VAL_SIDES_PX,
    )


def _num_pixels(point: tuple[int, int]) -> int:
    size, side_px = point
    return size * side_px**2


def _read_trial(reply: Reply) -> int:
    """The most samples that fitted when the GPU was tried."""
    tried = reply.of_kind("trial")
    if not tried:
        raise ConfigError(f"batch_size=auto: could not try any: {reply.failure}; set a number")
    largest = int(tried[0]["micro_batch_size"])
    if largest == 0:
        raise ConfigError(
            "batch_size=auto: not one sample fits into the GPU's memory; lower crop_size_px, "
            "set checkpoint_activations=true, or take an instance with more GPU memory"
        )
    logger.info("batch_size=auto: at most %d samples a pass fit into the GPU", largest)
    return largest


def _limits() -> MemoryLimits:
    """Memory for training on this host: the container's limit, or less where less is free."""
    return MemoryLimits(min(read_memory_limit_gib(), psutil.virtual_memory().available / GIB))


def _describe_smaller(
    model: CostModel,
    hyperparameters: Hyperparameters,
    limits: MemoryLimits,
    num_local_processes: int,
) -> str:
    side_px = model.largest_side_px(hyperparameters, limits, num_local_processes)
    if side_px is None:
        return "num_workers=0 may fit"
    return f"batch_size=1 with crop_size_px={side_px} would fit"
