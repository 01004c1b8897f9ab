"""Recipes of training: a budget of time, spent in stages, each from the model of the one before.

Data alone. `best` trains by BEST, and bench/real.py compares it with others on equal budgets.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from app.base.dataset_names import DatasetName

# Steps of the short job that tells how long a step takes.
PACE_STEPS: Final = 12
# Validations of a stage, of which the best one's weights are kept.
NUM_EPOCHS: Final = 4
# Enough to choose weights by; scores come from all photos, after training.
_MAX_VAL_SAMPLES: Final = 100
# Parts of a step; those of absent datasets go to the others. Roofs of people's own are many where
# photos are few, and label planes and lines.
_SHARES: Final[Mapping[DatasetName, float]] = {
    "rid": 0.1,
    "roofline": 0.1,
    "airs": 0.1,
    "own": 0.8,
}


class Stage(NamedTuple):
    """A part of a training, which starts from the model of the part before it.

    Attributes:
        name: Of its folder, and in messages.
        share: Its part of the budget.
        settings: Hyperparameters that differ from the defaults.
    """

    name: str
    share: float
    settings: Mapping[str, object]


class Recipe(NamedTuple):
    """A way to spend a budget.

    Attributes:
        label: Its name in tables.
        stages: In their order, at least one; shares add up to 1.
    """

    label: str
    stages: Sequence[Stage]


COARSE: Final[Mapping[str, object]] = {"gsd_m": 0.2, "crop_size_px": 128, "batch_size": 32}
FINE: Final[Mapping[str, object]] = {"gsd_m": 0.1, "crop_size_px": 256, "batch_size": 8}

COARSE_TO_FINE: Final = Recipe(
    "coarse_to_fine",
    (
        Stage("coarse", 0.7, COARSE),
        Stage("fine", 0.3, {**FINE, "initial_model_rate_factor": 0.3}),
    ),
)
# What `best` trains by.
BEST: Final = COARSE_TO_FINE


def shares_of(names: Sequence[DatasetName]) -> str:
    """`dataset_weights` for some datasets."""
    return ",".join(f"{name}={_SHARES[name]}" for name in names)


def count_steps(stage: Stage, budget_s: float, step_s: float, num_epochs: int = NUM_EPOCHS) -> int:
    """Optimizer steps of a stage: whole epochs of at least one step.

    Args:
        stage: Of a recipe.
        budget_s: Seconds for all stages together.
        step_s: Seconds of one of its steps.
        num_epochs: Its epochs, each with a validation.
    """
    num_steps = math.ceil(budget_s * stage.share / step_s)
    return num_epochs * max(1, num_steps // num_epochs)


def settings_of(
    stage: Stage, names: Sequence[DatasetName], num_steps: int, num_epochs: int = NUM_EPOCHS
) -> dict[str, object]:
    """The hyperparameters of a stage, but for the model that it starts from.

    Args:
        stage: Of a recipe.
        names: The datasets that it trains on.
        num_steps: Its steps, as `count_steps` has them.
        num_epochs: As there.
    """
    return {
        "max_val_samples": _MAX_VAL_SAMPLES,
        "dataset_weights": shares_of(names),
        **stage.settings,
        "epochs": num_epochs,
        "steps_per_epoch": max(1, num_steps // num_epochs),
    }


def pace_settings_of(stage: Stage, names: Sequence[DatasetName]) -> dict[str, object]:
    """The hyperparameters of the short job whose steps take as long as those of a stage."""
    short = {"epochs": 1, "steps_per_epoch": PACE_STEPS, "keep": "last", "max_val_samples": 1}
    return {**settings_of(stage, names, PACE_STEPS), **short}
