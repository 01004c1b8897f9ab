import csv
import time

import pytest
import torch

from app.resources.steps import COLUMNS, PARTS, StepSeries
from app.training.watch.step_clock import StepClock

CPU = torch.device("cpu")


def seconds(step, **parts):
    return {"step": step, **dict.fromkeys(PARTS, 0.0), **parts}


def test_clock_counts_the_parts_of_a_step_and_begins_anew():
    clock = StepClock(CPU)
    for _ in range(2):
        with clock.part("forward"):
            time.sleep(0.02)
    time.sleep(0.03)
    closed = clock.close_step()
    assert closed["forward"] >= 0.04
    assert closed["backward"] == 0
    assert closed["step"] >= closed["forward"] + 0.03
    assert clock.close_step()["forward"] == 0


def test_restart_leaves_out_what_was_between_steps():
    clock = StepClock(CPU)
    with clock.part("wait"):
        time.sleep(0.03)
    clock.restart()
    closed = clock.close_step()
    assert closed["wait"] == 0
    assert closed["step"] < 0.03


@pytest.mark.gpu
def test_clock_sees_what_a_gpu_does_later():
    device = torch.device("cuda")
    x = torch.rand(4096, 4096, device=device)
    clock = StepClock(device)
    with clock.part("forward"):
        for _ in range(20):
            x = x @ x
            x /= x.norm()
    closed = clock.close_step()
    assert closed["step"] >= closed["forward"] > 0.001


def test_series_keeps_means_where_rows_are_many():
    series = StepSeries(max_rows=4)
    for step in range(1, 12):
        series.add(step, 8, float(step), seconds(step / 10, wait=0.01))
    assert [row["step"] for row in series.rows] == [4, 8, 11]
    assert [row["num_steps"] for row in series.rows] == [4, 4, 3]
    assert [row["loss"] for row in series.rows] == [2.5, 6.5, 10.0]
    assert series.rows[0]["step_s"] == pytest.approx(0.25)
    assert series.rows[0]["wait_s"] == pytest.approx(0.01)


def test_a_skipped_step_has_no_loss_and_does_not_count_in_the_mean():
    series = StepSeries(max_rows=1)
    series.add(1, 8, 4.0, seconds(1))
    series.add(2, 8, None, seconds(3))
    assert series.rows[0]["loss"] == 4
    assert series.rows[0]["step_s"] == 2


def test_summary_leaves_out_the_first_step():
    series = StepSeries()
    assert series.summary() is None
    series.add(1, 4, 1.0, seconds(9, forward=5))
    assert series.summary()["step_s"] == 9
    series.add(2, 4, 1.0, seconds(1, forward=0.5))
    series.add(3, 2, 1.0, seconds(3, forward=1.5))
    assert series.summary() == {
        "num_steps": 2, "samples_per_step": 3, "step_s": 2, "wait_s": 0, "transfer_s": 0,
        "forward_s": 1, "backward_s": 0, "optimizer_s": 0,
        "num_slow": 1, "slow_s": 9.0, "all_steps_s": 13.0,
    }  # fmt: skip


def test_summary_leaves_out_steps_that_are_none_of_the_usual():
    series = StepSeries()
    for step in range(1, 21):
        series.add(step, 4, 1.0, seconds(100.0 if step in (1, 12) else 1.0))
    summary = series.summary()
    assert (summary["num_steps"], summary["step_s"]) == (18, 1.0)
    assert (summary["num_slow"], summary["slow_s"], summary["all_steps_s"]) == (2, 200.0, 218.0)


def test_series_survives_a_round_trip_and_goes_on(tmp_path):
    series = StepSeries()
    series.add(1, 4, 1.5, seconds(1))
    series.add(2, 4, None, seconds(1))
    again = StepSeries.from_state_dict(series.state_dict())
    again.add(3, 4, 0.5, seconds(1))
    assert len(series.rows) == 2
    again.write_csv(tmp_path / "steps.csv")
    with (tmp_path / "steps.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["loss"] for row in rows] == ["1.5", "", "0.5"]
