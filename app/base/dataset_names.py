"""The datasets: their keys in settings, channels and results, and what is known beforehand.

Imports nothing, so that process 1 and every command's options can read it.
"""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

DatasetName = Literal["rid", "roofline", "airs", "own"]


class DatasetRow(NamedTuple):
    """A row of the table of datasets.

    Attributes:
        title: What people call it.
        reads_windows: Whether training reads parts from all over large files, which the platform's
            FastFile mode serves badly.
        licence: What its photos and labels may be used for, as far as their authors say it; a model
            taught by them may be bound by it, too.
    """

    title: str
    reads_windows: bool
    licence: str


# In the order of all tables and draws.
DATASETS: Final[Mapping[DatasetName, DatasetRow]] = {
    "rid": DatasetRow(
        "RID",
        reads_windows=False,
        licence="labels CC BY-NC; photos from the Google Maps Static API, non-commercial",
    ),
    "roofline": DatasetRow("Roofline", reads_windows=True, licence="none stated by the authors"),
    "airs": DatasetRow(
        "AIRS",
        reads_windows=True,
        licence="photos of Land Information New Zealand CC BY 4.0; labels: none stated",
    ),
    "own": DatasetRow("Own roofs", reads_windows=True, licence="that of your photos and shapes"),
}
DATASET_NAMES: Final[tuple[DatasetName, ...]] = tuple(DATASETS)
DATASET_TITLES: Final[Mapping[DatasetName, str]] = {
    name: row.title for name, row in DATASETS.items()
}
READ_BY_WINDOWS: Final[frozenset[str]] = frozenset(
    name for name, row in DATASETS.items() if row.reads_windows
)


def title_of(name: str, *, is_drawn: bool = False) -> str:
    """What people call a dataset; the name itself where it is none.

    Args:
        name: Its key.
        is_drawn: Whether a program drew it in the dataset's layout: its scores are not those of the
            dataset.
    """
    title = next((row.title for known, row in DATASETS.items() if known == name), name)
    return f"{title} (synthetic)" if is_drawn else title


def dataset_options(value: str = "") -> str:
    """The options that name a dataset's folder, for messages: "--rid, --roofline or --airs".

    Args:
        value: Text to add to each option, such as " DIR".
    """
    *others, last = (f"--{name}{value}" for name in DATASET_NAMES)
    return f"{', '.join(others)} or {last}"
