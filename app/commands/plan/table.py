"""A plan as text for people and as JSON for programs."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from app.base.errors import ConfigError
from app.commands.plan.estimate import Figure
from app.commands.plan.figures import Plan
from app.commands.plan.instances import INSTANCES, PRICES_AS_OF, PRICES_REGION
from app.commands.plan.rule import Rule


def render_plan(plan: Plan) -> str:
    """The table, the rules below it, and the verdict last."""
    case = plan.case
    request = case.request
    heading = f"Plan for {request.num_instances} x {request.instance.name}, {case.precision}"
    return render_sheet(heading, plan.figures, plan.rules, plan.verdict)


def render_sheet(
    heading: str, figures: Sequence[Figure], rules: Sequence[Rule], verdict: str
) -> str:
    """A table, the rules below it, and the verdict last."""
    rows = [(figure.title, _format(figure.value), figure.basis, figure.note) for figure in figures]
    shown = [(rule.name, _format(rule.value), rule.text) for rule in rules]
    return "\n".join(
        [
            heading,
            "",
            *_align(("", "value", "basis", ""), rows, right=1),
            "",
            "Rules and assumptions",
            "",
            *_align(("name", "value", ""), shown, right=1),
            "",
            verdict,
            "",
        ]
    )


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """Everything, flat: figures by key, what each rests on, rules by name, and measurements.

    Returns:
        "instance_type", "instances", "precision", "verdict", "settings" (hyperparameters that are
        no defaults), every figure by its key, "basis" by the same keys, "rules" by name, each with
        "value" and "text", and "host" and "measurements", which --measurements takes.
    """
    case = plan.case
    request = case.request
    return {
        "instance_type": request.instance.name,
        "instances": request.num_instances,
        "precision": case.precision,
        "verdict": plan.verdict,
        "settings": request.hyperparameters.non_default(),
        **{figure.key: figure.value for figure in plan.figures},
        "basis": {figure.key: figure.basis for figure in plan.figures},
        "rules": {rule.name: {"value": rule.value, "text": rule.text} for rule in plan.rules},
        "host": vars(case.host),
        "measurements": case.measured.to_json(),
    }


def render_instances() -> str:
    """The table of instances."""
    rows = []
    for instance in INSTANCES.values():
        gpu = instance.gpu
        rows.append(
            (
                instance.name,
                str(instance.num_vcpus),
                f"{instance.memory_gib:g}",
                f"{instance.num_gpus} x {gpu.name}" if gpu else "",
                f"{instance.gpu_gib:g}" if gpu else "",
                f"{gpu.peak_tflops:g}" if gpu else "",
                "yes" if (gpu.computes_bf16 if gpu else instance.computes_bf16) else "no",
                f"{instance.core_speed:g}",
                _format_price(instance.price_per_hour),
            )
        )
    heading = ("type", "vCPUs", "GiB", "GPUs", "GiB each", "TFLOPS each", "bf16", "core speed",
               "USD/h")  # fmt: skip
    return "\n".join(
        [
            *_align(heading, rows),
            "",
            "TFLOPS: dense peak in bfloat16 or float16, data sheet. Core speed: assumed, beside a "
            "core with",
            f"AVX-512 and bfloat16. USD/h: assumed, list price of training on demand in "
            f"{PRICES_REGION}, {PRICES_AS_OF}.",
            "",
        ]
    )


def _format_price(price_per_hour: float | None) -> str:
    return "not known" if price_per_hour is None else f"{price_per_hour:.3f}"


def _format(value: float | str | None) -> str:
    if value is None:
        return "not known"
    if isinstance(value, str):
        return value
    if isinstance(value, int) or value == int(value):
        return f"{value:.0f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"


def _align(
    heading: Sequence[str], rows: Iterable[Sequence[str]], right: int | None = None
) -> list[str]:
    """Lines with columns below each other.

    Args:
        heading: Headings of the columns.
        rows: Their texts.
        right: Index of a column to align to the right.
    """
    table = [heading, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(heading))]
    return [
        "  ".join(
            text.rjust(width) if column == right else text.ljust(width)
            for column, (text, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in table
    ]


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a plan for programs.

    Raises:
        ConfigError: If it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror or error}; name a file in a folder that "
            "can be written to"
        ) from error
