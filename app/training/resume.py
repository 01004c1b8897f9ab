"""How a run is saved to checkpoints, and resumed from them."""

import io
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from app.base.errors import CheckpointError, DataError, join_problems
from app.base.storage import check_space, writing_to
from app.data.datasets import Datasets
from app.job.paths import Paths
from app.model.export import find_misfits
from app.settings.hyperparameters import Hyperparameters
from app.training.checkpoints import (
    count_checkpoints,
    find_differences,
    load_latest_checkpoint,
    save_checkpoint,
)
from app.training.progress import Progress
from app.training.ranks.distributed import broadcast_bytes, gather_json, rank, world_size
from app.training.run import Run
from app.training.state import TrainingState, unwrap

logger = logging.getLogger(__name__)

# Space for the files beside the weights: tables, pictures, memory.csv.
_OTHER_ARTIFACTS_BYTES = 16 * 2**20
# Settings that older checkpoints name, and the value by which every run trains now.
_REMOVED_SETTINGS: Mapping[str, object] = {"task_weighting": "fixed"}


def check_same_data(datasets: Datasets) -> None:
    """Check that all ranks have the same samples; otherwise they would diverge in the first epoch.

    Raises:
        DataError: If they differ; says in what.
    """
    own = {
        **datasets.identify(),
        "samples per epoch": datasets.samples_per_epoch,
        **{f"{name} validation samples": len(val) for name, val in datasets.val.items()},
    }
    for other_rank, other in enumerate(gather_json(own)):
        if differences := find_differences(other, own):
            raise DataError(
                f"rank {other_rank} has other data than rank {rank()}: {'; '.join(differences)}; "
                "give every host the same files"
            )


def share_bad_files(datasets: Datasets) -> None:
    """Set aside on every rank what any of them could not read."""
    for files in gather_json(datasets.quarantined_files()):
        datasets.restore_quarantines(files)


def identify_run(
    hyperparameters: Hyperparameters, datasets: Datasets, state: TrainingState
) -> dict[str, Any]:
    """Everything that a resumed run must have in common with the run before."""
    num_passes = hyperparameters.grad_accum_steps * world_size()
    return {
        **hyperparameters.result_affecting(),
        **datasets.identify(),
        # Four processes do in one pass what one does in four, so a run may resume with more or
        # fewer processes as long as the product is the same.
        "grad_accum_steps": f"{num_passes} (times processes)",
        # None stands for two values; the channel `pretrained` decides between them. The last group
        # is the part of the backbone that learns fastest.
        "backbone_learning_rate": state.optimizer.param_groups[-1]["peak_lr"],
    }


def check_space_for_run(paths: Paths, num_kept: int, state: TrainingState) -> None:
    """Check that a run's checkpoints and its model fit on the disk, before it begins.

    Raises:
        StorageError: If they do not.
    """
    if rank() != 0:
        return
    # The next checkpoint is written before the oldest one goes.
    num_more = max(1, num_kept + 1 - count_checkpoints(paths.checkpoint_dir))
    check_space(
        {
            paths.checkpoint_dir: num_more * state.checkpoint_bytes(),
            paths.model_dir: state.model_bytes() + _OTHER_ARTIFACTS_BYTES,
        }
    )


def save_run(run: Run) -> None:
    """Write a checkpoint; of several ranks, which all have the same state, the first does.

    Raises:
        StorageError: If it cannot be written; the ones before it stay.
    """
    run.progress.duration_s = time.monotonic() - run.started_s
    if rank() != 0:
        return
    payload = {
        "identity": dict(run.identity),
        "state": run.state.state_dict(),
        "progress": run.progress.state_dict(),
        "quarantined": run.datasets.quarantined_files(),
    }
    directory = run.job.paths.checkpoint_dir
    with writing_to(directory):
        save_checkpoint(directory, run.state.step, payload, run.hyperparameters.keep_checkpoints)


def resume_run(
    directory: Path,
    mode: str,
    identity: Mapping[str, Any],
    state: TrainingState,
    datasets: Datasets,
) -> Progress:
    """The newest checkpoint's progress, with its state loaded; an empty one without a checkpoint.

    The first rank's checkpoint counts: other hosts may have none, or an older one.

    Args:
        directory: Where checkpoints are.
        mode: The hyperparameter `resume`.
        identity: As `identify_run`.
        state: Gets the checkpoint's weights.
        datasets: Get the checkpoint's files set aside.

    Raises:
        CheckpointError: If there is one that cannot be used, or belongs to another run.
    """
    if mode == "never":
        return Progress()
    found = _load_on_all_ranks(directory)
    if found is None:
        return Progress()
    path, payload = found
    if not isinstance(payload, dict):
        raise CheckpointError(
            f"checkpoint {path} holds a {type(payload).__name__}, expected one that this program "
            "wrote; remove it, or set resume=never to start anew"
        )
    # Settings that are newer than the checkpoint have defaults that keep the older behaviour.
    saved_identity = {**Hyperparameters().result_affecting(), **payload.get("identity", {})}
    for name, only_value in _REMOVED_SETTINGS.items():
        if saved_identity.get(name) == only_value:
            del saved_identity[name]
    differences = find_differences(saved_identity, identity)
    if removed := [name for name in _REMOVED_SETTINGS if name in saved_identity]:
        raise CheckpointError(
            f"checkpoint {path} was trained with "
            f"{', '.join(f'{name}={saved_identity[name]}' for name in removed)}, which this "
            "version cannot do; use the version that wrote it, or set resume=never to start anew"
        )
    if differences and mode == "auto":
        raise CheckpointError(
            f"checkpoint {path} belongs to another run: {'; '.join(differences)}; give the earlier "
            "values back, or set resume=force to go on from it all the same, or resume=never to "
            "start anew"
        )
    try:
        network = unwrap(state.model).state_dict()
        if misfits := find_misfits(network, payload["state"]["model"]):
            raise ValueError(join_problems(misfits))
        state.load_state_dict(payload["state"])
        progress = Progress.from_state_dict(payload["progress"])
        quarantined = payload["quarantined"]
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(
            f"checkpoint {path} does not fit this program or these settings: "
            f"{str(error).splitlines()[0]}; set resume=never to start anew"
        ) from error
    datasets.restore_quarantines(quarantined)
    logger.info("resuming from %s: epoch %d, step %d", path, progress.epoch, state.step)
    if differences:
        logger.warning("resume=force: going on in spite of %s", "; ".join(differences))
    return progress


def _load_on_all_ranks(directory: Path) -> tuple[Path, dict[str, Any]] | None:
    """The first rank's newest checkpoint, on every rank."""
    found = load_latest_checkpoint(directory) if rank() == 0 else None
    buffer = io.BytesIO()
    if found is not None:
        torch.save((str(found[0]), found[1]), buffer)
    content = broadcast_bytes(buffer.getvalue())
    if found is None and content:
        path, payload = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        found = Path(path), payload
    return found
