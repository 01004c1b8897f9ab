"""Why a data worker was lost, by its end and by what memory there was."""

import os
import signal
from types import SimpleNamespace

import pytest

from app.base.errors import WorkerLostError
from app.data.loading import EvalDataset, read_photos
from app.data.rid.dataset import RidDataset
from app.data.transforms import EvalTransform
from app.training.lost_worker import explain_lost_worker


@pytest.mark.parametrize(
    ("exit_code", "is_full", "beginning"),
    [
        (-signal.SIGKILL, True, "a data worker was killed, probably out of memory or of /dev/shm: "
                                "peak 1 GiB of 2; lower num_workers"),
        (-signal.SIGBUS, False, "a data worker was killed, probably out of memory or of /dev/shm"),
        (-signal.SIGKILL, False, "a data worker was killed by something outside, not for memory "
                                 "(peak 1 GiB of 2)"),
        (-signal.SIGSEGV, True, "a data worker ended by SIGSEGV: a crash in native code"),
        (3, True, "a data worker ended with exit code 3; the log has its words"),
    ],
)  # fmt: skip
def test_why_it_was_lost(exit_code, is_full, beginning):
    memory = SimpleNamespace(has_run_out=lambda: is_full, describe_peak=lambda: "peak 1 GiB of 2")
    assert explain_lost_worker(exit_code, memory).startswith(beginning)


class KillsItself(EvalDataset):
    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_worker_that_is_killed_is_named_with_its_end(small_ml):
    rid_dir = small_ml / "input/data/rid"
    dataset = KillsItself(RidDataset(rid_dir, "val"), EvalTransform(0.1))
    with pytest.raises(WorkerLostError) as caught:
        next(read_photos(dataset, 1))
    assert caught.value.exit_code == -signal.SIGKILL
