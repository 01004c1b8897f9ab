"""What a device does to make a sample is counted where none is there."""

import torch

from app.commands.probe.making import _Work, measure_making
from app.data.order import SampleKey, TrainSource
from app.data.transforms import TrainTransform
from tests.support.photos import OnePhoto


def test_kernels_and_bytes_are_counted_and_views_are_not():
    work = _Work()
    bytes_, floats = torch.zeros(100, dtype=torch.uint8), torch.zeros(10, 10)
    places = torch.arange(7)
    with work:
        (floats + 1).mul_(2)  # both read and write 400 bytes
        assert bytes_.view(10, 10)[:, :5].T.shape == (5, 10)
    assert (work.num_kernels, work.num_bytes) == (2, 2 * 800)
    with work:
        bytes_[places]  # reads 7 bytes of 100, and 56 of places
    assert (work.num_kernels, work.num_bytes) == (3, 1600 + 14 + 56)
    with work:
        torch.zeros(1).expand(1000) + 1  # of which 4 bytes are read
    assert (work.num_kernels, work.num_bytes) == (5, 1670 + 4 + 4004)


def test_a_larger_sample_moves_more_bytes_with_about_as_many_kernels():
    source = TrainSource(OnePhoto(300), share=1.0, per_side=1, indices=None)
    keys = [SampleKey(0, number, 0, (0,)) for number in range(4)]
    small, large = (
        measure_making(source, TrainTransform(side, 0.1), 0, keys, torch.device("cpu"))
        for side in (64, 128)
    )
    assert small.cut_s > 0
    assert small.make_s == large.make_s == 0
    assert 2 < large.made_bytes / small.made_bytes < 5
    assert small.made_kernels > 100
    assert abs(large.made_kernels / small.made_kernels - 1) < 0.3
