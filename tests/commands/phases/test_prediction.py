"""What a phase is expected to take: measured once for a device, kept, and fitted."""

import json
from pathlib import Path

import pytest

from app.commands.phases.prediction import _shares, build_forecaster
from app.resources.gpus import Gpus
from app.resources.measurements import Loading, Measurements, Point
from app.settings.hyperparameters import Hyperparameters

GIB = 2**30
# 1 GiB, and 0.5 GiB for each sample of 512 px; 0.8 s for each; reading takes 0.1, 0.3 and 0.5 s.
POINTS = tuple(
    Point(size, side, 1 + 0.5 * share, 0.25, None, 0.8 * share, 0.2)
    for size, side, share in ((1, 256, 0.25), (2, 256, 0.5), (1, 512, 1), (2, 512, 2))
)  # fmt: skip
LOADING = Loading(512, 0.125, 0.25, {"rid": 0.1, "roofline": 0.3, "airs": 0.5})


class Measuring:
    """In the place of `measure`: remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, settings, channels, points):
        self.asked.append((settings, channels, list(points)))
        on_gpu = settings["device"] == "cuda"
        points = tuple(
            Point(**{**vars(point), "cuda_gib": 2.0 + point.trainer_gib}) if on_gpu else point
            for point in POINTS
        )
        return Measurements(points, LOADING, 0.1, 2, settings["device"], "fp32", (), {})


@pytest.fixture
def measuring(monkeypatch):
    found = Measuring()
    monkeypatch.setattr("app.commands.phases.prediction.measure", found)
    monkeypatch.setattr("app.commands.phases.prediction.read_gpus", Gpus)
    return found


@pytest.fixture
def channels(tmp_path):
    return {name: tmp_path / name for name in ("rid", "roofline", "airs")}


def test_memory_and_time_of_phases(measuring, channels, tmp_path):
    forecast = build_forecaster(channels, {}, tmp_path)
    assert measuring.asked == []  # nothing before it is needed
    # Phase 1: a pass of 2, of RID. Training 1 + 2 x 0.5; server; 2 workers with 2 batches each. A
    # pass takes 1.6 s, the update 0.2, and reading 2 samples takes 0.2 s of what computes.
    batch_gib = 13 * 512**2 * 2 / GIB
    peak_gib, step_s = forecast({"phase": "1"})
    assert peak_gib == pytest.approx(2 + 0.125 + 2 * 0.25 + 4 * batch_gib)
    assert step_s == pytest.approx(1.6 + 0.2 + 0.2)
    # Phase 4: two passes of 4; half of them RID, a quarter each of the others: 0.25 s a sample.
    batch_gib *= 2
    peak_gib, step_s = forecast({"phase": "4"})
    assert peak_gib == pytest.approx(3 + 0.125 + 4 * 0.25 + (1 + 4 * 4) * batch_gib)
    assert step_s == pytest.approx(2 * 3.2 + 0.2 + 8 * 0.25)
    ((settings, asked_channels, points),) = measuring.asked
    assert (settings["phase"], settings["device"]) == ("4", "cpu")
    assert asked_channels == channels
    assert points == [(1, 256), (1, 512), (2, 256), (2, 512)]


def test_what_was_measured_is_kept_for_the_same_settings_alone(measuring, channels, tmp_path):
    first = build_forecaster(channels, {"precision": "fp32"}, tmp_path)({"phase": "1"})
    assert build_forecaster(channels, {"precision": "fp32"}, tmp_path)({"phase": "1"}) == first
    assert len(measuring.asked) == 1
    build_forecaster(channels, {"precision": "bf16"}, tmp_path)({"phase": "1"})
    assert len(measuring.asked) == 2
    (kept, _) = sorted(tmp_path.glob("measured-*.json"))
    kept.write_text(json.dumps(["damaged"]))
    for precision in ("fp32", "bf16"):
        build_forecaster(channels, {"precision": precision}, tmp_path)({"phase": "1"})
    assert len(measuring.asked) == 3


def test_a_gpu_is_not_foretold_without_one(measuring, channels, tmp_path):
    assert build_forecaster(channels, {}, tmp_path)({"phase": "5"}) is None
    assert measuring.asked == []


def test_each_device_is_measured_by_itself(measuring, channels, tmp_path, monkeypatch):
    gpus = Gpus(names=("NVIDIA A10G", "NVIDIA A10G"), memory_gib=(22.5, 22.5))
    monkeypatch.setattr("app.commands.phases.prediction.read_gpus", lambda: gpus)
    monkeypatch.setattr("app.commands.phases.prediction.read_memory_limit_gib", lambda: 64.0)
    forecast = build_forecaster(channels, {}, tmp_path)
    # A sample of 1024 px is four of 512 px: 2 GiB and 3.2 s. Of the 8 samples of a step each of two
    # GPUs takes 4, in one pass, and its 4 workers, with one core, read them in 16 x 0.25 s.
    _, step_s = forecast({"phase": "5"})
    assert step_s == pytest.approx(4 * 3.2 + 0.2)
    forecast({"phase": "1"})
    assert [settings["device"] for settings, _, _ in measuring.asked] == ["cuda", "cpu"]


@pytest.mark.usefixtures("measuring")
def test_auto_takes_what_fits(channels, tmp_path, monkeypatch):
    # 85 % of 8 GiB: as many as 8 of 16 samples, in two passes.
    monkeypatch.setattr("app.commands.phases.prediction.read_memory_limit_gib", lambda: 8.0)
    forecast = build_forecaster({"rid": channels["rid"]}, {}, tmp_path)
    settings = {"datasets": "rid", "crop_size_px": "512", "batch_size": "auto"}
    peak_gib, step_s = forecast(settings)
    # Training on 8; server; 2 workers with 2 batches each, and the second one of the step.
    assert peak_gib == pytest.approx(5 + 0.125 + 2 * 0.25 + 5 * 13 * 512**2 * 8 / GIB)
    assert step_s == pytest.approx(16 * 0.8 + 0.2 + 16 * 0.1)
    monkeypatch.setattr("app.commands.phases.prediction.read_memory_limit_gib", lambda: 1.0)
    assert forecast(settings) is None


def test_a_dataset_without_a_share_costs_nothing():
    channels = dict.fromkeys(("rid", "roofline", "airs"), Path())
    alone = Hyperparameters(dataset_weights="rid=1")
    assert _shares(alone, channels) == {"rid": 1.0}
    assert _shares(Hyperparameters(), channels) == {"rid": 0.5, "roofline": 0.25, "airs": 0.25}
