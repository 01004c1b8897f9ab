"""Whether torch.compile finds what it needs, before a job costs anything."""

import sysconfig
from pathlib import Path

import pytest

from app.base.errors import ConfigError
from app.job.paths import Paths
from app.job.signals import StopRequests
from app.job.supervisor import run_job
from app.resources.compiler import check_compiler


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """A folder that is all of PATH, and a folder of headers with Python's in it."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    for variable in ("CC", "CXX"):
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "bin").mkdir()
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr(sysconfig, "get_path", lambda *_: str(tmp_path))
    return tmp_path


def install(tools: Path, name: str) -> None:
    (tools / "bin" / name).touch(mode=0o755)


def test_both_lacks_are_named_in_one_line(tools):
    (tools / "Python.h").unlink()
    with pytest.raises(ConfigError) as caught:
        check_compiler(on_gpu=True)
    assert str(caught.value) == (
        "torch_compile=on needs a C compiler and Python's headers, which the images do not have: "
        f"no gcc or clang on PATH; no {tools}/Python.h; set torch_compile=off, or use an image of "
        "yours with gcc, g++ and python3-dev"
    )


@pytest.mark.parametrize(("on_gpu", "name"), [(True, "gcc"), (True, "clang"), (False, "g++")])
def test_a_gpu_needs_a_c_compiler_and_a_cpu_one_for_c_plus_plus(tools, on_gpu, name):
    install(tools, name)
    check_compiler(on_gpu=on_gpu)
    with pytest.raises(ConfigError, match=r"needs a C(\+\+)? compiler"):
        check_compiler(on_gpu=not on_gpu)


def test_the_compiler_that_is_named_counts(tools, monkeypatch):
    install(tools, "gcc")
    monkeypatch.setenv("CC", "ccache gcc")
    with pytest.raises(ConfigError, match="no ccache on PATH"):
        check_compiler(on_gpu=True)
    install(tools, "ccache")
    check_compiler(on_gpu=True)


def test_a_job_is_refused_before_anything_starts(tools):
    settings = {"torch_compile": "on", "device": "cpu"}
    with pytest.raises(ConfigError, match=r"^torch_compile=on needs a C\+\+ compiler"):
        run_job([], Paths(tools), settings, StopRequests(), dict)
