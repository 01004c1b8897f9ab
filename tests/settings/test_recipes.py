"""Recipes: whole budgets, settings that can be used, steps in whole epochs."""

import pytest

from app.base.dataset_names import DATASET_NAMES
from app.settings.checks import read_dataset_weights
from app.settings.recipes import (
    BEST,
    Stage,
    count_steps,
    pace_settings_of,
    settings_of,
    shares_of,
)
from app.settings.texts import parse_hyperparameters


def test_the_best_recipe_spends_its_budget_and_can_be_trained():
    assert sum(stage.share for stage in BEST.stages) == pytest.approx(1)
    assert len({stage.name for stage in BEST.stages}) == len(BEST.stages)
    for stage in BEST.stages:
        settings = parse_hyperparameters(settings_of(stage, DATASET_NAMES, 40))
        assert (settings.epochs, settings.steps_per_epoch) == (4, 10)
        assert settings.gsd_m == stage.settings["gsd_m"]
        pace = parse_hyperparameters(pace_settings_of(stage, DATASET_NAMES))
        assert (pace.epochs, pace.steps_per_epoch, pace.max_val_samples) == (1, 12, 1)
        assert (pace.crop_size_px, pace.batch_size) == (settings.crop_size_px, settings.batch_size)


def test_every_dataset_has_a_share():
    assert all(read_dataset_weights(shares_of(DATASET_NAMES)).values())
    assert shares_of(["own", "rid"]) == "own=0.8,rid=0.1"


@pytest.mark.parametrize(
    ("step_s", "num_epochs", "num_steps"),
    [
        (0.5, 4, 140),  # 70 s of 100
        (0.6, 4, 116),  # 117 begin in 70 s
        (0.6, 1, 117),
        (500, 4, 4),  # none would be no training
    ],
)
def test_steps_are_whole_epochs(step_s, num_epochs, num_steps):
    assert count_steps(Stage("first", 0.7, {}), 100, step_s, num_epochs) == num_steps
