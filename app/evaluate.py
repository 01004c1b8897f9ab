"""Score a trained model on a directory in RID's layout."""

import json
import logging
from pathlib import Path
from typing import Any

from app.artifacts import headline
from app.checkpoint import load_exported_model
from app.config import Hyperparameters
from app.data.loading import Quarantine, build_eval_loader
from app.data.rid import RidDataset, Split
from app.engine import choose_autocast_dtype, choose_device, evaluate
from app.errors import CheckpointError
from app.metrics import RoofMetrics
from app.sagemaker import check_writable
from app.tasks import TASKS

logger = logging.getLogger(__name__)


def evaluate_model(
    model_dir: Path,
    rid_dir: Path,
    split: Split,
    output: Path,
    hyperparameters: Hyperparameters,
) -> None:
    """Write the metrics of the model on one split to a JSON file.

    Args:
        model_dir: Folder that a training run has written.
        rid_dir: Folder in RID's layout.
        split: Which list of the fold to score; "all" is the three together.
        output: The JSON file; its folder is made if it is not there.
        hyperparameters: For device, precision, fold, workers and the limit on bad files.

    Raises:
        RoofError: If the model or the data cannot be used.
    """
    check_writable(output.parent)
    model, description = load_exported_model(model_dir)
    described = description.get("tasks", {})
    tasks = [task.name for task in TASKS if described.get(task.name, {}).get("trained")]
    if not tasks:
        raise CheckpointError(f"the model in {model_dir} was trained on no task; train it first")
    device = choose_device(hyperparameters.device)
    dtype = choose_autocast_dtype(hyperparameters.precision, device)
    reader = RidDataset(rid_dir, split, hyperparameters.rid_fold)
    quarantine = Quarantine(
        "rid", len(reader) + len(reader.missing), hyperparameters.max_bad_fraction
    )
    quarantine.add(reader.missing)
    metrics = RoofMetrics()
    loader = build_eval_loader(reader, hyperparameters.num_workers)
    num_scored = 0
    for batch in evaluate(model.to(device), loader, metrics, tasks, device, dtype):
        quarantine.add(batch["bad_files"])
        num_scored += len(batch["sample_id"])
    values = metrics.compute(split, "rid")
    document: dict[str, Any] = {
        "format_version": 1,
        "model": str(model_dir),
        "data": str(rid_dir),
        "split": split,
        "num_samples": num_scored,
        "quarantined": quarantine.to_json(),
        "metrics": {name: value.to_json() for name, value in values.items()},
        "confusion_matrix": {
            f"{split}/segments": {
                "class_names": TASKS[0].class_names,
                "counts": metrics.confusion_matrix().tolist(),
            }
        },
    }
    output.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    row = {name: value.value for name, value in values.items()}
    logger.info("%s on %d samples: %s", split, document["num_samples"], headline(row, split))
    logger.info("metrics written to %s", output)
