"""Recipes of training on real roofs: what is trained on, in which stages, at which settings."""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

# Shares of a step: RID's dozen photos and Enschede's scenes are few.
_SHARES: Final = {"own": 0.8, "rid": 0.1, "airs": 0.1}


class Stage(NamedTuple):
    """A part of a training, which starts from the model of the part before it.

    Attributes:
        share: Its part of the budget.
        settings: Hyperparameters that differ from the defaults.
    """

    share: float
    settings: Mapping[str, object]


class Recipe(NamedTuple):
    """A way to spend a budget.

    Attributes:
        label: Its name in tables.
        stages: In their order; shares add up to 1.
    """

    label: str
    stages: Sequence[Stage]


_COARSE: Final = {"gsd_m": 0.2, "crop_size_px": 128, "batch_size": 32}
_FINE: Final = {"gsd_m": 0.1, "crop_size_px": 256, "batch_size": 8}

RECIPES: Final = {
    recipe.label: recipe
    for recipe in (
        Recipe("fine", [Stage(1, _FINE)]),
        Recipe("coarse", [Stage(1, _COARSE)]),
        Recipe(
            "coarse_to_fine",
            [
                Stage(0.7, _COARSE),
                Stage(0.3, {**_FINE, "initial_model_rate_factor": 0.3}),
            ],
        ),
    )
}


def shares_of(names: Sequence[str]) -> str:
    """`dataset_weights` for some datasets."""
    return ",".join(f"{name}={_SHARES[name]}" for name in names)
