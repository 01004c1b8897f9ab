"""What a run can be followed by while it trains: its rows so far, and TensorBoard's file."""

import contextlib
import json
import logging
import os
import time
from collections.abc import Iterator

from app.base.errors import first_line
from app.base.storage import replacing
from app.report.tensorboard import write_rows
from app.training.artifacts import HISTORY_FILE
from app.training.ranks.distributed import rank
from app.training.run import Run

logger = logging.getLogger(__name__)


def publish_rows(run: Run) -> None:
    """Write the rows so far beside the checkpoints, and for TensorBoard where the job asks for it.

    A failure costs a warning: nobody would end a training for it. Called after a checkpoint of this
    run, before which nothing is written into its folder.
    """
    if rank() != 0:
        return
    rows, paths = run.progress.results.history, run.job.paths
    content = "".join(json.dumps(row) + "\n" for row in rows)
    path = paths.checkpoint_dir / HISTORY_FILE
    with _harmless(str(path)), replacing(path) as file:
        file.write(content.encode())
    if run.hyperparameters.tensorboard:
        name = os.environ.get("TRAINING_JOB_NAME") or paths.base_dir.resolve().name
        with _harmless(f"{paths.tensorboard_dir}"):
            write_rows(paths.tensorboard_dir, name, rows, time.time())


@contextlib.contextmanager
def _harmless(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        logger.warning(
            "%s cannot be written: %s: %s; training continues",
            what,
            type(error).__name__,
            first_line(error),
        )
