"""Memory, time and cost of training on an instance, worked out from measurements made here.

Every figure bears its basis, and every number that is only assumed is in the list of rules.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from app.base.errors import ConfigError
from app.base.units import MPX
from app.base.window import count_windows
from app.commands.plan.case import Host, PlanCase, Request
from app.commands.plan.facts import Facts
from app.commands.plan.instances import INSTANCES, Instance, find_gpu
from app.resources.batch_size import settle_batch_size
from app.resources.forecast import (
    USABLE_SHARE,
    CostModel,
    Forecast,
    resize_pass,
    split_global_batch,
)
from app.resources.measurements import Loading, Measurements, Point
from app.settings.hyperparameters import Hyperparameters

Basis = Literal["measured", "predicted", "predicted (extrapolated)", "assumed", "set"]

MAX_MICRO_BATCH: Final = 256
# CUDA's context and its libraries take this on a GPU beside the tensors.
CUDA_CONTEXT_GIB: Final = 0.6
# Share of the tensors' memory that the allocator reserves and cannot use.
CUDA_FRAGMENTATION: Final = 0.1
# Main memory of a training process whose tensors are on a GPU: CUDA's libraries, mostly.
GPU_TRAINER_GIB: Final = 3.0
# Starting some thousand kernels takes this on a GPU, in each pass.
GPU_PASS_OVERHEAD_S: Final = 0.03
GPU_OPTIMIZER_S: Final = 0.01
# Time of forward and backward together, in forward passes.
PASS_PER_FORWARD: Final = 3.0
# Time of a pass that computes activations a second time, in passes that keep them.
CHECKPOINTED_PASS: Final = 1.25
# Of the memory's peak, where samples are made; and what starting one kernel takes. Both assumed.
GPU_MEMORY_SHARE: Final = 0.5
GPU_KERNEL_S: Final = 1e-5
_SMALL_SIDE_PX: Final = 256
_LARGE_SIDE_PX: Final = 512


@dataclass(frozen=True)
class Figure:
    """A row of the plan.

    Attributes:
        key: In JSON, with its unit.
        title: For people.
        value: A number, a text, or None where it is not known.
        basis: How it is known; "set" is what the user, a preset or a default asks for.
        note: What to compare it with.
    """

    key: str
    title: str
    value: float | str | None
    basis: Basis
    note: str = ""


@dataclass(frozen=True)
class Estimate:
    """The result for an instance.

    Attributes:
        model: The cost model, fitted for the instance.
        settled: The settings, with numbers for batch_size and grad_accum_steps.
        forecast: The forecast for these settings.
        largest: The most samples of a pass that fit.
        steps_per_epoch: Optimizer steps.
        val_s: Seconds of the validation of an epoch.
        score_s: The part of val_s spent on scores.
        first_s: What the first pass over the photos takes more, which are kept from then on.
        hours: All epochs, validation included.
    """

    model: CostModel
    settled: Hyperparameters
    forecast: Forecast
    largest: int
    steps_per_epoch: int
    val_s: float
    score_s: float
    first_s: float
    hours: float


def choose_sides(crop_size_px: int) -> tuple[int, int]:
    """Two sizes of window to measure at, the smaller one first; the asked one where it is small."""
    if crop_size_px > _LARGE_SIDE_PX:
        return _SMALL_SIDE_PX, _LARGE_SIDE_PX
    smaller = max(64, crop_size_px // 2 // 32 * 32)
    return (smaller, crop_size_px) if smaller < crop_size_px else (crop_size_px, crop_size_px + 32)


def choose_precision(request: Request) -> str:
    """What `precision` comes to on the instance: "fp32", "bf16" or "fp16".

    Raises:
        ConfigError: If it is a precision that a CPU does not compute in.
    """
    asked = request.hyperparameters.precision
    if not request.on_gpu and asked == "fp16":
        raise ConfigError(
            f"precision=fp16, but {request.instance.name} trains on its CPU, which does not "
            "compute in it; set precision=auto, or take an instance with a GPU"
        )
    if asked != "auto":
        return asked
    if not request.on_gpu:
        return "bf16" if request.instance.computes_bf16 else "fp32"
    # A GPU that is not in the table is newer than those that are.
    gpu = request.instance.gpu
    return "bf16" if gpu is None or gpu.computes_bf16 else "fp16"


def transfer(case: PlanCase) -> Measurements:
    """What would be measured on the instance, by the rules that the plan lists.

    Raises:
        ConfigError: If a GPU's speed is not known.
    """
    request, host, measured = case.request, case.host, case.measured
    instance = request.instance
    loading = measured.loading
    if loading is not None:
        factor = host.core_speed / instance.core_speed
        loading = replace(
            loading,
            sample_s=_times(factor, loading.sample_s),
            read_s=_times(factor, loading.read_s),
            first_s=_times(factor, loading.first_s),
            cut_s=_times(factor, loading.cut_s),
            make_s=_make_s(case, loading) if request.on_gpu else {},
        )
    if not request.on_gpu:
        cores = instance.num_cores / request.num_processes
        factor = host.num_cores * host.core_speed / (cores * instance.core_speed)
        points = _slow_down(measured.points, factor)
    elif case.is_counted:
        points = _count_points(instance, case.facts, request.hyperparameters.checkpoint_activations)
    else:
        points = _slow_down(measured.points, _gpu_factor(host, instance))
    # Scores are counted by one core, also on an instance with a GPU.
    factor = host.core_speed / instance.core_speed
    return Measurements(
        points=points,
        loading=loading,
        val_points=() if case.is_counted else measured.val_points,
        score_s={name: factor * seconds for name, seconds in measured.score_s.items()},
        launcher_gib=measured.launcher_gib,
        num_cores=instance.num_cores,
        device=request.device,
        precision=measured.precision,
    )


def estimate(case: PlanCase) -> Estimate:
    """What training takes on the instance.

    Raises:
        ConfigError: If it does not fit; says what is needed, what there is, and what would fit.
    """
    request, facts = case.request, case.facts
    model = CostModel(transfer(case))
    asked, num_processes = request.hyperparameters, request.num_processes
    total_processes = num_processes * request.num_instances
    largest = _largest(model, asked, request)
    if asked.batch_size == "auto" and largest == 0:
        raise ConfigError(_describe_refusal(case, model, resize_pass(asked, 1)))
    settled = settle_batch_size(asked, largest or None, total_processes)
    if settled.micro_batch_size > largest:
        raise ConfigError(_describe_refusal(case, model, settled, largest))
    forecast = model.forecast(settled, facts.shares, num_processes)
    samples_per_step = forecast.samples_per_step * request.num_instances
    steps_per_epoch = asked.count_epoch_steps(facts.samples_per_pass, samples_per_step)
    network_s, score_s = (
        sum(seconds) / total_processes
        for seconds in zip(
            *(_validate(model, asked, facts, name, num_processes) for name in facts.num_val),
            strict=True,
        )
    )
    val_s = network_s + score_s
    first_s = _first_pass_s(model.measurements, facts, settled, num_processes)
    hours = (first_s + asked.epochs * (steps_per_epoch * forecast.step_s + val_s)) / 3600
    return Estimate(
        model, settled, forecast, largest, steps_per_epoch, val_s, score_s, first_s, hours
    )


def _first_pass_s(
    measured: Measurements, facts: Facts, settled: Hyperparameters, num_processes: int
) -> float:
    """Seconds for which the first pass over the photos holds up training, at most."""
    loading = measured.loading
    if loading is None:
        return 0.0
    core_s = sum(
        num_photos * loading.first_s.get(name, 0.0) for name, num_photos in facts.num_photos.items()
    )
    # Each host keeps photos of its own, and has cores of its own for that.
    num_readers = min(max(1, settled.num_workers) * num_processes, measured.num_cores)
    return core_s / num_readers


def _validate(
    model: CostModel, asked: Hyperparameters, facts: Facts, name: str, num_processes: int
) -> tuple[float, float]:
    """Seconds of the network and of scoring, for all validation photos of a dataset."""
    side_px = facts.val_side_px[name]
    window_px = min(side_px, asked.window_px)
    num_windows = count_windows(side_px, asked.window_px) ** 2
    window = resize_pass(asked, 1, window_px)
    pass_s = model.forecast(window, {}, num_processes).pass_s
    score_s = model.measurements.score_s[name] * side_px**2 / MPX
    num_photos = facts.num_val[name]
    return num_photos * num_windows * pass_s / PASS_PER_FORWARD, num_photos * score_s


def host_gpu_tflops(names: Sequence[str]) -> float | None:
    """Peak of this machine's first GPU by what the driver calls it; None if it is not known."""
    gpu = find_gpu(names[0]) if names else None
    return gpu.peak_tflops if gpu else None


def _times(factor: float, seconds: Mapping[str, float]) -> dict[str, float]:
    return {name: factor * value for name, value in seconds.items()}


def _make_s(case: PlanCase, loading: Loading) -> dict[str, float]:
    """Seconds for which the GPU makes a sample, by dataset."""
    instance, gpu = case.request.instance, case.request.instance.gpu
    if not case.is_counted:
        return _times(_gpu_factor(case.host, instance), loading.make_s)
    bytes_per_s = 0.0 if gpu is None else GPU_MEMORY_SHARE * gpu.memory_gb_per_s * 1e9
    return {
        name: num_bytes / bytes_per_s + GPU_KERNEL_S * loading.made_kernels[name]
        for name, num_bytes in loading.made_bytes.items()
        if bytes_per_s
    }


def _slow_down(points: Sequence[Point], factor: float) -> tuple[Point, ...]:
    return tuple(
        replace(point, pass_s=factor * point.pass_s, optimizer_s=factor * point.optimizer_s)
        for point in points
    )


def _gpu_factor(host: Host, instance: Instance) -> float:
    if instance.is_local:
        return 1.0
    assert instance.gpu is not None
    if host.gpu_tflops is None:
        raise ConfigError(
            f"plan: the GPU of this machine is none of the table's, so its times say nothing of "
            f"{instance.name}; use --instance-type local, or hide it (CUDA_VISIBLE_DEVICES=)"
        )
    return host.gpu_tflops / instance.gpu.peak_tflops


def _count_points(instance: Instance, facts: Facts, checkpoints: bool) -> tuple[Point, ...]:
    gpu = instance.gpu
    if gpu is None:
        raise ConfigError(
            "plan: the GPU of this machine is none of the table's, so its speed is not known; "
            "leave --measurements out to measure on it"
        )
    tensors_gib = facts.checkpointed_gib if checkpoints else facts.tensors_gib
    flop_per_mpx = 2e9 * facts.gmac_per_mpx * PASS_PER_FORWARD
    if checkpoints:
        flop_per_mpx *= CHECKPOINTED_PASS
    flop_per_s = gpu.utilisation * gpu.peak_tflops * 1e12
    return tuple(
        Point(
            micro_batch_size=size,
            side_px=side_px,
            trainer_gib=GPU_TRAINER_GIB,
            files_gib=0.0,
            cuda_gib=CUDA_CONTEXT_GIB + (1 + CUDA_FRAGMENTATION) * gib,
            pass_s=GPU_PASS_OVERHEAD_S + size * side_px**2 / MPX * flop_per_mpx / flop_per_s,
            optimizer_s=GPU_OPTIMIZER_S,
        )
        for size, side_px, gib in tensors_gib
    )


def _largest(model: CostModel, hyperparameters: Hyperparameters, request: Request) -> int:
    """The most samples of a pass that the request's instance holds."""
    return model.largest_micro_batch(
        hyperparameters, request.limits, request.num_processes, MAX_MICRO_BATCH
    )


def _describe_refusal(
    case: PlanCase, model: CostModel, settled: Hyperparameters, largest: int = 0
) -> str:
    """What is needed, what there is, and what would fit, in one line."""
    request = case.request
    instance, num_processes = request.instance, request.num_processes
    forecast = model.forecast(settled, {}, num_processes)
    size, side_px = settled.micro_batch_size, settled.crop_size_px
    needed_gib, there_gib, where = forecast.needed_gib, instance.memory_gib, "of memory"
    if forecast.cuda_gib is not None and forecast.cuda_gib > USABLE_SHARE * instance.gpu_gib:
        needed_gib, there_gib, where = forecast.cuda_gib, instance.gpu_gib, "of GPU memory"
    remedies = []
    if largest:
        per_process = size * settled.grad_accum_steps
        smaller, num_passes = split_global_batch(per_process, 1, largest)
        remedies.append(f"batch_size={smaller} with grad_accum_steps={num_passes}")
    elif side := model.largest_side_px(settled, request.limits, num_processes):
        remedies.append(f"batch_size=1 with crop_size_px={side}")
    if _fits_checkpointed(case, model, settled):
        remedies.append("checkpoint_activations=true")
    if other := _smallest_instance(request, model, settled):
        remedies.append(f"the same on {other}")
    fitting = ", or ".join(remedies)
    return (
        f"{instance.name}: {size} sample{'s' if size > 1 else ''} a pass of {side_px} px need "
        f"{needed_gib:.1f} GiB {where}, more than {100 * USABLE_SHARE:.0f} % of its "
        f"{there_gib:.4g} GiB; "
        + (f"this would fit: {fitting}" if fitting else "lower num_workers or crop_size_px")
    )


def _fits_checkpointed(case: PlanCase, model: CostModel, settled: Hyperparameters) -> bool:
    """Whether it would fit with checkpoint_activations, where that was counted."""
    request = case.request
    points = _checkpoint(model.measurements.points, case.facts, on_gpu=request.on_gpu)
    if settled.checkpoint_activations or points is None:
        return False
    checkpointing = CostModel(replace(model.measurements, points=points))
    return _largest(checkpointing, settled, request) >= settled.micro_batch_size


def _checkpoint(points: Sequence[Point], facts: Facts, *, on_gpu: bool) -> tuple[Point, ...] | None:
    """The points, less the memory of tensors that are not kept; None where not counted."""
    kept = {(size, side_px): gib for size, side_px, gib in facts.tensors_gib}
    saved = {
        (size, side_px): kept[size, side_px] - gib for size, side_px, gib in facts.checkpointed_gib
    }
    sizes = [(point.micro_batch_size, point.side_px) for point in points]
    if not all(size in saved for size in sizes):
        return None
    if not on_gpu:
        return tuple(
            replace(point, trainer_gib=point.trainer_gib - saved[size])
            for point, size in zip(points, sizes, strict=True)
        )
    return tuple(
        replace(point, cuda_gib=(point.cuda_gib or 0.0) - (1 + CUDA_FRAGMENTATION) * saved[size])
        for point, size in zip(points, sizes, strict=True)
    )


def _smallest_instance(request: Request, model: CostModel, settled: Hyperparameters) -> str | None:
    """The cheapest instance of the table, of the same kind, on which it fits."""
    candidates = [
        instance for instance in INSTANCES.values() if (instance.num_gpus > 0) == request.on_gpu
    ]
    for instance in sorted(candidates, key=lambda instance: instance.price_per_hour or math.inf):
        there = replace(request, instance=instance)
        if request.on_gpu and there.num_processes > instance.num_gpus:
            continue
        if _largest(model, settled, there) >= settled.micro_batch_size:
            return instance.name
    return None
