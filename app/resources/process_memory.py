"""What the processes of a tree hold, as the kernel and CUDA tell it."""

import contextlib
import ctypes
import os
import resource
import sys
from pathlib import Path
from typing import Final

import psutil

from app.base.machine import SHM_DIR
from app.base.units import GIB

_STATUS_FILE: Final = Path("/proc/self/status")
# Unit of getrusage's largest size.
_RUSAGE_BYTES: Final = 1 if sys.platform == "darwin" else 1024


def own_tree() -> list[psutil.Process]:
    """This process and all that descend from it."""
    own = psutil.Process()
    return [own, *own.children(recursive=True)]


def sum_rss_gib(processes: list[psutil.Process]) -> float:
    """Resident memory; a page that several processes map counts once for each."""
    total = 0
    for process in processes:
        try:
            total += process.memory_info().rss
        except psutil.Error:  # it ended since it was listed
            continue
    return total / GIB


def walk_gib(processes: list[psutil.Process]) -> tuple[float, float] | None:
    """USS, memory that only one process maps, and PSS, which adds shared memory, counted once.

    None if the system does not tell them for some process, which the sums would leave out.
    """
    uss = pss = 0
    for process in processes:
        try:
            info = process.memory_full_info()
            uss += info.uss
            pss += info.pss
        except (psutil.AccessDenied, AttributeError):  # psutil leaves out what no file tells
            return None
        except psutil.Error:
            continue
    return uss / GIB, pss / GIB


def sum_shared_once_gib(processes: list[psutil.Process]) -> float:
    """Memory of processes, with shared pages counted once where the system tells them apart (PSS).

    Elsewhere their resident memory, which counts a shared page once for each process.
    """
    walked_gib = walk_gib(processes)
    return sum_rss_gib(processes) if walked_gib is None else walked_gib[1]


def sum_unfiled_gib(processes: list[psutil.Process]) -> float:
    """Memory of processes that is in no file, with shared pages counted once.

    PSS divides a page of a program among all processes of the machine that map it: it falls when a
    container of the same image starts and grows when one ends. Differences of two moments are
    therefore taken of this size. Where the system does not tell it, as `sum_shared_once_gib`.
    """
    total = 0
    for process in processes:
        try:
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
        except ProcessLookupError:  # it ended since it was listed
            continue
        except OSError:
            return sum_shared_once_gib(processes)
        sizes = {name: rest.split() for name, _, rest in (line.partition(":") for line in lines)}
        if "Pss_Anon" not in sizes:  # Linux before 5.4
            return sum_shared_once_gib(processes)
        total += sum(int(sizes[name][0]) * 1024 for name in ("Pss_Anon", "Pss_Shmem"))
    return total / GIB


def own_memory_gib(process: psutil.Process) -> float:
    """Memory that a process shares with no other (USS); its resident memory if that is not told."""
    walked_gib = walk_gib([process])
    return sum_rss_gib([process]) if walked_gib is None else walked_gib[0]


def own_sizes_gib() -> tuple[float, float]:
    """This process's resident memory at its largest since the last reset, and now.

    The largest is the kernel's own count, which no sample misses: a step is at its peak for
    milliseconds. Where the kernel does not count, it is the present size; where it tells nothing by
    file, as on macOS, it is the largest since the process started, which nobody can reset.
    """
    largest_gib, now_gib = read_own_sizes_gib("VmHWM", "VmRSS")
    if now_gib == 0.0:
        largest_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _RUSAGE_BYTES / GIB
        now_gib = sum_rss_gib([psutil.Process()])
    return max(largest_gib, now_gib), now_gib


def read_own_sizes_gib(*names: str) -> list[float]:
    """Sizes of this process by the kernel's names for them; 0 for one that it does not count."""
    sizes = dict.fromkeys(names, 0.0)
    try:
        lines = _STATUS_FILE.read_text().splitlines()
    except OSError:  # not on Linux
        return list(sizes.values())
    for line in lines:
        name, _, rest = line.partition(":")
        if name in sizes:
            sizes[name] = int(rest.split()[0]) * 1024 / GIB
    return list(sizes.values())


def reset_own_peak() -> None:
    """Let the kernel count this process's largest memory from now on."""
    # Where the kernel does not allow it, later phases keep the peak of earlier ones.
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def trim_heap() -> None:
    """Give freed memory back to the system, where the C library keeps it and can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def shm_gib() -> float | None:
    """Used shared memory; None where there is none."""
    try:
        stats = os.statvfs(SHM_DIR)
    except OSError:
        return None
    return (stats.f_blocks - stats.f_bfree) * stats.f_frsize / GIB


def cuda_peaks_gib() -> tuple[float | None, float | None]:
    """This process's peaks of allocated and reserved memory over all devices, since the last reset.

    A thread's current device is 0, whatever the main thread chose: so every device is asked.
    """
    cuda = sys.modules.get("torch.cuda")
    if cuda is None or not cuda.is_initialized():
        return None, None
    devices = range(cuda.device_count())
    allocated = sum(cuda.max_memory_allocated(device) for device in devices)
    reserved = sum(cuda.max_memory_reserved(device) for device in devices)
    return allocated / GIB, reserved / GIB


def reset_cuda_peaks() -> None:
    """Let torch count its largest memory on the GPU from now on, where one is in use."""
    cuda = sys.modules.get("torch.cuda")
    if cuda is not None and cuda.is_initialized():
        for device in range(cuda.device_count()):
            cuda.reset_peak_memory_stats(device)
