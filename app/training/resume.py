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
from app.resources.batch_size import describe_settled
from app.settings.hyperparameters import Hyperparameters
from app.training.checkpoints import (
    Payload,
    RunCheckpoints,
    best_name,
    find_checkpoints,
    find_differences,
    load_latest_checkpoint,
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


def check_space_for_run(paths: Paths, checkpoints: RunCheckpoints, state: TrainingState) -> None:
    """Check that a run's checkpoints and its model fit on the disk, before it begins.

    Raises:
        StorageError: If they do not.
    """
    if rank() != 0:
        return
    # The next checkpoint is written before the oldest one goes; those of other runs stay.
    num_more = max(1, checkpoints.num_kept + 1 - len(checkpoints.own))
    # One of before the oldest checkpoint, and one of after each.
    num_best = max(1, checkpoints.num_kept + 1 - len(checkpoints.own_best))
    best_bytes = num_best * state.model_bytes() if checkpoints.keeps_best else 0
    check_space(
        {
            checkpoints.folder: num_more * state.checkpoint_bytes() + best_bytes,
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
        "job": run.checkpoints.job,
        "state": run.state.state_dict(),
        "progress": run.progress.state_dict(),
        "quarantined": run.datasets.quarantined_files(),
    }
    settled = describe_settled(run.hyperparameters, run.job.hyperparameters, world_size())
    with writing_to(run.checkpoints.folder):
        run.checkpoints.save(run.state.step, payload, settled)


def resume_run(
    checkpoints: RunCheckpoints,
    mode: str,
    identity: Mapping[str, Any],
    state: TrainingState,
    datasets: Datasets,
) -> Progress:
    """The newest checkpoint's progress, with its state loaded; an empty one without a checkpoint.

    The first rank's checkpoint counts: other hosts may have none, or an older one.

    Args:
        checkpoints: Where they are; told which of them are this run's.
        mode: The hyperparameter `resume`; "never" resumes what the same job has begun.
        identity: As `identify_run`.
        state: Gets the checkpoint's weights.
        datasets: Get the checkpoint's files set aside.

    Raises:
        CheckpointError: If there is one that cannot be used, or belongs to another run.
    """
    found = _load_on_all_ranks(checkpoints, mode)
    if found is None:
        if mode == "never" and (others := checkpoints.others()):
            logger.info(
                "resume=never: starting again from step 0; checkpoints of an earlier run (%d, the "
                "newest %s) stay until this one saves, and are moved aside then",
                len(others),
                others[-1],
            )
        return Progress()
    path, payload = found
    # Within one job nothing begins anew.
    remedy = "start another job" if mode == "never" else "set resume=never to start again"
    if not isinstance(payload, dict):
        raise CheckpointError(
            f"checkpoint {path} holds a {type(payload).__name__}, expected one that this program "
            f"wrote; remove it, or {remedy}"
        )
    saved_identity = _read_identity(payload)
    differences = find_differences(saved_identity, identity)
    if removed := [name for name in _REMOVED_SETTINGS if name in saved_identity]:
        raise CheckpointError(
            f"checkpoint {path} was trained with "
            f"{', '.join(f'{name}={saved_identity[name]}' for name in removed)}, which this "
            f"version cannot do; use the version that wrote it, or {remedy}"
        )
    if differences and mode != "force":
        raise CheckpointError(
            f"checkpoint {path} belongs to another run: {'; '.join(differences)}; give the earlier "
            f"values back, or set resume=force to resume it all the same, or {remedy}"
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
            f"{str(error).splitlines()[0]}; {remedy}"
        ) from error
    datasets.restore_quarantines(quarantined)
    logger.info("resuming from %s: epoch %d, step %d", path, progress.epoch, state.step)
    if differences:  # a run of its own from here on: earlier scores may be of other photos
        logger.warning("resume=force: resuming in spite of %s", "; ".join(differences))
        progress.results.best = None
    elif rank() == 0:
        _claim(checkpoints, path, saved_identity)
    return progress


def _claim(checkpoints: RunCheckpoints, newest: Path, identity: Mapping[str, Any]) -> None:
    """Tell a run which checkpoints, and which weights that they name, are its own."""

    def is_own(payload: Payload) -> bool:
        if _read_identity(payload) != identity:
            return False
        best = payload["progress"]["results"]["best"]
        if best is not None:
            checkpoints.own_best.add(best_name(best["step"]))
        return True

    checkpoints.own = find_checkpoints(newest, is_own)


def _read_identity(payload: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint's run has in common with those that may resume it, as `identify_run`."""
    # Settings that are newer than the checkpoint have defaults that keep the older behaviour.
    identity = {**Hyperparameters().result_affecting(), **payload.get("identity", {})}
    for name, only_value in _REMOVED_SETTINGS.items():
        if identity.get(name) == only_value:
            del identity[name]
    return identity


def _load_on_all_ranks(
    checkpoints: RunCheckpoints, mode: str
) -> tuple[Path, dict[str, Any]] | None:
    """The first rank's newest checkpoint that may be resumed, on every rank."""

    def is_of_this_job(payload: Mapping[str, Any]) -> bool:
        return checkpoints.job is not None and payload.get("job") == checkpoints.job

    is_wanted = is_of_this_job if mode == "never" else None
    found = load_latest_checkpoint(checkpoints.folder, is_wanted) if rank() == 0 else None
    buffer = io.BytesIO()
    if found is not None:
        torch.save((str(found[0]), found[1]), buffer)
    content = broadcast_bytes(buffer.getvalue())
    if found is None and content:
        path, payload = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
        found = Path(path), payload
    return found
