"""Reads that stall: told of, and no obstacle to a stop."""

import re
import threading
import time

import pytest

from app.base.errors import DataError, StopRequested
from app.data.waiting import PatientReader, wait_for

LIMIT_S = 30.0  # against hangs


class Storage:
    """Answers one read after the other, once it is allowed to."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.num_asked = 0
        self.is_there = threading.Event()

    def read(self):
        self.num_asked += 1
        assert self.is_there.wait(LIMIT_S)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def reader_of(storage, stop_requested=lambda: False, first_warning_s=LIMIT_S):
    return PatientReader(storage.read, lambda: "a batch of RID", stop_requested, first_warning_s)


def test_each_read_is_done_when_it_is_asked_for():
    storage = Storage("a", "b", DataError("bad"), "c")
    storage.is_there.set()
    reader = reader_of(storage)
    for num_asked, answer in enumerate("ab", start=1):
        assert reader.next() == answer
        assert storage.num_asked == num_asked
    with pytest.raises(DataError, match=r"^bad$"):
        reader.next()
    assert reader.next() == "c"
    reader.close()
    assert not reader.is_reading


def test_a_stop_is_heard_and_the_read_is_not_lost():
    storage = Storage("a", "b")
    is_asked = threading.Event()
    reader = reader_of(storage, is_asked.is_set)
    threading.Timer(0.1, is_asked.set).start()
    started_s = time.monotonic()
    for _ in range(2):
        with pytest.raises(StopRequested):
            reader.next()
    assert time.monotonic() - started_s < LIMIT_S / 2
    assert reader.is_reading
    storage.is_there.set()
    assert [reader.next(), reader.next()] == ["a", "b"]
    assert storage.num_asked == 2


def test_after_a_stop_a_read_may_take_a_while():
    storage = Storage("a")
    threading.Timer(0.5, storage.is_there.set).start()
    assert wait_for(storage.read, "a", lambda: True, patience_s=LIMIT_S) == "a"
    with pytest.raises(StopRequested):
        wait_for(lambda: threading.Event().wait(5), "a", lambda: True, patience_s=0.3)


def test_a_stall_is_told_of_at_growing_intervals(caplog):
    storage = Storage("a")
    threading.Timer(1.6, storage.is_there.set).start()
    assert reader_of(storage, first_warning_s=0.2).next() == "a"
    *warnings, last = [re.sub(r"\d+ s", "N s", message) for message in caplog.messages]
    assert warnings == [
        "a batch of RID: waiting for N s; its storage is slow or does not answer, and training "
        "waits with it; a stop would be heard"
    ] * len(warnings)
    # After 0.2, 0.4, 0.8 and perhaps 1.6 s.
    assert len(warnings) in (3, 4)
    assert last == "a batch of RID: there after N s"
