"""What the validations of a run have found."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from app.metrics.roof_metrics import ConfusionMatrix

Row = dict[str, float | int | None]


@dataclass(frozen=True)
class Validation:
    """What a validation has found.

    Attributes:
        epoch: Epochs finished with it; 0 for that of an initial model.
        step: Optimizer steps of the weights that it is of.
        score: As app.metrics.score; None where nothing can be scored.
        metrics: By metric name: value, unit, support, definition.
        confusion: As RoofMetrics.confusion_matrices.
    """

    epoch: int
    step: int
    score: float | None
    metrics: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    confusion: Mapping[str, ConfusionMatrix] = field(default_factory=dict)

    @property
    def place(self) -> dict[str, int]:
        """Epoch and step, for metrics.json."""
        return {"epoch": self.epoch, "step": self.step}


@dataclass
class Results:
    """What validations have found so far.

    Attributes:
        history: Rows of metrics.jsonl: one per epoch, after that of an initial model.
        last: The last validation; None before the first.
        best: The one with the highest score, of several equal ones the first; None where no
            validation has a score, or the best is not kept.
    """

    history: list[Row] = field(default_factory=list)
    last: Validation | None = None
    best: Validation | None = None

    def add(self, row: Row, validation: Validation) -> None:
        """Take in a validation, and its row."""
        self.history.append(row)
        self.last = validation

    def is_best(self, validation: Validation) -> bool:
        """Whether a validation has a higher score than all before it."""
        if validation.score is None:
            return False
        best = None if self.best is None else self.best.score
        return best is None or validation.score > best

    @property
    def start(self) -> Row | None:
        """The row of the initial model; None without one."""
        return self.history[0] if self.history and self.history[0]["epoch"] == 0 else None

    def state_dict(self) -> dict[str, Any]:
        """Plain types only."""
        return asdict(self)

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> "Results":
        """The results that a `state_dict` describes."""
        last, best = (
            None if state[name] is None else Validation(**state[name]) for name in ("last", "best")
        )
        return cls(list(state["history"]), last, best)
