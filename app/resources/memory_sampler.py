"""Memory of a job over time: the process tree, the container, shared memory, CUDA. All in GiB."""

import csv
import logging
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import psutil

from app.base.series import add_row
from app.base.units import GIB
from app.resources.cgroup import (
    KERNEL_PLACE,
    CgroupPlace,
    find_cgroup,
    read_cgroup_peak_gib,
    read_memory_limit_gib,
    read_oom_kills,
)
from app.resources.memory_watch import MemoryWatch
from app.resources.process_memory import (
    cuda_peaks_gib,
    own_sizes_gib,
    own_tree,
    reset_cuda_peaks,
    reset_own_peak,
    shm_gib,
    sum_rss_gib,
    walk_gib,
)

_log = logging.getLogger(__name__)

# Columns in the order of memory.csv. Their highest values matter; of host_available_gib, the
# lowest.
PEAK_COLUMNS: Final = (
    "rss_gib",
    "uss_gib",
    "pss_gib",
    "peak_gib",
    "cgroup_use_gib",
    "shm_gib",
    "cuda_allocated_gib",
    "cuda_reserved_gib",
)
COLUMNS: Final = (*PEAK_COLUMNS, "cgroup_limit_gib", "host_total_gib", "host_available_gib")

# USS and PSS walk all page tables: 39 ms for phase 1 and its workers, where RSS takes 0.1 ms.
_MAX_WALK_SHARE: Final = 0.002
_MAX_PHASE_WALK_SHARE: Final = 0.003
# Finding the tree's processes reads a file of every process there is: 1 to 2 ms for 150 of them.
_MAX_LISTING_SHARE: Final = 0.001
_FULL_SHARE: Final = 0.95  # above this share of the limit, a kill was likely for memory

Values = dict[str, float | None]


@dataclass
class _Row:
    time_s: float
    phase: str
    values: Values
    num_samples: int = 1


def _merge_rows(first: _Row, second: _Row) -> _Row:
    """One row for both, with the worse of each value, so that a spike outlives the thinning."""
    merged: Values = {}
    for column in COLUMNS:
        known = [value for row in (first, second) if (value := row.values[column]) is not None]
        worst = min if column == "host_available_gib" else max
        merged[column] = worst(known) if known else None
    num_samples = first.num_samples + second.num_samples
    return _Row(first.time_s, first.phase, merged, num_samples)


def write_memory_csv(path: Path, rows: Sequence[Mapping[str, float | str | None]]) -> None:
    """Write the rows of a sampler; a value that is unknown stays empty."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["time_s", "phase", *COLUMNS])
        for row in rows:
            values = (row[column] for column in COLUMNS)
            cells = ["" if value is None else f"{value:.4f}" for value in values]
            writer.writerow([f"{row['time_s']:.2f}", row["phase"], *cells])


class MemorySampler:
    """A thread that notes every `interval_s` what the process and its children use.

    Use as a context manager; name the phases with `enter_phase`. A failure in here is logged once
    and never reaches the job. `peaks` sees every sample; the series is thinned to `max_rows`.
    """

    def __init__(
        self,
        interval_s: float,
        *,
        max_rows: int = 5000,
        place: CgroupPlace = KERNEL_PLACE,
        is_watched: bool = False,
        with_walks: bool = True,
    ) -> None:
        """Prepare; nothing is sampled before the context is entered.

        Args:
            interval_s: Time between samples, > 0.
            max_rows: Length at which the series is thinned to half.
            place: Where the files on control groups are.
            is_watched: Whether to warn when memory runs short or keeps rising.
            with_walks: Whether to measure USS, PSS and the peak, which cost most.
        """
        self._interval_s = interval_s
        self._max_rows = max_rows
        self._cgroup = find_cgroup(place)
        self._limit_gib = read_memory_limit_gib(place)
        self._place = place
        self._oom_kills_before = read_oom_kills(place)
        self._watch = MemoryWatch(self._limit_gib) if is_watched else None
        if is_watched and self._cgroup is None:
            _log.info(
                "memory: no control groups under %s: the limit is taken to be the host's memory",
                place.root,
            )
        self._phase = "start"
        self._rows: list[_Row] = []
        self._samples_per_row = 1
        self._peaks: dict[str, Values] = {}
        self._start_s = 0.0
        self._processes: list[psutil.Process] = []
        self._next_listing_s = 0.0
        self._with_walks = with_walks
        self._next_walk_s = self._next_phase_walk_s = 0.0
        # PSS of the tree and this process's RSS, at the last walk.
        self._walked_gib: tuple[float, float] | None = None
        self._told_denied = self._failed = False
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="memory-sampler", daemon=True)

    def __enter__(self) -> Self:
        self._start_s = time.monotonic()
        reset_own_peak()
        self._sample(walk_due=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join(timeout=10.0)
        self._sample(walk_due=True)

    def enter_phase(self, name: str) -> None:
        """Close the phase before with one last sample and name the next one.

        Args:
            name: "load", "train", "val" or "export"; a sampler begins in "start".
        """
        self._sample_phase()
        with self._lock:
            self._phase = name
            reset_own_peak()
            try:
                reset_cuda_peaks()
            except Exception:
                self._log_once()

    def close_epoch(self, num_epochs_left: int) -> None:
        """Let the watch compare epochs; `num_epochs_left` more are to come."""
        if self._watch is not None:
            self._watch.close_epoch(num_epochs_left)

    def sample_now(self) -> None:
        """Take an extra sample, so that even a phase shorter than the interval has one."""
        self._sample_phase()

    def peaks(self) -> dict[str, Values]:
        """The highest value of every column of PEAK_COLUMNS in each phase; None: never known."""
        with self._lock:
            return {
                phase: {name: None if v is None else round(v, 4) for name, v in values.items()}
                for phase, values in self._peaks.items()
            }

    def peak_rss_gib(self) -> float:
        """The highest resident memory of the process tree in any phase."""
        values = [peaks["rss_gib"] for peaks in self.peaks().values()]
        return max((value for value in values if value is not None), default=0.0)

    def peak_gib(self) -> float:
        """The most that the job used in any phase, as `plan` counts it: shared pages once.

        Where the system does not tell what is shared, resident memory, which counts them once for
        each process.
        """
        values = [peaks["peak_gib"] for peaks in self.peaks().values()]
        return max((v for v in values if v is not None), default=self.peak_rss_gib())

    def describe_peak(self) -> str:
        """For error messages: the peak, by the kernel's own count if it kept one, and the limit."""
        return f"peak {self._highest_gib():.2f} GiB of a limit of {self._limit_gib:.2f} GiB"

    def has_run_out(self) -> bool:
        """Whether memory ran out, by the kernel's count of kills or else by how full it was."""
        kills = read_oom_kills(self._place)
        if kills is None or self._oom_kills_before is None:
            return self._highest_gib() >= _FULL_SHARE * self._limit_gib
        return kills > self._oom_kills_before

    def _highest_gib(self) -> float:
        peak_gib = read_cgroup_peak_gib()
        return self.peak_rss_gib() if peak_gib is None else peak_gib

    def limit_gib(self) -> float:
        """The container's limit or the host's memory, whichever is less."""
        return self._limit_gib

    def rows(self) -> list[dict[str, float | str | None]]:
        """The series: time_s since the start, phase, COLUMNS; None where unknown."""
        with self._lock:
            rows = list(self._rows)
        return [
            {
                "time_s": round(row.time_s, 2),
                "phase": row.phase,
                **{
                    column: None if (value := row.values[column]) is None else round(value, 4)
                    for column in COLUMNS
                },
            }
            for row in rows
        ]

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            self._sample(walk_due=time.monotonic() >= self._next_walk_s)

    def _sample_phase(self) -> None:
        """A sample that knows the phase's peak; with a walk, unless the last is too recent."""
        known = self._peaks.get(self._phase, {}).get("pss_gib") is not None
        self._sample(not known or time.monotonic() >= self._next_phase_walk_s, with_peak=True)

    def _sample(self, walk_due: bool, with_peak: bool = False) -> None:
        with self._lock:
            try:
                values = self._read(walk_due, with_peak)
                self._add(_Row(time.monotonic() - self._start_s, self._phase, values))
                self._show_watch(values)
            except Exception:
                self._log_once()

    def _show_watch(self, values: Values) -> None:
        # Without a container's own count, by PSS: RSS counts what workers share once for each.
        in_container = values["cgroup_limit_gib"] is not None
        use_gib = values["cgroup_use_gib" if in_container else "peak_gib"]
        if use_gib is None and self._told_denied:
            use_gib = values["rss_gib"]
        if self._watch is not None and use_gib is not None:
            self._watch.see(use_gib)

    def _log_once(self) -> None:
        if not self._failed:
            _log.warning("memory: a sample failed; memory.csv may have gaps", exc_info=True)
        self._failed = True

    def _read(self, walk_due: bool, with_peak: bool) -> Values:
        processes = self._list_processes(walk_due)
        host = psutil.virtual_memory()
        cuda_allocated_gib, cuda_reserved_gib = cuda_peaks_gib()
        is_walked = walk_due and self._with_walks
        uss_gib, pss_gib = (self._timed_walk_gib(processes) if is_walked else None) or (None, None)
        return {
            "rss_gib": sum_rss_gib(processes),
            "uss_gib": uss_gib,
            "pss_gib": pss_gib,
            "peak_gib": self._peak_gib(pss_gib, with_peak),
            "cgroup_use_gib": self._cgroup.use_gib() if self._cgroup else None,
            "shm_gib": shm_gib(),
            "cuda_allocated_gib": cuda_allocated_gib,
            "cuda_reserved_gib": cuda_reserved_gib,
            "cgroup_limit_gib": self._cgroup.limit_gib() if self._cgroup else None,
            "host_total_gib": host.total / GIB,
            "host_available_gib": host.available / GIB,
        }

    def _list_processes(self, is_due: bool) -> list[psutil.Process]:
        before_s = time.monotonic()
        if is_due or before_s >= self._next_listing_s:
            self._processes = own_tree()
            after_s = time.monotonic()
            self._next_listing_s = after_s + (after_s - before_s) / _MAX_LISTING_SHARE
        return self._processes

    def _timed_walk_gib(self, processes: list[psutil.Process]) -> tuple[float, float] | None:
        before_s = time.monotonic()
        walked_gib = walk_gib(processes)
        after_s = time.monotonic()
        self._next_walk_s = after_s + (after_s - before_s) / _MAX_WALK_SHARE
        self._next_phase_walk_s = after_s + (after_s - before_s) / _MAX_PHASE_WALK_SHARE
        if walked_gib is None and not self._told_denied:
            self._told_denied = True
            if self._watch is not None:
                _log.info(
                    "memory: the system does not tell what processes share: uss_gib, pss_gib and "
                    "peak_gib stay empty, and rss_gib counts shared pages once for each process"
                )
        return walked_gib

    def _peak_gib(self, pss_gib: float | None, with_peak: bool) -> float | None:
        """The tree's PSS with this process at its largest; None where it is not measured.

        Between walks this process alone is taken to have changed since the last one.
        """
        if pss_gib is None and (self._walked_gib is None or not with_peak):
            return None
        largest_gib, now_gib = own_sizes_gib()
        if pss_gib is not None:
            self._walked_gib = (pss_gib, now_gib)
        assert self._walked_gib is not None
        walked_pss_gib, walked_rss_gib = self._walked_gib
        return walked_pss_gib + largest_gib - walked_rss_gib

    def _add(self, row: _Row) -> None:
        peaks = self._peaks.setdefault(row.phase, dict.fromkeys(PEAK_COLUMNS))
        for column in PEAK_COLUMNS:
            value, peak = row.values[column], peaks[column]
            if value is not None:
                peaks[column] = value if peak is None else max(value, peak)
        is_open = bool(self._rows) and self._rows[-1].num_samples < self._samples_per_row
        if add_row(self._rows, row, _merge_rows, is_open=is_open, max_rows=self._max_rows):
            self._samples_per_row *= 2
