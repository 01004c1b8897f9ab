"""The settings of each `phase`, from ten samples on a CPU to the whole data on a GPU.

Each phase changes one thing, so that its cost and its gain can be told apart. Those on the CPU are
trials of a few minutes, which prepare the last one: the whole training.
"""

from collections.abc import Mapping
from typing import Final

Preset = Mapping[str, int | str]

_TRIAL: Final[Preset] = {
    "datasets": "rid",
    "max_samples": 10,
    "max_val_samples": 10,
    "crop_size_px": 512,
    "batch_size": 2,
    "grad_accum_steps": 1,
    "num_workers": 2,
    "prefetch_factor": 2,
    "epochs": 5,
    "steps_per_epoch": 10,
    "device": "cpu",
}
_LARGER_BATCH: Final[Preset] = {
    **_TRIAL,
    "max_samples": 20,
    "batch_size": 4,
    "grad_accum_steps": 2,
    "epochs": 4,
    "steps_per_epoch": 5,
}
_MORE_WORKERS: Final[Preset] = {**_LARGER_BATCH, "num_workers": 4, "prefetch_factor": 4}
_ALL_DATASETS: Final[Preset] = {**_MORE_WORKERS, "datasets": "all", "max_samples": 40}
# A sample of 1024 px holds four whole photos of RID or 64 crops of Roofline, so epochs that end
# when the first dataset has been seen once would be a few steps long.
_WHOLE_TRAINING: Final[Preset] = {
    "datasets": "all",
    "epochs": 20,
    "steps_per_epoch": 200,
    "crop_size_px": 1024,
    "batch_size": "auto",
    "global_batch_size": 8,
    "num_workers": 4,
    "prefetch_factor": 4,
    "device": "cuda",
}

PRESETS: Final[Mapping[int, Preset]] = {
    1: _TRIAL,
    2: _LARGER_BATCH,
    3: _MORE_WORKERS,
    4: _ALL_DATASETS,
    5: _WHOLE_TRAINING,
}


def overridden_keys(phase: int, values: Mapping[str, object]) -> dict[str, tuple[object, object]]:
    """Keys of the preset that were given another value: the preset's value, and the one given."""
    preset = PRESETS.get(phase, {})
    return {
        name: (preset[name], value)
        for name, value in values.items()
        if name in preset and value != preset[name]
    }
