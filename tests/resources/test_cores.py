import os

import pytest

from app.resources import cores
from app.resources.cores import computes_bf16, num_cores


@pytest.fixture
def one_core():
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@pytest.mark.usefixtures("one_core")
def test_cores_that_this_process_may_not_run_on_do_not_count(monkeypatch):
    monkeypatch.setattr(cores, "read_cpu_limit", lambda: None)
    assert num_cores() == 1


@pytest.mark.parametrize(
    ("limit", "expected"), [(None, 4), (0.25, 1), (1.0, 1), (1.5, 2), (3.0, 3), (9.0, 4)]
)
def test_a_limit_of_time_counts_as_cores_rounded_up(monkeypatch, limit, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    monkeypatch.setattr(cores, "read_cpu_limit", lambda: limit)
    assert num_cores() == expected


def test_a_system_that_lists_no_cores_lets_all_be_used(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.setattr(cores, "read_cpu_limit", lambda: None)
    assert num_cores() == 6


def test_bfloat16_is_native_with_its_instructions():
    assert computes_bf16(frozenset({"amx_tile"}))
    assert not computes_bf16(frozenset({"avx512f"}))
