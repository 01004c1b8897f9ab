"""What the machine lacks, as Python, torch and their workers say it."""

import errno
import multiprocessing
import multiprocessing.synchronize
import os
import resource
import tempfile

import pytest

from app.base.machine import explain_machine_error, find_lack, raise_file_limit


def catch(function):
    try:
        function()
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def test_no_temporary_folder(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/a", "/proc/b"])
    assert explain_machine_error(catch(tempfile.gettempdir)) == (
        "no temporary folder can be written to (tried '/proc/a', '/proc/b'); make one of them "
        "writable, or set TMPDIR to a folder that is"
    )


def test_no_shared_memory_for_a_semaphore(monkeypatch):
    # The C library finds no place for it, and does not say which place that is.
    semaphores = multiprocessing.synchronize.SemLock
    monkeypatch.setattr(semaphores, "_make_name", staticmethod(lambda: "/no/such/place"))
    error = catch(multiprocessing.get_context("spawn").Event)
    assert explain_machine_error(error) == (
        "/dev/shm: shared memory cannot be used: [Errno 22] Invalid argument; mount it "
        "writable (tmpfs), or set num_workers=0"
    )


@pytest.mark.parametrize(
    ("error", "explained"),
    [
        (
            OSError(errno.EROFS, os.strerror(errno.EROFS), "/opt/ml/a"),
            "/opt/ml/a: Read-only file system; mount it writable, or choose another folder",
        ),
        (
            PermissionError(errno.EACCES, os.strerror(errno.EACCES), b"/opt/\xe9"),
            "/opt/\udce9: Permission denied; give this user the right to it, or choose another "
            "folder",
        ),
        (
            BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)),
            "no further process or thread can be started: Resource temporarily unavailable; raise "
            "the limit (ulimit -u, docker run --pids-limit), or lower num_workers or "
            "processes_per_host",
        ),
        (
            RuntimeError("can't start new thread"),
            "no further process or thread can be started: Resource temporarily unavailable; raise "
            "the limit (ulimit -u, docker run --pids-limit), or lower num_workers or "
            "processes_per_host",
        ),
        # torch's own words, and what its workers met.
        (
            RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left "
                         "on device (28)"),
            "/dev/shm: No space left on device; give the container more (docker run "
            "--shm-size=1g), or set num_workers=0",
        ),
        (
            OSError("Caught OSError in DataLoader worker process 0.\nOriginal Traceback ...\n"
                    "OSError: [Errno 5] Input/output error: '/data/a'"),
            "Input/output error, met in an unknown place; see to the disk or the network storage, "
            "then run the job again: it resumes",
        ),
        (MemoryError(), "memory is used up; give the container more memory, or lower batch_size, "
                        "or lower num_workers or processes_per_host"),
        # Mistakes of ours.
        (FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "/a"), None),
        (RuntimeError("The size of tensor a must match the size of tensor b"), None),
        (ValueError("Permission denied"), None),
    ],
)  # fmt: skip
def test_what_the_machine_lacks(error, explained):
    assert explain_machine_error(error) == explained


def test_too_many_open_files_name_who_met_it():
    def open_all():
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    assert explain_machine_error(catch(open_all)) == (
        "Too many open files, met in open_all of test_machine.py; raise the limit (ulimit -n, "
        "docker run --ulimit nofile=65536), or lower num_workers or processes_per_host"
    )


def test_a_full_disk_without_inodes(tmp_path, monkeypatch):
    assert find_lack(tmp_path / "not/there") is None
    full = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result((*full[:7], 0, *full[8:])))
    assert find_lack(tmp_path / "not/there") == "no inode is free"
    error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path))
    assert explain_machine_error(error) == (
        f"{tmp_path}: No space left on device (no inode is free); give it more space (on "
        "SageMaker: VolumeSizeInGB)"
    )


def test_as_many_files_as_the_machine_allows():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, before[1]), before[1]))
        raise_file_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_system_that_refuses_its_own_highest_limit(monkeypatch):
    """macOS names infinity and takes no more than OPEN_MAX."""
    limits = [256, 2**63 - 1]

    def set_limit(_kind, new):
        if new[0] > 10_240:
            raise ValueError("current limit exceeds maximum limit")
        limits[:] = new

    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", set_limit)
    raise_file_limit()
    assert limits == [10_240, 2**63 - 1]
    limits[0] = 20_000  # raised by hand
    raise_file_limit()
    assert limits == [20_000, 2**63 - 1]
