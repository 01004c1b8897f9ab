"""The limit of memory that a job has, as MemorySampler and app.resources.cgroup read it."""

from pathlib import Path

import psutil
import pytest

from app.resources.cgroup import read_cgroup_peak_gib, read_memory_limit_gib
from app.resources.memory_sampler import MemorySampler
from tests.support.memory import write_cgroup

GIB = 2**30
NEVER_S = 3600.0  # so that only the samples at phase changes are taken


VERSION_1 = {
    "memory/memory.limit_in_bytes": "9223372036854771712\n",
    "memory/job/memory.limit_in_bytes": f"{GIB // 2}\n",
    "memory/job/memory.usage_in_bytes": f"{GIB // 4}\n",
    "memory/job/memory.max_usage_in_bytes": f"{3 * GIB // 8}\n",
    "memory/job/memory.stat": f"cache 9\ntotal_inactive_file {GIB // 8}\n",
}
VERSION_2 = {
    "job/memory.max": f"{GIB // 2}\n",
    "job/memory.current": f"{GIB // 4}\n",
    "job/memory.peak": f"{3 * GIB // 8}\n",
    "job/memory.stat": f"anon 9\ninactive_file {GIB // 8}\n",
}
UNDER_VERSION_1 = "5:cpu,cpuacct:/\n4:memory:/job\n0::/\n"


@pytest.mark.parametrize(
    ("files", "own"),
    [
        pytest.param(VERSION_1, UNDER_VERSION_1, id="version 1"),
        pytest.param(VERSION_2, "0::/job\n", id="version 2"),
    ],
)
def test_reads_limit_use_and_peak(files: dict[str, str], own: str, tmp_path: Path) -> None:
    place = write_cgroup(tmp_path, files, own)
    assert read_memory_limit_gib(place) == 0.5
    assert read_cgroup_peak_gib(place) == 0.375
    with MemorySampler(NEVER_S, place=place) as sampler:
        pass
    assert sampler.limit_gib() == 0.5
    # 0.25 in use, of which 0.125 is file cache that the kernel gives back
    assert sampler.peaks()["start"]["cgroup_use_gib"] == 0.125
    assert sampler._rows[0].values["cgroup_limit_gib"] == 0.5


@pytest.mark.parametrize(
    ("files", "own"),
    [
        pytest.param(
            {"memory/job/memory.limit_in_bytes": "9223372036854771712\n"},
            UNDER_VERSION_1,
            id="version 1, unlimited",
        ),
        pytest.param({"job/memory.max": "max\n"}, "0::/job\n", id="version 2, unlimited"),
        pytest.param({"unrelated": ""}, "0::/job\n", id="files absent"),
        pytest.param({"unrelated": ""}, UNDER_VERSION_1, id="hierarchy not mounted"),
        pytest.param({"unrelated": ""}, "nonsense\n", id="not a cgroup list"),
        pytest.param({"job/memory.max": f"{2**50}\n"}, "0::/job\n", id="limit above the host"),
    ],
)
def test_host_memory_is_the_limit_where_no_tighter_one_is(
    files: dict[str, str], own: str, tmp_path: Path
) -> None:
    place = write_cgroup(tmp_path, files, own)
    assert read_memory_limit_gib(place) == psutil.virtual_memory().total / GIB
    assert read_cgroup_peak_gib(place) is None


@pytest.mark.parametrize(
    ("files", "own"),
    [
        pytest.param(
            {"a/memory.max": f"{GIB // 4}\n", "a/b/memory.max": f"{GIB // 2}\n"},
            "0::/a/b\n",
            id="a parent is tighter",
        ),
        pytest.param(
            {"memory/memory.limit_in_bytes": f"{GIB // 4}\n"},
            "3:memory:/docker/0123abcd\n",
            id="own path exists only outside the container",
        ),
        pytest.param({"memory.max": f"{GIB // 4}\n"}, "0::/../other\n", id="path out of sight"),
    ],
)
def test_finds_the_limit_along_the_path(files: dict[str, str], own: str, tmp_path: Path) -> None:
    assert read_memory_limit_gib(write_cgroup(tmp_path, files, own)) == 0.25
