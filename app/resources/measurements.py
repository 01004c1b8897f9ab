"""What was measured of training on a machine, for forecasts of other sizes and machines."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Point:
    """Measurements of training with one size of pass.

    Attributes:
        micro_batch_size: Samples of a pass.
        side_px: Side of its windows.
        trainer_gib: Highest memory of the training process, pages of files included.
        files_gib: The part of trainer_gib in pages of files, programs mostly, which the kernel
            drops where it must.
        cuda_gib: Highest memory reserved on the GPU; None on a CPU.
        pass_s: Forward, losses and backward.
        optimizer_s: Everything else in a step.
    """

    micro_batch_size: int
    side_px: int
    trainer_gib: float
    files_gib: float
    cuda_gib: float | None
    pass_s: float
    optimizer_s: float


@dataclass(frozen=True)
class Loading:
    """Measurements of reading samples.

    Attributes:
        side_px: Side of the windows.
        server_gib: The process that workers are forked from, with the memory that all of them
            share.
        worker_gib: Each worker, without the batches that it keeps ready.
        sample_s: CPU time a worker spends on a sample, by dataset, once its photos are kept.
        read_s: The part of sample_s until photos and labels are in memory.
        first_s: What a photo takes more when it is read for the first time, by dataset; of those
            that are never kept nothing.
        cut_s: As sample_s, where a GPU makes samples of what workers cut.
        make_s: Time of that GPU for a sample, by dataset; 0 where it was not measured.
        made_bytes: Bytes that it reads and writes meanwhile, counted; 0 where it was measured.
        made_kernels: Kernels that it starts, counted; 0 where it was measured.
    """

    side_px: int
    server_gib: float
    worker_gib: float
    sample_s: Mapping[str, float]
    read_s: Mapping[str, float] = field(default_factory=dict)
    first_s: Mapping[str, float] = field(default_factory=dict)
    cut_s: Mapping[str, float] = field(default_factory=dict)
    make_s: Mapping[str, float] = field(default_factory=dict)
    made_bytes: Mapping[str, float] = field(default_factory=dict)
    made_kernels: Mapping[str, float] = field(default_factory=dict)

    def worker_s(self, *, device_makes: bool) -> Mapping[str, float]:
        """CPU time that a worker spends on a sample, by dataset.

        Args:
            device_makes: Whether the device makes the samples.
        """
        # Measurements of an earlier version know of one way only.
        return self.cut_s if device_makes and self.cut_s else self.sample_s

    def device_s(self, *, device_makes: bool) -> Mapping[str, float]:
        """Time that the device spends on making a sample, by dataset."""
        made = self.make_s if device_makes else {}
        return {name: made.get(name, 0.0) for name in self.sample_s}


@dataclass(frozen=True)
class ValPoint:
    """Measurements of validation by windows of one size, one at a time.

    Attributes:
        side_px: Side of the window.
        trainer_gib: As of Point, while it is predicted and scored.
        cuda_gib: As of Point.
    """

    side_px: int
    trainer_gib: float
    cuda_gib: float | None


@dataclass(frozen=True)
class Measurements:
    """All measurements, and the machine they were made on.

    Attributes:
        points: At two sizes of pass and two of windows, or more.
        loading: None where nothing was read by workers.
        launcher_gib: The process that starts training.
        num_cores: Cores of that machine.
        device: "cpu" or "cuda".
        precision: "fp32", "bf16" or "fp16".
        val_points: At two sizes of window; fewer where memory did not suffice.
        score_s: CPU time of scoring 2**20 pixels of photos, by dataset.
    """

    points: tuple[Point, ...]
    loading: Loading | None
    launcher_gib: float
    num_cores: int
    device: str
    precision: str
    val_points: tuple[ValPoint, ...]
    score_s: Mapping[str, float]

    def to_json(self) -> dict[str, Any]:
        """Plain types only."""
        return {
            "points": [vars(point) for point in self.points],
            "loading": vars(self.loading) if self.loading else None,
            "launcher_gib": self.launcher_gib,
            "num_cores": self.num_cores,
            "device": self.device,
            "precision": self.precision,
            "val_points": [vars(point) for point in self.val_points],
            "score_s": dict(self.score_s),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Measurements":
        """The inverse of `to_json`."""
        loading = document["loading"]
        return cls(
            points=tuple(Point(**point) for point in document["points"]),
            loading=Loading(**loading) if loading else None,
            launcher_gib=document["launcher_gib"],
            num_cores=document["num_cores"],
            device=document["device"],
            precision=document["precision"],
            val_points=tuple(ValPoint(**point) for point in document["val_points"]),
            score_s=document["score_s"],
        )
