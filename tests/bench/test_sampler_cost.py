"""That the measurement of the memory samplers' cost runs; its figure is of a quiet machine."""

import pytest

from bench.support.jobs import sampler_cost
from bench.support.jobs.sampler_cost import TimedSampler, measure_costs

SHORT = {
    "steps_per_epoch": "1",
    "crop_size_px": "64",
    "max_val_samples": "1",
    "num_workers": "0",
    "precision": "fp32",
}


@pytest.fixture(autouse=True)
def few_scenes(monkeypatch):
    for name in ("_NUM_TRAIN", "_NUM_VAL", "_NUM_TEST"):
        monkeypatch.setattr(sampler_cost, name, 1)


def test_cpu_time_of_all_samples_is_counted() -> None:
    with TimedSampler(0.01) as sampler:
        for _ in range(20):
            sampler.sample_now()
    figures = sampler.figures()
    assert figures["num_samples"] >= 22  # one each at the beginning and at the end
    assert figures["ms_per_sample"] > 0
    assert 0 < figures["percent"] <= 100
    assert figures["wall_s"] > 0


@pytest.mark.slow
def test_both_samplers_of_a_run_are_measured() -> None:
    costs = measure_costs(1, SHORT)
    assert set(costs) == {"launcher", "training"}
    for figures in costs.values():
        assert figures["num_samples"] > 5
        # Of a run of seconds, which is walked at its beginning, at its end and in each phase.
        assert 0 < figures["percent"] < 5
