"""Reading is timed as a data worker does it: by one thread, and by its parts."""

from types import SimpleNamespace

import pytest
import torch

from app.commands.probe import reading
from app.commands.probe.reading import time_samples
from app.data.datasets import open_datasets
from app.settings.texts import parse_hyperparameters


def open_rid(small_ml, scratch_dir):
    hyperparameters = parse_hyperparameters(
        {"batch_size": 1, "crop_size_px": 64, "steps_per_epoch": 10, "datasets": "rid"}
    )
    return open_datasets({"rid": small_ml / "input/data/rid"}, hyperparameters, scratch_dir)


def test_samples_are_timed_with_one_thread_and_training_gets_its_own_back(small_ml, tmp_path):
    opened = open_rid(small_ml, tmp_path)
    transform, seen = opened.train.transform, []

    def cut(*args):
        seen.append(torch.get_num_threads())
        if len(seen) > 12:
            raise OSError("gone")
        return transform.cut(*args)

    watched = SimpleNamespace(cut=cut, compose=transform.compose)
    train = SimpleNamespace(sources=opened.train.sources, transform=watched, seed=0)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert time_samples(SimpleNamespace(train=train), 0).sample_s > 0
        assert seen == [1] * 12  # six samples, twice
        assert torch.get_num_threads() == 2
        with pytest.raises(OSError, match="gone"):
            time_samples(SimpleNamespace(train=train), 0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_what_is_kept_is_timed_by_itself(small_ml, tmp_path, monkeypatch):
    opened = open_rid(small_ml, tmp_path)
    [source] = opened.train.sources
    clock = {"now_s": 0.0}
    monkeypatch.setattr(reading.time, "process_time", lambda: clock["now_s"])
    read = source.reader.read

    def slow_read(index):
        clock["now_s"] += 4.0
        return read(index)

    monkeypatch.setattr(source.reader, "read", slow_read)
    found = time_samples(opened, 0)
    # Files are read before the samples that are timed, and cost 4 s a photo.
    assert (found.sample_s, found.read_s, found.first_s) == (0, 0, 4.0)
