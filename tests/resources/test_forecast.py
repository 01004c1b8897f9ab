import json
from dataclasses import replace

import pytest

from app.resources.forecast import CostModel, MemoryLimits, split_global_batch
from app.resources.measurements import Loading, Measurements, Point, ValPoint
from app.resources.shared_memory import BATCH_BYTES_PER_PX
from app.settings.hyperparameters import Hyperparameters

GIB, MPX = 2**30, 2**20
# Of a machine that follows the model exactly: GiB and seconds of a pass of n samples of p Mpx.
FIXED_GIB, SAMPLE_GIB, MPX_GIB = 1.2, 0.05, 1.6
FIXED_S, SAMPLE_S, MPX_S = 0.02, 0.03, 1.4


def point(size, side_px, **changes):
    mpx = size * side_px**2 / MPX
    values = {
        "micro_batch_size": size,
        "side_px": side_px,
        "trainer_gib": FIXED_GIB + SAMPLE_GIB * size + MPX_GIB * mpx,
        "files_gib": 0.4,
        "cuda_gib": None,
        "pass_s": FIXED_S + SAMPLE_S * size + MPX_S * mpx,
        "optimizer_s": 0.05,
    }
    return Point(**{**values, **changes})


def measurements(points=None, **changes):
    sizes = ((1, 256), (2, 256), (1, 512), (2, 512))
    values = {
        "points": tuple(point(*size) for size in sizes) if points is None else points,
        "loading": Loading(512, 0.3, 0.1, {"rid": 0.04, "airs": 0.08}),
        "launcher_gib": 0.03,
        "num_cores": 2,
        "device": "cpu",
        "precision": "fp32",
        "val_points": (),
        "score_s": {},
    }
    return Measurements(**{**values, **changes})


def settings(**changes):
    return Hyperparameters(**{"batch_size": 4, "crop_size_px": 512, "num_workers": 2, **changes})


def test_a_machine_that_follows_the_model_is_foretold():
    forecast = CostModel(measurements()).forecast(settings(), {"rid": 1.0})
    assert forecast.trainer_gib == pytest.approx(FIXED_GIB + 4 * SAMPLE_GIB + MPX_GIB)
    assert forecast.pass_s == pytest.approx(FIXED_S + 4 * SAMPLE_S + MPX_S)
    batch_gib = BATCH_BYTES_PER_PX * 4 * 512**2 / GIB
    # Two workers, each with two batches ready.
    assert forecast.loading_gib == pytest.approx(0.3 + 2 * 0.1 + 4 * batch_gib)
    assert forecast.host_gib == pytest.approx(0.03 + forecast.trainer_gib + forecast.loading_gib)
    assert forecast.needed_gib == pytest.approx(forecast.host_gib - 0.4)
    assert forecast.cuda_gib is None
    # 4 x 40 ms of reading on cores that training would have had.
    assert forecast.load_s == pytest.approx(0.16)
    assert forecast.step_s == pytest.approx(forecast.pass_s + 0.05 + 0.16)
    assert forecast.wait_s == 0
    assert forecast.samples_per_s == pytest.approx(4 / forecast.step_s)


def test_validation_that_takes_more_than_training_is_what_a_run_needs():
    # 0.5 GiB, and 2 for each Mpx of a window: 1 GiB at 512 px, 2.5 at 1024.
    points = (ValPoint(256, 0.5 + 2 / 16, None), ValPoint(512, 1.0, None))
    model = CostModel(measurements(val_points=points))
    small = settings(batch_size=1, crop_size_px=64)
    forecast = model.forecast(small, {})
    # Two workers of validation beside those of training, each with two photos of a window ready.
    ready_gib = 2 * BATCH_BYTES_PER_PX * 512**2 / GIB
    assert forecast.val_gib == pytest.approx(1.0 + forecast.loading_gib + 2 * (0.1 + ready_gib))
    trained_gib = forecast.trainer_gib + forecast.loading_gib
    assert forecast.host_gib == pytest.approx(0.03 + max(trained_gib, forecast.val_gib))
    larger = model.forecast(small.model_copy(update={"crop_size_px": 1024}), {})
    assert larger.val_gib - larger.loading_gib == pytest.approx(2.5 + 2 * (0.1 + 4 * ready_gib))
    # So windows bound what fits, and no smaller pass helps.
    heavy = CostModel(measurements(val_points=tuple(replace(p, trainer_gib=9) for p in points)))
    assert heavy.largest_micro_batch(small, MemoryLimits(8.0)) == 0


def test_windows_of_a_gpu_count_there():
    points = tuple(
        point(size, side, cuda_gib=0.1 * size) for size, side in ((1, 256), (2, 256), (1, 512))
    )
    windows = (ValPoint(256, 1.0, 0.5), ValPoint(512, 1.0, 0.8))
    model = CostModel(measurements(points, device="cuda", val_points=windows))
    assert model.forecast(settings(batch_size=1), {}).cuda_gib == pytest.approx(0.8)
    assert model.forecast(settings(batch_size=16), {}).cuda_gib == pytest.approx(1.6)


def test_accumulation_repeats_the_pass_and_holds_its_batches():
    model = CostModel(measurements())
    one = model.forecast(settings(num_workers=0), {"rid": 1.0})
    three = model.forecast(settings(num_workers=0, grad_accum_steps=3), {"rid": 1.0})
    assert three.trainer_gib == one.trainer_gib
    assert three.loading_gib == pytest.approx(2 * BATCH_BYTES_PER_PX * 4 * 512**2 / GIB)
    assert three.step_s - 0.05 == pytest.approx(3 * (one.step_s - 0.05))
    assert three.samples_per_step == 12


def test_without_workers_training_waits_for_every_sample():
    forecast = CostModel(measurements()).forecast(settings(num_workers=0), {"rid": 1.0})
    assert forecast.wait_s == pytest.approx(0.16)
    assert forecast.step_s == pytest.approx(forecast.pass_s + 0.05 + 0.16)


def test_a_gpu_waits_where_workers_are_too_slow():
    points = tuple(
        point(size, side, cuda_gib=1 + size * side**2 / MPX, pass_s=0.001 * size)
        for size, side in ((1, 256), (2, 256), (1, 512), (2, 512))
    )
    model = CostModel(measurements(points, device="cuda", num_cores=8))
    slow = model.forecast(settings(num_workers=1), {"airs": 1.0})
    assert slow.step_s == pytest.approx(0.32)
    assert slow.wait_s == pytest.approx(0.32 - 0.004 - 0.05)
    fast = model.forecast(settings(num_workers=8), {"airs": 1.0})
    assert fast.step_s == pytest.approx(0.054)
    assert fast.wait_s == 0
    assert fast.cuda_gib == pytest.approx(2.0)


def test_processes_of_a_host_share_its_cores_and_add_up():
    model = CostModel(measurements())
    one = model.forecast(settings(), {"rid": 1.0})
    twice = CostModel(measurements(num_cores=4))
    two = twice.forecast(settings(), {"rid": 1.0}, num_processes=2)
    assert two.host_gib - 0.03 == pytest.approx(2 * (one.host_gib - 0.03))
    assert two.needed_gib == pytest.approx(two.host_gib - 0.8)
    assert two.step_s == pytest.approx(one.step_s)
    assert two.samples_per_step == 8


def test_largest_micro_batch_fills_the_usable_share():
    model = CostModel(measurements())
    limit_gib = 8.0
    largest = model.largest_micro_batch(settings(), MemoryLimits(limit_gib))
    fits = model.forecast(settings(batch_size=largest), {})
    too_large = model.forecast(settings(batch_size=largest + 1), {})
    assert fits.needed_gib <= 0.85 * limit_gib < too_large.needed_gib
    assert model.largest_micro_batch(settings(), MemoryLimits(1.5)) == 0
    assert model.largest_micro_batch(settings(), MemoryLimits(1000.0), max_size=7) == 7


def test_the_gpu_may_be_what_bounds_it():
    points = tuple(
        point(size, side, cuda_gib=0.5 + size * side**2 / MPX)
        for size, side in ((1, 256), (2, 256), (1, 512), (2, 512))
    )
    model = CostModel(measurements(points, device="cuda"))
    # 0.5 GiB and 0.25 for each sample: 14 of them in 85 % of 4.8 GiB and no more.
    assert model.largest_micro_batch(settings(), MemoryLimits(1000.0, 4.8)) == 14


def test_windows_of_one_size_are_enough_for_that_size():
    points = (point(1, 256), point(2, 256))
    forecast = CostModel(measurements(points)).forecast(settings(crop_size_px=256), {"rid": 1.0})
    assert forecast.trainer_gib == pytest.approx(FIXED_GIB + 4 * SAMPLE_GIB + MPX_GIB / 4)


def test_noise_makes_no_part_negative():
    # Per sample less than nothing, by noise: left out, and the rest fitted without it.
    points = (
        point(1, 256, trainer_gib=1.35), point(2, 256, trainer_gib=1.36),
        point(1, 512, trainer_gib=1.7), point(2, 512, trainer_gib=2.2),
    )  # fmt: skip
    model = CostModel(measurements(points))
    small = model.forecast(settings(batch_size=1, crop_size_px=64), {}).trainer_gib
    assert small < model.forecast(settings(batch_size=16, crop_size_px=64), {}).trainer_gib


def test_measurements_survive_json():
    before = measurements()
    assert Measurements.from_json(json.loads(json.dumps(before.to_json()))) == before
    alone = measurements(loading=None, val_points=(ValPoint(256, 0.5, None),), score_s={"rid": 1})
    assert Measurements.from_json(alone.to_json()) == alone


@pytest.mark.parametrize(
    ("total", "num_processes", "largest", "expected"),
    [
        (16, 1, 16, (16, 1)), (16, 1, 100, (16, 1)), (16, 1, 15, (8, 2)), (16, 1, 3, (2, 8)),
        (12, 1, 5, (4, 3)), (7, 1, 6, (1, 7)), (16, 2, 3, (2, 4)), (16, 1, 1, (1, 16)),
    ],
)  # fmt: skip
def test_a_global_batch_is_kept_exactly(total, num_processes, largest, expected):
    size, num_passes = split_global_batch(total, num_processes, largest)
    assert (size, num_passes) == expected
    assert size * num_passes * num_processes == total
