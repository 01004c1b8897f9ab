"""Memory and time of a run, predicted from a few measurements before the run is paid for.

Memory of the training process is taken to be a fixed part, a part for each sample of a pass, and a
part for each of its pixels; so is the time of a pass. Data workers, and the batches that wait, come
on top. In validation it is a fixed part and a part for each pixel of a window. All parts are fitted
by least squares to the measurements of `app.commands.probe`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from app.base.units import GIB, MPX
from app.resources.measurements import Measurements, Point, ValPoint
from app.resources.sample_path import device_makes_samples
from app.resources.shared_memory import BATCH_BYTES_PER_PX, count_batch_bytes
from app.settings.hyperparameters import Hyperparameters

# A limit is filled to this share. The rest is for the kernel, for other processes of a container,
# and for errors of a forecast.
USABLE_SHARE: Final = 0.85


@dataclass(frozen=True)
class Forecast:
    """What a run with certain settings is expected to take.

    Attributes:
        host_gib: Highest memory of all its processes, in training or in validation; pages they
            share counted once.
        needed_gib: The part of host_gib that the kernel cannot drop: all but pages of files.
        trainer_gib: What one training process takes in training.
        loading_gib: What the data workers of one training process take, with the batches they keep
            ready.
        val_gib: What one training process and all of its workers take in validation.
        cuda_gib: Memory on each GPU; None on a CPU.
        pass_s: Forward, losses and backward of one micro-batch.
        load_s: CPU time of reading one micro-batch.
        make_s: Time of the GPU for making its samples, where it makes them.
        step_s: A whole step.
        wait_s: The part of step_s spent waiting for data.
        samples_per_step: Samples of a step of all training processes together.
    """

    host_gib: float
    needed_gib: float
    trainer_gib: float
    loading_gib: float
    val_gib: float
    cuda_gib: float | None
    pass_s: float
    load_s: float
    make_s: float
    step_s: float
    wait_s: float
    samples_per_step: int

    @property
    def samples_per_s(self) -> float:
        """Throughput of all training processes together."""
        return self.samples_per_step / self.step_s


@dataclass(frozen=True)
class MemoryLimits:
    """The memory that a run may take, to be filled to USABLE_SHARE.

    Attributes:
        host_gib: For all processes of the host together.
        cuda_gib: For each GPU; None where no GPU is used.
    """

    host_gib: float
    cuda_gib: float | None = None


class CostModel:
    """Memory and time as functions of the settings, fitted to measurements."""

    def __init__(self, measurements: Measurements) -> None:
        """Fit the model.

        Args:
            measurements: At least two sizes of pass. With only one size of window, the model holds
                for that size alone.
        """
        self.measurements = measurements
        points = measurements.points
        self._trainer_gib = _fit(points, [point.trainer_gib for point in points])
        self._pass_s = _fit(points, [point.pass_s for point in points], is_relative=True)
        cuda_gib = [point.cuda_gib for point in points if point.cuda_gib is not None]
        self._cuda_gib = _fit(points, cuda_gib) if len(cuda_gib) == len(points) else None
        self._val_gib = _fit_windows(measurements.val_points)
        self._val_cuda_gib = _fit_windows(
            [
                replace(point, trainer_gib=point.cuda_gib)
                for point in measurements.val_points
                if point.cuda_gib is not None
            ]
        )
        self._files_gib = max(point.files_gib for point in points)
        self._optimizer_s = float(np.median([point.optimizer_s for point in points]))

    def forecast(
        self,
        hyperparameters: Hyperparameters,
        shares: Mapping[str, float],
        num_processes: int = 1,
    ) -> Forecast:
        """Memory and time of a run on a machine as fast as the measured one.

        Args:
            hyperparameters: With a number as batch_size.
            shares: Shares of the datasets trained on, by name; they add up to 1.
            num_processes: Training processes on the host, which share its cores or have a GPU each.
        """
        size, side_px = hyperparameters.micro_batch_size, hyperparameters.crop_size_px
        cores = self.measurements.num_cores / num_processes
        trainer_gib = _evaluate(self._trainer_gib, size, side_px)
        pass_s = _evaluate(self._pass_s, size, side_px)
        load_s, make_s = (size * each for each in self._sample_s(hyperparameters, shares))
        loading_gib = self._loading_gib(hyperparameters)
        num_passes = hyperparameters.grad_accum_steps
        busy_s = num_passes * (pass_s + make_s) + self._optimizer_s
        reading_s = num_passes * load_s
        num_workers = hyperparameters.num_workers
        if num_workers == 0:
            wait_s = reading_s
        else:
            if self.measurements.device == "cpu":
                # A worker displaces one of the threads that compute, and the others wait for it.
                busy_s += reading_s
            wait_s = max(0.0, reading_s / min(num_workers, cores) - busy_s)
        window = (1, hyperparameters.window_px)
        val_gib = _evaluate(self._val_gib, *window)
        if val_gib > 0:
            # Workers of training stay, with what they have ready.
            val_gib += loading_gib + self._val_loading_gib(hyperparameters)
        process_gib = max(trainer_gib + loading_gib, val_gib)
        host_gib = self.measurements.launcher_gib + num_processes * process_gib
        cuda_gib = None
        if self._cuda_gib is not None:
            in_training = _evaluate(self._cuda_gib, size, side_px)
            cuda_gib = max(in_training, _evaluate(self._val_cuda_gib, *window))
        return Forecast(
            host_gib=host_gib,
            needed_gib=host_gib - num_processes * self._files_gib,
            trainer_gib=trainer_gib,
            loading_gib=loading_gib,
            val_gib=val_gib,
            cuda_gib=cuda_gib,
            pass_s=pass_s,
            load_s=load_s,
            make_s=make_s,
            step_s=busy_s + wait_s,
            wait_s=wait_s,
            samples_per_step=size * num_passes * num_processes,
        )

    def fits(
        self, hyperparameters: Hyperparameters, limits: MemoryLimits, num_processes: int = 1
    ) -> bool:
        """Whether a run stays within USABLE_SHARE of the limits.

        Args:
            hyperparameters: With a number as batch_size.
            limits: Limits of the host and its GPUs.
            num_processes: Training processes on the host.
        """
        forecast = self.forecast(hyperparameters, {}, num_processes)
        if forecast.needed_gib > USABLE_SHARE * limits.host_gib:
            return False
        if limits.cuda_gib is None or forecast.cuda_gib is None:
            return True
        return forecast.cuda_gib <= USABLE_SHARE * limits.cuda_gib

    def largest_micro_batch(
        self,
        hyperparameters: Hyperparameters,
        limits: MemoryLimits,
        num_processes: int = 1,
        max_size: int = 256,
        total: int | None = None,
    ) -> int:
        """The most samples of a pass that memory holds; 0 if not even one.

        Args:
            hyperparameters: Any settings; their batch_size does not count.
            limits: Limits of the host and its GPUs.
            num_processes: Training processes on the host.
            max_size: Upper bound of the result.
            total: Samples of a step, to be divided into passes; None keeps grad_accum_steps.
        """
        for size in range(max_size, 0, -1):
            tried = resize_pass(hyperparameters, size)
            if total is not None:
                num_passes = -(-total // (size * num_processes))
                tried = tried.model_copy(update={"grad_accum_steps": num_passes})
            if self.fits(tried, limits, num_processes):
                return size
        return 0

    def largest_side_px(
        self, hyperparameters: Hyperparameters, limits: MemoryLimits, num_processes: int = 1
    ) -> int | None:
        """The largest windows, below crop_size_px, at which a pass of one sample fits; or None.

        Args:
            hyperparameters: Settings that do not fit; their batch_size does not count.
            limits: Limits of the host and its GPUs.
            num_processes: Training processes on the host.
        """
        for side_px in range(hyperparameters.crop_size_px - 32, 32, -32):
            if self.fits(resize_pass(hyperparameters, 1, side_px), limits, num_processes):
                return side_px
        return None

    def _sample_s(
        self, hyperparameters: Hyperparameters, shares: Mapping[str, float]
    ) -> tuple[float, float]:
        """Seconds of a sample: of a worker's core, and of the device for making it."""
        loading = self.measurements.loading
        if loading is None:
            return 0.0, 0.0
        scale = (hyperparameters.crop_size_px / loading.side_px) ** 2
        makes = device_makes_samples(hyperparameters, self.measurements.device)
        worker_s = loading.worker_s(device_makes=makes)
        device_s = loading.device_s(device_makes=makes)
        load_s = scale * sum(share * worker_s[name] for name, share in shares.items())
        return load_s, scale * sum(share * device_s[name] for name, share in shares.items())

    def _loading_gib(self, hyperparameters: Hyperparameters) -> float:
        """Workers, and the batches that lie between them and the step."""
        batch_gib = count_batch_bytes(hyperparameters, self.measurements.device) / GIB
        num_workers, loading = hyperparameters.num_workers, self.measurements.loading
        # One of a step's micro-batches is already part of the measurement.
        waiting_gib = (hyperparameters.grad_accum_steps - 1) * batch_gib
        if num_workers == 0 or loading is None:
            return waiting_gib
        ready_gib = num_workers * hyperparameters.prefetch_factor * batch_gib
        # A worker's own memory is that of windows on their way through its hands.
        worker_gib = loading.worker_gib
        return loading.server_gib + num_workers * worker_gib + waiting_gib + ready_gib

    def _val_loading_gib(self, hyperparameters: Hyperparameters) -> float:
        """Workers of validation, each with two photos ready that are as large as a window."""
        loading = self.measurements.loading
        if loading is None:
            return 0.0
        ready_gib = 2 * BATCH_BYTES_PER_PX * hyperparameters.window_px**2 / GIB
        return hyperparameters.num_workers * (loading.worker_gib + ready_gib)


def resize_pass(
    hyperparameters: Hyperparameters, size: int, side_px: int | None = None
) -> Hyperparameters:
    """The settings with another size of pass.

    Args:
        hyperparameters: As asked for.
        size: Samples of a pass.
        side_px: Side of its windows; None leaves crop_size_px unchanged.
    """
    update = {"batch_size": size} | ({} if side_px is None else {"crop_size_px": side_px})
    return hyperparameters.model_copy(update=update)


def split_global_batch(global_batch_size: int, num_processes: int, largest: int) -> tuple[int, int]:
    """A micro-batch and a number of passes that make up the global batch exactly.

    Args:
        global_batch_size: Samples of a step of all processes; a multiple of num_processes.
        num_processes: Training processes.
        largest: The most samples of a pass, at least 1.

    Returns:
        Samples of a pass, as many as possible, and passes a step.
    """
    per_process = global_batch_size // num_processes
    size = max(size for size in range(1, min(largest, per_process) + 1) if per_process % size == 0)
    return size, per_process // size


def _fit(
    points: Sequence[Point], values: Sequence[float], *, is_relative: bool = False
) -> npt.NDArray[np.float64]:
    """(3,): a fixed part, a part per sample, a part per sample and Mpx; none is negative.

    With windows of one size the last two cannot be told apart, and both count as per pixel.
    """
    design = np.array([_terms(point.micro_batch_size, point.side_px) for point in points])
    target = np.asarray(values, dtype=np.float64)
    weights = 1 / target if is_relative else np.ones_like(target)
    columns = [0, 1, 2] if len({point.side_px for point in points}) > 1 else [0, 2]
    while True:
        solution = np.zeros(3)
        solved = np.linalg.lstsq(
            design[:, columns] * weights[:, None], target * weights, rcond=None
        )[0]
        solution[columns] = solved
        negative = [column for column in columns if solution[column] < 0 and column != 2]
        if not negative:
            return solution
        columns.remove(min(negative, key=lambda column: solution[column]))


def _fit_windows(points: Sequence[ValPoint]) -> npt.NDArray[np.float64]:
    """(3,) as `_fit`, without a part per sample; zeros where nothing was measured."""
    if not points:
        return np.zeros(3)
    if len(points) == 1:
        return np.array([points[0].trainer_gib, 0.0, 0.0])
    small, large = sorted(points, key=lambda point: point.side_px)[:2]
    growth_gib = max(0.0, large.trainer_gib - small.trainer_gib)
    per_mpx = growth_gib * MPX / (large.side_px**2 - small.side_px**2)
    return np.array([large.trainer_gib - per_mpx * large.side_px**2 / MPX, 0.0, per_mpx])


def _terms(micro_batch_size: int, side_px: int) -> tuple[float, float, float]:
    return 1.0, float(micro_batch_size), micro_batch_size * side_px**2 / MPX


def _evaluate(coefficients: npt.NDArray[np.float64], micro_batch_size: int, side_px: int) -> float:
    value = float(np.dot(coefficients, _terms(micro_batch_size, side_px)))
    assert math.isfinite(value)
    return value
