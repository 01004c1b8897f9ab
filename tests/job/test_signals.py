"""Requests to stop, by signals to this process and between real ones."""

import signal
import subprocess
import sys
import time

import psutil
import pytest

from app.job.signals import StopFlag, StopRequests
from tests.support.paths import ROOT

LIMIT_S = 30.0  # against hangs
DIES_WITH_PARENT = (
    "import time; from app.job.signals import die_with_parent\n"
    "die_with_parent(); print('ready', flush=True); time.sleep(60)"
)
PARENT = """
import os, subprocess, sys
from app.base.children import PARENT_VARIABLE
os.environ[PARENT_VARIABLE] = str(os.getpid())
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, text=True)
assert child.stdout.readline() == "ready\\n"
print(child.pid, flush=True)
sys.stdin.read()
"""
# A thread that needs the interpreter while it is taken down would abort: it must not come to that.
RANK = """
import atexit
from app.job.signals import end_rank

class Last:
    def __del__(self):
        print("taken down", flush=True)

last = Last()
atexit.register(lambda: print("exit handler"))
print("buffered", end=" ")
end_rank(3)
"""
# The parent dies before its child has begun to do anything.
ORPHAN = """
import os, time
import app.job.signals
parent = os.getpid()
os.environ[app.base.children.PARENT_VARIABLE] = str(parent)
if os.fork() == 0:
    while os.getppid() == parent:
        time.sleep(0.01)
    app.base.children.die_with_parent()
    print("lives on", flush=True)
os._exit(0)
"""


@pytest.fixture(autouse=True)
def own_handlers():
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


def has_ended(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_sigterm_sets_the_flag():
    flag = StopFlag()
    flag.listen()
    assert not flag()
    signal.raise_signal(signal.SIGTERM)
    assert flag()
    assert flag()


def test_a_signal_from_before_it_listens_counts():
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    signal.raise_signal(signal.SIGTERM)
    flag = StopFlag()
    flag.listen()
    assert flag()


@pytest.mark.parametrize(
    ("signals", "to_stop", "to_kill"),
    [
        ([], False, False),
        ([signal.SIGTERM], True, False),
        ([signal.SIGINT], True, False),
        ([signal.SIGTERM, signal.SIGTERM], True, False),
        ([signal.SIGINT, signal.SIGTERM], True, False),
        ([signal.SIGINT, signal.SIGINT], True, True),
        ([signal.SIGTERM, signal.SIGINT], True, True),
        ([signal.SIGINT, signal.SIGINT, signal.SIGTERM], True, True),
    ],
)
def test_requests_to_a_parent(signals, to_stop, to_kill):
    requests = StopRequests()
    requests.listen()
    for number in signals:
        signal.raise_signal(number)
    assert (requests.to_stop(), requests.to_kill()) == (to_stop, to_kill)


@pytest.mark.parametrize("end", ["killed", "done"])
def test_a_process_dies_with_its_parent(end):
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, DIES_WITH_PARENT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as parent:
        child = int(parent.stdout.readline())
        assert not has_ended(child)
        if end == "killed":
            parent.kill()
        parent.stdin.close()
    deadline_s = time.monotonic() + LIMIT_S
    while not has_ended(child):
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_process_whose_parent_died_before_it_asked_ends_itself():
    result = subprocess.run(
        [sys.executable, "-c", ORPHAN], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert result.returncode == 0
    assert result.stdout == ""


def test_a_rank_ends_after_its_exit_handlers_and_before_the_interpreter():
    result = subprocess.run(
        [sys.executable, "-c", RANK], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert result.returncode == 3
    assert result.stdout == "buffered exit handler\n"
    assert result.stderr == ""
