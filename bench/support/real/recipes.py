"""Recipes that are compared on real roofs: the one that `best` trains by, and others beside it."""

from typing import Final

from app.settings.recipes import COARSE, COARSE_TO_FINE, FINE, Recipe, Stage

_NEW_GROUND: Final = {"new_ground_fraction": 0.5}

RECIPES: Final = {
    recipe.label: recipe
    for recipe in (
        Recipe("fine", [Stage("fine", 1, FINE)]),
        Recipe("coarse", [Stage("coarse", 1, COARSE)]),
        COARSE_TO_FINE,
        # Roofs laid onto ground of other photos, since streets elsewhere are taken for roofs.
        Recipe(
            "coarse_to_fine_new_ground",
            [
                stage._replace(settings={**stage.settings, **_NEW_GROUND})
                for stage in COARSE_TO_FINE.stages
            ],
        ),
    )
}
