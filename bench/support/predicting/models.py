"""Which network predicts in a benchmark: a trained one where there is one."""

from pathlib import Path
from typing import Final

from app.base.tasks import TASK_NAMES, build_tasks
from app.model.export import MODEL_FILE, describe_model, export_model
from app.model.network import HybridRoofModel
from app.settings.hyperparameters import Hyperparameters
from bench.support.environment import ROOT

# That of `make train`.
DEFAULT_MODEL: Final = ROOT / "local/ml/model"


def choose_model(wanted: Path, scratch: Path) -> tuple[Path, bool]:
    """A model folder, and whether it is a trained one.

    Args:
        wanted: Taken where there is one.
        scratch: A folder for one with random weights otherwise, which takes as long.
    """
    if (wanted / MODEL_FILE).exists():
        return wanted, True
    tasks = build_tasks()
    classes = {task.name: task.class_names for task in tasks if task.name in TASK_NAMES}
    model = HybridRoofModel(tasks).eval()
    folder = scratch / "model"
    export_model(folder, model, describe_model(model, Hyperparameters(), classes))
    return folder, False
