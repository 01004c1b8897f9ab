"""What the command line of `plan` said."""

import argparse
from dataclasses import dataclass
from pathlib import Path

from app.base.dataset_names import DatasetName
from app.commands.options import dataset_dirs


@dataclass(frozen=True)
class PredictionOptions:
    """What is to be predicted.

    Attributes:
        area_km2: Square kilometres of photos.
        model: Folder of the model; None if not given.
        tta: In how many turns and flips.
    """

    area_km2: float
    model: Path | None
    tta: int = 1


@dataclass(frozen=True)
class PlanOptions:
    """What the command line said, not yet checked.

    Attributes:
        channels: Folders of datasets by name; empty to plan for the published releases.
        settings: Texts of --set.
        price_per_hour: USD for an instance, in place of the table's.
        measurements: A file of an earlier --json, in place of measuring.
        json: File to write the plan to.
        lists: Whether only the table of instances is asked for.
        prediction: With this, a prediction is planned, not a training.
    """

    instance_type: str | None
    instances: int
    channels: dict[DatasetName, Path]
    phase: str | None
    settings: list[str]
    price_per_hour: float | None
    measurements: Path | None
    json: Path | None
    lists: bool
    prediction: PredictionOptions | None = None


def read_options(namespace: argparse.Namespace) -> PlanOptions:
    """The options as argparse has read them."""
    return PlanOptions(
        instance_type=namespace.instance_type,
        instances=namespace.instances,
        channels=dataset_dirs(namespace),
        phase=namespace.phase,
        settings=namespace.set,
        price_per_hour=namespace.price_per_hour,
        measurements=namespace.measurements,
        json=namespace.json,
        lists=namespace.list,
        prediction=None
        if namespace.predict is None
        else PredictionOptions(namespace.predict, namespace.model, namespace.tta),
    )
