"""Networks in processes of their own, which take training steps in turns."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.support.environment import load_average
from bench.support.workers import Worker

SIZE_PX: Final = 512
BATCH_SIZE: Final = 2
NUM_THREADS: Final = 2
# Ways to run ours, and the worker's option for each.
_VARIANTS = {"checkpointed": "--checkpoint", "compiled": "--compile"}


@dataclass
class Timings:
    """Times of all measured steps of one network, in the order taken."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)


class Network(Worker):
    """One network in a process of its own; a context manager that ends the process.

    Attributes:
        description: What the process said of the network.
        name: As in DESIGNS, with the variant behind it if it is one.
        timings: Timings of its measured steps.
        peak_gib: Most memory so far: of the process, or on a GPU of its tensors there.
    """

    def __init__(
        self,
        python: Path,
        name: str,
        variant: str | None = None,
        batch_size: int = BATCH_SIZE,
        device: str = "cpu",
    ) -> None:
        self.name = name if variant is None else f"{name}_{variant}"
        self.timings = Timings()
        self.peak_gib = 0.0
        settings = {
            "size-px": SIZE_PX, "batch-size": batch_size, "threads": NUM_THREADS, "device": device,
        }  # fmt: skip
        arguments = [f"--{key}={value}" for key, value in settings.items()]
        if variant is not None:
            arguments.append(_VARIANTS[variant])
        command = [str(python), "-m", "bench.support.step.worker", name, *arguments]
        super().__init__(f"step, {self.name}", command)
        self.description = self.hear()

    def step(self, is_measured: bool = True) -> None:
        """Take one step."""
        answer = self.ask("")
        self.peak_gib = answer["peak_gib"]
        if is_measured:
            self.timings.wall_s.append(answer["wall_s"])
            self.timings.cpu_s.append(answer["cpu_s"])


@dataclass(frozen=True)
class Comparison:
    """Steps of ours and of another network that were taken in turns.

    Attributes:
        other: The other network.
        ours_s: Wall times of ours, one a turn.
        other_s: Time of the other's step in the same turn.
    """

    other: Network
    ours_s: Sequence[float]
    other_s: Sequence[float]

    def ratio(self) -> float:
        """How many times faster ours is: the medians' ratio."""
        return statistics.median(self.other_s) / statistics.median(self.ours_s)

    def ratio_range(self) -> tuple[float, float]:
        """Lowest and highest ratio of a single turn."""
        ratios = [other / ours for ours, other in zip(self.ours_s, self.other_s, strict=True)]
        return min(ratios), max(ratios)


def take_turns(ours: Network, others: Sequence[Network], num_rounds: int) -> list[Comparison]:
    """Let every network take one step a round, ours first."""
    num_before = len(ours.timings.wall_s)
    for i in range(num_rounds):
        for network in (ours, *others):
            network.step()
        names = ", ".join(network.name for network in (ours, *others))
        print(f"round {i + 1} of {num_rounds} ({names}): load {load_average()}", flush=True)
    ours_s = ours.timings.wall_s[num_before:]
    return [Comparison(other, ours_s, other.timings.wall_s) for other in others]
