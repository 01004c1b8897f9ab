"""The metrics that SageMaker reads out of a job's log: names, each with a regex.

The line it reads is that of `app.base.logs.metric_line`.
"""

from typing import Final

from app.base.tasks import ALL_TASKS
from app.metrics.definitions import define_metrics
from app.metrics.headlines import HEADLINES
from app.metrics.score import SCORE_NAME

_WANTED: Final = frozenset(one.name for one in HEADLINES if one.in_cloudwatch)
# CreateTrainingJob takes 40: numbers of training, then metrics in the order of their definitions.
METRIC_NAMES: Final = (
    "epoch", "learning_rate", "samples_per_s", "train/loss", SCORE_NAME,
    *(f"train/{task.name}/loss" for task in ALL_TASKS),
    *(
        full_name
        for task in ALL_TASKS
        for row in define_metrics(task)
        for name, _ in row.expand()
        if (full_name := f"val/{task.name}/{name}") in _WANTED
    ),
)  # fmt: skip


def metric_definitions() -> list[dict[str, str]]:
    """`MetricDefinitions` of CreateTrainingJob."""
    return [{"Name": name, "Regex": _regex(name)} for name in METRIC_NAMES]


def _regex(name: str) -> str:
    # The space before the name and the `=` after it tell it from names that it is a part of; what
    # stands in front tells the line from others that hold such a text.
    before = "metric " if name == "epoch" else "metric epoch=[0-9]+ step=[0-9]+.* "
    return rf"{before}{name}=(-?[0-9]+\.?[0-9]*)"
