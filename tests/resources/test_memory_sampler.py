"""The sampler of memory against real child processes."""

import csv
import logging
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from app.resources import memory_sampler as memory
from app.resources.cgroup import CgroupPlace
from app.resources.memory_sampler import MemorySampler, write_memory_csv
from tests.support.memory import write_cgroup
from tests.support.paths import ROOT

GIB = 2**30
NEVER_S = 3600.0  # so that only the samples at phase changes are taken
ALLOCATE = """
import sys
block = bytearray(b"x") * (int(sys.argv[1]) * 2**20)
print("ready", flush=True)
sys.stdin.read()
"""
SPAWN = """
import subprocess, sys
subprocess.run([sys.executable, "-c", *sys.argv[1:]])
"""


@contextmanager
def child_with(mebibytes: int, *, grandchild: bool = False) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", *([SPAWN] if grandchild else []), ALLOCATE, str(mebibytes)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        yield child
        child.communicate()  # closes the pipe it reads from, which ends it


@pytest.mark.parametrize("grandchild", [False, True])
def test_counts_descendants_in_the_phase_they_lived_in(grandchild: bool) -> None:
    with MemorySampler(NEVER_S) as sampler:
        sampler.enter_phase("load")
        with child_with(200, grandchild=grandchild):
            sampler.enter_phase("train")  # its first act is a last sample of "load"
    peaks = sampler.peaks()
    assert list(peaks) == ["start", "load", "train"]
    # The block, and an interpreter or two. A little of this process's own USS is shared with them.
    for column in ("rss_gib", "uss_gib"):
        grown_gib = peaks["load"][column] - peaks["start"][column]
        assert 190 / 1024 < grown_gib < 260 / 1024
        assert peaks["train"][column] < peaks["load"][column] - 150 / 1024
    assert sampler.peak_rss_gib() == peaks["load"]["rss_gib"]
    assert sampler.peak_gib() == peaks["load"]["peak_gib"] < peaks["load"]["rss_gib"]


def test_thread_samples_on_its_own_and_ends_with_the_context() -> None:
    with MemorySampler(0.01) as sampler:
        sampler.enter_phase("train")
        deadline_s = time.monotonic() + 20.0
        while len(sampler._rows) < 10 and time.monotonic() < deadline_s:
            time.sleep(0.01)
    assert len(sampler._rows) >= 10
    assert not sampler._thread.is_alive()


def test_csv_has_a_row_per_sample_and_empty_cells_for_the_unknown(tmp_path: Path) -> None:
    with MemorySampler(NEVER_S, place=CgroupPlace(tmp_path, tmp_path / "absent")) as sampler:
        sampler.enter_phase("train")
    write_memory_csv(tmp_path / "memory.csv", sampler.rows())
    with (tmp_path / "memory.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["time_s", "phase", *memory.COLUMNS]
    assert [row["phase"] for row in rows] == ["start", "start", "train"]
    assert all(float(row["rss_gib"]) > 0 for row in rows)
    assert {row["cgroup_use_gib"] for row in rows} == {""}
    assert {row["cgroup_limit_gib"] for row in rows} == {""}
    times_s = [float(row["time_s"]) for row in rows]
    assert times_s == sorted(times_s)
    as_text = {name: "" if value is None else value for name, value in sampler.rows()[-1].items()}
    assert as_text.pop("phase") == rows[-1].pop("phase")
    assert as_text == {name: text and float(text) for name, text in rows[-1].items()}


def test_child_that_ends_between_listing_and_reading_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with child_with(1) as child:
        gone = psutil.Process(child.pid)
    own = psutil.Process()
    monkeypatch.setattr(memory, "own_tree", lambda: [gone, own])
    with MemorySampler(NEVER_S) as sampler:
        pass
    assert sampler.peaks()["start"]["rss_gib"] > 0
    assert sampler.peaks()["start"]["uss_gib"] > 0


def test_failure_is_logged_once_and_does_not_reach_the_job(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    def fail() -> list[psutil.Process]:
        raise OSError("no /proc here")

    monkeypatch.setattr(memory, "own_tree", fail)
    with caplog.at_level(logging.WARNING), MemorySampler(NEVER_S) as sampler:
        sampler.enter_phase("train")
        sampler.enter_phase("val")
    assert [record.message for record in caplog.records] == [
        "memory: a sample failed; memory.csv may have gaps"
    ]
    assert sampler.peaks() == {}
    assert sampler.peak_rss_gib() == 0.0
    write_memory_csv(tmp_path / "memory.csv", sampler.rows())
    assert (tmp_path / "memory.csv").read_text().count("\n") == 1


def test_long_series_is_thinned_but_spikes_and_peaks_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    # 203 samples: one at the start, 201 by hand, one at the end; the 51st reads 7 GiB, the rest 1.
    readings = iter([7.0 if index == 50 else 1.0 for index in range(203)])
    monkeypatch.setattr(memory, "sum_rss_gib", lambda _processes: next(readings))
    with MemorySampler(NEVER_S, max_rows=20) as sampler:
        for _ in range(201):
            sampler._sample(walk_due=False)
    assert len(sampler._rows) <= 20
    assert sum(row.num_samples for row in sampler._rows) == 203
    assert [row.values["rss_gib"] for row in sampler._rows].count(7.0) == 1
    assert sampler.peaks()["start"]["rss_gib"] == 7.0
    # 16 samples a row: 203 / 16 = 12.7 rows
    assert {row.num_samples for row in sampler._rows[:-1]} == {16}
    assert len(sampler._rows) == 13


def test_merged_row_keeps_the_least_free_host_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    free = iter([4 * GIB, 1 * GIB, 3 * GIB])  # read for the limit, at the start, at the end
    monkeypatch.setattr(
        psutil,
        "virtual_memory",
        lambda: types.SimpleNamespace(total=8 * GIB, available=next(free)),
    )
    with MemorySampler(NEVER_S, max_rows=1) as sampler:
        pass
    assert sampler.limit_gib() == 8.0
    assert [row.values["host_available_gib"] for row in sampler._rows] == [1.0]


def test_dear_uss_is_read_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([100.0, 102.0])  # reading USS took 2 s
    sampler = MemorySampler(NEVER_S)
    monkeypatch.setattr(memory.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(memory, "walk_gib", lambda _processes: (1.0, 1.5))
    assert sampler._timed_walk_gib([]) == (1.0, 1.5)
    assert sampler._next_walk_s == 102.0 + 2.0 / 0.002


def test_phase_ends_are_walked_but_not_over_and_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Epochs of a second each: the first of a phase is walked, later ones by what walks cost."""
    walks = []

    def walk(_processes: list[psutil.Process]) -> tuple[float, float]:
        walks.append(None)
        time.sleep(0.02)  # after which 7 s are to pass
        return 1.0, 1.5

    monkeypatch.setattr(memory, "walk_gib", walk)
    with MemorySampler(NEVER_S) as sampler:
        for name in ("train", "val", "train", "val"):
            sampler.enter_phase(name)
        assert len(walks) == 3  # "start" at its beginning, the first of each other phase
        sampler._next_phase_walk_s -= 60.0
        sampler.enter_phase("train")
        assert len(walks) == 4


def test_the_peak_of_a_phase_that_is_not_walked_is_known_all_the_same() -> None:
    with MemorySampler(NEVER_S) as sampler:
        sampler.enter_phase("quiet")
        sampler.enter_phase("train")
        sampler.enter_phase("quiet")
        before_gib = sampler.peaks()["train"]["peak_gib"]
        sampler._next_phase_walk_s += 1000.0
        sampler.enter_phase("train")
        block = bytearray(b"x") * (300 * 2**20)
        del block
        sampler.enter_phase("quiet")
        sampler.enter_phase("end")
    peaks = sampler.peaks()
    assert 0.28 < peaks["train"]["peak_gib"] - before_gib < 0.32
    assert peaks["quiet"]["peak_gib"] < before_gib + 0.05


def test_processes_are_listed_less_often_where_there_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listings = []

    def list_slowly() -> list[psutil.Process]:
        listings.append(None)
        time.sleep(0.02)  # at a thousandth of the time: again in 20 s
        return [psutil.Process()]

    monkeypatch.setattr(memory, "own_tree", list_slowly)
    with MemorySampler(0.01) as sampler:
        deadline_s = time.monotonic() + 20.0
        while len(sampler._rows) < 10 and time.monotonic() < deadline_s:
            time.sleep(0.01)
        assert len(listings) == 1
    assert len(sampler._rows) >= 10
    assert all(row.values["rss_gib"] > 0 for row in sampler._rows)


@pytest.mark.parametrize(
    "full_info",
    [psutil.AccessDenied(1), types.SimpleNamespace(rss=GIB)],
    ids=["denied", "no smaps"],
)
def test_where_page_tables_may_not_be_read_rss_is_what_there_is(
    full_info: Exception | types.SimpleNamespace,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    caplog.set_level(logging.INFO)

    def read(_process: psutil.Process) -> types.SimpleNamespace:
        if isinstance(full_info, Exception):
            raise full_info
        return full_info

    monkeypatch.setattr(psutil.Process, "memory_full_info", read)
    place = write_cgroup(tmp_path, {"job/memory.max": "max\n"}, "0::/job\n")
    with MemorySampler(NEVER_S, is_watched=True, place=place) as sampler:
        sampler.enter_phase("train")
        monkeypatch.setattr(memory, "sum_rss_gib", lambda _: 0.9 * sampler.limit_gib())
        sampler.enter_phase("val")
    told, full = [record.message for record in caplog.records]
    assert told.startswith(
        "memory: the system does not tell what processes share: uss_gib, pss_gib"
    )
    assert full.endswith("checkpoint_activations=true")
    assert "(90 %)" in full
    assert sampler.peaks()["train"]["uss_gib"] is None
    assert sampler.peaks()["train"]["peak_gib"] is None
    assert sampler.peaks()["start"]["rss_gib"] > 0


def test_without_walks_the_peak_is_resident_memory() -> None:
    with MemorySampler(NEVER_S, with_walks=False) as sampler:
        sampler.enter_phase("train")
    start = sampler.peaks()["start"]
    assert start["rss_gib"] == sampler.peak_rss_gib() == sampler.peak_gib() > 0
    assert start["uss_gib"] is start["pss_gib"] is start["peak_gib"] is None


def test_a_spike_between_two_samples_is_in_the_peak():
    with MemorySampler(NEVER_S) as sampler:
        sampler.enter_phase("quiet")
        sampler.enter_phase("spike")
        block = bytearray(b"x") * (300 * 2**20)
        del block
        sampler.enter_phase("after")
    peaks = sampler.peaks()
    assert peaks["spike"]["peak_gib"] > peaks["quiet"]["peak_gib"] + 0.28
    assert peaks["spike"]["pss_gib"] < peaks["quiet"]["pss_gib"] + 0.05
    assert peaks["after"]["peak_gib"] < peaks["spike"]["peak_gib"] - 0.28


def test_a_watched_job_is_warned_of_once(tmp_path, caplog):
    files = {"job/memory.max": f"{GIB}\n", "job/memory.current": f"{9 * GIB // 10}\n"}
    place = write_cgroup(tmp_path, files, "0::/job\n")
    with MemorySampler(NEVER_S, is_watched=True, place=place) as sampler:
        sampler.sample_now()
    [record] = caplog.records
    assert record.message.startswith("memory: 0.90 GiB of the limit of 1.00 GiB are in use (90 %)")
    caplog.clear()
    with MemorySampler(NEVER_S, place=place):
        pass
    assert not caplog.records


def test_absent_control_groups_are_told_of(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    MemorySampler(
        NEVER_S, is_watched=True, place=CgroupPlace(tmp_path / "none", tmp_path / "absent")
    )
    assert [record.message for record in caplog.records] == [
        f"memory: no control groups under {tmp_path / 'none'}: the limit is taken to be the host's "
        "memory"
    ]


@pytest.mark.parametrize(
    ("kills", "peak_gib", "expected"),
    [
        ((None, None), 0.96, True),
        ((None, None), 0.9, False),
        ((2, 2), 0.96, False),  # full, and yet nobody was killed for it
        ((2, 3), 0.9, True),
    ],
)
def test_has_run_out(monkeypatch, kills, peak_gib, expected):
    counts = iter(kills)
    monkeypatch.setattr(memory, "read_oom_kills", lambda _: next(counts))
    monkeypatch.setattr(memory, "read_cgroup_peak_gib", lambda: peak_gib)
    sampler = MemorySampler(NEVER_S)
    sampler._limit_gib = 1.0
    assert sampler.has_run_out() is expected


def test_does_not_import_torch() -> None:
    code = (
        "import sys; from app.resources.memory_sampler import MemorySampler\n"
        "with MemorySampler(1.0) as sampler: pass\n"
        "assert sampler.peaks()['start']['cuda_allocated_gib'] is None\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)
