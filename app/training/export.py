"""Export of a run: the trained model and all results."""

import math
import os
import time

from app.base.storage import writing_to
from app.inference.panels import collect_panels
from app.model.export import describe_model
from app.resources.cores import num_cores
from app.training.artifacts import Outcome, write_artifacts
from app.training.ranks.distributed import world_size
from app.training.run import Run

# A stopped job can skip most pictures: the platform kills it after 120 s.
_STOP_PANELS_S = 2.0


def export_run(run: Run, *, is_stopped: bool) -> None:
    """Write the model folder from the averaged weights.

    Raises:
        StorageError: If it cannot be written.
    """
    run.memory.enter_phase("export")
    panels = collect_panels(
        run.predictor,
        list(run.datasets.val.values()),
        _STOP_PANELS_S if is_stopped else math.inf,
    )
    tasks = list(run.learned.task_weights)
    document = {
        "format_version": 1,
        "stopped": is_stopped,
        "epochs": run.progress.epoch,
        "steps": run.state.step,
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
        "datasets": run.datasets.to_json(),
        "class_distribution": {
            "num_samples": run.distribution.num_samples,
            "shares": run.distribution.to_json(run.learned.tasks),
            "weights": run.learned.class_weights.describe(run.learned.tasks),
        },
    }
    description = describe_model(run.averaged_model, run.hyperparameters, run.learned.classes)
    with writing_to(run.job.paths.model_dir):
        write_artifacts(
            run.job.paths.model_dir,
            run.averaged_model,
            description,
            Outcome(document, run.progress.results, run.progress.steps, run.memory, panels),
        )
