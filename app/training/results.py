"""What the validations of a run have found."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from app.metrics.definitions import MetricValue
from app.metrics.roof_metrics import ConfusionMatrix


@dataclass
class Results:
    """What validations have found so far.

    Attributes:
        history: Rows of metrics.jsonl, one per epoch.
        metrics: Last validation, by metric name: value, unit, support, definition.
        confusion: Last validation's confusion matrices, as RoofMetrics.confusion_matrices.
    """

    history: list[dict[str, float | int | None]] = field(default_factory=list)
    metrics: dict[str, dict[str, Any]] = field(default_factory=dict)
    confusion: dict[str, ConfusionMatrix] = field(default_factory=dict)

    def close_epoch(
        self,
        row: dict[str, float | int | None],
        values: Mapping[str, MetricValue],
        confusion: Mapping[str, ConfusionMatrix],
    ) -> None:
        """Take in the row and the validation of an epoch."""
        self.history.append(row)
        self.metrics = {name: value.to_json() for name, value in values.items()}
        self.confusion = dict(confusion)

    @property
    def validated(self) -> dict[str, float | int | None] | None:
        """The epoch and step of the weights that the last validation is of; None without one."""
        if not self.history:
            return None
        return {name: self.history[-1][name] for name in ("epoch", "step")}

    def state_dict(self) -> dict[str, Any]:
        """Plain types only."""
        return asdict(self)
