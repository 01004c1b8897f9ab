"""What a plan comes to, in a sentence, and what would be better."""

import math
from dataclasses import replace
from typing import Final

from app.base.errors import ConfigError
from app.base.units import describe_duration
from app.commands.plan.case import PlanCase
from app.commands.plan.estimate import Estimate, choose_precision, estimate
from app.commands.plan.instances import INSTANCES, Instance

# A device that waits for data for more of its time is not what the time is paid for.
_NOTABLE_WAIT: Final = 0.2
# Another instance is worth a word where it saves so much of the cost.
_NOTABLE_SAVING: Final = 0.1
# Cores that other work took; less is normal on any machine.
NOTABLE_CORES: Final = 0.2


def describe_verdict(case: PlanCase, result: Estimate) -> str:
    """Whether it fits, what it takes and costs, and what to do about waiting or a busy machine.

    Args:
        case: What was asked, and measured and counted for it.
        result: The estimate.
    """
    forecast, request = result.forecast, case.request
    instance = request.instance
    where = "this machine" if instance.is_local else _count(request.num_instances, instance.name)
    memory = f"{forecast.host_gib:.1f} of {instance.memory_gib:.4g} GiB of memory"
    if forecast.cuda_gib is not None:
        memory += f" and {forecast.cuda_gib:.1f} of {instance.gpu_gib:.4g} GiB of each GPU"
    cost = _cost(case, instance, result.hours)
    price = "" if cost is None else f" and {cost:.2f} USD"
    took = describe_duration(3600 * result.hours)
    parts = [f"It fits: {where} would take {took}{price} for all epochs, and use {memory}."]
    wait = forecast.wait_s / forecast.step_s
    if wait > _NOTABLE_WAIT:
        device = "GPU" if request.on_gpu else "network"
        parts.append(
            f"The {device} would wait for data {100 * wait:.0f} % of the time"
            f"{_describe_remedy(case, result, cost)}."
        )
    if case.host.taken_cores > NOTABLE_CORES:
        parts.append(
            f"Times are too long: other work took {case.host.taken_cores:.1f} of the "
            f"{case.host.num_cores} cores here while it was measured; measure again on a quiet "
            "machine."
        )
    return " ".join(parts)


def _describe_remedy(case: PlanCase, result: Estimate, cost: float | None) -> str:
    """What would shorten the waiting; empty where nothing of the table does."""
    request = case.request
    num_busy = result.settled.num_workers * request.num_processes
    if 2 * num_busy <= request.instance.num_vcpus:
        most = request.instance.num_vcpus // request.num_processes
        return f"; try --set num_workers={most}, of which there are {result.settled.num_workers}"
    is_rented = request.on_gpu and not request.instance.is_local
    found = _find_cheaper(case, result, cost) if is_rented else None
    if found is None:
        return ", since it has too few cores to read for it"
    other, hours, other_cost = found
    return (
        f"; {_count(request.num_instances, other.name)} would take "
        f"{describe_duration(3600 * hours)} and {other_cost:.2f} USD"
    )


def _find_cheaper(
    case: PlanCase, result: Estimate, cost: float | None
) -> tuple[Instance, float, float] | None:
    """The instance with as many GPUs on which the same costs least, with its hours and its cost.

    None where it saves little, or takes longer.
    """
    request = case.request
    best: tuple[Instance, float, float] | None = None
    for instance in INSTANCES.values():
        there = replace(request, instance=instance, price_per_hour=None)
        is_alike = (
            instance.num_gpus == request.instance.num_gpus
            and choose_precision(there) == case.precision
        )
        if not is_alike or instance.price_per_hour is None:
            continue
        try:
            hours = estimate(replace(case, request=there)).hours
        except ConfigError:  # does not fit
            continue
        other_cost = instance.price_per_hour * request.num_instances * hours
        if hours <= result.hours and (best is None or other_cost < best[2]):
            best = instance, hours, other_cost
    limit = math.inf if cost is None else (1 - _NOTABLE_SAVING) * cost
    return best if best is not None and best[2] < limit else None


def _cost(case: PlanCase, instance: Instance, hours: float) -> float | None:
    price = case.request.price_per_hour
    if price is None:
        price = instance.price_per_hour
    return None if price is None else price * case.request.num_instances * hours


def _count(number: int, name: str) -> str:
    return name if number == 1 else f"{number} x {name}"
