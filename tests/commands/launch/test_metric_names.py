"""The regexes SageMaker gets, against the lines that the program writes."""

import re

import pytest

from app.base.logs import metric_line
from app.base.tasks import ALL_TASKS
from app.commands.launch.metric_names import METRIC_NAMES, metric_definitions
from app.metrics.definitions import define_metrics

REGEXES = {row["Name"]: re.compile(row["Regex"]) for row in metric_definitions()}
VAL_NAMES = [
    f"val/{task.name}/{name}"
    for task in ALL_TASKS
    for row in define_metrics(task)
    for name, _ in row.expand()
]
TRAIN_NAMES = [
    "time_s", "learning_rate", "samples_per_s", "train/loss", "val/score",
    *(f"train/{task.name}/loss" for task in ALL_TASKS),
]  # fmt: skip


def read(line):
    """What SageMaker would take from a line, by metric name."""
    found = {name: regex.findall(line) for name, regex in REGEXES.items()}
    assert all(len(values) <= 1 for values in found.values())
    return {name: values[0] for name, values in found.items() if values}


def in_log(line):
    return f"2026-11-25T07:20:26.005Z INFO app.training.train: {line}"


def test_limits_of_the_api():
    assert len(METRIC_NAMES) == len(set(METRIC_NAMES)) <= 40
    for name, regex in REGEXES.items():
        assert re.fullmatch(r"[a-z0-9_/]{1,255}", name)
        assert len(regex.pattern) <= 500
        assert regex.groups == 1


def test_names_are_metrics_that_the_program_writes():
    assert set(METRIC_NAMES) - {"epoch"} <= set(VAL_NAMES) | set(TRAIN_NAMES)


def test_each_regex_reads_its_own_value_among_all_others():
    values = {name: number + 0.25 for number, name in enumerate(TRAIN_NAMES + VAL_NAMES, start=1)}
    line = in_log(metric_line(values, epoch=3, step=1200))
    found = read(line)
    assert found.pop("epoch") == "3"
    assert {name: float(text) for name, text in found.items()} == {
        name: values[name] for name in METRIC_NAMES if name != "epoch"
    }


@pytest.mark.parametrize("name", [name for name in METRIC_NAMES if name != "epoch"])
@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.6132, "0.6132"),
        (-0.5, "-0.5"),
        (-3, "-3"),
        (1.0, "1"),
        (1e-05, "0.00001"),
        (1e22, "1" + 22 * "0"),
    ],
)
def test_a_value_alone_on_its_line_is_read_to_its_last_digit(name, value, text):
    line = in_log(metric_line({name: value}, epoch=3, step=1200))
    assert read(line) == {"epoch": "3", name: text}


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_a_value_that_is_not_there_is_not_read(value):
    values = dict.fromkeys(TRAIN_NAMES + VAL_NAMES, 1.5)
    for name in METRIC_NAMES[1:]:
        found = read(in_log(metric_line(values | {name: value}, epoch=3, step=1200)))
        assert name not in found
        assert found.keys() == set(METRIC_NAMES) - {name}


@pytest.mark.parametrize(
    "line",
    [
        "INFO app.training.train: epoch 1/3  val/segments/miou 0.5  learning_rate=0.1",
        "ERROR app: checkpoint belongs to another run: learning_rate=0.1, now 0.2; epoch=3",
        "INFO app.training.train: hyperparameters: {'epochs': 3}",
        # Of one dataset by itself; such lines are not written, and would not be mistaken.
        "metric epoch=3 step=12 val/rid/segments/miou=0.5",
    ],
)
def test_other_lines_are_not_mistaken_for_it(line):
    assert read(line).keys() <= {"epoch"}
