"""Where the time of a run goes, step by step."""

import csv
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from app.base.series import add_row

# Of a step, in this order: wait for data, to the device, forward with losses, backward, clipping
# with the optimizer and the averaged weights. What is left is counting, reductions, logging.
Part = Literal["wait", "transfer", "forward", "backward", "optimizer"]
PARTS: Final[tuple[Part, ...]] = ("wait", "transfer", "forward", "backward", "optimizer")
# Columns of steps.csv; from the fifth on they are seconds, of a step and of its parts.
COLUMNS: Final = (
    "step", "num_steps", "num_samples", "loss", "step_s", *(f"{name}_s" for name in PARTS),
)  # fmt: skip
# A step that takes longer than this many usual ones does something besides training.
_MAX_TIMES_USUAL: Final = 4.0


@dataclass
class StepSeries:
    """A row for every step of a run, resumed ones included; rows are merged where there are many.

    A row: "step" (the last one of the row, from 1), "num_steps", "num_samples", "loss" (None where
    the step was skipped), and "step_s" and "<part>_s" for each of PARTS: means over its steps.

    Attributes:
        rows: In order.
        steps_per_row: Steps of a whole row; a power of two.
        max_rows: Length at which pairs of rows are merged.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    steps_per_row: int = 1
    max_rows: int = 5000

    def add(
        self, step: int, num_samples: int, loss: float | None, seconds: Mapping[str, float]
    ) -> None:
        """Add a step.

        Args:
            step: Its number, from 1.
            num_samples: Samples of all ranks.
            loss: Weighted sum over tasks; None where the step left the weights alone.
            seconds: As `StepClock.close_step`.
        """
        row = {"step": step, "num_steps": 1, "num_samples": num_samples, "loss": loss}
        row |= {f"{name}_s": value for name, value in seconds.items()}
        is_open = bool(self.rows) and self.rows[-1]["num_steps"] < self.steps_per_row
        if add_row(self.rows, row, _merge, is_open=is_open, max_rows=self.max_rows):
            self.steps_per_row *= 2

    def summary(self) -> dict[str, Any] | None:
        """Means over the steps, for metrics.json; None where there is no step.

        The means are those of the usual steps. Slow ones are left out where there are others: the
        first one, which pays for what is done once, and those that took several times as long as
        most, since they compiled, were watched, or shared the machine. "num_slow" and "slow_s" are
        their number and seconds, "all_steps_s" the seconds of all steps.
        """
        if not self.rows:
            return None
        all_steps_s = sum(row["num_steps"] * row["step_s"] for row in self.rows)
        num_all = sum(row["num_steps"] for row in self.rows)
        rows = self.rows[1:] if self.rows[0]["num_steps"] == 1 else self.rows
        rows = rows or self.rows
        usual_s = statistics.median(row["step_s"] for row in rows)
        rows = [row for row in rows if row["step_s"] <= _MAX_TIMES_USUAL * usual_s]
        num_steps = sum(row["num_steps"] for row in rows)
        means = {
            name: sum(row["num_steps"] * row[name] for row in rows) / num_steps
            for name in ("num_samples", *COLUMNS[4:])
        }
        return {
            "num_steps": num_steps,
            "samples_per_step": round(means.pop("num_samples"), 3),
            **{name: round(value, 5) for name, value in means.items()},
            "num_slow": num_all - num_steps,
            "slow_s": round(max(0.0, all_steps_s - num_steps * means["step_s"]), 2),
            "all_steps_s": round(all_steps_s, 2),
        }

    def write_csv(self, path: Path) -> None:
        """Write all rows, with COLUMNS as the first line."""
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            writer.writerows(self.rows)

    def state_dict(self) -> dict[str, Any]:
        """Plain types only."""
        return {"rows": list(self.rows), "steps_per_row": self.steps_per_row}

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> "StepSeries":
        """The series that a `state_dict` describes."""
        return cls(rows=list(state["rows"]), steps_per_row=state["steps_per_row"])


def _merge(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    num_steps = first["num_steps"] + second["num_steps"]
    merged: dict[str, Any] = {"step": second["step"], "num_steps": num_steps}
    for name in COLUMNS[2:]:
        known = [row for row in (first, second) if row[name] is not None]
        weight = sum(row["num_steps"] for row in known)
        total = sum(row["num_steps"] * row[name] for row in known)
        merged[name] = total / weight if known else None
    return merged
