"""Checks of hyperparameters that go beyond a type and a range."""

import math
from typing import Final

from pydantic_core import PydanticCustomError

from app.base.dataset_names import DATASET_NAMES, DatasetName

# Type of the errors raised here and in Hyperparameters, whose messages are shown as they are.
OWN_ERROR: Final = "roof_model"


def check_batch_size(value: object) -> object:
    """The value of `batch_size`, unchanged.

    Raises:
        PydanticCustomError: If it is neither a count nor "auto".
    """
    is_count = isinstance(value, int) and not isinstance(value, bool) and value >= 1
    if not is_count and value != "auto":
        raise PydanticCustomError(OWN_ERROR, "expected a whole number, at least 1, or auto")
    return value


def read_dataset_names(text: str) -> tuple[DatasetName, ...]:
    """The datasets that the text of `datasets` names, in their usual order.

    Raises:
        PydanticCustomError: If it names something else.
    """
    names = [part.strip() for part in text.split(",")]
    if names == ["all"]:
        return DATASET_NAMES
    if not set(names) <= set(DATASET_NAMES) or len(set(names)) < len(names):
        raise PydanticCustomError(
            OWN_ERROR,
            "expected all, or names of {names} with commas between them, each at most once",
            {"names": ", ".join(DATASET_NAMES)},
        )
    return tuple(name for name in DATASET_NAMES if name in names)


def read_dataset_weights(text: str) -> dict[DatasetName, float]:
    """Shares by dataset name, from the text of `dataset_weights`; not yet scaled to a sum of 1.

    Raises:
        PydanticCustomError: If the text cannot be read; says what is wrong with it.
    """
    weights: dict[DatasetName, float] = {}
    for part in text.split(","):
        key, _, number = (piece.strip() for piece in part.partition("="))
        name = next((name for name in DATASET_NAMES if name == key), None)
        try:
            weight = float(number)
        except ValueError:
            weight = math.nan
        if name is None or name in weights or not 0 <= weight < math.inf:
            names = ", ".join(DATASET_NAMES)
            raise PydanticCustomError(
                OWN_ERROR,
                "expected name=share,... with each of {names} at most once, shares 0 or more",
                {"names": names},
            )
        weights[name] = weight
    if sum(weights.values()) == 0:
        raise PydanticCustomError(OWN_ERROR, "expected a share above 0")
    return weights
