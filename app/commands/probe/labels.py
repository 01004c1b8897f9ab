"""Look at the labels of a job in a process of its own.

Before memory is measured: what a training process reads with stays in it.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from app.base.children import ask_child, tell_parent
from app.base.errors import DataError

if TYPE_CHECKING:
    from app.data.label_looks import Looks
    from app.job.job import Job

logger = logging.getLogger(__name__)

_TIMEOUT_S: Final = 600.0


@dataclass(frozen=True)
class LookRequest:
    """What to look at.

    Attributes:
        settings: Hyperparameters, as texts.
        channels: Folders of datasets, by name.
        scratch_dir: Where an index may be kept for the job.
    """

    settings: Mapping[str, str]
    channels: Mapping[str, str]
    scratch_dir: str

    @classmethod
    def from_json(cls, text: str) -> "LookRequest":
        """The inverse of json.dumps(vars(request))."""
        return cls(**json.loads(text))


def ask_for_looks(job: "Job") -> "Looks | None":
    """The looks that a child process takes; None if it did not come to an end.

    Raises:
        DataError: If the data cannot be used, or its labels make training pointless.
    """
    channels = {name: str(path) for name, path in job.channels.items()}
    request = LookRequest(job.hyperparameters.to_texts(), channels, str(job.paths.scratch_dir))
    reply = ask_child("labels", json.dumps(vars(request)), _TIMEOUT_S, job.stop_requested)
    if reply.is_told:
        raise DataError(str(reply.failure))
    if reply.failure is not None:
        # The look is taken again once the datasets are open; the reason may be gone by then.
        logger.warning("a look at the labels before memory is measured failed: %s", reply.failure)
        return None
    looks: list[Looks] = reply.of_kind("looks")
    return looks[0]


def look_apart(request: LookRequest) -> None:
    """Tell the parent what was found; the work of the child.

    Raises:
        RoofError: If the data cannot be used, or its labels make training pointless.
    """
    from app.data.datasets import open_datasets
    from app.data.label_looks import check_looks, look_at_datasets
    from app.settings.texts import parse_hyperparameters

    # Any numbers: nothing is trained on here.
    settings = {**request.settings, "batch_size": "1", "grad_accum_steps": "1"}
    settings.pop("global_batch_size", None)
    hyperparameters = parse_hyperparameters(settings)
    channels = {name: Path(folder) for name, folder in request.channels.items()}
    datasets = open_datasets(channels, hyperparameters, Path(request.scratch_dir))
    looks = look_at_datasets(datasets, channels, hyperparameters)
    check_looks(looks, hyperparameters)
    tell_parent("looks", **looks)
