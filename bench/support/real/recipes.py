"""Recipes that are compared on real roofs: the one that `best` trains by, and others beside it."""

from typing import Final

from app.settings.recipes import COARSE, COARSE_TO_FINE, FINE, Recipe, Stage

RECIPES: Final = {
    recipe.label: recipe
    for recipe in (
        Recipe("fine", [Stage("fine", 1, FINE)]),
        Recipe("coarse", [Stage("coarse", 1, COARSE)]),
        COARSE_TO_FINE,
    )
}
