"""How far a run has come: saved to checkpoints with all else that changes, and taken up again."""

import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from app.base.errors import CheckpointError, DataError, join_problems
from app.base.storage import check_space, writing_to
from app.data.datasets import Datasets
from app.job.paths import Paths
from app.model.export import find_misfits
from app.report.steps import StepSeries
from app.settings.hyperparameters import Hyperparameters
from app.training.artifacts import Results
from app.training.checkpoints import (
    count_checkpoints,
    find_differences,
    load_latest_checkpoint,
    save_checkpoint,
)
from app.training.ranks.distributed import broadcast_bytes, gather_json, rank, world_size
from app.training.state import LossSums, TrainingState, unwrap

logger = logging.getLogger(__name__)

# Beside the weights: tables, pictures, memory.csv.
_OTHER_ARTIFACTS_BYTES = 16 * 2**20


@dataclass
class Progress:
    """How far a run has come, and what it has found on the way.

    Attributes:
        epoch: Epochs finished, validation included.
        num_micro_batches: Micro-batches of the epoch under way that are done, on all ranks.
        losses: Their losses.
        num_samples: Samples seen since the start.
        duration_s: Seconds since the start, earlier runs included.
        results: Rows of metrics.jsonl and the last validation.
        steps: Time and loss of every step.
        gradient_norms: Of every step in which they were measured: "step", from 1, and "norms" by
            task.
    """

    epoch: int = 0
    num_micro_batches: int = 0
    losses: LossSums = field(default_factory=LossSums)
    num_samples: int = 0
    duration_s: float = 0.0
    results: Results = field(default_factory=Results)
    steps: StepSeries = field(default_factory=StepSeries)
    gradient_norms: list[dict[str, Any]] = field(default_factory=list)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain types only."""
        return {
            "epoch": self.epoch,
            "num_micro_batches": self.num_micro_batches,
            "loss_sums": self.losses.sums.clone(),
            "loss_counts": self.losses.counts.clone(),
            "num_samples": self.num_samples,
            "duration_s": self.duration_s,
            "results": self.results.state_dict(),
            "steps": self.steps.state_dict(),
            "gradient_norms": list(self.gradient_norms),
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> "Progress":
        """The progress that `state_dict` was taken of."""
        return cls(
            epoch=state["epoch"],
            num_micro_batches=state["num_micro_batches"],
            losses=LossSums(state["loss_sums"], state["loss_counts"]),
            num_samples=state["num_samples"],
            duration_s=state["duration_s"],
            results=Results(**state["results"]),
            steps=StepSeries.from_state_dict(state["steps"]),
            gradient_norms=list(state["gradient_norms"]),
        )


def check_same_data(datasets: Datasets) -> None:
    """See that all ranks have the same samples: others would part ways in the first epoch.

    Raises:
        DataError: If they have not; says what differs.
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
    """What a run that goes on must have in common with the one before."""
    num_passes = hyperparameters.grad_accum_steps * world_size()
    return {
        **hyperparameters.result_affecting(),
        **datasets.identify(),
        # Four processes do in one go what one does in four, so a run may go on with more or fewer
        # of them as long as the product is the same.
        "grad_accum_steps": f"{num_passes} (times processes)",
        # None stands for two values: which of them, the channel `pretrained` decides. The last
        # group is the part of the backbone that learns fastest.
        "backbone_learning_rate": state.optimizer.param_groups[-1]["peak_lr"],
    }


def check_space_for_run(paths: Paths, num_kept: int, state: TrainingState) -> None:
    """See that a run's checkpoints and its model fit on the disk, before it begins.

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


def save_run(
    directory: Path,
    num_kept: int,
    identity: Mapping[str, Any],
    state: TrainingState,
    progress: Progress,
    datasets: Datasets,
) -> None:
    """Write a checkpoint; of several ranks, which all have the same state, the first does.

    Args:
        directory: Where it goes.
        num_kept: How many checkpoints stay there.
        identity: What a run that goes on from it must have in common with this one.
        state: Weights, averaged weights, optimizer.
        progress: How far they have come.
        datasets: Their files that were set aside.

    Raises:
        StorageError: If it cannot be written; the ones before it stay.
    """
    if rank() != 0:
        return
    payload = {
        "identity": dict(identity),
        "state": state.state_dict(),
        "progress": progress.state_dict(),
        "quarantined": datasets.quarantined_files(),
    }
    with writing_to(directory):
        save_checkpoint(directory, state.step, payload, num_kept)


def resume_run(
    directory: Path,
    mode: str,
    identity: Mapping[str, Any],
    state: TrainingState,
    datasets: Datasets,
) -> Progress:
    """The progress to go on from, with all else loaded: the newest checkpoint's, or none.

    The first rank's checkpoint counts: other hosts may have none, or an older one.

    Args:
        directory: Where checkpoints are.
        mode: The hyperparameter `resume`.
        identity: As `save_run`.
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
    # Settings that came after the checkpoint have defaults that do what was done before.
    saved_identity = {**Hyperparameters().result_affecting(), **payload.get("identity", {})}
    differences = find_differences(saved_identity, identity)
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
