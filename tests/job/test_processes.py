"""Real children, and how they end."""

import ctypes
import json
import os
import signal
import sys
import time

import psutil
import pytest

from app.job.processes import Ended, Processes
from tests.support.processes import has_ended

LIMIT_S = 30.0  # against hangs
PR_SET_CHILD_SUBREAPER = 36
WAIT_FOR_SIGTERM = """
import signal, sys, time
def stop(number, frame):
    sys.exit(7)
signal.signal(signal.SIGTERM, stop)
signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
sys.stderr.write("ready\\n")
sys.stderr.flush()
time.sleep(60)
"""
# Starts a grandchild and says its number.
FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
sys.stderr.write(f"{child.pid}\\n")
sys.stderr.flush()
"""


def start(code, num_processes=1, keep_last_words=True, **variables):
    environments = [{**variables, "RANK": str(i)} for i in range(num_processes)]
    return Processes([sys.executable, "-c", code], environments, keep_last_words=keep_last_words)


def wait(processes):
    deadline_s = time.monotonic() + LIMIT_S
    while processes.are_running:
        assert time.monotonic() < deadline_s
        processes.reap()
        time.sleep(0.01)


def first_line(processes, number=0):
    """What a process says first; waits for it."""
    deadline_s = time.monotonic() + LIMIT_S
    while b"\n" not in processes._last_words[number]:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    return processes._last_words[number].splitlines()[0].decode().strip()


def is_gone(pid):
    """Whether a process ends; waits for that."""
    deadline_s = time.monotonic() + LIMIT_S
    while not has_ended(pid) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    return has_ended(pid)


def test_each_has_its_own_variables_beside_the_parents(tmp_path, monkeypatch):
    monkeypatch.setenv("FROM_PARENT", "kept")
    monkeypatch.setenv("SHARED", "replaced")
    code = (
        "import json, os; names = ('RANK', 'FROM_PARENT', 'SHARED')\n"
        "values = {name: os.environ[name] for name in names}\n"
        "open(os.path.join(os.environ['OUT'], os.environ['RANK']), 'w').write(json.dumps(values))"
    )
    processes = start(code, num_processes=2, SHARED="new", OUT=str(tmp_path))
    assert processes.are_running
    wait(processes)
    assert sorted(processes.ended, key=lambda end: end.number) == [
        Ended(0, 0, False),
        Ended(1, 0, False),
    ]
    for rank in ("0", "1"):
        assert json.loads((tmp_path / rank).read_text()) == {
            "RANK": rank,
            "FROM_PARENT": "kept",
            "SHARED": "new",
        }


def test_ends_come_in_their_order_with_their_codes():
    # Rank 2 ends first, then 1, then 0.
    code = "import os, sys, time; n = int(os.environ['RANK']); time.sleep(2 - n); sys.exit(n + 3)"
    processes = start(code, num_processes=3)
    wait(processes)
    assert processes.ended == [Ended(2, 5, False), Ended(1, 4, False), Ended(0, 3, False)]


def test_a_process_that_a_signal_ended():
    processes = start("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    wait(processes)
    assert processes.ended == [Ended(0, -9, False)]


def test_a_signal_to_stop_reaches_all_that_run():
    processes = start(WAIT_FOR_SIGTERM, num_processes=2)
    assert [first_line(processes, number) for number in (0, 1)] == ["ready", "ready"]
    processes.send(signal.SIGTERM)
    wait(processes)
    assert {end.exit_code for end in processes.ended} == {7}
    processes.send(signal.SIGTERM)  # to none


def test_a_signal_that_comes_before_they_listen_waits():
    processes = start("import time; time.sleep(0.5)\n" + WAIT_FOR_SIGTERM)
    processes.send(signal.SIGTERM)
    wait(processes)
    assert processes.ended == [Ended(0, 7, False)]
    # and this process listens again itself
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.parametrize("to_all", [False, True])
def test_a_signal_reaches_what_they_started_only_if_asked_to(to_all):
    # Not SIGTERM, which a grandchild that does not listen keeps waiting like its parent.
    processes = start(FAMILY + "time.sleep(60)")
    grandchild = int(first_line(processes))
    processes.send(signal.SIGINT, to_all_they_started=to_all)
    wait(processes)
    assert not processes.ended[0].was_killed
    if not to_all:
        assert not has_ended(grandchild)
        processes.kill()
    assert is_gone(grandchild)


def test_killing_leaves_nothing_behind():
    processes = start(FAMILY + "time.sleep(60)", num_processes=2)
    grandchildren = [int(first_line(processes, number)) for number in (0, 1)]
    processes.kill()
    wait(processes)
    assert sorted(processes.ended, key=lambda end: end.number) == [
        Ended(0, -9, True),
        Ended(1, -9, True),
    ]
    assert all(map(is_gone, grandchildren))


def test_killing_ends_what_a_process_that_crashed_left_behind():
    processes = start(FAMILY + "os._exit(3)")
    grandchild = int(first_line(processes))
    wait(processes)
    assert processes.ended == [Ended(0, 3, False)]
    assert not has_ended(grandchild)
    processes.kill()
    assert is_gone(grandchild)
    assert processes.ended == [Ended(0, 3, False)]
    processes.kill()  # none is left


def test_a_process_that_ended_just_before_it_was_killed_was_not():
    processes = start("raise SystemExit(3)")
    # Ended, and not yet known to be.
    os.waitid(os.P_PID, processes._children[0].pid, os.WEXITED | os.WNOWAIT)
    assert processes.are_running
    processes.kill()
    wait(processes)
    assert processes.ended == [Ended(0, 3, False)]


def test_last_words_are_kept_and_passed_on(capfd):
    code = (
        "import os, sys\n"
        "for i in range(300): sys.stderr.write(f'{os.environ[\"RANK\"]} {i:098}\\n')\n"
        "sys.stderr.buffer.write(b'bad \\xff, no end of line')"
    )
    processes = start(code, num_processes=2)
    wait(processes)
    for number in (0, 1):
        said = "".join(f"{number} {i:098}\n" for i in range(300)) + "bad \\xff, no end of line"
        # 16 KiB, less the three characters that the one byte is not.
        assert processes.last_words(number) == said[-16 * 1024 - 3 :]
    passed_on = capfd.readouterr().err
    assert passed_on.count("\n") == 600
    assert f"1 {0:098}\n" in passed_on


def test_stderr_stays_the_parents_where_it_is_not_kept(capfd):
    processes = start("import sys; sys.stderr.write('here')", keep_last_words=False)
    wait(processes)
    assert processes.last_words(0) == ""
    assert capfd.readouterr().err == "here"


def test_what_holds_the_pipe_does_not_hold_the_last_words():
    # A process of another session outlives it, with its stderr.
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'],"
        " start_new_session=True)\n"
        "sys.stderr.write(f'{child.pid}\\n')"
    )
    processes = start(code)
    wait(processes)
    started_s = time.monotonic()
    last_words = processes.last_words(0)
    assert time.monotonic() - started_s < LIMIT_S
    os.kill(int(last_words), signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="orphans go to process 1")
def test_orphans_of_others_are_taken_in():
    # As process 1 of a container gets them.
    prctl = ctypes.CDLL(None).prctl
    assert prctl(PR_SET_CHILD_SUBREAPER, 1) == 0
    try:
        processes = start(FAMILY + "os._exit(0)")
        orphan = int(first_line(processes))
        wait(processes)
        assert psutil.Process(orphan).ppid() == os.getpid()
        processes.kill()
        deadline_s = time.monotonic() + LIMIT_S
        while psutil.pid_exists(orphan) and time.monotonic() < deadline_s:
            processes.reap()
            time.sleep(0.01)
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 0)
    assert not psutil.pid_exists(orphan)
    assert processes.ended == [Ended(0, 0, False)]


def test_a_command_that_is_not_there_leaves_signals_as_they_were(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Processes([str(tmp_path / "nowhere")], [{}], keep_last_words=False)
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
