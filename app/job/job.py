"""A job: what is trained, on which data, and where its results go."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.job.paths import Paths
from app.settings.hyperparameters import Hyperparameters


@dataclass(frozen=True)
class Job:
    """One training job, as a training process gets it.

    Attributes:
        paths: The job's folders.
        hyperparameters: The checked settings.
        channels: Folders of datasets, and perhaps of `pretrained` and `model`, by channel name.
        stop_requested: Whether this process was asked to stop; asked once a step.
        identifier: The platform's name for the job, the same when it is interrupted and started
            again; None where every start is a job of its own.
        request: A digest of what the job was asked for, by which a finished one is recognised; None
            where it is not to be.
    """

    paths: Paths
    hyperparameters: Hyperparameters
    channels: Mapping[str, Path]
    stop_requested: Callable[[], bool]
    identifier: str | None = None
    request: str | None = None
