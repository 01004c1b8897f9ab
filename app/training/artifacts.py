"""Files that a run leaves in the model folder, and its summary at the end of the log."""

import contextlib
import json
import logging
import math
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from app.base.errors import first_line
from app.base.logs import is_terminal
from app.base.storage import writing_to
from app.base.tasks import Task
from app.inference.panels import collect_panels
from app.inference.self_test import write_self_test
from app.job.finished import note_finished
from app.metrics.headlines import HEADLINES
from app.model.export import MODEL_FILE, describe_further, describe_model, export_model
from app.model.network import HybridRoofModel
from app.model.stac import write_stac_item
from app.report.card import write_card
from app.report.pictures import Panel
from app.report.report import ReportInput, write_report
from app.report.tables import NOT_DEFINED, NOT_TRAINED
from app.resources.cores import num_cores
from app.resources.memory_sampler import MemorySampler, write_memory_csv
from app.resources.steps import StepSeries
from app.roofs.adapters import write_code
from app.synthetic.staging import is_synthetic
from app.training.kept import load_kept
from app.training.log import log_kept
from app.training.origin import describe_datasets, describe_origin, describe_run
from app.training.ranks.distributed import world_size
from app.training.results import Row, Validation
from app.training.run import Run
from app.training.summary import Ending, describe_end

# A stopped job can skip most pictures: the platform kills it after 120 s.
_STOP_PANELS_S = 2.0

logger = logging.getLogger(__name__)

METRICS_FILE = "metrics.json"
HISTORY_FILE = "metrics.jsonl"
MEMORY_FILE = "memory.csv"
STEPS_FILE = "steps.csv"
REPORT_FILE = "report.html"


@dataclass(frozen=True)
class Outcome:
    """Everything that a run has led to besides its weights.

    Attributes:
        document: Content of metrics.json, without the parts that the other attributes and
            model.json hold.
        history: Rows of metrics.jsonl.
        shown: The validation whose metrics are reported; None without one.
        steps: Time and loss of every step.
        memory: The run's sampler.
    """

    document: Mapping[str, Any]
    history: Sequence[Row]
    shown: Validation | None
    steps: StepSeries
    memory: MemorySampler


def write_artifacts(
    model_dir: Path, model: HybridRoofModel, description: Mapping[str, Any], outcome: Outcome
) -> ReportInput:
    """Write the model folder but for the report; returns what that is made of, without pictures.

    Args:
        model_dir: Made if it is not there.
        model: The weights to export.
        description: Content of model.json.
        outcome: What else the run has led to.
    """
    shown, memory = outcome.shown, outcome.memory
    export_model(model_dir, model, description)
    memory.sample_now()
    memory_rows = memory.rows()
    write_memory_csv(model_dir / MEMORY_FILE, memory_rows)
    outcome.steps.write_csv(model_dir / STEPS_FILE)
    rows = "".join(json.dumps(row) + "\n" for row in outcome.history)
    (model_dir / HISTORY_FILE).write_text(rows, encoding="utf-8")
    metrics = {
        **outcome.document,
        # With keep=last, a stopped run has trained on since then.
        "validated": None if shown is None else shown.place,
        "metrics": {} if shown is None else shown.metrics,
        "confusion_matrix": {} if shown is None else shown.confusion,
        "memory": {"peaks": memory.peaks(), "limit_gib": memory.limit_gib()},
        "hyperparameters": description["hyperparameters"],
        "versions": description["versions"],
    }
    text = json.dumps(metrics, indent=2) + "\n"
    (model_dir / METRICS_FILE).write_text(text, encoding="utf-8")
    return ReportInput(
        tasks=model.tasks,
        metrics=metrics,
        history=outcome.history,
        memory=memory_rows,
        steps=outcome.steps.rows,
    )


@contextlib.contextmanager
def can_be_missed(what: str) -> Iterator[None]:
    """A failure costs a warning: the model and its metrics are written, and worth more than this.

    Args:
        what: What will be missing, for the warning.
    """
    try:
        yield
    except Exception as error:
        logger.warning(
            "no %s: %s: %s; the model and its metrics are written",
            what,
            type(error).__name__,
            first_line(error),
        )


def render_table(
    shown: Validation | None, tasks: Sequence[Task], trained: Collection[str], kept_step: int
) -> list[str]:
    """What the validation of the exported weights found, one metric a line.

    Args:
        shown: That validation, or the last one where there is none of these weights.
        tasks: Tasks of the network.
        trained: The trained ones.
        kept_step: Optimizer steps of the exported weights.
    """
    if shown is None:
        return ["no epoch was validated"]
    later = "" if shown.step == kept_step else f"; the model is that of step {kept_step}"
    score = "" if shown.score is None else f", score {shown.score:.3f}"
    lines = [
        f"validation after epoch {shown.epoch}, step {shown.step}{score}{later} "
        f"(all {len(shown.metrics)} metrics: {METRICS_FILE})"
    ]
    for task in (task.name for task in tasks):
        names = [one.name for one in HEADLINES if one.in_table and one.of_task(task)]
        metrics = {name: shown.metrics[name] for name in names}
        if all(metric["value"] is None for metric in metrics.values()):
            lines.append(f"  {task:<17}{NOT_DEFINED if task in trained else NOT_TRAINED}")
            continue
        for name, metric in metrics.items():
            value = metric["value"]
            text = "not defined" if value is None else f"{value:.3f} {metric['unit']}".rstrip()
            lines.append(f"  {task:<17}{name.rpartition('/')[2]:<24}{text}")
    return lines


def export_run(run: Run, *, is_stopped: bool) -> None:
    """Write the model folder from the averaged weights of the best validation, or the last ones.

    Raises:
        StorageError: If it cannot be written.
    """
    run.memory.enter_phase("export")
    shown, kept = load_kept(run)
    log_kept(run, kept)
    tasks = list(run.learned.task_weights)
    document = {
        "format_version": 1,
        "stopped": is_stopped,
        "epochs": run.progress.epoch,
        "steps": run.state.step,
        "kept": kept,
        "initial_model": run.initial_model,
        "num_samples": run.progress.num_samples,
        "num_processes": world_size(),
        "duration_s": round(time.monotonic() - run.started_s, 1),
        "step_time": run.progress.steps.summary(),
        "machine": {
            "device": run.compute.device.type,
            "num_cores": num_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
        },
        "memory_profile": run.profiler.profile,
        "trained_tasks": tasks,
        "gradient_norms": run.progress.gradient_norms,
        "run": describe_run(),
        "datasets": describe_datasets(run.datasets, run.job.channels),
        "label_looks": run.looks,
        "class_distribution": {
            "num_samples": run.distribution.num_samples,
            "shares": run.distribution.to_json(run.learned.tasks),
            "weights": run.learned.class_weights.to_json(run.learned.tasks),
        },
    }
    description = {
        **describe_model(run.averaged_model, run.hyperparameters, run.learned.classes),
        **describe_origin(run.datasets, run.job.channels, run.initial_model),
        "class_weights": vars(run.learned.class_weights),  # as the loss took them
        "colours": run.distribution.describe_colours(),
    }
    model_dir, history = run.job.paths.model_dir, run.progress.results.history
    path = model_dir / REPORT_FILE
    with writing_to(model_dir):
        path.unlink(missing_ok=True)  # an earlier run's, which would be taken for this one's
        source = write_artifacts(
            model_dir,
            run.averaged_model,
            description,
            Outcome(document, history, shown, run.progress.steps, run.memory),
        )
    if not is_stopped:
        with can_be_missed("calibration of what is stated of planes"):
            # Here: SciPy's optimizers would add half a second to the start of every process.
            from app.roofs.calibration import CALIBRATION_KEY
            from app.training.calibrate import measure_calibration

            calibration = measure_calibration(run)
            if calibration is not None:
                describe_further(model_dir, {CALIBRATION_KEY: calibration})
    with can_be_missed("self-test of the model"):
        write_self_test(model_dir, run.predictor, run.hyperparameters.gsd_m)
    with can_be_missed("code for other servers"):
        write_code(model_dir)
    with can_be_missed("model card"):
        write_card(model_dir)
    with can_be_missed("item for catalogues"):
        write_stac_item(model_dir)
    panels: Sequence[Panel] = ()
    with can_be_missed("pictures in the report"):
        panels = collect_panels(
            run.predictor,
            list(run.datasets.val.values()),
            _STOP_PANELS_S if is_stopped else math.inf,
            # One that has stopped this run is heard for ever.
            (lambda: False) if is_stopped else run.job.stop_requested,
        )
    with can_be_missed("report"):
        write_report(path, replace(source, panels=panels))
    lines: Sequence[str] = ()
    with can_be_missed("table of metrics"):
        table = render_table(shown, run.learned.tasks, tasks, kept["step"])
        lines = _log_end(run, shown, table, is_stopped=is_stopped)
    # Without a report the same call shall try once more.
    if lines and path.exists() and run.job.request is not None and not is_stopped:
        files = [model_dir / name for name in (MODEL_FILE, METRICS_FILE, REPORT_FILE)]
        with can_be_missed("word that the run is finished"):
            note_finished(run.job.paths, run.job.request, lines, files)


def _log_end(
    run: Run, shown: Validation | None, table: Sequence[str], *, is_stopped: bool
) -> list[str]:
    """Log what was reached, and where it is; not all numbers on a terminal. Returns the lines."""
    paths = run.job.paths
    report = paths.model_dir / REPORT_FILE
    place = report.resolve().as_uri() if is_terminal() else report
    ending = Ending(
        paths,
        shown,
        {str(name): len(photos) for name, photos in run.datasets.val.items()},
        place if report.exists() else None,
        time.monotonic() - run.started_s,
        is_stopped,
        [name for name in run.datasets.val if is_synthetic(run.job.channels[name])],
    )
    lines = describe_end(ending)
    for line in [*([] if is_terminal() else table), *lines]:
        logger.info("%s", line)
    return lines
