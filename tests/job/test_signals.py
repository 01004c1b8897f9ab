"""Requests to stop, by signals to this process and between real ones."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from app.job.signals import STOP_SIGNALS, StopFlag, StopRequests, hold_signals, release_signals
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


# Its exit handler never ends.
STUCK_RANK = """
import atexit, time
from app.job import signals
signals._EXIT_HANDLERS_LIMIT_S = 0.2
atexit.register(time.sleep, 600)
signals.end_rank(3)
"""


@pytest.fixture(autouse=True)
def own_handlers():
    numbers = (*STOP_SIGNALS, signal.SIGINT)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_stop_sets_the_flag(number):
    flag = StopFlag()
    flag.listen()
    assert not flag()
    signal.raise_signal(number)
    assert flag()
    assert flag()


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_signal_from_before_it_listens_counts(number):
    hold_signals()
    signal.raise_signal(number)
    flag = StopFlag()
    flag.listen()
    assert flag()


def test_held_signals_are_let_through():
    hold_signals()
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        release_signals()


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("listener", [StopFlag, StopRequests])
def test_an_ignored_signal_stays_ignored(number, listener):
    """As below nohup, and in the background of a shell."""
    signal.signal(number, signal.SIG_IGN)
    listener().listen()
    assert signal.getsignal(number) is signal.SIG_IGN
    requests = StopRequests()
    requests.listen()
    signal.raise_signal(number)
    assert not requests.to_stop()
    signal.raise_signal(signal.SIGTERM)
    assert requests.to_stop()


@pytest.mark.parametrize(
    ("signals", "to_stop", "to_kill"),
    [
        ([], False, False),
        ([signal.SIGTERM], True, False),
        ([signal.SIGHUP], True, False),
        ([signal.SIGUSR1], True, False),
        ([signal.SIGINT], True, False),
        ([signal.SIGTERM, signal.SIGTERM], True, False),
        ([signal.SIGHUP, signal.SIGTERM], True, False),
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
    assert requests.first == (signals[0].name if signals else None)


def test_a_rank_ends_after_its_exit_handlers_and_before_the_interpreter():
    result = subprocess.run(
        [sys.executable, "-c", RANK], capture_output=True, text=True, cwd=ROOT, timeout=60
    )
    assert result.returncode == 3
    assert result.stdout == "buffered exit handler\n"
    assert result.stderr == ""


def test_a_rank_does_not_wait_for_an_exit_handler_that_hangs():
    result = subprocess.run([sys.executable, "-c", STUCK_RANK], cwd=ROOT, timeout=60, check=False)
    assert result.returncode == 3


@pytest.mark.skipif(sys.platform != "linux", reason="reads what the kernel says of a process")
def test_a_stop_in_the_first_moment_is_held_and_counts(tmp_path):
    """As process 1 of a container gets it: long before the command is known."""
    config = tmp_path / "input/config/hyperparameters.json"
    config.parent.mkdir(parents=True)
    os.mkfifo(config)  # the job hangs here, until this is written
    words = ["train", "--base-dir", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "app", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    deadline_s = time.monotonic() + 30
    while not holds(process.pid, signal.SIGUSR1):
        assert process.poll() is None
        assert time.monotonic() < deadline_s
        time.sleep(0.001)
    process.send_signal(signal.SIGUSR1)
    config.write_text("no JSON")
    output, _ = process.communicate(timeout=60)
    # Not the signal ended it.
    assert process.returncode == 2, output


def holds(pid, number):
    """Whether a signal to a process waits."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = dict(line.split(":", 1) for line in lines)
    return bool(int(fields["SigBlk"], 16) >> (number - 1) & 1)
