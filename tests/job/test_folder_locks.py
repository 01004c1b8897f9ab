"""One job a folder: who comes second is told who works there, and touches nothing."""

import errno
import fcntl
import os
import re
import socket
import subprocess
import sys

import pytest

from app.base.errors import FolderInUseError
from app.job import folder_locks
from app.job.folder_locks import FolderLocks, check_free
from tests.support.paths import ROOT

# Holds a folder until its input ends, and says so.
HOLD = """
import sys
from pathlib import Path
from app.job.folder_locks import FolderLocks
with FolderLocks() as locks:
    locks.take(Path(sys.argv[1]))
    print("holds", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "holds\n"
    yield process
    process.kill()
    process.communicate()


def take(*folders):
    with FolderLocks() as locks:
        return [locks.take(folder) for folder in folders]


def test_a_second_process_is_told_who_works_there(tmp_path, holder):
    with pytest.raises(FolderInUseError) as caught:
        take(tmp_path)
    assert caught.value.folder == tmp_path
    assert caught.value.exit_code == 2
    assert re.fullmatch(
        rf"{tmp_path}: another job works here: process {holder.pid} of host "
        rf"{re.escape(socket.gethostname())}, since 20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC; wait for "
        r"its end or stop it, or give this job another folder",
        str(caught.value),
    )
    with pytest.raises(FolderInUseError):
        check_free(tmp_path)
    holder.communicate("")
    assert take(tmp_path) == [True]
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_a_dead_process_left_blocks_nobody(tmp_path, holder):
    holder.kill()
    holder.wait()
    assert (tmp_path / ".lock").exists()
    check_free(tmp_path)
    assert take(tmp_path) == [True]
    assert list(tmp_path.iterdir()) == []


def test_processes_that_outlive_the_job_block_nobody(tmp_path):
    with FolderLocks() as locks:
        locks.take(tmp_path)
        stray = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        assert take(tmp_path) == [True]
    finally:
        stray.kill()
        stray.wait()


def test_one_job_may_name_a_folder_twice_and_one_that_is_not_there(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "a")
    assert take(tmp_path / "a", tmp_path / "link", tmp_path / "b/c") == [True, True, True]
    assert list((tmp_path / "b/c").iterdir()) == []


def test_who_removed_the_file_meanwhile_left_no_lock_to_share(tmp_path, monkeypatch):
    """Between opening and locking, the one before ends and removes its file."""
    path = tmp_path / ".lock"
    real = fcntl.flock
    opened = []

    def flock(file, operation):
        if not opened:
            path.unlink()
        opened.append(file)
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    with FolderLocks() as locks:
        assert locks.take(tmp_path)
        assert len(opened) == 2
        assert os.path.samestat(path.stat(), os.fstat(opened[1]))


def test_a_lock_that_another_made_in_its_place_is_not_removed(tmp_path):
    with FolderLocks() as first:
        first.take(tmp_path)
        (tmp_path / ".lock").unlink()  # by a person who cleans up
        with FolderLocks() as second:
            second.take(tmp_path)
            first.__exit__(None, None, None)
            with pytest.raises(FolderInUseError):
                take(tmp_path)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_named_and_used(tmp_path, monkeypatch, caplog, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert take(tmp_path) == [False]
    assert (
        f"{tmp_path}: cannot be locked ({os.strerror(number)}); see to it that no other job works"
        in caplog.text
    )


def test_a_folder_that_cannot_be_written_is_for_others_to_refuse(tmp_path, caplog):
    (tmp_path / "file").touch()
    assert take(tmp_path / "file") == [False]
    assert "file: cannot be locked (File exists)" in caplog.text


def test_a_full_disk_has_room_for_a_lock(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder_locks.os, "write", refuse)
    with FolderLocks() as locks:
        assert locks.take(tmp_path)
        with pytest.raises(FolderInUseError, match="a process that has not said its name"):
            take(tmp_path)
