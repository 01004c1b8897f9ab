"""Time and cost of a prediction on an instance, worked out from a photo predicted here.

Every figure bears its basis, and every number that is only assumed is in the list of rules.
"""

import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.base.errors import EXIT_OK, ConfigError
from app.base.units import describe_duration
from app.commands.options import find_model_dir
from app.commands.plan.asking import ask_one
from app.commands.plan.case import Host
from app.commands.plan.estimate import (
    GPU_PASS_OVERHEAD_S,
    PASS_PER_FORWARD,
    Basis,
    Figure,
    host_gpu_tflops,
)
from app.commands.plan.figures import cost_figures, host_rules, price_rule
from app.commands.plan.instances import Instance, find_instance, local_core_speed
from app.commands.plan.options import PlanOptions
from app.commands.plan.other_work import OtherWork
from app.commands.plan.rule import Rule
from app.commands.plan.table import render_sheet, write_json
from app.resources.cores import computes_bf16, local_cores, read_cpu_flags
from app.resources.gpus import read_gpus

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictionQuestion:
    """The question to the child that predicts a photo.

    Attributes:
        model_dir: Folder of the model.
        tta: In how many turns and flips.
        precision: As the hyperparameter.
    """

    model_dir: str
    tta: int
    precision: str

    @classmethod
    def from_json(cls, text: str) -> "PredictionQuestion":
        """The question whose attributes a text holds."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class MeasuredPrediction:
    """What predicting a drawn photo took.

    Attributes:
        total_s: From the file of the photo to the files of its outputs.
        network_s: The part of it in which the network computed.
        photo_mpx: Size of the photo at the model's scale, in 10**6 pixels.
        network_mpx: What the network computed: windows that overlap, in every turn.
        num_passes: How often it was asked.
        gmac: Multiplications and additions of all that, 10**9.
        gsd_m: The model's scale, metres per pixel.
        device: "cpu" or "cuda".
        precision: "fp32", "bf16" or "fp16".
    """

    total_s: float
    network_s: float
    photo_mpx: float
    network_mpx: float
    num_passes: int
    gmac: float
    gsd_m: float
    device: str
    precision: str


@dataclass(frozen=True)
class PredictionCase:
    """What is planned, and from which numbers.

    Attributes:
        instance: To predict on.
        num_instances: That share the photos.
        area_km2: Square kilometres of photos.
        host: The machine measured on.
        measured: What was measured there.
        price_per_hour: USD of an instance; None where it is not known.
        is_price_given: Whether the user has said it.
    """

    instance: Instance
    num_instances: int
    area_km2: float
    host: Host
    measured: MeasuredPrediction
    price_per_hour: float | None
    is_price_given: bool = False

    @property
    def photo_mpx(self) -> float:
        """All photos at the model's scale, in 10**6 pixels."""
        # 10**6 square metres in a square kilometre, and 10**6 pixels in each of these.
        return self.area_km2 / self.measured.gsd_m**2

    @property
    def network_s(self) -> float:
        """Seconds of the network for a photo as large as the measured one, on the instance.

        Raises:
            ConfigError: If the speed of a GPU is not known.
        """
        instance, host, measured = self.instance, self.host, self.measured
        if instance.is_local:
            return measured.network_s
        if instance.num_gpus == 0:
            there = instance.num_cores * instance.core_speed
            return measured.network_s * host.num_cores * host.core_speed / there
        assert instance.gpu is not None
        if measured.device == "cuda":
            if host.gpu_tflops is None:
                raise ConfigError(
                    "plan: the GPU of this machine is none of the table's, so its times say "
                    f"nothing of {instance.name}; use --instance-type local, or hide it "
                    "(CUDA_VISIBLE_DEVICES=)"
                )
            return measured.network_s * host.gpu_tflops / instance.gpu.peak_tflops
        flop_per_s = instance.gpu.utilisation * instance.gpu.peak_tflops * 1e12
        overhead_s = measured.num_passes * GPU_PASS_OVERHEAD_S / PASS_PER_FORWARD
        return overhead_s + 2e9 * measured.gmac / flop_per_s

    @property
    def rest_s(self) -> float:
        """Seconds of all else for such a photo: reading, blending, shapes, writing."""
        measured = self.measured
        here_s = measured.total_s - measured.network_s
        if self.instance.is_local:
            return here_s
        return here_s * self.host.core_speed / self.instance.core_speed

    @property
    def hours(self) -> float:
        """Until all photos are done."""
        photo_s = self.network_s + self.rest_s
        return photo_s * self.photo_mpx / self.measured.photo_mpx / self.num_instances / 3600

    @property
    def cost_usd(self) -> float | None:
        """Of all instances; None where no price is known."""
        price = self.price_per_hour
        return None if price is None else price * self.num_instances * self.hours


def plan_prediction(
    options: PlanOptions,
    ask: "Callable[[PredictionQuestion], MeasuredPrediction] | None" = None,
) -> int:
    """Print the plan of a prediction; returns the exit code to end with.

    Args:
        options: Options of the command line.
        ask: Measures here.

    Raises:
        RoofError: If an option cannot be used, or the photo cannot be predicted here.
        BrokenPipeError: If nobody reads what is written to stdout.
    """
    wanted = options.prediction
    assert wanted is not None
    if options.instance_type is None or (wanted.model is None and options.measurements is None):
        missing = "--instance-type" if options.instance_type is None else "--model"
        raise ConfigError(f"plan --predict: {missing} is missing; add it")
    unused = [
        name for name, value in (("--phase", options.phase), ("--set", options.settings)) if value
    ] + [f"--{name}" for name in options.channels]
    if unused:
        raise ConfigError(
            f"plan --predict: {', '.join(unused)} says something of a training; leave it out"
        )
    instance = find_instance(options.instance_type)
    gpus, flags = read_gpus(), read_cpu_flags()
    taken_cores = 0.0
    if options.measurements is not None:
        measured, host = read_prediction(options.measurements)
    else:
        assert wanted.model is not None
        uses_bf16 = instance.computes_bf16 and computes_bf16(flags) and not gpus.names
        question = PredictionQuestion(
            str(find_model_dir(wanted.model)),
            wanted.tta,
            "auto" if gpus.names or instance.is_local else "bf16" if uses_bf16 else "fp32",
        )
        logger.info("predicting a drawn photo here, twice; up to a minute on two cores")
        others = OtherWork()
        measured = (ask or ask_prediction)(question)
        taken_cores = others.taken_cores()
        host = Host(
            local_cores(), local_core_speed(flags), host_gpu_tflops(gpus.names), taken_cores
        )
    given = options.price_per_hour
    case = PredictionCase(
        instance,
        options.instances,
        wanted.area_km2,
        host,
        measured,
        instance.price_per_hour if given is None else given,
        is_price_given=given is not None,
    )
    figures, rules = tuple(_figures(case)), tuple(_rules(case))
    if options.json is not None:
        write_json(options.json, _to_json(case, figures, rules))
    heading = f"Plan for {options.instances} x {instance.name}, prediction"
    sys.stdout.write(render_sheet(heading, figures, rules, _describe(case)))
    return EXIT_OK


def ask_prediction(question: PredictionQuestion) -> MeasuredPrediction:
    """What a child process measures.

    Raises:
        ConfigError: If it has no answer; says why.
    """
    answer = ("prediction", "predicting")
    found = ask_one("predict", asdict(question), answer, timeout_s=1800)
    return MeasuredPrediction(**found)


def read_prediction(path: Path) -> tuple[MeasuredPrediction, Host]:
    """What an earlier plan of a prediction has measured, and its machine.

    Raises:
        ConfigError: If the file holds none.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return MeasuredPrediction(**document["prediction"]), Host(**document["host"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = getattr(error, "strerror", None) or "it holds no measurements of a prediction"
        raise ConfigError(
            f"--measurements: {path}: {reason}; name a file that `plan --predict --json` has "
            "written, or leave the option out to measure"
        ) from error


def _figures(case: PredictionCase) -> Iterator[Figure]:
    measured = case.measured
    photo = f"{measured.photo_mpx:.1f} Mpx, {measured.precision}, here"
    yield Figure("here_photo_s", "A photo on this machine, s", measured.total_s, "measured", photo)
    percent = 100 * measured.network_s / measured.total_s
    yield Figure("here_network_percent", "Network, % of that time", percent, "measured")
    yield Figure("area_km2", "Area, km2", case.area_km2, "set")
    scale = f"at {measured.gsd_m:g} m per pixel"
    yield Figure("photo_mpx", "All photos, Mpx", case.photo_mpx, "predicted", scale)
    yield Figure("photo_s", "Such a photo there, s", case.network_s + case.rest_s, "predicted")
    percent = 100 * case.network_s / (case.network_s + case.rest_s)
    yield Figure("network_percent", "Network, % of the time there", percent, "predicted")
    speed = case.area_km2 / case.hours
    yield Figure("km2_per_hour", "km2 an hour, of all instances", speed, "predicted")
    yield Figure("hours", "Hours", case.hours, "predicted")
    basis: Basis = "set" if case.is_price_given else "assumed"
    yield from cost_figures(case.price_per_hour, basis, case.cost_usd)


def _rules(case: PredictionCase) -> Iterator[Rule]:
    instance, host, measured = case.instance, case.host, case.measured
    yield Rule("photo", "drawn", "a village was predicted: more roofs in a photo take longer")
    yield Rule("overlap", "none", "of photos is assumed: ground in two photos is predicted twice")
    yield from host_rules(host)
    if not instance.is_local:
        yield Rule(
            "core_speed_ratio",
            round(instance.core_speed / host.core_speed, 3),
            "speed of a core there beside one here; all but the network takes longer by as much",
        )
    if not instance.is_local and instance.num_gpus == 0:
        yield Rule(
            "cores_ratio",
            instance.num_cores / host.num_cores,
            "physical cores there / here; the network is faster by both ratios together, which "
            "many cores in one process do not reach",
        )
    if not instance.is_local and instance.gpu is not None:
        if measured.device == "cuda":
            assert host.gpu_tflops is not None
            ratio = instance.gpu.peak_tflops / host.gpu_tflops
            yield Rule("gpu_tflops_ratio", round(ratio, 3), "peak of the GPU there / here")
        else:
            gmac = measured.gmac / measured.photo_mpx
            yield Rule("gmac_per_mpx", round(gmac, 1), "of photo, with overlaps and turns: counted")
            gpu = instance.gpu
            yield Rule("gpu_tflops", gpu.peak_tflops, f"dense peak of {gpu.name}")
            yield Rule("gpu_utilisation", round(gpu.utilisation, 3), gpu.describe_utilisation())
    if instance.num_gpus > 1:
        yield Rule("num_gpus", 1, f"of its {instance.num_gpus} is used: take smaller instances")
    if not case.is_price_given and case.price_per_hour is not None:
        yield price_rule()
    yield Rule("not_included", "start", "of instances and containers, copying photos and outputs")


def _describe(case: PredictionCase) -> str:
    where = (
        "this machine" if case.instance.is_local else f"{case.num_instances} x {case.instance.name}"
    )
    cost = "" if case.cost_usd is None else f" and {case.cost_usd:.2f} USD"
    took = describe_duration(3600 * case.hours)
    return f"{where} would take {took}{cost} for {case.area_km2:g} km2."


def _to_json(
    case: PredictionCase, figures: tuple[Figure, ...], rules: tuple[Rule, ...]
) -> Mapping[str, Any]:
    return {
        "instance_type": case.instance.name,
        "instances": case.num_instances,
        "verdict": _describe(case),
        **{figure.key: figure.value for figure in figures},
        "basis": {figure.key: figure.basis for figure in figures},
        "rules": {rule.name: {"value": rule.value, "text": rule.text} for rule in rules},
        "host": asdict(case.host),
        "prediction": asdict(case.measured),
    }
