"""A child process: its question, its answers and its end, and that it outlives no parent."""

import subprocess
import sys
import time

import pytest

from app.base.children import (
    ask_child,
    describe_exit,
    own_command,
    start_stopping_with_parent,
)
from tests.support.paths import ROOT
from tests.support.processes import has_ended

LIMIT_S = 30.0  # against hangs
DIES_WITH_PARENT = (
    "import time; from app.base.children import die_with_parent\n"
    "die_with_parent(); print('ready', flush=True); time.sleep(60)"
)
# A system whose kernel tells no process of its parent's end.
WITHOUT_PRCTL = "import app.base.children; app.base.children._find_prctl = lambda: None\n"
PARENT = """
import os, subprocess, sys
from app.base.children import PARENT_VARIABLE
os.environ[PARENT_VARIABLE] = str(os.getpid())
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, text=True)
assert child.stdout.readline() == "ready\\n"
print(child.pid, flush=True)
sys.stdin.read()
"""
# The parent dies before its child has begun to do anything.
ORPHAN = """
import os, time
import app.base.children
parent = os.getpid()
os.environ[app.base.children.PARENT_VARIABLE] = str(parent)
if os.fork() == 0:
    while os.getppid() == parent:
        time.sleep(0.01)
    app.base.children.die_with_parent()
    print("lives on", flush=True)
os._exit(0)
"""


@pytest.fixture
def play(monkeypatch):
    """Let a script play the child; returns where the processes that were started are listed."""
    real, started = subprocess.Popen, []

    def play(script):
        def start(command, **options):
            started.append(real([command[0], "-c", script], **options))
            return started[-1]

        monkeypatch.setattr("app.base.children.subprocess.Popen", start)
        return started

    return play


def test_answers_come_in_order_and_other_lines_are_left_out(play):
    play(
        "import sys; from app.base.children import tell_parent; print('3\\nwords')\n"
        "tell_parent('read', text=sys.stdin.read()); tell_parent('read', text='more')"
    )
    reply = ask_child("measure", "question", LIMIT_S)
    assert reply.of_kind("read") == [{"text": "question"}, {"text": "more"}]
    assert reply.failure is None


def test_answers_so_far_survive_a_killed_child(play):
    play(
        'import os, sys; sys.stdin.read(); print(\'{"kind": "machine", "values": {}}\'); '
        "print('{\"kind\": \"po', end=''); sys.stdout.flush(); os.kill(os.getpid(), 9)"
    )
    reply = ask_child("measure", "", LIMIT_S)
    assert reply.answers == [{"kind": "machine", "values": {}}]
    assert reply.failure == "it was killed (SIGKILL), by the kernel if memory ran out"


def test_a_stop_ends_the_child(play):
    started = play("import time; time.sleep(600)")
    asked = iter([False, False])
    reply = ask_child("measure", "", LIMIT_S, lambda: next(asked, True))
    assert (reply.answers, reply.failure) == ([], "asked to stop")
    assert started[0].poll() == -9


def test_a_child_that_takes_too_long_is_ended(play):
    started = play("import time; time.sleep(600)")
    assert ask_child("measure", "", 0.1).failure == "took over 0 s"
    assert started[0].poll() == -9


@pytest.mark.parametrize(
    ("script", "expected", "is_told"),
    [
        ("raise SystemExit(3)", "it ended with exit code 3 and no error message", False),
        ("raise SystemExit('a\\tb\\n\\n')", "it ended with exit code 1: a\\tb", False),
        (
            "from app.base.children import tell_parent; tell_parent('error', message='no data'); "
            "raise SystemExit('words')",
            "no data",
            True,
        ),
    ],
)
def test_a_failure_is_one_line(play, script, expected, is_told):
    play(script)
    reply = ask_child("measure", "", LIMIT_S)
    assert (reply.failure, reply.is_told) == (expected, is_told)


def test_the_last_line_that_says_something_counts():
    assert describe_exit(2, "first\n last \n \n") == "ended with exit code 2: last"


def test_a_child_finds_modules_as_its_parent_does():
    for flags in ([], ["-P"]):
        script = "from app.base.children import own_command; print(own_command('x')[1:])"
        output = subprocess.run(
            [sys.executable, *flags, "-c", script],
            capture_output=True, text=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, check=True,
        ).stdout  # fmt: skip
        assert output.strip() == str([*flags, "x"])
    assert own_command("x")[0] == sys.executable


@pytest.mark.parametrize("system", ["", WITHOUT_PRCTL], ids=["Linux", "another system"])
@pytest.mark.parametrize("end", ["killed", "done"])
def test_a_process_dies_with_its_parent(end, system):
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, system + DIES_WITH_PARENT],
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


@pytest.mark.parametrize("system", ["", WITHOUT_PRCTL], ids=["Linux", "another system"])
def test_a_process_whose_parent_died_before_it_asked_ends_itself(system):
    result = subprocess.run(
        [sys.executable, "-c", system + ORPHAN],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
    )
    assert result.returncode == 0
    assert result.stdout == ""


def test_a_child_is_stopped_when_its_parent_dies():
    child = "import os, time; print(os.getpid(), flush=True); time.sleep(100)"
    script = (
        "import subprocess, sys; from app.base.children import stopping_with_parent; "
        f"subprocess.run([sys.executable, '-c', {child!r}], preexec_fn=stopping_with_parent())"
    )
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE)
    pid = int(parent.stdout.readline())
    parent.terminate()  # ends it at once: nothing of it runs any more
    parent.communicate(timeout=60)
    deadline_s = time.monotonic() + 20
    while not has_ended(pid):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_a_job_starts_where_no_kernel_stops_it(monkeypatch, tmp_path):
    monkeypatch.setattr("app.base.children._find_prctl", lambda: None)
    with (tmp_path / "log").open("wb") as log:
        assert start_stopping_with_parent([sys.executable, "-c", "print(1)"], log).wait(60) == 0
    assert (tmp_path / "log").read_text() == "1\n"
