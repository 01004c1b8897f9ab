"""The log lines of a training run: at its start, and at the end of each epoch."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from app.base.logs import is_terminal, metric_line
from app.base.tasks import TaskName
from app.data.distribution import lines_of_shares
from app.data.order import TrainSource
from app.metrics.headlines import headline
from app.metrics.score import SCORE_NAME
from app.settings.presets import overridden_keys
from app.training.run import Run
from app.training.watch.gradient_norms import NORM_INTERVAL_STEPS, UNEVEN, find_uneven

logger = logging.getLogger(__name__)

# Of a dataset to train on, or parts of large ones. Fewer are learned by heart.
_FEW_PHOTOS = 100


def log_start(run: Run) -> None:
    """Log the network, the data and the settings at the start of a run."""
    learned, hyperparameters = run.learned, run.hyperparameters
    for name, facts in run.datasets.to_json().items():
        logger.info(
            "%s: %d samples to train on, %.0f %% of every step, and %d to validate on",
            name,
            facts["num_train"],
            100 * facts["share"],
            facts["num_val"],
        )
    for warning in describe_few_photos(run):
        logger.warning("%s", warning)
    if not is_terminal():  # the report has them, where they can be read
        _log_classes(run)
    logger.info(
        "training %s, %d steps an epoch; %s, %s, %.1f M parameters, torch %s",
        " and ".join(learned.task_weights),
        run.steps_per_epoch,
        run.compute.device,
        str(run.compute.autocast_dtype or torch.float32).removeprefix("torch."),
        sum(p.numel() for p in run.state.model.parameters()) / 1e6,
        torch.__version__,
    )
    changed = hyperparameters.non_default()
    logger.info("hyperparameters: %s", changed or "all at their defaults")
    if hyperparameters.phase is not None:
        overridden = overridden_keys(hyperparameters.phase, hyperparameters.model_dump())
        if overridden:
            words = [f"{name}={new} instead of {old}" for name, (old, new) in overridden.items()]
            logger.info(
                "settings that differ from phase=%d: %s", hyperparameters.phase, ", ".join(words)
            )


def _log_classes(run: Run) -> None:
    """Log shares and weights of all classes."""
    learned = run.learned
    for line in lines_of_shares(run.distribution.to_json(learned.tasks)):
        logger.info("pixels after augmentation, %s", line)
    for task, weights in learned.class_weights.to_json(learned.tasks).items():
        if task in learned.task_weights:
            shown = ", ".join(f"{label} {weight:.2f}" for label, weight in weights.items())
            logger.info("weights of pixels in the loss of %s: %s", task, shown)


def describe_few_photos(run: Run) -> list[str]:
    """What the few photos of a dataset can and cannot teach, a line for each such dataset.

    None for trials, which max_samples makes small.
    """
    hyperparameters = run.hyperparameters
    if hyperparameters.max_samples is not None:
        return []
    num_samples = hyperparameters.epochs * run.datasets.samples_per_epoch
    remedy = (
        "start from a model that knows roofs (initial_model), or label more"
        if run.initial_model is None
        else "a lower initial_model_rate_factor keeps more of what the initial model knows"
    )
    return [
        f"{source.reader.name}: {source.num_photos} photos to train on are few, and each comes "
        f"about {_count_visits(source, num_samples):.0f} times: "
        "they teach how these roofs look in these photos, not roofs and photos of other kinds; "
        f"scores on {len(run.datasets.val[source.reader.name])} validation photos change much with "
        f"single ones; {remedy}"
        for source in run.datasets.train.sources
        if source.num_photos < _FEW_PHOTOS
    ]


def _count_visits(source: TrainSource, num_samples: int) -> float:
    """How often each photo of a dataset comes among the samples of a run, at least once."""
    return max(1.0, num_samples * source.share * source.per_side**2 / source.num_photos)


def log_epoch(row: Mapping[str, float | int | None], num_epochs: int, peak_gib: float) -> None:
    """Log an epoch's numbers: a line for people and, if stdout is no terminal, one for machines."""
    title = f"epoch {row['epoch']}/{num_epochs}" if row["epoch"] else "initial model, step 0"
    logger.info("%s  %s  memory %.2f GiB", title, headline(row), peak_gib)
    if is_terminal():
        return
    # Of all datasets together: the line would be four times as long otherwise.
    values = {
        name: value
        for name, value in row.items()
        if name not in ("epoch", "step") and name.count("/") < 3
    }
    epoch, step = row["epoch"], row["step"]
    assert epoch is not None
    assert step is not None
    logger.info("%s", metric_line(values, int(epoch), int(step)))


def log_kept(run: Run, kept: Mapping[str, Any]) -> None:
    """Log which weights are exported, and what they gained over an initial model."""
    results = run.progress.results
    if kept["score"] is None:
        logger.info("the model is that of step %d, which has no score", kept["step"])
        return
    start = "" if results.start is None else f", initial model {_describe_score(results.start)}"
    logger.info(
        "the model is that of epoch %d, step %d: score %.3f (keep=%s of %d validations%s)",
        kept["epoch"],
        kept["step"],
        kept["score"],
        kept["keep"],
        len(results.history),
        start,
    )


def _describe_score(row: Mapping[str, float | int | None]) -> str:
    score = row.get(SCORE_NAME)
    return "without a score" if score is None else f"{score:.3f}"


def log_gradient_norms(
    norms: Mapping[TaskName, float], earlier: Sequence[Mapping[str, Any]]
) -> None:
    """Log how strongly each task pulls at the shared map, and what to do if one task dominates.

    Heads that have hardly learnt pull by where they start, not by what they have to learn: advice
    needs two measurements in a row that agree, and the first one, of untrained heads, counts for
    none. On a terminal there is advice alone.

    Args:
        norms: By task.
        earlier: Measurements before this one, as Progress has them; the advice is not repeated
            from one to the next.
    """
    if not is_terminal():
        words = ", ".join(f"{name} {norm:.2g}" for name, norm in norms.items())
        logger.info("gradient norm at the shared feature: %s", words)
    uneven = find_uneven(norms)
    before = [find_uneven(row["norms"]) for row in earlier[1:][-2:]]
    if uneven is None or not before or uneven != before[-1] or before == [uneven, uneven]:
        return
    most, least = uneven
    logger.warning(
        "%s has pulled more than %.0f times as strongly as %s for %d steps: a lower %s_weight or a "
        "higher %s_weight would let both learn",
        most,
        UNEVEN,
        least,
        NORM_INTERVAL_STEPS,
        most,
        least,
    )
