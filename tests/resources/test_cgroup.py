"""MemoryLimits of processor time and memory, from files as the kernel writes them."""

import pytest

from app.resources.cgroup import (
    CgroupPlace,
    read_cgroup_peak_gib,
    read_cpu_limit,
    read_memory_limit_gib,
    read_oom_kills,
    read_page_cache_gib,
)
from tests.support.memory import write_cgroup

UNDER_VERSION_1 = "5:cpu,cpuacct:/job\n4:memory:/job\n1:name=systemd:/\n0::/\n"
UNDER_VERSION_2 = "0::/job\n"


@pytest.mark.parametrize(
    ("own", "files", "limit"),
    [
        (UNDER_VERSION_2, {"job/cpu.max": "150000 100000\n"}, 1.5),
        (UNDER_VERSION_2, {"job/cpu.max": "5000 20000\n"}, 0.25),
        (UNDER_VERSION_2, {"job/cpu.max": "max 100000\n"}, None),
        # A parent's limit holds too, whichever is less.
        (
            "0::/a/job\n",
            {"a/job/cpu.max": "400000 100000\n", "a/cpu.max": "300000 100000\n"},
            3.0,
        ),
        ("0::/a/job\n", {"a/job/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, 3.0),
        ("0::/a/job\n", {"a/job/cpu.max": "200000 100000\n", "a/cpu.max": "max 100000\n"}, 2.0),
        # A container sees its own group as the mount, under a path that is only outside.
        ("0::/docker/0123abcd\n", {"cpu.max": "50000 100000\n"}, 0.5),
        ("0::/../other\n", {"cpu.max": "50000 100000\n"}, 0.5),
        (UNDER_VERSION_2, {"job/cpu.max": ""}, None),
        (UNDER_VERSION_2, {}, None),
        (
            UNDER_VERSION_1,
            {"cpu/job/cpu.cfs_quota_us": "250000\n", "cpu/job/cpu.cfs_period_us": "100000\n"},
            2.5,
        ),
        (
            UNDER_VERSION_1,
            {"cpu/job/cpu.cfs_quota_us": "-1\n", "cpu/job/cpu.cfs_period_us": "100000\n"},
            None,
        ),
        (
            UNDER_VERSION_1,
            {
                "cpu/job/cpu.cfs_quota_us": "-1\n",
                "cpu/job/cpu.cfs_period_us": "100000\n",
                "cpu/cpu.cfs_quota_us": "100000\n",
                "cpu/cpu.cfs_period_us": "100000\n",
            },
            1.0,
        ),
        # The controller is version 1's, so version 2's file does not count.
        (UNDER_VERSION_1, {"cpu.max": "50000 100000\n"}, None),
        ("nonsense\n", {"job/cpu.max": "50000 100000\n"}, None),
    ],
)
def test_cpu_limit(tmp_path, own, files, limit):
    assert read_cpu_limit(write_cgroup(tmp_path, files, own)) == limit


def test_no_list_of_groups_means_the_mount_itself(tmp_path):
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert read_cpu_limit(CgroupPlace(tmp_path, tmp_path / "absent")) == 0.5


@pytest.mark.parametrize(
    ("own", "files", "limit_gib", "peak_gib"),
    [
        (
            UNDER_VERSION_2,
            {"job/memory.max": "1048576\n", "job/memory.peak": "524288\n"},
            1 / 1024,
            0.5 / 1024,
        ),
        (
            UNDER_VERSION_1,
            {
                "memory/job/memory.limit_in_bytes": "1048576\n",
                "memory/job/memory.max_usage_in_bytes": "524288\n",
            },
            1 / 1024,
            0.5 / 1024,
        ),
        # Before Linux 5.19 version 2 keeps no peak.
        (UNDER_VERSION_2, {"job/memory.max": "1048576\n"}, 1 / 1024, None),
    ],
)
def test_memory_limit_and_peak(tmp_path, own, files, limit_gib, peak_gib):
    place = write_cgroup(tmp_path, files, own)
    assert read_memory_limit_gib(place) == limit_gib
    assert read_cgroup_peak_gib(place) == peak_gib


@pytest.mark.parametrize(
    ("own", "files"),
    [
        (UNDER_VERSION_2, {"job/memory.max": "max\n", "job/memory.peak": "524288\n"}),
        (
            UNDER_VERSION_1,
            {
                "memory/job/memory.limit_in_bytes": "9223372036854771712\n",
                "memory/job/memory.max_usage_in_bytes": "524288\n",
            },
        ),
    ],
)
def test_a_peak_without_a_limit_is_not_the_containers(tmp_path, own, files):
    assert read_cgroup_peak_gib(write_cgroup(tmp_path, files, own)) is None


@pytest.mark.parametrize(
    ("own", "files", "gib"),
    [
        (UNDER_VERSION_2, {"job/memory.stat": "anon 7\nfile 3221225472\nfile_mapped 5\n"}, 3.0),
        (UNDER_VERSION_2, {"job/memory.stat": "anon 7\n"}, None),
        (UNDER_VERSION_2, {}, None),
        # With the groups inside it, which `cache` leaves out.
        (UNDER_VERSION_1, {"memory/job/memory.stat": "cache 1\ntotal_cache 1073741824\n"}, 1.0),
    ],
)
def test_page_cache(tmp_path, own, files, gib):
    assert read_page_cache_gib(write_cgroup(tmp_path, files, own)) == gib


@pytest.mark.parametrize(
    ("files", "own", "expected"),
    [
        ({"job/memory.events": "low 0\noom 2\noom_kill 1\n"}, "0::/job\n", 1),
        (
            {"memory/job/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"},
            "4:memory:/job\n0::/\n",
            3,
        ),
        ({"job/memory.max": "max\n"}, "0::/job\n", None),
        ({}, "nonsense\n", None),
    ],
)
def test_counts_what_the_kernel_has_ended(files, own, expected, tmp_path):
    assert read_oom_kills(write_cgroup(tmp_path, files, own)) == expected
