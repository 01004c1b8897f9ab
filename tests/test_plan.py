"""The command plan: known measurements in, numbers worked out by hand out."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.__main__ import main
from app.config_text import parse_hyperparameters
from app.errors import ConfigError
from app.forecast import Loading, Measurements, Point
from app.instances import INSTANCES, Instance
from app.machine import Gpus
from app.plan import OtherWork, plan, write_sample
from app.plan_estimate import Host, Request, choose_precision, choose_sides, estimate, transfer
from app.plan_facts import Facts
from app.plan_options import PlanOptions

GIB = 2**30
TAKEN_CORES = OtherWork.taken_cores  # what the fixture `here` replaces
# 1 GiB, and 0.5 GiB for each sample of 512 px; 0.8 s for each; reading takes 0.1 s.
POINTS = tuple(
    Point(size, side, 1 + 0.5 * share, 0.25, None, 0.8 * share, 0.2)
    for size, side, share in ((1, 256, 0.25), (2, 256, 0.5), (1, 512, 1), (2, 512, 2))
)  # fmt: skip
MEASURED = Measurements(
    POINTS, Loading(512, 0.125, 0.25, {"rid": 0.1}), 0.1, num_cores=2, device="cpu",
    precision="fp32",
)  # fmt: skip
HOST = Host(num_cores=2, core_speed=1.0)
# Of a GPU: 1 GiB, and 2 GiB for each sample of 512 px, half of them with checkpoints.
TENSORS = tuple((n, side, 1 + 2 * n * (side / 512) ** 2) for side in (256, 512) for n in (1, 2))
FACTS = Facts(
    samples_per_epoch=1000,
    num_photos={"rid": 1000},
    shares={"rid": 1.0},
    num_val=30,
    tensors_gib=TENSORS,
    checkpointed_gib=tuple((n, side, 1 + n * (side / 512) ** 2) for n, side, _ in TENSORS),
    gmac_per_mpx=100.0,
)
SETTINGS = {"datasets": "rid", "crop_size_px": 512, "batch_size": 4, "epochs": 2}


def _request(name="ml.m5.xlarge", num_instances=1, **settings):
    instance = INSTANCES[name]
    hyperparameters = parse_hyperparameters({**SETTINGS, **settings})
    return Request(instance, num_instances, hyperparameters, on_gpu=instance.num_gpus > 0)


def _estimate(request, measured=MEASURED, facts=FACTS):
    return estimate(request, transfer(measured, HOST, request, facts), facts)


def _options(**changes):
    options = PlanOptions(
        instance_type="ml.m5.xlarge",
        instances=1,
        channels={"rid": Path("rid")},
        phase=None,
        settings=[f"{name}={value}" for name, value in SETTINGS.items()],
        price_per_hour=None,
        measurements=None,
        json=None,
        lists=False,
    )
    return replace(options, **changes)


class Measuring:
    """In the place of `measure`: remembers what it was asked."""

    def __init__(self, measured=MEASURED):
        self.measured = measured

    def __call__(self, settings, channels, points, *, with_loading=True):
        self.settings, self.channels, self.points = settings, channels, list(points)
        assert with_loading
        return self.measured


@pytest.fixture(autouse=True)
def here(monkeypatch):
    """A machine of two cores with AVX-512 and bfloat16, without GPU."""
    monkeypatch.setattr("app.plan.local_cores", lambda: 2)
    monkeypatch.setattr("app.plan.read_cpu_flags", lambda: frozenset({"avx512_bf16"}))
    monkeypatch.setattr("app.plan.read_gpus", Gpus)
    monkeypatch.setattr("app.plan.OtherWork.taken_cores", lambda _: 0.0)


def _run(options, facts=FACTS, measured=MEASURED):
    return plan(options, Measuring(measured), lambda _: facts)


def test_on_a_cpu_cores_and_their_speed_scale_time():
    # ml.m5.xlarge: 2 cores of half the speed. A pass of 4 takes 3.2 s here, 6.4 s there; the update
    # 0.2 and 0.4 s; reading 4 samples takes 0.8 s of a core that would compute.
    result = _estimate(_request())
    assert result.forecast.pass_s == pytest.approx(6.4)
    assert result.forecast.load_s == pytest.approx(0.8)
    assert result.forecast.step_s == pytest.approx(6.4 + 0.4 + 0.8)
    assert result.forecast.wait_s == 0
    assert result.steps_per_epoch == 250
    # A forward pass over a photo of 512 px: a third of 1.6 s.
    assert result.val_s == pytest.approx(30 * 1.6 / 3)
    assert result.hours == pytest.approx(2 * (250 * 7.6 + 16) / 3600)


def test_memory_is_that_of_all_processes():
    # Launcher 0.1; training 1 + 4 x 0.5; server 0.125; 2 workers of 0.25, each with 2 batches.
    batch_gib = 13 * 512**2 * 4 / GIB
    result = _estimate(_request())
    expected = 0.1 + 3.0 + 0.125 + 2 * 0.25 + 4 * batch_gib
    assert result.forecast.host_gib == pytest.approx(expected)
    assert result.forecast.needed_gib == pytest.approx(expected - 0.25)


def test_processes_on_one_host_share_its_cores():
    # 8 cores of half the speed: 2 for each of 4 processes, a batch of 4 in each.
    request = _request("ml.m5.4xlarge", processes_per_host=4)
    result = _estimate(request)
    assert result.forecast.pass_s == pytest.approx(6.4)
    assert result.forecast.samples_per_step == 16


def test_on_a_gpu_tensors_and_arithmetic_are_counted():
    # 4 samples of 512 px are 1 Mpx: 3 x 2e9 x 100 operations at a fifth of 70 TFLOPS.
    result = _estimate(_request("ml.g5.xlarge"))
    assert result.forecast.pass_s == pytest.approx(0.03 + 6e11 / (0.2 * 70e12))
    assert result.forecast.cuda_gib == pytest.approx(0.6 + 1.1 * (1 + 2 * 4))
    # 85 % of 22.5 GiB are 19.1; 7 samples need 17.1, 8 need 19.3.
    assert result.largest == 7
    assert result.forecast.trainer_gib == pytest.approx(3.0)
    # Reading 4 samples takes 0.1 / 0.6 s each of a core, and there are 2 for 2 workers.
    assert result.forecast.load_s == pytest.approx(4 * 0.1 / 0.6)
    busy_s = result.forecast.pass_s + 0.01
    assert result.forecast.wait_s == pytest.approx(4 * 0.1 / 0.6 / 2 - busy_s)


def test_what_was_measured_on_a_gpu_is_scaled_by_its_peak():
    points = tuple(replace(point, cuda_gib=0.5 + point.micro_batch_size) for point in POINTS)
    measured = replace(MEASURED, points=points, device="cuda", precision="bf16")
    host = Host(num_cores=2, core_speed=1.0, gpu_tflops=140)
    request = _request("ml.g5.xlarge")
    result = estimate(request, transfer(measured, host, request, FACTS), FACTS)
    assert result.forecast.pass_s == pytest.approx(2 * 3.2)
    assert result.forecast.cuda_gib == pytest.approx(4.5)
    with pytest.raises(ConfigError, match=r"none of the table's, .* of ml\.g5\.xlarge"):
        transfer(measured, HOST, request, FACTS)


def test_auto_takes_the_largest_that_divides_the_global_batch():
    result = _estimate(_request("ml.g5.xlarge", batch_size="auto", global_batch_size=16))
    assert (result.settled.batch_size, result.settled.grad_accum_steps) == (4, 4)
    result = _estimate(_request("ml.g5.12xlarge", 2, batch_size="auto", global_batch_size=48))
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
        _estimate(
            _request("ml.m5.large", batch_size=16), facts=replace(FACTS, checkpointed_gib=kept)
        )


def test_checkpoints_are_no_remedy_where_they_were_not_counted_or_are_taken():
    for settings, facts in (
        ({}, replace(FACTS, tensors_gib=(), checkpointed_gib=())),
        ({"checkpoint_activations": True}, FACTS),
    ):
        with pytest.raises(ConfigError, match=r"grad_accum_steps=2, or the same on"):
            _estimate(_request("ml.m5.large", batch_size=16, **settings), facts=facts)


def test_what_does_not_fit_on_a_gpu_names_checkpoints_too():
    with pytest.raises(
        ConfigError,
        match=r"8 samples a pass of 512 px need 19\.3 GiB of GPU memory, more than 85 % of its "
        r"22\.5 GiB; this would fit: batch_size=4 with grad_accum_steps=2, or "
        r"checkpoint_activations=true, or the same on ml\.g6e\.xlarge$",
    ):
        _estimate(_request("ml.g5.xlarge", batch_size=8))


def test_where_not_one_sample_fits_smaller_windows_are_named():
    # 85 % of 15 GiB are 12.75. A sample of 1536 px needs 21.5: 0.6 + 1.1 x (1 + 2 x 9).
    with pytest.raises(ConfigError, match=r"1 sample a pass of 1536 px .* batch_size=1 with crop_"):
        _estimate(_request("ml.g4dn.xlarge", batch_size="auto", crop_size_px=1536))


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
    assert choose_precision(_request(name, **settings)) == precision


def test_float16_on_a_cpu_is_refused():
    with pytest.raises(ConfigError, match=r"precision=fp16, but ml\.m5\.xlarge trains on its CPU"):
        choose_precision(_request(precision="fp16"))


@pytest.mark.parametrize(
    ("crop_size_px", "sides"),
    [(512, (256, 512)), (1024, (256, 512)), (320, (160, 320)), (96, (64, 96)), (64, (64, 96))],
)
def test_windows_measured_at(crop_size_px, sides):
    assert choose_sides(crop_size_px) == sides


def test_every_row_says_how_it_is_known(capsys):
    assert _run(_options()) == 0
    table, rules = capsys.readouterr().out.split("Rules and assumptions")
    rows = table.splitlines()[3:-1]
    assert len(rows) > 15
    for row in rows:
        assert any(f"  {word}" in row for word in ("measured", "predicted", "assumed", "set")), row
    assert "cores_ratio" in rules
    assert "prices_as_of" in rules


def test_json_has_every_figure_and_can_be_planned_from_again(tmp_path, capsys):
    path = tmp_path / "plans/plan.json"
    _run(_options(json=path, instances=2))
    document = json.loads(path.read_text())
    assert document["instance_type"] == "ml.m5.xlarge"
    assert document["step_s"] == pytest.approx(7.6)
    assert document["global_batch_size"] == 8
    assert document["steps_per_epoch"] == 125
    assert document["cost_usd"] == pytest.approx(2 * 0.23 * document["hours"], rel=1e-3)
    assert document["host_peak_gib"] - document["host_needed_gib"] == pytest.approx(0.25)
    assert document["rules"]["usable_share"]["value"] == 0.85
    assert all(rule["text"] for rule in document["rules"].values())
    assert set(document["basis"]) <= set(document)
    assert document["basis"]["price_per_hour"] == "assumed"
    assert Measurements.from_json(document["measurements"]) == MEASURED
    assert document["host"] == {
        "num_cores": 2, "core_speed": 1.0, "gpu_tflops": None, "taken_cores": 0.0,
    }  # fmt: skip
    first = capsys.readouterr().out

    def refuse(*_: object, **__: object) -> Measurements:
        raise AssertionError("nothing is to be measured")

    plan(_options(measurements=path, instances=2), refuse, lambda _: FACTS)
    assert capsys.readouterr().out == first


def test_other_work_is_said_and_kept(tmp_path, monkeypatch, capsys):
    path = tmp_path / "plan.json"
    monkeypatch.setattr("app.plan.OtherWork.taken_cores", lambda _: 1.25)
    _run(_options(json=path))
    assert "of the 2 cores here were busy with other work" in capsys.readouterr().out
    document = json.loads(path.read_text())
    assert document["rules"]["taken_cores"]["value"] == 1.25
    _run(_options(measurements=path))
    assert "of the 2 cores here were busy" in capsys.readouterr().out
    monkeypatch.setattr("app.plan.OtherWork.taken_cores", lambda _: 0.1)
    _run(_options())
    assert "busy" not in capsys.readouterr().out.partition("Rules")[2]


def test_other_work_is_what_neither_this_process_nor_its_children_did(monkeypatch):
    clock = {"busy": 100.0, "steal": 5.0, "own": 1.0, "now": 0.0}
    monkeypatch.setattr(
        "app.plan.psutil.cpu_times",
        lambda: SimpleNamespace(user=clock["busy"], system=3.0, idle=9.0, steal=clock["steal"]),
    )
    monkeypatch.setattr(
        "app.plan.os.times",
        lambda: SimpleNamespace(
            user=1.0, system=1.0, children_user=clock["own"], children_system=0.0
        ),
    )
    monkeypatch.setattr("app.plan.time.monotonic", lambda: clock["now"])
    monkeypatch.setattr("app.plan.psutil.cpu_count", lambda: 4)
    monkeypatch.setattr("app.plan.num_cores", lambda: 3)
    # In 10 s the machine computes 36 s, 1 s more is stolen, and 15 s of it are of a child: others
    # had 2.2 cores, of which this process may not use one.
    others = OtherWork()
    clock.update(busy=136.0, steal=6.0, own=16.0, now=10.0)
    assert TAKEN_CORES(others) == pytest.approx(1.2)
    clock.update(busy=110.0)
    assert TAKEN_CORES(others) == 0


def test_a_price_of_ones_own_wins(tmp_path):
    path = tmp_path / "plan.json"
    _run(_options(json=path, price_per_hour=10.0))
    document = json.loads(path.read_text())
    assert document["cost_usd"] == pytest.approx(10 * document["hours"])
    assert document["basis"]["price_per_hour"] == "set"
    assert "prices_as_of" not in document["rules"]


def test_this_machine_has_no_price(tmp_path, monkeypatch, capsys):
    local = Instance("local", 2, 2, 32.0, 1.0, True)
    monkeypatch.setattr("app.instances.local_instance", lambda _: local)
    path = tmp_path / "plan.json"
    _run(_options(instance_type="local", json=path))
    document = json.loads(path.read_text())
    assert document["cost_usd"] is None
    assert document["step_s"] == pytest.approx(3.2 + 0.2 + 0.4)
    assert document["basis"]["host_memory_gib"] == "measured"
    assert "cores_ratio" not in document["rules"]
    assert "not known" in capsys.readouterr().out


def test_measuring_takes_the_instances_precision_where_this_machine_has_it():
    measuring = Measuring()
    plan(_options(instance_type="ml.m7i.xlarge"), measuring, lambda _: FACTS)
    assert measuring.settings["precision"] == "bf16"
    plan(_options(instance_type="ml.m5.xlarge"), measuring, lambda _: FACTS)
    assert measuring.settings["precision"] == "fp32"
    assert measuring.points == [(1, 256), (2, 256), (1, 512), (2, 512)]
    assert measuring.channels == {"rid": Path("rid")}
    asked = []
    plan(_options(), measuring, lambda request: asked.append(request) or FACTS)
    assert asked[0].sides_px == (256, 512)


def test_other_precision_is_said(monkeypatch, capsys):
    monkeypatch.setattr("app.plan.read_cpu_flags", lambda: frozenset({"avx512f"}))
    measuring = Measuring()
    plan(_options(instance_type="ml.m7i.xlarge"), measuring, lambda _: FACTS)
    assert measuring.settings["precision"] == "fp32"
    assert "this machine does not compute bf16 natively" in capsys.readouterr().out


def test_a_gpu_preset_is_measured_without_one():
    asked = []
    measuring = Measuring()
    options = _options(instance_type="ml.g5.xlarge", phase="5", settings=["datasets=rid"])
    plan(options, measuring, lambda request: asked.append(request) or FACTS)
    settings = parse_hyperparameters(measuring.settings)
    assert (settings.device, settings.crop_size_px, settings.phase) == ("cpu", 1024, None)
    assert measuring.points == [(1, 64), (2, 64)]
    assert asked[0].sides_px == (512, 1024)
    assert asked[0].precision == "bf16"
    assert not asked[0].is_sample


def test_extrapolation_is_said(tmp_path, capsys):
    path = tmp_path / "plan.json"
    settings = ["datasets=rid", "crop_size_px=1024", "batch_size=1"]
    _run(_options(settings=settings, json=path))
    assert "1024 px are extrapolated" in capsys.readouterr().out
    basis = json.loads(path.read_text())["basis"]
    for key in ("host_peak_gib", "host_needed_gib", "largest_micro_batch", "step_s", "cost_usd"):
        assert basis[key] == "predicted (extrapolated)", key
    # Photos of 512 px, and what extrapolating changes nothing of.
    assert (basis["val_s"], basis["here_pass_s"]) == ("predicted", "measured")
    assert (basis["price_per_hour"], basis["epochs"]) == ("assumed", "set")
    _run(_options())
    assert "extrapolated" not in capsys.readouterr().out


def test_what_is_counted_for_a_gpu_is_not_extrapolated(capsys):
    settings = ["datasets=rid", "crop_size_px=1024", "batch_size=1"]
    facts = replace(FACTS, tensors_gib=tuple((n, 2 * side, gib) for n, side, gib in TENSORS))
    _run(_options(instance_type="ml.g5.xlarge", settings=settings), facts)
    assert "extrapolated" not in capsys.readouterr().out


def test_the_share_of_waiting_is_shown(tmp_path):
    # As above: two cores read 4 samples, and all of it but the pass and the update is waited for.
    path = tmp_path / "plan.json"
    _run(_options(instance_type="ml.g5.xlarge", json=path))
    read_s, busy_s = 4 * 0.1 / 0.6 / 2, 0.03 + 6e11 / (0.2 * 70e12) + 0.01
    document = json.loads(path.read_text())
    assert document["step_s"] == pytest.approx(read_s)
    assert document["wait_percent"] == pytest.approx(100 * (read_s - busy_s) / read_s)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"instance_type": None}, r"no instance named; add --instance-type"),
        ({"instance_type": "ml.m5.xxl"}, r"unknown type 'ml\.m5\.xxl'"),
        (
            {"phase": "5"},
            r"device=cuda \(set by phase=5\), but ml\.m5\.xlarge has no GPU; .*phase=4",
        ),
        (
            {"phase": "1", "instance_type": "ml.g5.xlarge"},
            r"device=cpu \(set by phase=1\) leaves the GPU of ml\.g5\.xlarge idle",
        ),
        (
            {"instance_type": "ml.g5.xlarge", "settings": ["processes_per_host=2"]},
            r"processes_per_host=2, but ml\.g5\.xlarge has 1 GPUs",
        ),
        ({"settings": ["datasets=airs"]}, None),
        ({"measurements": Path("absent.json")}, r"absent\.json cannot be read: No such file"),
    ],
)
def test_what_cannot_be_planned_is_one_line(changes, message):
    if message is None:
        facts = replace(FACTS, shares={"airs": 1.0})
        with pytest.raises(ConfigError, match=r"reading airs was not measured, only rid"):
            _run(_options(**changes), facts)
        return
    with pytest.raises(ConfigError, match=message) as caught:
        _run(_options(**changes))
    assert "\n" not in str(caught.value)


def test_a_file_without_measurements_is_named(tmp_path):
    path = tmp_path / "other.json"
    path.write_text("[1]")
    with pytest.raises(ConfigError, match=r"other\.json holds no measurements: expected a file"):
        _run(_options(measurements=path))


def test_measurements_of_a_gpu_are_not_for_a_cpu(tmp_path):
    path = tmp_path / "gpu.json"
    path.write_text(json.dumps(replace(MEASURED, device="cuda").to_json()))
    with pytest.raises(ConfigError, match=r"made on a GPU, but ml\.m5\.xlarge trains on its CPU"):
        _run(_options(measurements=path))


def test_the_command_ends_with_2_in_one_line(caplog, capsys):
    with caplog.at_level(logging.ERROR):
        assert main(["plan", "--instance-type", "ml.m5.xlarge", "--phase", "5"]) == 2
    assert caplog.messages[-1].startswith("device=cuda (set by phase=5)")
    assert main(["plan", "--list"]) == 0
    out = capsys.readouterr().out
    assert all(f"{name} " in out for name in INSTANCES)


def test_a_sample_holds_the_datasets_asked_for(tmp_path):
    channels = write_sample(tmp_path, parse_hyperparameters({"datasets": "rid"}))
    assert list(channels) == ["rid"]
    assert len(list((channels["rid"] / "masks_segments_reviewed").iterdir())) == 14
    assert not (tmp_path / "input/data/airs").exists()
