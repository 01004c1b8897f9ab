"""The command plan: known measurements in, numbers worked out by hand out."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.__main__ import main
from app.base.errors import ConfigError
from app.commands.plan.instances import INSTANCES, Instance
from app.commands.plan.options import PlanOptions
from app.commands.plan.other_work import OtherWork
from app.commands.plan.plan import plan, write_sample
from app.resources.gpus import Gpus
from app.resources.measurements import Measurements
from app.settings.texts import parse_hyperparameters
from tests.support.plan import FACTS, HOST, MEASURED, SETTINGS, TENSORS

TAKEN_CORES = OtherWork.taken_cores  # replaced by the fixture `here`


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
    monkeypatch.setattr("app.commands.plan.plan.local_cores", lambda: 2)
    monkeypatch.setattr("app.commands.plan.plan.read_cpu_flags", lambda: frozenset({"avx512_bf16"}))
    monkeypatch.setattr("app.commands.plan.plan.local_core_speed", lambda _: HOST.core_speed)
    monkeypatch.setattr("app.commands.plan.plan.read_gpus", Gpus)
    monkeypatch.setattr("app.commands.plan.other_work.OtherWork.taken_cores", lambda _: 0.0)


def _run(options, facts=FACTS, measured=MEASURED):
    return plan(options, Measuring(measured), lambda _: facts)


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
        "num_cores": 2, "core_speed": 1.2, "gpu_tflops": None, "taken_cores": 0.0,
    }  # fmt: skip
    first = capsys.readouterr().out

    def refuse(*_: object, **__: object) -> Measurements:
        raise AssertionError("nothing is to be measured")

    plan(_options(measurements=path, instances=2), refuse, lambda _: FACTS)
    assert capsys.readouterr().out == first


def test_other_work_is_said_and_kept(tmp_path, monkeypatch, capsys):
    path = tmp_path / "plan.json"
    monkeypatch.setattr("app.commands.plan.other_work.OtherWork.taken_cores", lambda _: 1.25)
    _run(_options(json=path))
    assert "of the 2 cores here were busy with other work" in capsys.readouterr().out
    document = json.loads(path.read_text())
    assert document["rules"]["taken_cores"]["value"] == 1.25
    _run(_options(measurements=path))
    assert "of the 2 cores here were busy" in capsys.readouterr().out
    monkeypatch.setattr("app.commands.plan.other_work.OtherWork.taken_cores", lambda _: 0.1)
    _run(_options())
    assert "busy" not in capsys.readouterr().out.partition("Rules")[2]


def test_other_work_is_what_neither_this_process_nor_its_children_did(monkeypatch):
    clock = {"busy": 100.0, "steal": 5.0, "own": 1.0, "now": 0.0}
    monkeypatch.setattr(
        "app.commands.plan.other_work.psutil.cpu_times",
        lambda: SimpleNamespace(user=clock["busy"], system=3.0, idle=9.0, steal=clock["steal"]),
    )
    monkeypatch.setattr(
        "app.commands.plan.other_work.os.times",
        lambda: SimpleNamespace(
            user=1.0, system=1.0, children_user=clock["own"], children_system=0.0
        ),
    )
    monkeypatch.setattr("app.commands.plan.other_work.time.monotonic", lambda: clock["now"])
    monkeypatch.setattr("app.commands.plan.other_work.psutil.cpu_count", lambda: 4)
    monkeypatch.setattr("app.commands.plan.other_work.num_cores", lambda: 3)
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


def test_reading_is_told_by_its_parts(tmp_path, capsys):
    loading = replace(MEASURED.loading, read_s={"rid": 0.025}, first_s={"rid": 0.05})
    measured = replace(MEASURED, loading=loading)
    path = tmp_path / "plan.json"
    _run(_options(json=path), measured=measured)
    document = json.loads(path.read_text())
    assert document["here_read_percent"] == pytest.approx(25)
    assert document["first_pass_s"] == pytest.approx(1000 * 0.05 * 1.2 / 0.6 / 2)
    assert Measurements.from_json(document["measurements"]) == measured
    assert "First pass over the photos, s more" in capsys.readouterr().out
    # Files of earlier plans have no parts.
    for part in ("read_s", "first_s"):
        del document["measurements"]["loading"][part]
    path.write_text(json.dumps(document))
    _run(_options(measurements=path))
    assert "First pass" not in capsys.readouterr().out


def test_reading_for_a_gpu_is_told_as_such(tmp_path, capsys):
    loading = replace(
        MEASURED.loading,
        read_s={"rid": 0.005},
        cut_s={"rid": 0.02},
        made_bytes={"rid": 3e9},
        made_kernels={"rid": 250.4},
    )
    path = tmp_path / "plan.json"
    options = _options(instance_type="ml.g5.xlarge", json=path)
    _run(options, measured=replace(MEASURED, loading=loading))
    document = json.loads(path.read_text())
    assert document["here_sample_s"] == pytest.approx(0.02)
    assert document["here_read_percent"] == pytest.approx(25)
    assert document["make_percent"] == pytest.approx(
        100 * 4 * (0.01 + 250.4e-5) / document["step_s"]
    )
    rules = {name: rule["value"] for name, rule in document["rules"].items()}
    assert (rules["made_mb"], rules["made_kernels"]) == (3000, 250)
    assert (rules["gpu_memory_gb_per_s"], rules["gpu_memory_share"]) == (600, 0.5)
    assert "assumed, measured on none" in capsys.readouterr().out


def test_an_instance_without_a_list_price_says_so(tmp_path, capsys):
    path = tmp_path / "plan.json"
    _run(_options(instance_type="ml.m8i.xlarge", json=path))
    document = json.loads(path.read_text())
    assert (document["price_per_hour"], document["cost_usd"]) == (None, None)
    assert "prices_as_of" not in document["rules"]
    rows = [row for row in capsys.readouterr().out.splitlines() if "not known" in row]
    assert "no list price is in the table" in rows[0]
    assert "--price-per-hour says it" in rows[1]
    plan(_options(lists=True))
    listed = capsys.readouterr().out.splitlines()
    assert next(row for row in listed if row.startswith("ml.m8i.xlarge ")).endswith("not known")


def test_this_machine_has_no_price(tmp_path, monkeypatch, capsys):
    local = Instance("local", 2, 2, 32.0, HOST.core_speed, True)
    monkeypatch.setattr("app.commands.plan.instances.local_instance", lambda _: local)
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
    monkeypatch.setattr("app.commands.plan.plan.read_cpu_flags", lambda: frozenset({"avx512f"}))
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
    # Validation photos have 512 px, so their time is not extrapolated.
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
    read_s, busy_s = 4 * 0.24 / 2, 0.03 + 6e11 / (0.36 * 70e12) + 0.01
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
        with pytest.raises(
            ConfigError, match=r"reading and scoring airs was not measured, only rid"
        ):
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


@pytest.mark.parametrize(
    ("datasets", "expected"),
    [("all", ["rid", "roofline", "airs"]), ("own", ["own"]), ("rid,own", ["rid", "own"])],
)
def test_own_roofs_are_in_a_sample_where_they_are_named(tmp_path, monkeypatch, datasets, expected):
    written = {}
    monkeypatch.setattr(
        "app.commands.plan.plan.make_sample", lambda _, writers: written.update(writers)
    )
    channels = write_sample(tmp_path, parse_hyperparameters({"datasets": datasets}))
    assert channels == {name: tmp_path / "input/data" / name for name in expected}
    assert list(written) == expected


def test_a_sample_of_own_roofs_is_no_published_release(tmp_path):
    path = tmp_path / "plan.json"
    facts = replace(
        FACTS, num_photos={"own": 80}, shares={"own": 1.0}, num_val={"own": 10},
        val_side_px={"own": 512},
    )  # fmt: skip
    measured = replace(
        MEASURED, loading=replace(MEASURED.loading, sample_s={"own": 0.1}), score_s={"own": 0.1}
    )
    _run(_options(channels={}, json=path), facts, measured)
    rules = json.loads(path.read_text())["rules"]
    assert rules["own_train"] == {
        "value": 80,
        "text": "photos or parts of tiles, of a folder of a hundred photos, assumed; 100 % of "
        "every step",
    }
    assert rules["sample"]["value"] == "synthetic"
