"""How far a run has come: what a checkpoint holds beside the weights."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.artifacts import Results
from app.engine import LossSums


@dataclass
class Progress:
    """How far a run has come, and what it has found on the way.

    Attributes:
        epoch: Epochs finished, validation included.
        num_micro_batches: Micro-batches of the epoch under way that are done.
        losses: Their losses.
        num_samples: Samples seen since the start.
        duration_s: Seconds since the start, earlier runs included.
        results: Rows of metrics.jsonl and the last validation.
    """

    epoch: int = 0
    num_micro_batches: int = 0
    losses: LossSums = field(default_factory=LossSums)
    num_samples: int = 0
    duration_s: float = 0.0
    results: Results = field(default_factory=Results)

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
        }

    @classmethod
    def from_state_dict(cls, state: Mapping[str, Any]) -> "Progress":
        """The progress that `state_dict` was taken of."""
        return cls(
            epoch=state["epoch"],
            num_micro_batches=state["num_micro_batches"],
            losses=LossSums(state["loss_sums"], state["loss_counts"]),
            num_samples=state["num_samples"],
            duration_s=state["duration_s"],
            results=Results(**state["results"]),
        )
