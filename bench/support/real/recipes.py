"""Recipes that are compared on real roofs: the one that `best` trains by, and others beside it."""

from collections.abc import Mapping
from typing import Final

from app.settings.recipes import COARSE, COARSE_TO_FINE, FINE, Recipe, Stage

_NEW_GROUND: Final = {"new_ground_fraction": 0.5}
# More of the photos that show whole streets, all of whose roofs are labelled.
_MORE_SCENES: Final = {"dataset_weights": "own=0.55,airs=0.3,rid=0.15"}


def _with(label: str, settings: Mapping[str, object]) -> Recipe:
    """The best recipe with more settings in all its stages."""
    return Recipe(
        label,
        [
            stage._replace(settings={**stage.settings, **settings})
            for stage in COARSE_TO_FINE.stages
        ],
    )


RECIPES: Final = {
    recipe.label: recipe
    for recipe in (
        Recipe("fine", [Stage("fine", 1, FINE)]),
        Recipe("coarse", [Stage("coarse", 1, COARSE)]),
        COARSE_TO_FINE,
        # Both since streets and car parks of other places are taken for roofs.
        _with("coarse_to_fine_new_ground", _NEW_GROUND),
        _with("coarse_to_fine_more_scenes", _MORE_SCENES),
    )
}
