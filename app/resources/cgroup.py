"""What the container may use, by the kernel's control groups of versions 1 and 2; memory in GiB.

Source: the kernel's documentation, admin-guide/cgroup-v1 and admin-guide/cgroup-v2.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from app.base.units import GIB

# Version 1 writes "no limit" as the largest multiple of the page size below 2**63.
_UNLIMITED_BYTES: Final = 2**60


@dataclass(frozen=True)
class CgroupPlace:
    """Where the kernel's files on control groups are.

    Attributes:
        root: Where the hierarchies are mounted.
        own: A file that lists this process's groups: lines of "id:controllers:path", the line of
            version 2 being "0::path".
    """

    root: Path
    own: Path


KERNEL_PLACE: Final = CgroupPlace(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"))


@dataclass(frozen=True)
class Cgroup:
    """Where a process's memory limit stands, and what the files of that cgroup version are called.

    Attributes:
        folders: At least one: the process's own group, then its parents, whose limits hold too.
    """

    folders: tuple[Path, ...]
    limit_file: str
    use_file: str
    peak_file: str
    reclaimable_key: str
    file_key: str

    def limit_gib(self) -> float | None:
        """The least of the limits that hold; None where there is none."""
        limits = [_read_bytes(folder / self.limit_file) for folder in self.folders]
        finite = [limit for limit in limits if limit is not None and limit < _UNLIMITED_BYTES]
        return min(finite) / GIB if finite else None

    def use_gib(self) -> float | None:
        """Memory in use, without file cache: the kernel drops that on demand and kills no job."""
        used = _read_bytes(self.folders[0] / self.use_file)
        return None if used is None else max(used - self._reclaimable_bytes(), 0) / GIB

    def peak_gib(self) -> float | None:
        """The most that was ever used; None where the kernel does not count it."""
        peak = _read_bytes(self.folders[0] / self.peak_file)
        return None if peak is None else peak / GIB

    def file_gib(self) -> float | None:
        """Pages of files, read or mapped, shared memory among them; None where not counted."""
        num_bytes = self._read_stat().get(self.file_key)
        return None if num_bytes is None else num_bytes / GIB

    def _reclaimable_bytes(self) -> int:
        return self._read_stat().get(self.reclaimable_key, 0)

    def _read_stat(self) -> dict[str, int]:
        """The numbers of memory.stat by their names; empty where there is none."""
        try:
            lines = (self.folders[0] / "memory.stat").read_text().splitlines()
        except OSError:
            return {}
        return {name: int(number) for name, number in (line.split() for line in lines if line)}


def _read_bytes(path: Path) -> int | None:
    """The number in a cgroup file; None where it is absent or says "max"."""
    try:
        text = path.read_text().strip()
    except OSError:
        return None
    return int(text) if text.isdecimal() else None


def find_cgroup(place: CgroupPlace) -> Cgroup | None:
    """The memory controller this process is under, or None."""
    paths = _read_paths(place.own)
    version_1 = _find_version_1(paths, "memory")
    if version_1 is not None:
        cgroup = Cgroup(
            _own_and_parents(place.root / "memory", version_1),
            limit_file="memory.limit_in_bytes",
            use_file="memory.usage_in_bytes",
            peak_file="memory.max_usage_in_bytes",
            reclaimable_key="total_inactive_file",
            file_key="total_cache",
        )
    else:
        cgroup = Cgroup(
            _own_and_parents(place.root, paths.get("", "/")),
            limit_file="memory.max",
            use_file="memory.current",
            peak_file="memory.peak",
            reclaimable_key="inactive_file",
            file_key="file",
        )
    return cgroup if cgroup.folders else None


def _read_paths(own: Path) -> dict[str, str]:
    """Path by its controllers, as "cpu,cpuacct"; empty where there are no groups."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return {}
    fields = [line.split(":", 2) for line in lines if line.count(":") >= 2]
    return {controllers: path for _, controllers, path in fields}


def _find_version_1(paths: dict[str, str], controller: str) -> str | None:
    return next((path for names, path in paths.items() if controller in names.split(",")), None)


def _own_and_parents(mount: Path, path: str) -> tuple[Path, ...]:
    """The folders of a group that can be seen, innermost first.

    A container often sees its own group as the mount itself, under a path that exists only outside.
    """
    own = mount.joinpath(*(part for part in path.split("/") if part not in ("", "..")))
    chain = (own, *own.parents)
    return tuple(folder for folder in chain[: chain.index(mount) + 1] if folder.is_dir())


def read_memory_limit_gib(place: CgroupPlace = KERNEL_PLACE) -> float:
    """What this process may use: the container's limit or the host's memory, whichever is less."""
    cgroup = find_cgroup(place)
    container_gib = cgroup.limit_gib() if cgroup else None
    host_gib: float = psutil.virtual_memory().total / GIB
    return host_gib if container_gib is None else min(container_gib, host_gib)


def read_cgroup_peak_gib(place: CgroupPlace = KERNEL_PLACE) -> float | None:
    """The most that a container with a limit ever used, file cache included; None without a limit.

    This is the kernel's own count: it includes peaks between two samples and processes that have
    ended, and counts a page once even if several processes share it.
    """
    cgroup = find_cgroup(place)
    return cgroup.peak_gib() if cgroup and cgroup.limit_gib() is not None else None


def read_oom_kills(place: CgroupPlace = KERNEL_PLACE) -> int | None:
    """How many processes of the container the kernel has ended for memory; None if not counted."""
    cgroup = find_cgroup(place)
    if cgroup is None:
        return None
    for name in ("memory.events", "memory.oom_control"):
        try:
            lines = (cgroup.folders[0] / name).read_text().splitlines()
        except OSError:
            continue
        for key, number in (line.split() for line in lines if line.count(" ") == 1):
            if key == "oom_kill":
                return int(number)
    return None


def read_page_cache_gib(place: CgroupPlace = KERNEL_PLACE) -> float | None:
    """Pages of files in this process's group, shared memory among them; None without a group."""
    cgroup = find_cgroup(place)
    return cgroup.file_gib() if cgroup else None


def read_cpu_limit(place: CgroupPlace = KERNEL_PLACE) -> float | None:
    """How many cores' time the container may use (`docker run --cpus`); None without a limit."""
    paths = _read_paths(place.own)
    version_1 = _find_version_1(paths, "cpu")
    if version_1 is not None:
        folders = _own_and_parents(place.root / "cpu", version_1)
        quotas = [
            (_read_bytes(folder / "cpu.cfs_quota_us"), _read_bytes(folder / "cpu.cfs_period_us"))
            for folder in folders
        ]
    else:
        folders = _own_and_parents(place.root, paths.get("", "/"))
        quotas = [_read_cpu_max(folder / "cpu.max") for folder in folders]
    limits = [quota / period for quota, period in quotas if quota and period]
    return min(limits, default=None)


def _read_cpu_max(path: Path) -> tuple[int | None, int | None]:
    """Quota and period of version 2's "100000 100000"; None for the quota of "max 100000"."""
    try:
        quota, period = path.read_text().split()
    except (OSError, ValueError):
        return None, None
    return (int(quota) if quota.isdecimal() else None, int(period))
