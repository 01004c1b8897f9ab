"""What a phase of the ladder is expected to take here, told before it runs."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final

from app import __version__
from app.batch_size import settle_batch_size
from app.config import Hyperparameters, read_dataset_names, read_dataset_weights
from app.config_text import parse_hyperparameters
from app.cores import num_cores
from app.errors import ConfigError
from app.forecast import CostModel, Measurements
from app.machine import read_gpus
from app.measuring import measure

logger = logging.getLogger(__name__)

Forecaster = Callable[[Mapping[str, str]], tuple[float, float] | None]

_LARGEST_PX: Final = 512
# A ladder's presets for the CPU differ in what is measured for all of them: batches and workers.
_MEASURED_PHASE: Final = "4"


def build_forecaster(
    channels: Mapping[str, Path], settings: Mapping[str, str], cache_dir: Path
) -> Forecaster:
    """Tells the highest memory, GiB, and the seconds of a step of any settings on this machine.

    It measures when it is first asked, at passes of 1 and 2 samples and two sizes of windows, and
    keeps that in a file.

    Args:
        channels: Folders of datasets, by name.
        settings: What all phases have in common, as texts.
        cache_dir: Gets the file.
    """
    known: list[CostModel] = []

    def forecast(of_phase: Mapping[str, str]) -> tuple[float, float] | None:
        hyperparameters = parse_hyperparameters(of_phase)
        if hyperparameters.device == "cuda" and not read_gpus().names:
            return None
        if not known:
            known.append(CostModel(_measure(channels, settings, cache_dir)))
        if hyperparameters.device == "cuda":
            return None  # measured on the CPU: of a GPU it says nothing
        settled = settle_batch_size(hyperparameters, 1, 1)
        expected = known[0].forecast(settled, _shares(hyperparameters, channels))
        # The process that starts training is not among those that a run counts.
        launcher_gib = known[0].measurements.launcher_gib
        return expected.host_gib - launcher_gib, expected.step_s

    return forecast


def _measure(
    channels: Mapping[str, Path], settings: Mapping[str, str], cache_dir: Path
) -> Measurements:
    own = {"phase": _MEASURED_PHASE, **settings, "device": "cpu"}
    side_px = min(parse_hyperparameters(own).crop_size_px, _LARGEST_PX)
    own["crop_size_px"] = str(side_px)
    key = {
        "version": __version__,
        "torch": version("torch"),
        "num_cores": num_cores(),
        "settings": own,
        "channels": {name: str(path.resolve()) for name, path in channels.items()},
    }
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    path = cache_dir / f"measured-{digest}.json"
    try:
        return Measurements.from_json(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        pass
    logger.info("measuring what training takes here, to predict each phase")
    small_px = max(64, side_px // 2 // 32 * 32)
    points = sorted({(size, px) for px in (small_px, side_px) for size in (1, 2)})
    found = measure(own, channels, points)
    cache_dir.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found.to_json(), indent=2) + "\n", encoding="utf-8")
    return found


def _shares(hyperparameters: Hyperparameters, channels: Mapping[str, Path]) -> dict[str, float]:
    """Of the datasets trained on; they add up to 1."""
    weights = read_dataset_weights(hyperparameters.dataset_weights)
    chosen = {
        name: weights.get(name, 0.0)
        for name in read_dataset_names(hyperparameters.datasets)
        if name in channels
    }
    total = sum(chosen.values())
    if total == 0:
        raise ConfigError(f"nothing to train on: {hyperparameters.dataset_weights}")
    return {name: weight / total for name, weight in chosen.items()}
