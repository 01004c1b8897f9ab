"""The datasets: their keys in settings, channels and results, and what people call them."""

from typing import Final, Literal

DatasetName = Literal["rid", "roofline", "airs"]
DATASET_TITLES: Final[dict[DatasetName, str]] = {
    "rid": "RID",
    "roofline": "Roofline",
    "airs": "AIRS",
}
# In the order of all tables and draws.
DATASET_NAMES: Final[tuple[DatasetName, ...]] = tuple(DATASET_TITLES)
