"""The story of a training run: build everything, train, validate, checkpoint, leave the results."""

import contextlib
import logging
import time
from collections.abc import Iterator

from app.base.errors import StopRequested
from app.data.label_looks import Looks
from app.data.order import Shard
from app.inference.scoring import Scores, check_scored, score_datasets
from app.job.job import Job
from app.metrics.score import SCORE_NAME, compute_score
from app.model.devices import choose_compute
from app.resources.memory_sampler import MemorySampler
from app.resources.pass_limit import PassLimit
from app.training.artifacts import export_run
from app.training.build import build_run
from app.training.kept import keep_if_best
from app.training.log import log_epoch, log_gradient_norms, log_start
from app.training.lost_worker import explained_loss_of_workers
from app.training.ranks.distributed import (
    all_reduce_sum,
    is_any,
    is_lost_peer,
    joined_ranks,
    rank,
    world_size,
)
from app.training.results import Row, Validation
from app.training.resume import save_run, share_bad_files
from app.training.run import Run
from app.training.state import StepResult
from app.training.step import train_steps
from app.training.tracking import publish_rows

logger = logging.getLogger(__name__)


def train(job: Job, pass_limit: PassLimit, looks: Looks | None = None) -> None:
    """Train on the channels given and leave everything in the model folder.

    Args:
        job: The job. When it is asked to stop, the run saves its state and its results and returns.
        pass_limit: This rank's limit of samples per pass, for batch_size=auto.
        looks: Looks at the labels that this rank has taken already.

    Raises:
        RoofError: For everything the user can cure.
        StopRequested: If the job was asked to stop before there was anything to save.
        PeerLostError: If another rank is gone.
    """
    compute = choose_compute(job.hyperparameters)
    with (
        MemorySampler(job.hyperparameters.memory_interval_s, is_watched=True) as memory,
        explained_loss_of_workers(memory),
        joined_ranks(compute.device),
    ):
        try:
            run = build_run(job, compute, memory, pass_limit, looks)
        except RuntimeError as error:
            # A rank whose data cannot be read has left meanwhile, as all do that are stopped.
            if job.stop_requested() and is_lost_peer(error):
                raise StopRequested from error
            raise
        log_start(run)
        is_stopped = False
        try:
            score_start(run)
            while run.progress.epoch < run.hyperparameters.epochs:
                train_epoch(run)
                close_epoch(run, validate(run))
        except StopRequested:  # raised on all ranks at the same step
            is_stopped = True
        if is_stopped:
            logger.info("asked to stop at step %d: saving what there is", run.state.step)
            share_bad_files(run.datasets)
            save_run(run)
        run.batches.close()  # data workers and their batches take up no memory from here on
        if rank() == 0:
            export_run(run, is_stopped=is_stopped)


def score_start(run: Run) -> None:
    """Score the initial model of a run that begins: its epoch 0, against which all others stand.

    Raises:
        StopRequested: If any rank was asked to stop.
    """
    if run.initial_model is None or run.state.step > 0 or run.progress.results.history:
        return
    scores = validate(run)
    share_bad_files(run.datasets)
    close_validation(run, scores, {"epoch": 0, "step": 0})
    save_run(run)  # a run that resumes it does not score it again
    publish_rows(run)


def train_epoch(run: Run) -> None:
    """Train on what is left of the epoch, and save it.

    Raises:
        StopRequested: If any rank was asked to stop.
    """
    run.memory.enter_phase("train")
    num_left = run.count_steps_left()
    progress, weights = run.progress, run.learned.task_weights
    for result in run.bar.steps(
        run.profiler.watch(_steps_left(run)),
        progress.epoch + 1,
        num_left,
        lambda: progress.losses.weighted_mean(weights),
    ):
        if result.gradient_norms:
            log_gradient_norms(result.gradient_norms, run.progress.gradient_norms)
        run.progress.count(result, run.state.step, run.learned.task_weights)
        if run.state.step == run.first_step + 1:
            logger.info("first step done")
        if result.stop:
            raise StopRequested
        if run.state.step % run.hyperparameters.checkpoint_every_steps == 0:
            save_run(run)
    if run.state.step % run.hyperparameters.checkpoint_every_steps:
        save_run(run)  # whatever happens in validation does not lose the epoch


def validate(run: Run) -> Scores:
    """Scores of the averaged weights on the validation samples of all ranks.

    Raises:
        StopRequested: If any rank was asked to stop before the end.
        DataError: If not one image of a dataset could be read.
        ConfigError: If memory does not suffice.
    """
    run.memory.enter_phase("val")
    scores = Scores(run.learned.tasks, list(run.datasets.val), run.settings.loss)
    num_workers = run.hyperparameters.num_workers
    shard, stop_requested = Shard(rank(), world_size()), run.job.stop_requested
    with contextlib.suppress(StopRequested):  # all ranks agree on a stop below
        photos = score_datasets(
            run.predictor, run.datasets.val, scores, num_workers, shard, stop_requested
        )
        epoch = 0 if run.state.step == 0 else run.progress.epoch + 1
        # Of one rank, which has about as many as each of the others.
        num_photos = -(-sum(map(len, run.datasets.val.values())) // world_size())
        for bad_files in run.bar.validation(photos, epoch, num_photos):
            run.datasets.set_aside(bad_files)
            if stop_requested():
                break
    # Other ranks may have more or fewer images, so they agree only now.
    if is_any(stop_requested()):
        raise StopRequested
    scores.add_other_ranks(all_reduce_sum)
    check_scored(scores, run.datasets.val)
    return scores


def close_epoch(run: Run, scores: Scores) -> None:
    """Take in the validation, and say and save how far the run has come."""
    share_bad_files(run.datasets)
    progress = run.progress
    duration_s = time.monotonic() - run.started_s
    row: Row = {
        "epoch": progress.epoch + 1,
        "step": run.state.step,
        "time_s": round(duration_s, 2),
        "learning_rate": run.state.optimizer.param_groups[0]["lr"],
        "samples_per_s": round(progress.num_samples / duration_s, 3),
        "train/loss": progress.losses.weighted_mean(run.learned.task_weights),
        **{f"train/{name}/loss": loss for name, loss in progress.losses.means().items()},
    }
    close_validation(run, scores, row)
    progress.end_epoch()
    run.memory.close_epoch(run.hyperparameters.epochs - progress.epoch)
    if progress.epoch == run.hyperparameters.epochs:
        save_run(run)
    publish_rows(run)


def close_validation(run: Run, scores: Scores, row: Row) -> None:
    """Take in and log a validation, and keep its weights if they are the best so far.

    Args:
        run: The run.
        scores: What the validation has found.
        row: Its row of metrics.jsonl so far, with "epoch" and "step".
    """
    values = scores.compute("val")
    trained_on = [source.reader.name for source in run.datasets.train.sources]
    score = compute_score(
        values, tuple(run.learned.task_weights), trained_on, tuple(run.datasets.val)
    )
    row |= {SCORE_NAME: score, **{name: metric.value for name, metric in values.items()}}
    epoch, step = row["epoch"], row["step"]
    assert isinstance(epoch, int)
    assert isinstance(step, int)
    metrics = {name: metric.to_json() for name, metric in values.items()}
    validation = Validation(epoch, step, score, metrics, scores.confusion_matrices("val"))
    keep_if_best(run, validation)
    run.progress.results.add(row, validation)
    log_epoch(row, run.hyperparameters.epochs, run.memory.peak_gib())


def _steps_left(run: Run) -> Iterator[StepResult]:
    """The steps of the epoch that are still to be done, each when it is asked for."""
    num_left = (run.num_micro_batches - run.progress.num_micro_batches) // world_size()
    return train_steps(run.state, run.batches, num_left, run.settings, run.job.stop_requested)
