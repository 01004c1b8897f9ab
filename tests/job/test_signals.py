"""Requests to stop, by signals to this process and between real ones."""

import signal
import subprocess
import sys

import pytest

from app.job.signals import StopFlag, StopRequests
from tests.support.paths import ROOT

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


@pytest.fixture(autouse=True)
def own_handlers():
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


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


def test_a_rank_ends_after_its_exit_handlers_and_before_the_interpreter():
    result = subprocess.run(
        [sys.executable, "-c", RANK], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert result.returncode == 3
    assert result.stdout == "buffered exit handler\n"
    assert result.stderr == ""
