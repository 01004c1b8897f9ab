"""What is planned, for which instance, and from which numbers."""

from dataclasses import dataclass

from app.commands.plan.facts import Facts
from app.commands.plan.instances import Instance
from app.resources.forecast import MemoryLimits
from app.resources.measurements import Measurements
from app.settings.hyperparameters import Hyperparameters


@dataclass(frozen=True)
class Host:
    """The machine that was measured on.

    Attributes:
        num_cores: Physical cores that measuring had.
        core_speed: Assumed speed of one core, in the unit of the table of instances.
        gpu_tflops: Peak of the GPU measured on; None without one, or if its kind is not known.
        taken_cores: How many of its cores other work took meanwhile.
    """

    num_cores: int
    core_speed: float
    gpu_tflops: float | None = None
    taken_cores: float = 0.0


@dataclass(frozen=True)
class Request:
    """What is to be planned.

    Attributes:
        instance: To train on.
        num_instances: How many instances.
        hyperparameters: As asked for; batch_size may be "auto".
        on_gpu: Whether the instance's GPUs are used.
        price_per_hour: USD, given in place of the table's.
        is_sample: Whether the data is a synthetic sample, and dataset sizes those of the releases.
    """

    instance: Instance
    num_instances: int
    hyperparameters: Hyperparameters
    on_gpu: bool
    price_per_hour: float | None = None
    is_sample: bool = True

    @property
    def device(self) -> str:
        """Kind of the device that trains."""
        return "cuda" if self.on_gpu else "cpu"

    @property
    def num_processes(self) -> int:
        """Training processes of an instance."""
        asked = self.hyperparameters.processes_per_host
        return asked or (self.instance.num_gpus if self.on_gpu else 1)

    @property
    def limits(self) -> MemoryLimits:
        """Memory of the instance."""
        return MemoryLimits(
            self.instance.memory_gib, self.instance.gpu_gib if self.on_gpu else None
        )


@dataclass(frozen=True)
class PlanCase:
    """A request with everything that its answer is worked out from.

    Attributes:
        request: What is to be planned.
        precision: Number format that the instance computes in.
        host: The machine measured on.
        measured: Measurements of that machine.
        facts: Counted facts; with tensors if the step is counted for a GPU, not measured.
    """

    request: Request
    precision: str
    host: Host
    measured: Measurements
    facts: Facts

    @property
    def is_counted(self) -> bool:
        """Whether the training step is counted for a GPU, not measured."""
        return self.request.on_gpu and self.measured.device != "cuda"

    @property
    def is_extrapolated(self) -> bool:
        """Whether windows are larger than any that were measured."""
        side_px = max(point.side_px for point in self.measured.points)
        return self.request.hyperparameters.crop_size_px > side_px and not self.is_counted
