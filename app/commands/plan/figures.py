"""The rows of a plan, and the rules and assumptions that they rest on."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from app.base.units import MPX
from app.commands.plan.case import Host, PlanCase, Request
from app.commands.plan.estimate import (
    CUDA_CONTEXT_GIB,
    CUDA_FRAGMENTATION,
    GPU_TRAINER_GIB,
    MAX_MICRO_BATCH,
    PASS_PER_FORWARD,
    Basis,
    Estimate,
    Figure,
)
from app.commands.plan.facts import Facts
from app.commands.plan.gpu_rules import gpu_rules
from app.commands.plan.instances import PRICES_AS_OF, PRICES_REGION
from app.commands.plan.rule import Rule
from app.commands.plan.verdict import NOTABLE_CORES, describe_verdict
from app.resources.forecast import USABLE_SHARE
from app.resources.sample_path import device_makes_samples

# Of datasets that nobody has published.
_SAMPLE_SOURCES = {"own": "of a folder of a hundred photos, assumed"}


@dataclass(frozen=True)
class Plan:
    """A plan, ready to be shown.

    Attributes:
        case: What was asked, and measured and counted for it.
        figures: Rows of the table.
        rules: Rules and assumptions, listed below the table.
        verdict: What it comes to, in words.
    """

    case: PlanCase
    figures: tuple[Figure, ...]
    rules: tuple[Rule, ...]
    verdict: str


def build_plan(case: PlanCase, result: Estimate) -> Plan:
    """The rows and rules of an estimate.

    Args:
        case: What was asked, and measured and counted for it.
        result: The estimate.
    """
    figures = [
        *_measured_figures(case),
        *_memory_figures(case.request, result),
        *_batch_figures(case.request, result),
        *_time_figures(case, result),
    ]
    if case.is_extrapolated:
        # All but validation, whose images are as large as what was measured.
        figures = [
            replace(figure, basis="predicted (extrapolated)")
            if figure.basis == "predicted" and figure.key != "val_s"
            else figure
            for figure in figures
        ]
    rules = (*_memory_rules(case), *_speed_rules(case), *_data_rules(case.request, case.facts))
    return Plan(case, tuple(figures), rules, describe_verdict(case, result))


def _measured_figures(case: PlanCase) -> Iterator[Figure]:
    measured = case.measured
    if measured.loading is not None:
        loading, shares = measured.loading, case.facts.shares
        where = f"{loading.side_px} px, time of one core"
        # As the instance's workers have to: they cut samples only where a GPU makes them.
        makes = device_makes_samples(case.request.hyperparameters, case.request.device)
        worker_s = loading.worker_s(device_makes=makes)
        total_s = sum(share * worker_s[name] for name, share in shares.items())
        yield Figure(
            "here_sample_s", "Reading a sample on this machine, s", total_s, "measured", where
        )
        if loading.read_s and total_s > 0:
            read_s = sum(share * loading.read_s[name] for name, share in shares.items())
            yield Figure(
                "here_read_percent",
                "Photos and labels, % of reading",
                100 * read_s / total_s,
                "measured",
                "the rest turns, draws and lights them"
                if worker_s is loading.sample_s
                else "the rest cuts them and draws shapes; a GPU does what else there is",
            )
    if measured.score_s:
        num_val = case.facts.num_val
        total_s = sum(
            num * measured.score_s[name] * case.facts.val_side_px[name] ** 2 / MPX
            for name, num in num_val.items()
        )
        yield Figure(
            "here_score_s",
            "Scoring a photo on this machine, s",
            total_s / max(1, sum(num_val.values())),
            "measured",
            "time of one core",
        )
    if case.is_counted:
        return  # the step of a GPU is: what was trained here served to start workers
    point = max(measured.points, key=lambda point: point.micro_batch_size * point.side_px**2)
    where = f"{point.micro_batch_size} of {point.side_px} px, {measured.precision}, here"
    yield Figure("here_pass_s", "One pass on this machine, s", point.pass_s, "measured", where)
    yield Figure(
        "here_trainer_gib",
        "Training process on this machine, GiB",
        point.trainer_gib,
        "measured",
        where,
    )


def _memory_figures(request: Request, result: Estimate) -> Iterator[Figure]:
    instance, forecast = request.instance, result.forecast
    known: Basis = "measured" if instance.is_local else "assumed"
    yield Figure("host_peak_gib", "Peak host memory, GiB", forecast.host_gib, "predicted")
    yield Figure(
        "host_needed_gib",
        "Memory that must fit, GiB",
        forecast.needed_gib,
        "predicted",
        "without the cache of files, which the kernel can drop",
    )
    yield Figure("host_memory_gib", "Host memory of the instance, GiB", instance.memory_gib, known)
    if forecast.cuda_gib is None:
        return
    yield Figure("cuda_peak_gib", "Peak CUDA memory of a GPU, GiB", forecast.cuda_gib, "predicted")
    name = f"{instance.num_gpus} x {instance.gpu.name if instance.gpu else 'GPU'}"
    yield Figure("cuda_memory_gib", "CUDA memory of a GPU, GiB", instance.gpu_gib, known, name)


def _batch_figures(request: Request, result: Estimate) -> Iterator[Figure]:
    settled, is_auto = result.settled, request.hyperparameters.batch_size == "auto"
    chosen: Basis = "predicted" if is_auto else "set"
    most = "or more" if result.largest == MAX_MICRO_BATCH else ""
    yield Figure(
        "largest_micro_batch", "Largest micro-batch that fits", result.largest, "predicted", most
    )
    yield Figure("micro_batch_size", "Micro-batch", settled.micro_batch_size, chosen)
    yield Figure("grad_accum_steps", "Passes a step", settled.grad_accum_steps, chosen)
    processes: Basis = "set" if request.hyperparameters.processes_per_host else "assumed"
    yield Figure(
        "num_processes",
        "Training processes",
        request.num_processes * request.num_instances,
        processes,
        f"{request.num_processes} on each of {request.num_instances}",
    )
    yield Figure(
        "global_batch_size",
        "Samples a step, of all processes",
        result.forecast.samples_per_step * request.num_instances,
        "set" if not is_auto or request.hyperparameters.global_batch_size else "assumed",
    )
    yield Figure(
        "num_workers",
        "Data workers of a process",
        settled.num_workers,
        "set",
        _describe_workers(result),
    )


def _describe_workers(result: Estimate) -> str:
    """How many cores reading would keep busy to be as fast as the computing."""
    forecast, num_passes = result.forecast, result.settled.grad_accum_steps
    busy_s = forecast.step_s - forecast.wait_s
    if busy_s <= 0 or forecast.load_s == 0:
        return ""
    return f"reading would keep {num_passes * forecast.load_s / busy_s:.1f} cores busy"


def _time_figures(case: PlanCase, result: Estimate) -> Iterator[Figure]:
    request, forecast = case.request, result.forecast
    hyperparameters = request.hyperparameters
    yield Figure("step_s", "Step, s", forecast.step_s, "predicted")
    if forecast.make_s > 0:
        made_s = result.settled.grad_accum_steps * forecast.make_s
        yield Figure(
            "make_percent",
            "Making samples, % of a step",
            100 * made_s / forecast.step_s,
            "predicted",
        )
    wait_percent = 100 * forecast.wait_s / forecast.step_s
    yield Figure("wait_percent", "Waiting for data, % of a step", wait_percent, "predicted")
    yield Figure(
        "samples_per_s",
        "Samples/s, of all processes",
        forecast.samples_per_s * request.num_instances,
        "predicted",
    )
    counted: Basis = "assumed" if request.is_sample else "measured"
    yield Figure(
        "steps_per_epoch",
        "Steps an epoch",
        result.steps_per_epoch,
        "set" if hyperparameters.steps_per_epoch else counted,
    )
    yield Figure("epochs", "Epochs", hyperparameters.epochs, "set")
    photos = f"{sum(case.facts.num_val.values())} photos"
    yield Figure("val_s", "Validation after each, s", result.val_s, "predicted", photos)
    if result.val_s > 0:
        score_percent = 100 * result.score_s / result.val_s
        yield Figure("score_percent", "Scoring, % of validation", score_percent, "predicted")
    if result.first_s > 0:
        yield Figure(
            "first_pass_s",
            "First pass over the photos, s more",
            result.first_s,
            "predicted",
            "they are kept on the disk from then on",
        )
    yield Figure("hours", "Hours, all epochs", result.hours, "predicted")
    price = request.price_per_hour
    price_basis: Basis = "set"
    if price is None:
        price, price_basis = request.instance.price_per_hour, "assumed"
    cost = None if price is None else price * request.num_instances * result.hours
    yield from cost_figures(price, price_basis, cost)


def price_rule(more: str = "") -> Rule:
    """Of which day and which place prices are.

    Args:
        more: What follows in the sentence.
    """
    words = f"list prices of SageMaker training, on demand, {PRICES_REGION}{more}"
    return Rule("prices_as_of", PRICES_AS_OF, words)


def cost_figures(
    price_per_hour: float | None, basis: Basis, cost_usd: float | None
) -> Iterator[Figure]:
    """The price of an instance, USD an hour, and what all hours of all instances cost."""
    note = "on demand" if price_per_hour is not None else "no list price is in the table"
    yield Figure("price_per_hour", "Price of an instance, USD/h", price_per_hour, basis, note)
    note = "" if cost_usd is not None else "--price-per-hour says it"
    yield Figure("cost_usd", "Cost, USD", cost_usd, "predicted", note)


def host_rules(host: Host) -> Iterator[Rule]:
    """What is to be known of the machine that was measured on."""
    if host.taken_cores > NOTABLE_CORES:
        yield Rule(
            "taken_cores",
            round(host.taken_cores, 2),
            f"of the {host.num_cores} cores here were busy with other work while it was measured: "
            "times are too long, so measure again on a quiet machine",
        )


def _memory_rules(case: PlanCase) -> Iterator[Rule]:
    yield Rule(
        "usable_share", USABLE_SHARE, "of memory, host's and GPU's, may be filled; the rest is kept"
    )
    side_px = max(point.side_px for point in case.measured.points)
    if case.is_extrapolated:
        yield Rule(
            "extrapolated_from_px",
            side_px,
            f"was the largest window measured: {case.request.hyperparameters.crop_size_px} px are "
            "extrapolated by their pixels",
        )
    if not case.is_counted:
        return
    yield Rule("gpu_trainer_gib", GPU_TRAINER_GIB, "of host memory for a training process on a GPU")
    yield Rule(
        "cuda_context_gib",
        CUDA_CONTEXT_GIB,
        "on each GPU beside the tensors of a step, which are counted",
    )
    yield Rule("cuda_fragmentation", CUDA_FRAGMENTATION, "more than its tensors, in fragments")


def _speed_rules(case: PlanCase) -> Iterator[Rule]:
    request, host, precision = case.request, case.host, case.precision
    instance, measured = request.instance, case.measured
    yield from host_rules(host)
    yield Rule("precision", precision, f"is what {instance.name} computes in")
    if measured.precision != precision and not case.is_counted:
        yield Rule(
            "measured_precision",
            measured.precision,
            f"was measured: this machine does not compute {precision} natively",
        )
    if not instance.is_local:
        yield Rule(
            "core_speed_ratio",
            round(instance.core_speed / host.core_speed, 3),
            f"speed of a core there beside one here ({instance.core_speed:g} / "
            f"{host.core_speed:g}); reading takes longer by as much",
        )
    if not request.on_gpu and not instance.is_local:
        yield Rule(
            "cores_ratio",
            instance.num_cores / host.num_cores,
            f"physical cores there / here ({instance.num_cores} / {host.num_cores}); a pass is "
            "faster by both ratios together, which many cores in one process do not reach",
        )
    if case.is_counted and instance.gpu:
        yield from gpu_rules(case)
    elif request.on_gpu and host.gpu_tflops and instance.gpu and not instance.is_local:
        yield Rule(
            "gpu_tflops_ratio",
            round(instance.gpu.peak_tflops / host.gpu_tflops, 3),
            "peak of the GPU there / here, used equally well",
        )
    yield Rule("pass_per_forward", PASS_PER_FORWARD, "time of a pass beside its forward part alone")


def _data_rules(request: Request, facts: Facts) -> Iterator[Rule]:
    for name, num_photos in facts.num_photos.items():
        share = facts.shares[name]
        source = "counted in the folders"
        if request.is_sample:
            source = _SAMPLE_SOURCES.get(name, "as published")
        yield Rule(
            f"{name}_train",
            num_photos,
            f"photos or parts of tiles, {source}; {100 * share:.0f} % of every step",
        )
    if request.is_sample:
        if "rid" in facts.num_photos and request.hyperparameters.rid_split == "disjoint":
            yield Rule("rid_split", "disjoint", "photos that overlap val or test are left out")
        yield Rule("sample", "synthetic", "photos were measured; name folders to measure yours")
    if request.price_per_hour is None and request.instance.price_per_hour is not None:
        yield price_rule("; no discount for spot is assumed")
    yield Rule(
        "not_included",
        "start",
        "of instance and container, copying data, compiling, exchange between processes, report",
    )
