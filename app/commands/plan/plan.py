"""The command plan: what a job would take on an instance, before it is paid for."""

import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, Protocol

from app.base.dataset_names import DatasetName
from app.base.errors import EXIT_OK, ConfigError
from app.commands.plan.case import Host, PlanCase, Request
from app.commands.plan.estimate import choose_precision, choose_sides, estimate, host_gpu_tflops
from app.commands.plan.facts import Facts, FactsRequest, ask_facts
from app.commands.plan.figures import build_plan
from app.commands.plan.instances import Instance, find_instance, local_core_speed
from app.commands.plan.options import PlanOptions
from app.commands.plan.other_work import OtherWork
from app.commands.plan.prediction import plan_prediction
from app.commands.plan.table import plan_to_json, render_instances, render_plan, write_json
from app.job.paths import scratch_folder
from app.resources.cores import computes_bf16, local_cores, read_cpu_flags
from app.resources.gpus import read_gpus
from app.resources.measurements import Measurements
from app.resources.measuring import measure
from app.settings.checks import read_dataset_names
from app.settings.hyperparameters import Hyperparameters
from app.settings.texts import parse_hyperparameters, parse_settings
from app.synthetic.sample import FEW, SAMPLE, make_sample

logger = logging.getLogger(__name__)

# For plans that measure only reading and count the step.
_TINY_POINTS: Final = ((1, 64), (2, 64))


class Measure(Protocol):
    """As `app.resources.measuring.measure`."""

    def __call__(
        self,
        settings: Mapping[str, str],
        channels: Mapping[str, Path],
        points: Sequence[tuple[int, int]],
        *,
        with_loading: bool = True,
    ) -> Measurements:
        """What training takes at each of the points."""


def plan(
    options: PlanOptions,
    measure: Measure = measure,
    ask: Callable[[FactsRequest], Facts] = ask_facts,
) -> int:
    """Print the plan; returns the exit code to end with.

    Args:
        options: Options of the command line.
        measure: Measures on this machine.
        ask: Counts what only torch can tell.

    Raises:
        RoofError: If an option cannot be used, or the plan does not fit.
        BrokenPipeError: If nobody reads what is written to stdout.
    """
    if options.lists:
        sys.stdout.write(render_instances())
        return EXIT_OK
    if options.prediction is not None:
        return plan_prediction(options)
    request = _build_request(options)
    precision = choose_precision(request)
    gpus = read_gpus()
    has_gpu = request.on_gpu and bool(gpus.names)
    host = Host(local_cores(), local_core_speed(read_cpu_flags()), host_gpu_tflops(gpus.names))
    measured = None
    if options.measurements is not None:
        measured, host = read_measurements(options.measurements, host)
        has_gpu = measured.device == "cuda"
    with scratch_folder() as scratch_dir:
        if not options.channels:
            logger.info("drawing a few photos to read")
        folders = options.channels or write_sample(scratch_dir, request.hyperparameters)
        channels: dict[str, Path] = {str(name): folder for name, folder in folders.items()}
        settings = _measuring_settings(request.hyperparameters, precision, on_gpu=has_gpu)
        is_counted = request.on_gpu and not has_gpu
        sides_px = choose_sides(request.hyperparameters.crop_size_px)
        logger.info("counting data, tensors and arithmetic")
        facts = ask(
            FactsRequest(
                settings=settings,
                channels={name: str(folder) for name, folder in channels.items()},
                is_sample=request.is_sample,
                # Counted tensors need not be extrapolated. Beside measurements they show how much
                # checkpoint_activations would save.
                sides_px=_counted_sides(request.hyperparameters.crop_size_px)
                if is_counted
                else sides_px,
                precision=precision,
            )
        )
        if measured is None:
            points = [(size, side_px) for side_px in sides_px for size in (1, 2)]
            logger.info(
                "measuring reading, scoring and %s here; about a minute on two cores",
                "a small step" if is_counted else "steps at four sizes",
            )
            others = OtherWork()
            measured = measure(settings, channels, _TINY_POINTS if is_counted else points)
            host = replace(host, taken_cores=others.taken_cores())
    case = PlanCase(request, precision, host, measured, facts)
    _check_measurements(case)
    shown = build_plan(case, estimate(case))
    if options.json is not None:
        write_json(options.json, plan_to_json(shown))
    sys.stdout.write(render_plan(shown))
    return EXIT_OK


def read_measurements(path: Path, host: Host) -> tuple[Measurements, Host]:
    """Measurements and their host, from a file that --json has written, or of measurements alone.

    Args:
        path: The file.
        host: This machine, which counts as theirs where the file names none.

    Raises:
        ConfigError: If the file holds none.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        measured = Measurements.from_json(document.get("measurements", document))
        return measured, Host(**document["host"]) if "host" in document else host
    except OSError as error:
        raise ConfigError(
            f"--measurements: {path} cannot be read: {error.strerror or error}; name a file that "
            "--json has written"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"--measurements: {path} holds no measurements: expected a file that --json has "
            "written, or leave the option out to measure"
        ) from error


def write_sample(folder: Path, hyperparameters: Hyperparameters) -> dict[DatasetName, Path]:
    """The folders of a small synthetic sample of the datasets that would be trained on.

    Args:
        folder: To write it to.
        hyperparameters: Say which datasets. "all" are those that are published: own roofs, of which
            nobody knows how many there are, count only where they are named.
    """
    is_all = hyperparameters.datasets == "all"
    names = tuple(SAMPLE) if is_all else read_dataset_names(hyperparameters.datasets)
    make_sample(folder, {name: FEW[name] for name in names})
    return {name: folder / "input/data" / name for name in names}


def _build_request(options: PlanOptions) -> Request:
    if options.instance_type is None:
        raise ConfigError(
            "plan: no instance named; add --instance-type TYPE (`python -m app plan --list` lists "
            "all, local is this machine)"
        )
    instance = find_instance(options.instance_type)
    phase = {} if options.phase is None else {"phase": options.phase}
    hyperparameters = parse_hyperparameters({**phase, **parse_settings(options.settings)})
    _check_device(instance, hyperparameters)
    on_gpu = instance.num_gpus > 0 and hyperparameters.device != "cpu"
    asked = hyperparameters.processes_per_host
    if on_gpu and asked is not None and asked > instance.num_gpus:
        raise ConfigError(
            f"processes_per_host={asked}, but {instance.name} has {instance.num_gpus} GPUs; lower "
            "it, or leave it out for one process per GPU"
        )
    return Request(
        instance=instance,
        num_instances=options.instances,
        hyperparameters=hyperparameters,
        on_gpu=on_gpu,
        price_per_hour=options.price_per_hour,
        is_sample=not options.channels,
    )


def _check_device(instance: Instance, hyperparameters: Hyperparameters) -> None:
    """Check that the settings and the instance want the same device.

    Raises:
        ConfigError: If not.
    """
    device, phase = hyperparameters.device, hyperparameters.phase
    origin = f" (set by phase={phase})" if phase is not None else ""
    if device == "cuda" and instance.num_gpus == 0:
        remedy = "phase=4" if phase == 5 else "device=auto"
        raise ConfigError(
            f"device=cuda{origin}, but {instance.name} has no GPU; take one that has, such as "
            f"ml.g5.xlarge, or {remedy}"
        )
    if device == "cpu" and instance.num_gpus > 0 and not instance.is_local:
        raise ConfigError(
            f"device=cpu{origin} leaves the GPU of {instance.name} idle, which is paid for; take "
            "an instance without one, such as ml.m5.2xlarge, or --set device=cuda"
        )


def _check_measurements(case: PlanCase) -> None:
    """Check that the measurements can be used for this plan.

    Raises:
        ConfigError: If not.
    """
    request, measured = case.request, case.measured
    if measured.device == "cuda" and not request.on_gpu:
        raise ConfigError(
            f"--measurements: they were made on a GPU, but {request.instance.name} trains on its "
            "CPU; leave the option out, or name a file that was made for an instance without GPU"
        )
    known = measured.loading.sample_s if measured.loading else {}
    missing = [name for name in case.facts.shares if name not in known]
    missing += [
        name for name in case.facts.num_val if name not in measured.score_s and name not in missing
    ]
    if missing:
        raise ConfigError(
            f"--measurements: reading and scoring {', '.join(missing)} was not measured, only "
            f"{', '.join(known) or 'nothing'}; leave the option out, or plan with datasets="
            f"{','.join(known) or 'those that were'}"
        )


def _measuring_settings(
    hyperparameters: Hyperparameters, precision: str, *, on_gpu: bool
) -> dict[str, str]:
    """The settings as texts, changed so that this machine can measure with them.

    The preset is spelt out: its device may be one that is not here.
    """
    is_native = on_gpu or (precision == "bf16" and computes_bf16(read_cpu_flags()))
    return hyperparameters.to_texts() | {
        "phase": "None",
        "device": "cuda" if on_gpu else "cpu",
        "precision": precision if is_native else "fp32",
        "batch_size": "1",
        "grad_accum_steps": "1",
        "global_batch_size": "None",
        "backbone_weights": "none",
        "torch_compile": "off",
    }


def _counted_sides(crop_size_px: int) -> tuple[int, int]:
    return max(64, crop_size_px // 2 // 32 * 32), max(crop_size_px, 96)
