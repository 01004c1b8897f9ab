"""What a model was made of: data with their licences, date, and revision of the code."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from app.base.dataset_names import DATASETS
from app.data.datasets import Datasets
from app.job.start_log import read_revision
from app.synthetic.staging import is_synthetic

_SYNTHETIC_LICENCE: Final = "MIT: villages drawn by this project, no photos"
# Keys of model.json.
_NAMES: Final = ("data", "created", "revision", "initial_model")


def origin_of(description: Mapping[str, Any]) -> dict[str, Any]:
    """What the model.json of a model to start from says of where that one is from."""
    return {name: description[name] for name in _NAMES if name in description}


def describe_origin(
    datasets: Datasets, channels: Mapping[str, Path], initial_model: Mapping[str, Any] | None
) -> dict[str, Any]:
    """What model.json says of where a model is from, in plain types.

    Args:
        datasets: What it was trained on.
        channels: Their folders.
        initial_model: What is known of the model that it started from, whose data and licences are
            its own, too; None without one.
    """
    if initial_model is not None:
        initial_model = {"sha256": initial_model["sha256"], **initial_model["origin"]}
    data: dict[str, Any] = {}
    for source in datasets.train.sources:
        name = source.reader.name
        is_drawn = is_synthetic(channels[name])
        data[name] = {
            "title": DATASETS[name].title,
            "num_train": source.num_photos,
            "synthetic": is_drawn,
            "licence": _SYNTHETIC_LICENCE if is_drawn else DATASETS[name].licence,
        }
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "data": data,
        "initial_model": initial_model,
        "created": created,
        "revision": read_revision(),
    }
