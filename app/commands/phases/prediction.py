"""Memory and time of a phase on this machine, predicted before it runs."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final

import app
from app import __version__
from app.base.errors import ConfigError
from app.job.environments import choose_num_processes
from app.resources.batch_size import settle_batch_size
from app.resources.cgroup import read_memory_limit_gib
from app.resources.cores import num_cores, read_cpu_flags
from app.resources.forecast import CostModel, MemoryLimits
from app.resources.gpus import Gpus, read_gpus
from app.resources.measurements import Measurements
from app.resources.measuring import measure
from app.settings.checks import read_dataset_names, read_dataset_weights
from app.settings.hyperparameters import Hyperparameters
from app.settings.texts import parse_hyperparameters

logger = logging.getLogger(__name__)

Forecaster = Callable[[Mapping[str, str]], tuple[float, float] | None]

# Parts of app/ that only read a phase's results, or do not run in a phase. Without this list, a
# change of words on a page would cost all phases again.
_OUTSIDE_OF_TRAINING: Final = (
    "commands/best", "commands/check_data.py", "commands/compare", "commands/evaluate.py",
    "commands/export.py", "commands/launch", "commands/make_sample.py", "commands/phases",
    "commands/plan", "commands/process.py", "commands/track",
    "commands/serve", "data/check.py", "data/findings", "report", "roofs",
)  # fmt: skip
APP_DIR: Final = Path(app.__file__).parent
_LARGEST_PX: Final = 512
# Of the presets for a device, the one whose measurements are of use for all: they differ in
# batches, workers and how much data is used, which a forecast takes into account.
_MEASURED_PHASES: Final = {"cpu": "4", "cuda": "5"}


def build_forecaster(
    channels: Mapping[str, Path], settings: Mapping[str, str], cache_dir: Path
) -> Forecaster:
    """A function that predicts peak memory, GiB, and seconds of a step for settings, here.

    It measures when it is first asked for a device, at passes of 1 and 2 samples and two sizes of
    windows, and keeps that in a file. For a GPU where there is none it answers None.

    Args:
        channels: Folders of datasets, by name.
        settings: What all phases have in common, as texts.
        cache_dir: Gets the file.
    """
    known: dict[str, CostModel] = {}

    def forecast(of_phase: Mapping[str, str]) -> tuple[float, float] | None:
        hyperparameters = parse_hyperparameters(of_phase)
        gpus = read_gpus()
        if hyperparameters.device == "cuda" and not gpus.names:
            return None
        device = "cuda" if hyperparameters.device != "cpu" and gpus.names else "cpu"
        if device not in known:
            known[device] = CostModel(_measure(channels, settings, cache_dir, device, gpus))
        model = known[device]
        num_processes = choose_num_processes(hyperparameters.processes_per_host, device, gpus)
        largest = None
        if hyperparameters.batch_size == "auto":
            cuda_gib = min(gpus.memory_gib) if device == "cuda" else None
            limits = MemoryLimits(read_memory_limit_gib(), cuda_gib)
            largest = model.largest_micro_batch(hyperparameters, limits, num_processes)
            if largest == 0:
                return None  # the run says itself that nothing fits, and what would
        settled = settle_batch_size(hyperparameters, largest, num_processes)
        expected = model.forecast(settled, _shares(hyperparameters, channels), num_processes)
        # The process that starts training is not among those that a run counts.
        return expected.host_gib - model.measurements.launcher_gib, expected.step_s

    return forecast


def _measure(
    channels: Mapping[str, Path],
    settings: Mapping[str, str],
    cache_dir: Path,
    device: str,
    gpus: Gpus,
) -> Measurements:
    own = {"phase": _MEASURED_PHASES[device], **settings, "device": device}
    side_px = min(parse_hyperparameters(own).crop_size_px, _LARGEST_PX)
    own["crop_size_px"] = str(side_px)
    key = {
        "version": f"{__version__}, {digest_code()}",
        "torch": version("torch"),
        "num_cores": num_cores(),
        "cpu": sorted(read_cpu_flags()),
        "gpus": gpus.names,
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


def digest_code() -> str:
    """A digest of the code that trains: numbers of different code are not compared."""
    outside = [APP_DIR / name for name in _OUTSIDE_OF_TRAINING]
    digest = hashlib.sha256()
    for path in sorted(APP_DIR.rglob("*.py")):
        if not any(path.is_relative_to(place) for place in outside):
            digest.update(str(path.relative_to(APP_DIR)).encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _shares(hyperparameters: Hyperparameters, channels: Mapping[str, Path]) -> dict[str, float]:
    """Shares of the datasets trained on; they add up to 1."""
    weights = read_dataset_weights(hyperparameters.dataset_weights)
    chosen = {
        name: weights[name]
        for name in read_dataset_names(hyperparameters.datasets)
        if name in channels and weights.get(name, 0) > 0
    }
    total = sum(chosen.values())
    if total == 0:
        raise ConfigError(f"nothing to train on: {hyperparameters.dataset_weights}")
    return {name: weight / total for name, weight in chosen.items()}
