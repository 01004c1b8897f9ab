"""Which weights a run keeps: those of its best validation, or the last ones."""

import logging
from typing import Any

from app.base.errors import first_line, join_problems
from app.base.storage import writing_to
from app.metrics.score import SCORE_DEFINITION
from app.model.export import find_misfits
from app.training.ranks.distributed import rank
from app.training.results import Validation
from app.training.run import Run

logger = logging.getLogger(__name__)


def keep_if_best(run: Run, validation: Validation) -> None:
    """Store the averaged weights if their validation is the best so far and `keep` is "best".

    They lie beside the checkpoints, of which the next one names them: a run that is interrupted
    before that validates again.

    Raises:
        StorageError: If they cannot be written.
    """
    results = run.progress.results
    if run.hyperparameters.keep != "best" or not results.is_best(validation):
        return
    if rank() == 0:
        with writing_to(run.checkpoints.folder):
            run.checkpoints.save_best(validation.step, run.averaged_model.state_dict())
    results.best = validation


def load_kept(run: Run) -> tuple[Validation | None, dict[str, Any]]:
    """Load the weights to export into the averaged model, at the end of a run.

    Returns:
        The validation whose metrics are reported: that of the exported weights, or the last one
        where these have not been validated; None without any. And which weights were kept, for
        metrics.json.
    """
    results = run.progress.results
    best = results.best if run.hyperparameters.keep == "best" else None
    if best is not None and best.step != run.state.step and not _load(run, best.step):
        best = None
    shown = best or results.last
    step = run.state.step if best is None else best.step
    is_validated = shown is not None and shown.step == step
    kept = {
        "keep": run.hyperparameters.keep,
        "epoch": shown.epoch if shown is not None and is_validated else run.progress.epoch,
        "step": step,
        "score": shown.score if shown is not None and is_validated else None,
        "definition": SCORE_DEFINITION,
    }
    return shown, kept


def _load(run: Run, step: int) -> bool:
    """Load the best weights; False, with a warning, where they are gone or damaged."""
    try:
        tensors = run.checkpoints.load_best(step)
        if misfits := find_misfits(run.averaged_model.state_dict(), tensors):
            raise ValueError(join_problems(misfits))  # before any is loaded
        run.averaged_model.load_state_dict(tensors)
    # A damaged file fails in whatever part of the reader meets the damage first.
    except Exception as error:
        logger.warning(
            "the best weights, of step %d, cannot be read (%s): the last ones are kept, of step %d",
            step,
            first_line(error),
            run.state.step,
        )
        return False
    return True
