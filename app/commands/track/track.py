"""The command track: writes the metrics of runs to where other tools show them."""

import logging
from collections.abc import Sequence
from pathlib import Path

from app.base.errors import EXIT_OK, ConfigError
from app.commands.track.runs import TrackedRun, read_tracked_runs
from app.commands.track.to_mlflow import MlflowTarget
from app.report.tensorboard import write_rows

logger = logging.getLogger(__name__)


def track(paths: Sequence[Path], target: Sequence[str], experiment: str) -> int:
    """Write what is new of each run; returns the exit code to end with.

    Args:
        paths: Folders of runs.
        target: "tensorboard" and a folder, or "mlflow" and an address.
        experiment: Name of MLflow's experiment.

    Raises:
        ConfigError: If runs cannot be read, names all of them; or if the target cannot be written.
    """
    kind, place = target
    if kind not in ("tensorboard", "mlflow"):
        raise ConfigError(
            f"--to {kind!r:.50}: expected `tensorboard DIR` or `mlflow URI`; got neither"
        )
    runs = read_tracked_runs(paths)
    mlflow = MlflowTarget(place, experiment) if kind == "mlflow" else None
    for run in runs:
        num_added = _write_tensorboard(Path(place), run) if mlflow is None else mlflow.write(run)
        logger.info("%s: %d of %d rows were new", run.name, num_added, len(run.rows))
    if kind == "tensorboard":
        logger.info("look at them: tensorboard --logdir %s", place)
    return EXIT_OK


def _write_tensorboard(folder: Path, run: TrackedRun) -> int:
    try:
        return write_rows(folder, run.name, run.rows, run.ended_s)
    except OSError as error:
        raise ConfigError(
            f"--to tensorboard {folder}: cannot be written: {error.strerror or error}; name a "
            "folder that can be written to"
        ) from error
