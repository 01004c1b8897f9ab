"""What the finished job of a phase took and learnt, as a flat row."""

import csv
import json
import platform
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from app.commands.phases.trend import find_trend
from app.metrics.headlines import HEADLINES
from app.resources.cgroup import read_memory_limit_gib
from app.resources.cores import num_cores
from app.resources.gpus import read_gpus, read_torch_build
from app.resources.steps import PARTS

# Memory by phase of a job; "peak" counts shared pages once and misses no moment.
MEMORY_PHASES: Final = ("load", "train", "val", "export")
MEMORY_KINDS: Final = (
    "peak_gib", "uss_gib", "pss_gib", "rss_gib", "cuda_allocated_gib", "cuda_reserved_gib",
)  # fmt: skip
# Of the validation of the exported weights: name, and how tables call it.
METRICS: Final = {one.name: one.column for one in HEADLINES if one.column}


def describe_machine() -> str:
    """Cores that may be used, processor, memory, GPUs and torch, for people."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8") if cpuinfo.exists() else ""
    name = re.search(r"^model name\s*: (.+)$", text, flags=re.MULTILINE)
    processor = name.group(1).strip() if name else platform.machine()
    flags = " with bfloat16" if " avx512_bf16" in text or " amx_bf16" in text else ""
    gpus = read_gpus()
    parts = [
        f"{num_cores()} cores of {processor}{flags}",
        f"{read_memory_limit_gib():.0f} GiB",
        *([f"GPUs: {gpus.describe()}"] if gpus.names else []),
        f"torch {read_torch_build().version}",
    ]
    return ", ".join(parts)


def describe_run(model_dir: Path, forecast: Sequence[float] | None) -> dict[str, Any]:
    """The numbers of a job.

    Args:
        model_dir: Its model folder.
        forecast: The highest memory, GiB, and the seconds of a step that were expected; or None.

    Returns:
        duration_s, samples_per_s, samples_per_step, step_s, <part>_s, rest_s, memory by phase and
        kind, peak_gib, loss_slope_per_100_steps, loss_slope_stderr, loss_change, converging,
        losses, metrics, and with a forecast predicted_peak_gib, peak_error_percent,
        predicted_step_s, step_error_percent. None where something is not known.
    """
    metrics = json.loads((model_dir / "metrics.json").read_text(encoding="utf-8"))
    peaks = metrics["memory"]["peaks"]
    memory = {
        phase: {kind: peaks.get(phase, {}).get(kind) for kind in MEMORY_KINDS}
        for phase in MEMORY_PHASES
    }
    known = [memory[phase]["peak_gib"] for phase in ("train", "val")]
    # Training and validation only: no setting lowers the memory before and after them.
    peak_gib = max((gib for gib in known if gib is not None), default=None)
    steps, losses = _read_losses(model_dir / "steps.csv")
    trend = find_trend(steps, losses)
    values = metrics["metrics"]
    row: dict[str, Any] = {
        "duration_s": metrics["duration_s"],
        **_describe_steps(metrics["step_time"]),
        "memory": memory,
        "peak_gib": peak_gib,
        "limit_gib": metrics["memory"]["limit_gib"],
        "loss_slope_per_100_steps": trend.slope,
        "loss_slope_stderr": trend.stderr,
        "loss_change": trend.change,
        "converging": trend.verdict,
        "trend": trend.describe(),
        "losses": {"steps": steps, "values": losses},
        "metrics": {name: values.get(name, {}).get("value") for name in METRICS},
        "num_workers": metrics["hyperparameters"]["num_workers"],
    }
    if forecast is not None:
        row |= _compare(peak_gib, forecast[0], "peak", "gib")
        row |= _compare(row["step_s"], forecast[1], "step", "s")
    return row


def _describe_steps(step_time: Mapping[str, float] | None) -> dict[str, float | None]:
    names = [f"{part}_s" for part in PARTS]
    if step_time is None:
        return dict.fromkeys(("samples_per_s", "samples_per_step", "step_s", *names, "rest_s"))
    parts = {name: step_time[name] for name in names}
    return {
        "samples_per_s": step_time["samples_per_step"] / step_time["step_s"],
        "samples_per_step": step_time["samples_per_step"],
        "step_s": step_time["step_s"],
        **parts,
        "rest_s": max(0.0, step_time["step_s"] - sum(parts.values())),
    }


def _compare(
    measured: float | None, predicted: float, name: str, unit: str
) -> dict[str, float | None]:
    """The prediction, and its error in per cent of the measured value."""
    error = None if not measured else 100 * (predicted - measured) / measured
    return {f"predicted_{name}_{unit}": predicted, f"{name}_error_percent": error}


def _read_losses(path: Path) -> tuple[list[int], list[float]]:
    """Numbers and losses of all steps that have one."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["loss"]]
    return [int(row["step"]) for row in rows], [float(row["loss"]) for row in rows]
