"""What a plan says of time and memory, from given measurements."""

from dataclasses import replace

import pytest

from app.base.errors import ConfigError
from app.commands.plan.case import Host
from app.commands.plan.estimate import choose_precision, choose_sides, estimate, transfer
from tests.support.plan import (
    FACTS,
    GIB,
    HOST,
    MEASURED,
    POINTS,
    TENSORS,
    case_of,
    estimate_of,
    request_of,
)


def test_on_a_cpu_cores_and_their_speed_scale_time():
    # ml.m5.xlarge: 2 cores of half the speed. A pass of 4 takes 3.2 s here, 6.4 s there; the update
    # 0.2 and 0.4 s; reading 4 samples takes 0.8 s of a core that would compute.
    result = estimate_of(request_of())
    assert result.forecast.pass_s == pytest.approx(6.4)
    assert result.forecast.load_s == pytest.approx(0.8)
    assert result.forecast.step_s == pytest.approx(6.4 + 0.4 + 0.8)
    assert result.forecast.wait_s == 0
    assert result.steps_per_epoch == 250
    # A forward pass over a photo of 512 px: a third of 1.6 s. Its scores: 0.1 s, twice as long.
    assert result.score_s == pytest.approx(30 * 0.2)
    assert result.val_s == pytest.approx(30 * (1.6 / 3 + 0.2))
    assert result.hours == pytest.approx(2 * (250 * 7.6 + 16 + 6) / 3600)


def test_scores_take_time_where_a_gpu_computes_and_are_shared_by_processes():
    result = estimate_of(request_of("ml.g5.xlarge"))
    # As reading: 0.1 x 1.2 / 0.5 s each of a core.
    assert result.score_s == pytest.approx(30 * 0.24)
    assert result.val_s - result.score_s < result.score_s
    four = estimate_of(request_of("ml.g5.12xlarge", 2))
    assert four.score_s == pytest.approx(result.score_s / 8)


def test_larger_photos_are_validated_window_by_window():
    facts = replace(FACTS, val_side_px={"rid": 1024})
    result = estimate_of(request_of(), facts=facts)
    # Three windows of 512 px along each side.
    assert result.val_s == pytest.approx(30 * (9 * 1.6 / 3 + 4 * 0.2))


def test_memory_is_that_of_all_processes():
    # Launcher 0.1; training 1 + 4 x 0.5; server 0.125; 2 workers of 0.25, each with 2 batches.
    batch_gib = 13 * 512**2 * 4 / GIB
    result = estimate_of(request_of())
    expected = 0.1 + 3.0 + 0.125 + 2 * 0.25 + 4 * batch_gib
    assert result.forecast.host_gib == pytest.approx(expected)
    assert result.forecast.needed_gib == pytest.approx(expected - 0.25)


def test_processes_on_one_host_share_its_cores():
    # 8 cores of half the speed: 2 for each of 4 processes, a batch of 4 in each.
    request = request_of("ml.m5.4xlarge", processes_per_host=4)
    result = estimate_of(request)
    assert result.forecast.pass_s == pytest.approx(6.4)
    assert result.forecast.samples_per_step == 16


def test_on_a_gpu_tensors_and_arithmetic_are_counted():
    # 4 samples of 512 px are 1 Mpx: 3 x 2e9 x 100 operations at 30 to 42 % of 70 TFLOPS.
    result = estimate_of(request_of("ml.g5.xlarge"))
    assert result.forecast.pass_s == pytest.approx(0.03 + 6e11 / (0.36 * 70e12))
    assert result.forecast.cuda_gib == pytest.approx(0.6 + 1.1 * (1 + 2 * 4))
    # 85 % of 22.5 GiB are 19.1; 7 samples need 17.1, 8 need 19.3.
    assert result.largest == 7
    assert result.forecast.trainer_gib == pytest.approx(3.0)
    # Reading 4 samples takes 0.1 x 1.2 / 0.5 s each of a core, and there are 2 for 2 workers.
    assert result.forecast.load_s == pytest.approx(4 * 0.24)
    busy_s = result.forecast.pass_s + 0.01
    assert result.forecast.wait_s == pytest.approx(4 * 0.24 / 2 - busy_s)


def test_what_was_measured_on_a_gpu_is_scaled_by_its_peak():
    points = tuple(replace(point, cuda_gib=0.5 + point.micro_batch_size) for point in POINTS)
    measured = replace(MEASURED, points=points, device="cuda", precision="bf16")
    host = Host(num_cores=2, core_speed=1.0, gpu_tflops=140)
    request = request_of("ml.g5.xlarge")
    result = estimate(case_of(request, measured, host=host))
    assert result.forecast.pass_s == pytest.approx(2 * 3.2)
    assert result.forecast.cuda_gib == pytest.approx(4.5)
    with pytest.raises(ConfigError, match=r"none of the table's, .* of ml\.g5\.xlarge"):
        transfer(case_of(request, measured))


def test_auto_takes_the_largest_that_divides_the_global_batch():
    result = estimate_of(request_of("ml.g5.xlarge", batch_size="auto", global_batch_size=16))
    assert (result.settled.batch_size, result.settled.grad_accum_steps) == (4, 4)
    result = estimate_of(request_of("ml.g5.12xlarge", 2, batch_size="auto", global_batch_size=48))
    assert (result.settled.batch_size, result.settled.grad_accum_steps) == (6, 1)
    assert result.forecast.samples_per_step == 24  # of one of the two


@pytest.mark.parametrize(
    ("saved_gib", "remedy"), [(0.1, ""), (0.2, "checkpoint_activations=true, or ")]
)
def test_what_does_not_fit_names_what_does(saved_gib, remedy):
    # 16 samples: 0.1 + 9 + 0.625 + 4 batches of 0.051 less 0.25, of 85 % of 8 GiB. With
    # checkpoints 1.6 or 3.2 GiB less.
    kept = tuple((n, side, gib - saved_gib * n * (side / 512) ** 2) for n, side, gib in TENSORS)
    with pytest.raises(
        ConfigError,
        match=r"^ml\.m5\.large: 16 samples a pass of 512 px need 9\.7 GiB of memory, more than "
        r"85 % of its 8 GiB; this would fit: batch_size=8 with grad_accum_steps=2, or "
        rf"{remedy}the same on ml\.m5\.xlarge$",
    ):
        estimate_of(
            request_of("ml.m5.large", batch_size=16), facts=replace(FACTS, checkpointed_gib=kept)
        )


def test_checkpoints_are_no_remedy_where_they_were_not_counted_or_are_taken():
    for settings, facts in (
        ({}, replace(FACTS, tensors_gib=(), checkpointed_gib=())),
        ({"checkpoint_activations": True}, FACTS),
    ):
        with pytest.raises(ConfigError, match=r"grad_accum_steps=2, or the same on"):
            estimate_of(request_of("ml.m5.large", batch_size=16, **settings), facts=facts)


def test_what_does_not_fit_on_a_gpu_names_checkpoints_too():
    with pytest.raises(
        ConfigError,
        match=r"8 samples a pass of 512 px need 19\.3 GiB of GPU memory, more than 85 % of its "
        r"22\.5 GiB; this would fit: batch_size=4 with grad_accum_steps=2, or "
        r"checkpoint_activations=true, or the same on ml\.g6e\.xlarge$",
    ):
        estimate_of(request_of("ml.g5.xlarge", batch_size=8))


def test_where_not_one_sample_fits_smaller_windows_are_named():
    # 85 % of 15 GiB are 12.75. A sample of 1536 px needs 21.5: 0.6 + 1.1 x (1 + 2 x 9).
    with pytest.raises(ConfigError, match=r"1 sample a pass of 1536 px .* batch_size=1 with crop_"):
        estimate_of(request_of("ml.g4dn.xlarge", batch_size="auto", crop_size_px=1536))


@pytest.mark.parametrize(
    ("name", "settings", "precision"),
    [
        ("ml.m5.xlarge", {}, "fp32"),
        ("ml.m7i.xlarge", {}, "bf16"),
        ("ml.g4dn.xlarge", {}, "fp16"),
        ("ml.g5.xlarge", {}, "bf16"),
        ("ml.g5.xlarge", {"precision": "fp32"}, "fp32"),
    ],
)
def test_precision_is_the_instances(name, settings, precision):
    assert choose_precision(request_of(name, **settings)) == precision


def test_float16_on_a_cpu_is_refused():
    with pytest.raises(ConfigError, match=r"precision=fp16, but ml\.m5\.xlarge trains on its CPU"):
        choose_precision(request_of(precision="fp16"))


@pytest.mark.parametrize(
    ("crop_size_px", "sides"),
    [(512, (256, 512)), (1024, (256, 512)), (320, (160, 320)), (96, (64, 96)), (64, (64, 96))],
)
def test_windows_measured_at(crop_size_px, sides):
    assert choose_sides(crop_size_px) == sides


def test_the_first_pass_reads_files_on_all_cores_of_the_host():
    loading = replace(MEASURED.loading, read_s={"rid": 0.05}, first_s={"rid": 0.25})
    measured = replace(MEASURED, loading=loading)
    result = estimate_of(request_of("ml.g5.xlarge", num_workers=4), measured)
    # 1000 photos, on cores of 0.5 in place of 1.2, of which there are 2.
    assert result.first_s == pytest.approx(1000 * 0.25 * 1.2 / 0.5 / 2)
    without = estimate_of(request_of("ml.g5.xlarge", num_workers=4))
    assert without.first_s == 0
    assert result.hours == pytest.approx(without.hours + result.first_s / 3600)


def test_a_gpu_makes_the_samples_that_workers_cut():
    loading = replace(
        MEASURED.loading,
        cut_s={"rid": 0.025},
        made_bytes={"rid": 3e9},
        made_kernels={"rid": 200.0},
    )
    measured = replace(MEASURED, loading=loading)
    before = estimate_of(request_of("ml.g5.xlarge")).forecast
    found = estimate_of(request_of("ml.g5.xlarge"), measured).forecast
    # A quarter of the work is left to workers; 4 samples of 3 * 10**9 bytes at half of 600 GB/s.
    assert found.load_s == pytest.approx(before.load_s / 4)
    assert found.make_s == pytest.approx(4 * (0.01 + 0.002))
    busy_s = found.pass_s + found.make_s + 0.01
    assert found.step_s == pytest.approx(max(busy_s, found.load_s / 2))
    # An instance without GPU trains on samples that workers make.
    assert estimate_of(request_of(), measured).forecast == estimate_of(request_of()).forecast


def test_what_was_measured_on_a_gpu_is_slower_on_a_slower_one():
    loading = replace(MEASURED.loading, cut_s={"rid": 0.025}, make_s={"rid": 0.01})
    measured = replace(MEASURED, loading=loading, device="cuda")
    case = case_of(request_of("ml.g5.xlarge"), measured, host=replace(HOST, gpu_tflops=140.0))
    assert estimate(case).forecast.make_s == pytest.approx(4 * 0.01 * 2)
