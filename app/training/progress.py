"""How far a run has come, and what it has found on the way."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.base.tasks import TaskName
from app.resources.steps import StepSeries
from app.training.ranks.distributed import world_size
from app.training.results import Results
from app.training.state import LossSums, StepResult


@dataclass
class Progress:
    """How far a run has come, and what it has found on the way.

    Attributes:
        epoch: Epochs finished, validation included.
        num_micro_batches: Micro-batches of the epoch under way that are done, on all ranks.
        losses: Their losses.
        num_samples: Samples seen since the start.
        duration_s: Seconds since the start, earlier runs included.
        results: Rows of metrics.jsonl, the last validation and the best one.
        steps: Time and loss of every step.
        gradient_norms: A row for every step in which they were measured: "step", from 1, and
            "norms" by task.
    """

    epoch: int = 0
    num_micro_batches: int = 0
    losses: LossSums = field(default_factory=LossSums)
    num_samples: int = 0
    duration_s: float = 0.0
    results: Results = field(default_factory=Results)
    steps: StepSeries = field(default_factory=StepSeries)
    gradient_norms: list[dict[str, Any]] = field(default_factory=list)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain types only."""
        return {
            "epoch": self.epoch,
            "num_micro_batches": self.num_micro_batches,
            "loss_sums": self.losses.sums.clone(),
            "loss_counts": self.losses.counts.clone(),
            "num_samples": self.num_samples,
            "duration_s": self.duration_s,
            "results": self.results.state_dict(),
            "steps": self.steps.state_dict(),
            "gradient_norms": list(self.gradient_norms),
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> "Progress":
        """The progress that a `state_dict` describes."""
        return cls(
            epoch=state["epoch"],
            num_micro_batches=state["num_micro_batches"],
            losses=LossSums(state["loss_sums"], state["loss_counts"]),
            num_samples=state["num_samples"],
            duration_s=state["duration_s"],
            results=Results.from_state_dict(state["results"]),
            steps=StepSeries.from_state_dict(state["steps"]),
            gradient_norms=list(state["gradient_norms"]),
        )

    def count(self, result: StepResult, step: int, task_weights: Mapping[TaskName, float]) -> None:
        """Take in a step.

        Args:
            result: What it did.
            step: Steps done, with this one.
            task_weights: What each task's mean loss counts for.
        """
        self.num_micro_batches += result.num_micro_batches * world_size()
        self.num_samples += result.num_samples
        self.losses.add(result.losses)
        loss = result.losses.weighted_mean(task_weights)
        self.steps.add(step, result.num_samples, loss, result.seconds)
        if result.gradient_norms:
            norms = dict(result.gradient_norms)
            self.gradient_norms.append({"step": step, "norms": norms})

    def end_epoch(self) -> None:
        """Begin the next epoch: nothing of it has been seen yet."""
        self.epoch += 1
        self.num_micro_batches = 0
        self.losses = LossSums()
