"""Why a host's part of a job failed, as real children end."""

import json
import signal
import sys

import pytest

from app.base.errors import EXIT_LOST_PEER
from app.job.inputs import Hosts
from app.job.peers import Peers
from app.job.processes import Processes
from app.job.signals import StopRequests
from app.job.supervision import Part, Supervision
from app.resources.memory_sampler import MemorySampler

SAYS_LOST = (
    "import sys; sys.stderr.write('another training process seems to be gone: [gloo] timeout\\n');"
    f"sys.exit({EXIT_LOST_PEER})"
)
PEAK = "peak 1.00 GiB of a limit of 2.00 GiB"
KILLS_ITSELF = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


class Memory(MemorySampler):
    """Of which it is known whether it ran out."""

    def __init__(self, *, has_run_out):
        super().__init__(60.0)
        self.is_out = has_run_out

    def has_run_out(self):
        return self.is_out

    def describe_peak(self):
        return PEAK


def supervise(paths, *codes, has_run_out=False, script=None, requests=None, find_fitting=None):
    """The failure of a host alone whose processes run these lines of Python."""
    hosts = Hosts()
    part = Part(hosts, script, len(codes), 10.0, find_fitting)
    # Each takes the line of its rank.
    command = [
        sys.executable, "-c", "import json, os, sys\n"
        "exec(json.loads(sys.argv[1])[int(os.environ['RANK'])])", json.dumps(codes),
    ]  # fmt: skip
    environments = [{"RANK": str(rank)} for rank in range(len(codes))]
    processes = Processes(command, environments, keep_last_words=True)
    memory = Memory(has_run_out=has_run_out)
    with Peers(hosts) as peers:
        supervision = Supervision(part, processes, peers, requests or StopRequests(), paths, memory)
        supervision.watch()
        return supervision.find_failure()


def test_all_is_well(paths):
    assert supervise(paths, "pass", "pass") is None


@pytest.mark.parametrize(
    ("script", "has_run_out", "message"),
    [
        (None, False, f"training process killed (SIGKILL) by something outside, not for memory "
         f"({PEAK}): a person, a scheduler or another program; the same job resumes"),
        ("own.py", False, f"own.py killed (SIGKILL) by something outside, not for memory ({PEAK}): "
         "a person, a scheduler or another program; run it again"),
        (None, True, "training process killed by the kernel (SIGKILL), probably out of memory: "
         f"{PEAK}; batch_size=2 would fit; or take an instance with more memory"),
        ("own.py", True, "own.py killed by the kernel (SIGKILL), probably out of memory: "
         f"{PEAK}; take an instance with more memory"),
    ],
    ids=["outside", "script, outside", "memory", "script, memory"],
)  # fmt: skip
def test_who_killed_it(paths, script, has_run_out, message):
    failure = supervise(
        paths,
        KILLS_ITSELF,
        script=script,
        has_run_out=has_run_out,
        find_fitting=None if script else lambda: "batch_size=2 would fit",
    )
    assert failure.message == message
    assert failure.exit_code == 128 + signal.SIGKILL
    assert failure.is_cause


def test_one_that_lost_another_is_no_cause(paths):
    failure = supervise(paths, SAYS_LOST, "import time; time.sleep(0.3); " + KILLS_ITSELF)
    assert failure.message.startswith("training process killed (SIGKILL) by something outside")
    assert failure.exit_code == 128 + signal.SIGKILL


def test_processes_that_lost_each_other_while_all_are_there(paths):
    failure = supervise(paths, SAYS_LOST, SAYS_LOST)
    assert failure.message == (
        "training processes lost each other, and none is known to have failed: another training "
        "process seems to be gone: [gloo] timeout; see to the network between them, or to one that "
        "hangs"
    )
    assert failure.exit_code == 1
    assert failure.details.startswith("another training process")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
def test_any_stop_is_passed_on_as_sigterm(paths, caplog, number):
    """What a process does about it is its own affair."""
    caplog.set_level("INFO")
    before = signal.getsignal(number)
    requests = StopRequests()
    requests.listen()
    try:
        signal.raise_signal(number)
        waits = (
            "import signal, time\n"
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
            "signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})\n"
            "time.sleep(60)"
        )
        assert supervise(paths, waits, requests=requests) is None
    finally:
        for one in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(one, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(number, before)
    assert f"asked to stop by {number.name}" in caplog.messages
