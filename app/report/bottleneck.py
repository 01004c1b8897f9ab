"""In plain words, what bounds the speed of a run, and which hyperparameter to change."""

from collections.abc import Mapping
from typing import Any, Final

from app.resources.steps import PARTS

# Shares of a step above which a part is worth a word. Forward and backward are what a step is for,
# so they are named where nothing else is.
_MUCH_WAIT: Final = 0.15
_MUCH_TRANSFER: Final = 0.1
_MUCH_OPTIMIZER: Final = 0.2
_MUCH_REST: Final = 0.2


def describe_bottleneck(
    step_time: Mapping[str, Any] | None,
    settings: Mapping[str, Any],
    num_cores: int | None,
    device_type: str | None,
) -> str:
    """A few sentences: how long a usual step takes, which part is too slow, and the remedy.

    Args:
        step_time: As `StepSeries.summary`.
        settings: Hyperparameters by name; those that are missing count as not set.
        num_cores: Cores of each training process, its workers included; None where not known.
        device_type: "cpu" or "cuda"; None where not known.
    """
    step_s = _seconds(step_time, "step")
    if step_time is None or not step_s:
        return "No step was done, so nothing is known about where time goes."
    parts = {name: _seconds(step_time, name) for name in PARTS}
    rest_s = max(0.0, step_s - sum(parts.values()))
    samples_per_s = float(step_time.get("samples_per_step") or 0.0) / step_s
    opening = f"A usual step takes {format_s(step_s)}, at {samples_per_s:.3g} samples a second."

    def lost(seconds: float, words: str) -> str:
        return f"{opening} {words} takes {_of_step(seconds, step_s)}"

    if parts["wait"] >= _MUCH_WAIT * step_s:
        remedy = _describe_loading(settings, num_cores, device_type)
        return f"{lost(parts['wait'], 'Waiting for data')}: {remedy}"
    if parts["transfer"] >= _MUCH_TRANSFER * step_s and device_type != "cpu":
        return (
            f"{lost(parts['transfer'], 'Copying batches to the GPU')}: leave out tasks that are "
            "not needed (a weight of 0), whose targets are copied too, or take an instance with a "
            "faster bus."
        )
    if parts["optimizer"] >= _MUCH_OPTIMIZER * step_s:
        return (
            f"{lost(parts['optimizer'], 'The update of the weights')}, however many samples a step "
            f"has: {_describe_larger_step(settings)}"
        )
    if rest_s >= _MUCH_REST * step_s:
        return (
            f"{lost(rest_s, 'Work outside the measured parts')}: counting labels, and agreeing "
            "on the counts with the other training processes, where there are any; then the "
            f"slowest of them sets the pace. Otherwise, {_describe_larger_step(settings)}"
        )
    computing = parts["forward"] + parts["backward"]
    remedy = _describe_computing(settings, device_type)
    return f"{lost(computing, 'Computing (forward and backward)')}: {remedy}"


def format_s(seconds: float) -> str:
    """Seconds, or milliseconds where there are few."""
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def _seconds(step_time: Mapping[str, Any] | None, name: str) -> float:
    return float((step_time or {}).get(f"{name}_s") or 0.0)


def _of_step(seconds: float, step_s: float) -> str:
    return f"{format_s(seconds)} of it ({100 * seconds / step_s:.0f} %)"


def _describe_loading(
    settings: Mapping[str, Any], num_cores: int | None, device_type: str | None
) -> str:
    num_workers = int(settings.get("num_workers") or 0)
    if num_workers == 0:
        target = "" if num_cores is None else f", up to the {num_cores} there are"
        return (
            "num_workers=0 reads in the training process itself; set it to a number of cores"
            f"{target}, to read while it computes."
        )
    if num_cores is None:
        return f"raise num_workers from {num_workers} towards the number of cores."
    if num_workers < num_cores:
        text = f"raise num_workers from {num_workers} towards the {num_cores} cores"
        if device_type == "cpu":
            text += "; training computes on them, too, so the last ones gain little"
        return f"{text}."
    return (
        f"num_workers={num_workers} fills the {_cores(num_cores)} already; lower crop_size_px, "
        "which reads fewer pixels a sample, or take an instance with more cores."
    )


def _describe_larger_step(settings: Mapping[str, Any]) -> str:
    """The advice to make fewer updates for the same number of samples."""
    batch_size = settings.get("batch_size")
    passes = settings.get("grad_accum_steps") or 1
    given = f" from {batch_size}" if isinstance(batch_size, int) else ""
    return (
        f"raise batch_size{given} where memory allows, or grad_accum_steps from {passes}: one "
        "update then serves more samples."
    )


def _describe_computing(settings: Mapping[str, Any], device_type: str | None) -> str:
    recompute = bool(settings.get("checkpoint_activations"))
    remedies = []
    if recompute:
        remedies.append("set checkpoint_activations=false if memory allows (about a fifth faster)")
    if device_type == "cuda":
        if settings.get("precision") == "fp32":
            remedies.append("set precision=auto, which computes in 16 bits")
        if isinstance(settings.get("batch_size"), int):
            remedies.append("set batch_size=auto, which fills the GPU's memory")
        end = "lower crop_size_px, or take a faster GPU, or several"
    else:
        if settings.get("precision") == "bf16":
            remedies.append("set precision=auto, since not every CPU computes in bf16")
        end = "lower crop_size_px, or take an instance with a GPU or with more cores"
    if not remedies:
        return f"that is what a step is for. To make it faster, {end}."
    return f"to make it faster, {'; '.join(remedies)}. Beyond that, {end}."


def _cores(num_cores: int) -> str:
    return f"{num_cores} core{'' if num_cores == 1 else 's'}"
