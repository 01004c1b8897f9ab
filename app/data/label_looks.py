"""Looks at the labels of all datasets of a job, and what follows from them.

Looks are plain types here: they go from process to process, and into metrics.json.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from app.base.errors import DataError, join_problems
from app.data.datasets import Datasets
from app.data.plausibility.look import look_at_labels
from app.settings.hyperparameters import Hyperparameters

logger = logging.getLogger(__name__)

# By dataset, as LabelLook.to_json.
Looks = dict[str, dict[str, Any]]

ALLOW: Final = "set allow_findings=true to train regardless"


def look_at_datasets(
    datasets: Datasets, channels: Mapping[str, Path], hyperparameters: Hyperparameters
) -> Looks:
    """A look at the labels of every dataset that is trained on."""
    looks = [
        look_at_labels(source.reader, channels[source.reader.name], hyperparameters, source.indices)
        for source in datasets.train.sources
    ]
    return {look.dataset: look.to_json() for look in looks}


def merge_looks(looks: Sequence[Looks]) -> Looks:
    """The looks of several hosts, which have copies of the same data; each finding once."""
    merged: Looks = {}
    for of_host in looks:
        for name, look in of_host.items():
            known = merged.setdefault(name, {**look, "findings": []})["findings"]
            known += [finding for finding in look["findings"] if finding not in known]
    return merged


def log_looks(looks: Looks) -> None:
    """Say every finding in a line of its own."""
    for look in looks.values():
        for finding in look["findings"]:
            level = logging.ERROR if finding["severity"] == "error" else logging.WARNING
            logger.log(level, "%s", _describe(finding))
        heights = look["heights"]
        if heights is not None and heights["num_dropped"]:
            logger.info(
                "of %d heights looked at, %d are outside of what is possible and become unknown",
                heights["num_values"],
                heights["num_dropped"],
            )


def check_looks(looks: Looks, hyperparameters: Hyperparameters) -> None:
    """Stop a job whose labels make training pointless.

    Raises:
        DataError: If there are errors among the findings and they are not allowed; names all.
    """
    errors = [
        _describe(finding)
        for look in looks.values()
        for finding in look["findings"]
        if finding["severity"] == "error"
    ]
    if errors and not hyperparameters.allow_findings:
        raise DataError(f"{join_problems(errors)}; or {ALLOW}")


def _describe(finding: Mapping[str, str]) -> str:
    return f"{finding['what']} (in {finding['path']}); {finding['remedy']}"
