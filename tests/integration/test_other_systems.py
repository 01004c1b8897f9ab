"""A run where the system tells little: no cores that may be used, no sizes, no shared memory."""

import json
import os

import pytest

from tests.support.runs import SMALL, copy_tree, read_metrics, run

pytestmark = pytest.mark.slow

# Hides, from every process of a run, what only Linux has. Python imports it at its start.
HIDING = """
import ctypes, os, pathlib, types

del os.sched_getaffinity

def hide(owner, name):
    real = getattr(owner, name)
    def call(path, *others, **named):
        if not str(path).startswith(("/proc/", "/sys/", "/dev/shm")):
            return real(path, *others, **named)
        if name == "is_dir":
            return False
        raise FileNotFoundError(2, "hidden", str(path))
    setattr(owner, name, call)

for name in ("read_text", "write_text", "is_dir"):
    hide(pathlib.Path, name)
hide(os, "statvfs")

class Library(ctypes.CDLL):
    def __getattr__(self, name):
        if name in ("prctl", "mallopt", "malloc_trim"):
            raise AttributeError(name)
        return super().__getattr__(name)

ctypes.CDLL = Library

import psutil

def tell_less(process):
    memory = process.memory_info()
    return types.SimpleNamespace(rss=memory.rss, uss=memory.rss)  # as on macOS: no PSS

psutil.Process.memory_full_info = tell_less
"""


def test_a_training_says_less_where_the_system_does(small_ml, tmp_path, monkeypatch):
    (tmp_path / "hiding").mkdir()
    (tmp_path / "hiding/sitecustomize.py").write_text(HIDING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "hiding"))
    base_dir = copy_tree(small_ml, tmp_path / "ml", {**SMALL, "epochs": "1"})
    exit_code, output = run(base_dir)
    assert exit_code == 0, output
    assert f"machine: {os.cpu_count()} cores; memory " in output
    assert "no /dev/shm" in output
    assert "the system does not tell what processes share" in output
    assert "Traceback" not in output
    peaks = read_metrics(base_dir)["memory"]["peaks"]["train"]
    assert peaks["rss_gib"] > 0
    assert [peaks[name] for name in ("pss_gib", "peak_gib", "shm_gib")] == [None] * 3
    assert json.loads((base_dir / "model/model.json").read_text())["tasks"]
