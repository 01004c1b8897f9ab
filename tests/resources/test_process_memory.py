"""Sizes of processes, as a sampler reads them."""

import mmap
import os
import resource
import sys
import types
from pathlib import Path

import psutil
import pytest

from app.base.units import GIB
from app.resources import process_memory
from app.resources.memory_sampler import MemorySampler
from app.resources.process_memory import (
    own_memory_gib,
    own_sizes_gib,
    read_own_sizes_gib,
    sum_rss_gib,
    sum_shared_once_gib,
    sum_unfiled_gib,
)

NEVER_S = 3600.0  # so that only the samples at phase changes are taken


def test_a_kernel_that_keeps_no_peak_costs_no_sample(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    read_text = Path.read_text

    def without_peak(path: Path, *args: str, **options: str) -> str:
        text = read_text(path, *args, **options)
        if path != Path("/proc/self/status"):
            return text
        return "".join(line for line in text.splitlines(True) if not line.startswith("VmHWM"))

    monkeypatch.setattr(Path, "read_text", without_peak)
    with MemorySampler(NEVER_S) as sampler:
        pass
    assert not caplog.records
    assert sampler.peaks()["start"]["peak_gib"] == sampler.peaks()["start"]["pss_gib"] > 0


def test_shared_pages_count_once_in_pss():
    """A forked child shares the parent's block: RSS has it twice, PSS once, USS not at all."""
    block = bytearray(b"x") * (300 * 2**20)
    reader, writer = os.pipe()
    with MemorySampler(NEVER_S) as sampler:
        sampler.enter_phase("alone")
        child = os.fork()
        if child == 0:
            os.close(writer)
            os.read(reader, 1)
            os._exit(0)
        sampler.enter_phase("end")  # its first act is a last sample of "alone"
        os.close(writer)
        os.waitpid(child, 0)
    start, both = sampler.peaks()["start"], sampler.peaks()["alone"]
    assert both["rss_gib"] > start["rss_gib"] + 0.28
    assert abs(both["pss_gib"] - start["pss_gib"]) < 0.05
    assert both["uss_gib"] < start["uss_gib"] - 0.28
    assert len(block) == 300 * 2**20


def test_pages_of_a_file_that_a_stranger_maps_change_no_difference(tmp_path: Path) -> None:
    """As another container of the same image: it maps the same programs, and ends some time."""
    path = tmp_path / "program"
    path.write_bytes(b"x" * (200 * 2**20))
    own = psutil.Process()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        mapped[:: mmap.PAGESIZE]  # in memory from here on
        alone_gib, unfiled_gib = sum_shared_once_gib([own]), sum_unfiled_gib([own])
        reader, writer = os.pipe()
        told, tell = os.pipe()
        stranger = os.fork()
        if stranger == 0:
            os.close(writer)
            mapped[:: mmap.PAGESIZE]
            os.write(tell, b"x")
            os.read(reader, 1)
            os._exit(0)
        os.read(told, 1)
        shared = sum_shared_once_gib([own])
        fork_gib = sum_unfiled_gib([own, psutil.Process(stranger)]) - unfiled_gib
        os.close(writer)
        os.waitpid(stranger, 0)
    assert shared < alone_gib - 0.09  # what made the forecast of a job depend on its neighbours
    assert abs(fork_gib) < 0.05


def test_where_no_file_tells_what_is_in_none_pss_stands_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = psutil.Process()
    read_text = Path.read_text

    def without_parts(path: Path, *args: str, **options: str) -> str:
        text = read_text(path, *args, **options)
        return "\n".join(line for line in text.splitlines() if not line.startswith("Pss_"))

    def refuse(*_: object, **__: object) -> str:
        raise PermissionError

    once_gib = sum_shared_once_gib([own])
    assert 0 < sum_unfiled_gib([own]) < once_gib
    for read in (without_parts, refuse):
        monkeypatch.setattr(Path, "read_text", read)
        assert sum_unfiled_gib([own]) == pytest.approx(once_gib, rel=0.05)


def test_a_kernel_without_files_tells_the_largest_since_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(process_memory, "_STATUS_FILE", tmp_path / "absent")
    block = bytearray(b"x") * (300 * 2**20)
    del block
    largest_gib, now_gib = own_sizes_gib()
    assert largest_gib * 2**20 == resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert largest_gib > now_gib + 0.28
    assert read_own_sizes_gib("RssFile", "VmRSS") == [0.0, 0.0]


def test_where_sharing_is_not_told_processes_count_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    own = psutil.Process()
    apart_gib, once_gib = own_memory_gib(own), sum_shared_once_gib([own])
    assert 0 < apart_gib <= once_gib < 1.01 * sum_rss_gib([own])
    # As on macOS, which tells USS and no PSS.
    sizes = types.SimpleNamespace(rss=3 * GIB, uss=GIB)
    monkeypatch.setattr(psutil.Process, "memory_full_info", lambda _: sizes)
    monkeypatch.setattr(psutil.Process, "memory_info", lambda _: sizes)
    assert (own_memory_gib(own), sum_shared_once_gib([own, own])) == (3.0, 6.0)


def test_cuda_peaks_are_summed_over_devices_and_start_again_in_each_phase(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    allocated = {0: 3 * GIB, 1: 1 * GIB}
    cuda = types.ModuleType("torch.cuda")
    cuda.is_initialized = lambda: True
    cuda.device_count = lambda: 2
    cuda.max_memory_allocated = lambda device: allocated[device]
    cuda.max_memory_reserved = lambda device: 2 * allocated[device]
    cuda.reset_peak_memory_stats = lambda device: allocated.update({device: 0})
    monkeypatch.setitem(sys.modules, "torch.cuda", cuda)
    with MemorySampler(NEVER_S) as sampler:
        sampler.enter_phase("export")
    assert sampler.peaks()["start"]["cuda_allocated_gib"] == 4.0
    assert sampler.peaks()["start"]["cuda_reserved_gib"] == 8.0
    assert sampler.peaks()["export"]["cuda_allocated_gib"] == 0.0
