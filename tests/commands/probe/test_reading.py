"""Reading is timed as a data worker does it: by one thread."""

from types import SimpleNamespace

import pytest
import torch

from app.commands.probe.reading import time_samples
from app.data.datasets import open_datasets
from app.settings.texts import parse_hyperparameters


def test_samples_are_timed_with_one_thread_and_training_gets_its_own_back(small_ml, tmp_path):
    hyperparameters = parse_hyperparameters(
        {"batch_size": 1, "crop_size_px": 64, "steps_per_epoch": 10, "datasets": "rid"}
    )
    opened = open_datasets({"rid": small_ml / "input/data/rid"}, hyperparameters, tmp_path)
    seen = []

    class Watched:
        sources = opened.train.sources

        def __getitem__(self, key):
            seen.append(torch.get_num_threads())
            if len(seen) > 7:
                raise OSError("gone")
            return opened.train[key]

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert time_samples(SimpleNamespace(train=Watched()), 0) > 0
        assert seen == [1] * 7  # the first is not counted
        assert torch.get_num_threads() == 2
        with pytest.raises(OSError, match="gone"):
            time_samples(SimpleNamespace(train=Watched()), 0)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
