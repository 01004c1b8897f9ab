"""What is chosen from curves of loss that are made up, and a real search on a few samples."""

import itertools
import json
import logging
import types

import numpy as np
import pytest
import torch

from app.base.tasks import TASK_NAMES, build_tasks
from app.data.datasets import open_datasets
from app.model.class_weights import choose_class_weights
from app.settings.hyperparameters import DEFAULT_LEARNING_RATE, Hyperparameters
from app.training import rate_search
from app.training.build import build_step_settings, choose_task_weights
from app.training.rate_search import settle_learning_rate
from app.training.state import LossSums
from tests.training.test_step import CPU

AUTO = Hyperparameters(learning_rate="auto", batch_size=1, crop_size_px=64, num_workers=0)
TASKS = build_tasks()


def build_settings(num_steps, task_weights):
    weights = choose_class_weights(TASKS)
    return build_step_settings(AUTO, TASKS, task_weights, weights, num_steps, CPU, None)


def losses(**means):
    """Those of a step; nothing is known of the tasks that are not named."""
    values = [means.get(name) for name in TASK_NAMES]
    return LossSums(
        torch.tensor([value or 0.0 for value in values], dtype=torch.float64),
        torch.tensor([0 if value is None else 1 for value in values]),
    )


@pytest.fixture
def search(monkeypatch, tmp_path):
    """Search with a loss that is a function of the step's rate and number; the rates it was at."""
    seen = []

    def run(
        loss,
        num_steps=400,
        weights=None,
        stop_at=None,
        folder=tmp_path,
        counts_skipped=True,
        **changes,
    ):
        state = types.SimpleNamespace(model=None, rate=None, num_skipped=0)

        def set_rates(_, hyperparameters, __):
            state.rate = hyperparameters.learning_rate

        def steps(_, __, num_micro_batches, settings, ___):
            for number in itertools.count():
                assert number < num_micro_batches
                assert settings.norm_interval_steps == 0
                seen.append(state.rate)
                stop = number == stop_at
                found = loss(state.rate, number)
                is_skipped = counts_skipped and not found.counts.any()
                state.num_skipped = state.num_skipped + 1 if is_skipped else 0
                yield types.SimpleNamespace(losses=found, stop=stop)

        monkeypatch.setattr(rate_search, "build_state", lambda *_: state)
        monkeypatch.setattr(rate_search, "wrap_model", lambda *_: None)
        monkeypatch.setattr(rate_search, "set_peak_rates", set_rates)
        monkeypatch.setattr(rate_search, "train_steps", steps)
        monkeypatch.setattr(rate_search, "read_train_batches", lambda *_: (value for value in ()))
        datasets = types.SimpleNamespace(train_order=lambda *_: itertools.repeat([]))
        settings = build_settings(num_steps, weights or {"segments": 1.0})
        return settle_learning_rate(
            AUTO.model_copy(update=changes), {}, datasets, TASKS, settings, folder, lambda: False
        )

    run.seen = seen
    return run


def bowl(lowest, scale=1.0):
    """Falls by half per decade up to a rate, and rises twentyfold per decade from there."""

    def loss(rate, _):
        decades = np.log10(rate / lowest)
        factor = 2.0**-decades if decades < 0 else 20.0**decades
        return losses(segments=scale * factor)

    return loss


@pytest.mark.parametrize("lowest", [1e-3, 3e-3, 1e-2])
def test_a_tenth_of_the_rate_with_the_lowest_loss(search, lowest):
    found = search(bowl(lowest))
    # Rounds of 8 steps, 0.4 decades, of which the steeper side counts for more.
    assert 0.4 * lowest / 10 < found.chosen <= lowest / 10
    assert found.chosen == float(f"{found.chosen:.2g}")
    assert found.rates[0] == pytest.approx(1e-5)
    assert np.diff(np.log(found.rates)) == pytest.approx(np.log(1e4) / 79)
    assert len(found.losses) == len(found.rates)


def test_it_ends_where_the_loss_is_four_times_its_lowest(search):
    found = search(bowl(1e-3))
    assert 1e-3 < found.rates[-1] < 0.02
    assert len(found.rates) < 70


@pytest.mark.parametrize(("lowest", "chosen"), [(3e-5, 1e-5), (10.0, 7e-3)])
def test_the_bounds(search, lowest, chosen):
    """The last whole round of rates up to 0.1 has its middle at 0.07."""
    assert search(bowl(lowest)).chosen == pytest.approx(chosen)


def test_hard_samples_that_come_again_are_no_curve(search):
    """Every eighth step has samples ten times as hard; the round holds each once."""

    def loss(rate, number):
        hard = 10.0 if number % 8 == 3 else 1.0
        return losses(segments=hard * bowl(3e-3)(rate, number).means()["segments"])

    assert search(loss).chosen == pytest.approx(search(bowl(3e-3)).chosen, rel=0.7)


def test_a_step_that_knows_nothing_of_a_task_is_no_better_than_others(search):
    def loss(rate, number):
        falling = bowl(3e-3)(rate, number).means()["segments"]
        return losses(segments=falling, depth=5.0 if number % 4 == 1 else None)

    weights = {"segments": 1.0, "depth": 2.0, "lines": 1.0}
    with_gaps = search(loss, weights=weights)
    assert with_gaps.losses == pytest.approx(
        [loss(rate, 1).weighted_mean(weights) for rate in with_gaps.rates]
    )


@pytest.mark.parametrize(
    "loss", [lambda *_: losses(segments=1.0), lambda rate, _: losses(segments=1 + rate)]
)
def test_a_loss_that_falls_nowhere_leaves_the_default(search, loss, caplog):
    found = search(loss)
    assert found.chosen == DEFAULT_LEARNING_RATE
    assert "0.001, the default, since the loss fell at none of 80 rates tried" in caplog.text


def test_steps_that_are_skipped_end_it(search):
    def loss(rate, number):
        return bowl(1.0)(rate, number) if rate < 1e-2 else LossSums()

    found = search(loss)
    assert found.rates[-1] < 1e-2
    assert len(search.seen) == len(found.rates) + 5
    assert 1e-4 < found.chosen < 1e-3


def test_a_few_that_are_skipped_do_not(search):
    def loss(rate, number):
        return LossSums() if number < 4 else bowl(3e-3)(rate, number)

    found = search(loss)
    assert found.rates[0] > 1e-5
    assert found.chosen > 1e-4


def test_float16_may_look_for_its_scale_for_longer(search):
    def loss(rate, number):
        return LossSums() if number < 12 else bowl(3e-3)(rate, number)

    assert len(search(loss, counts_skipped=False).rates) > 30


def test_short_runs_try_fewer_rates_or_none(search, caplog):
    caplog.set_level(logging.INFO)
    assert len(search(bowl(10.0), num_steps=100).rates) == 25
    found = search(bowl(10.0), num_steps=99, resume="never")
    assert (found.rates, found.chosen) == ([], DEFAULT_LEARNING_RATE)
    assert "0.001, the default, since a run of 99 steps is too short to try any" in caplog.text


def test_asked_to_stop_nothing_is_settled(search, tmp_path):
    assert search(bowl(1e-3), stop_at=3) is None
    assert len(search.seen) == 4
    assert not (tmp_path / "settled.json").exists()


def test_a_run_that_goes_on_takes_what_was_found(search, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    first = search(bowl(1e-3))
    num_seen = len(search.seen)
    (tmp_path / "step-00000010.pt").touch()
    assert search(bowl(1e-2)) == first
    assert len(search.seen) == num_seen
    assert "as in the run that goes on here" in caplog.text
    other = search(bowl(1e-2), resume="never")
    assert other.chosen > 2 * first.chosen
    assert json.loads((tmp_path / "settled.json").read_text())["learning_rate"] == other.to_json()


@pytest.mark.parametrize(
    "document",
    [
        7,
        {},
        {"chosen": "0.1", "rates": [], "losses": []},
        {"chosen": 2.0, "rates": [], "losses": []},
        {"chosen": 0.1, "rates": None, "losses": []},
    ],
)
def test_what_is_no_search_is_none(search, tmp_path, document):
    (tmp_path / "settled.json").write_text(json.dumps({"learning_rate": document}))
    (tmp_path / "step-00000010.pt").touch()
    assert len(search(bowl(1e-3)).rates) > 10


@pytest.fixture
def opened(small_ml, tmp_path):
    channels = {"rid": small_ml / "input/data/rid"}
    hyperparameters = AUTO.model_copy(update={"steps_per_epoch": 50, "epochs": 2})
    return hyperparameters, open_datasets(channels, hyperparameters, tmp_path)


def test_a_real_search_leaves_no_trace(opened, tmp_path):
    hyperparameters, datasets = opened
    task_weights = choose_task_weights(hyperparameters, datasets.labelled_classes(TASKS))
    settings = build_settings(100, task_weights)
    folder = tmp_path / "checkpoints"
    arguments = (hyperparameters, {}, datasets, TASKS, settings)
    first = settle_learning_rate(*arguments, folder, lambda: False)
    assert 10 < len(first.rates) <= 25
    assert first.losses[0] > min(first.losses)
    assert 1e-5 <= first.chosen <= 1e-2
    # Nothing is drawn from what training, or another search, would draw from.
    assert settle_learning_rate(*arguments, folder, lambda: False) == first
