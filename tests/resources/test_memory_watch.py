import pytest

from app.resources.memory_watch import MemoryWatch, find_rise


def warnings(caplog):
    return [record.message for record in caplog.records]


def run(watch, peaks_gib, num_epochs):
    for epoch, peak_gib in enumerate(peaks_gib, start=1):
        watch.see(peak_gib)
        watch.see(peak_gib / 2)
        watch.close_epoch(num_epochs - epoch)


def test_nearly_full_is_told_once_with_numbers_and_remedy(caplog):
    watch = MemoryWatch(4.0)
    watch.see(3.39)
    assert not caplog.records
    watch.see(3.5)
    watch.see(3.9)
    [message] = warnings(caplog)
    assert message.startswith("memory: 3.50 GiB of the limit of 4.00 GiB are in use (88 %)")
    assert "raise grad_accum_steps by the same factor" in message


def test_a_steady_rise_that_would_reach_the_limit_is_told_once(caplog):
    run(MemoryWatch(10.0), [2.0 + 0.5 * epoch for epoch in range(8)], num_epochs=30)
    [message] = warnings(caplog)
    # Of epochs 2 to 5, when four are known.
    assert message.startswith("memory: the peak rises steadily, from 2.50 to 4.00 GiB in 4 epochs")
    assert (
        "512 MiB an epoch: at that rate it reaches the limit of 10.00 GiB in 12 epochs" in message
    )


@pytest.mark.parametrize(
    ("peaks_gib", "num_epochs"),
    [
        ([2.0 + 0.5 * epoch for epoch in range(6)], 10),  # over before it is full
        ([1.0, 3.0, 3.1, 3.1, 3.1, 3.1, 3.1, 3.1], 10000),  # warm-up
        ([3.0, 3.1, 3.0, 3.1, 3.0, 3.1, 3.0, 3.1], 10000),  # to and fro
        ([3.0 + 0.001 * epoch for epoch in range(8)], 10000),  # a page here and there
        ([2.0, 2.5, 3.0, 3.5], 1000),  # too early to say
    ],
)
def test_what_is_no_rise(peaks_gib, num_epochs, caplog):
    run(MemoryWatch(10.0), peaks_gib, num_epochs)
    assert not caplog.records


@pytest.mark.parametrize(
    ("values", "rise"),
    [
        ([1, 2, 3, 4], 1.0),
        ([4, 3, 2, 1], 0.0),
        ([1, 2, 9, 4, 5], 1.0),  # a spike does not count
        ([1, 1, 1, 1], 0.0),
        ([1, 2, 1, 2, 3], 5 / 12),
    ],
)
def test_find_rise(values, rise):
    assert find_rise(values) == pytest.approx(rise)
