"""`plan --predict`: a known measurement in, numbers worked out by hand out."""

import json
from dataclasses import replace

import pytest

from app.__main__ import main
from app.base.errors import ConfigError
from app.commands.plan.case import Host
from app.commands.plan.instances import INSTANCES
from app.commands.plan.options import PlanOptions, PredictionOptions
from app.commands.plan.prediction import (
    MeasuredPrediction,
    PredictionCase,
    PredictionQuestion,
    plan_prediction,
)
from app.commands.probe.prediction import measure_prediction
from tests.support.models import write_model

# 4 Mpx at 0.1 m are 0.04 km2: 25 such photos are 1 km2.
MEASURED = MeasuredPrediction(
    total_s=20.0, network_s=12.0, photo_mpx=4.0, network_mpx=5.0, num_passes=10, gmac=500.0,
    gsd_m=0.1, device="cpu", precision="fp32",
)  # fmt: skip
# Twice as fast as a core of ml.m5, of which ml.m5.2xlarge has 4.
HOST = Host(num_cores=2, core_speed=1.2)


def case_of(name, num_instances=1, measured=MEASURED, host=HOST):
    instance = INSTANCES[name]
    return PredictionCase(instance, num_instances, 10.0, host, measured, instance.price_per_hour)


def test_a_cpu_takes_longer_by_its_cores_and_by_their_speed():
    case = case_of("ml.m5.2xlarge")
    assert case.photo_mpx == pytest.approx(1000)
    assert case.network_s == pytest.approx(12 * 2 * 1.2 / (4 * 0.6))  # 12
    assert case.rest_s == pytest.approx(8 * 1.2 / 0.6)  # 16
    assert case.hours == pytest.approx(250 * 28 / 3600)
    assert case.cost_usd == pytest.approx(0.461 * 250 * 28 / 3600)


def test_instances_share_the_photos_at_the_same_cost():
    one, four = case_of("ml.m5.2xlarge"), case_of("ml.m5.2xlarge", 4)
    assert four.hours == pytest.approx(one.hours / 4)
    assert four.cost_usd == pytest.approx(one.cost_usd)


def test_a_gpu_that_is_not_here_is_counted():
    case = case_of("ml.g5.xlarge")  # 70 TFLOPS, of which 0.36 is reached; its cores have 0.5
    assert case.network_s == pytest.approx(10 * 0.03 / 3 + 2 * 500e9 / (0.36 * 70e12))
    assert case.rest_s == pytest.approx(8 * 1.2 / 0.5)


def test_a_gpu_that_is_here_is_scaled_by_its_peak():
    measured = replace(MEASURED, device="cuda")
    host = replace(HOST, gpu_tflops=140)
    assert case_of("ml.g5.xlarge", measured=measured, host=host).network_s == pytest.approx(24)
    with pytest.raises(ConfigError, match="the GPU of this machine is none of the table's"):
        _ = case_of("ml.g5.xlarge", measured=measured).network_s


def options_of(tmp_path, **changes):
    model_dir = tmp_path / "model"
    model_dir.mkdir(exist_ok=True)
    (model_dir / "model.safetensors").touch()
    given = {
        "instance_type": "ml.m5.2xlarge", "instances": 1, "channels": {}, "phase": None,
        "settings": [], "price_per_hour": None, "measurements": None, "json": None,
        "lists": False, "prediction": PredictionOptions(10.0, model_dir),
    }  # fmt: skip
    return PlanOptions(**{**given, **changes})


@pytest.fixture(autouse=True)
def here(monkeypatch):
    place = "app.commands.plan.prediction"
    monkeypatch.setattr(f"{place}.local_cores", lambda: 2)
    monkeypatch.setattr(f"{place}.local_core_speed", lambda _: HOST.core_speed)
    monkeypatch.setattr(f"{place}.OtherWork.taken_cores", lambda _: 0.0)


def test_the_sheet_says_hours_and_cost_and_how_they_are_known(tmp_path, capsys):
    asked = []

    def ask(question):
        asked.append(question)
        return MEASURED

    file = tmp_path / "plan.json"
    assert plan_prediction(options_of(tmp_path, json=file), ask) == 0
    assert asked == [PredictionQuestion(str(tmp_path / "model"), 1, "fp32")]
    table, rules = capsys.readouterr().out.split("Rules and assumptions")
    for row in table.splitlines()[3:-1]:
        assert any(f"  {basis}" in row for basis in ("measured", "predicted", "assumed", "set"))
    assert "1 x ml.m5.2xlarge would take 1 h 57 min and 0.90 USD for 10 km2." in rules
    document = json.loads(file.read_text())
    assert document["hours"] == pytest.approx(1.9444, abs=1e-4)
    assert document["km2_per_hour"] == pytest.approx(5.1429, abs=1e-4)


def test_measurements_of_an_earlier_plan_are_taken(tmp_path, capsys):
    file = tmp_path / "plan.json"
    plan_prediction(options_of(tmp_path, json=file), lambda _: MEASURED)
    options = options_of(
        tmp_path, measurements=file, instance_type="ml.g5.xlarge", price_per_hour=2.0,
        prediction=PredictionOptions(10.0, None),
    )  # fmt: skip
    capsys.readouterr()
    plan_prediction(options, lambda _: pytest.fail("was measured again"))
    # 250 photos of 0.1 + 1 / 25.2 + 19.2 s.
    assert "would take 1 h 21 min and 2.69 USD for 10 km2." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"instance_type": None}, "plan --predict: --instance-type is missing"),
        ({"prediction": PredictionOptions(1.0, None)}, "plan --predict: --model is missing"),
        ({"phase": "3"}, "--phase says something of a training"),
        ({"settings": ["epochs=1"]}, "--set says something of a training"),
        ({"channels": {"rid": "x"}}, "--rid says something of a training"),
        ({"instance_type": "ml.m5.huge"}, "unknown type 'ml.m5.huge'"),
    ],
)
def test_what_cannot_be_planned_is_told(tmp_path, changes, reason):
    with pytest.raises(ConfigError, match=reason):
        plan_prediction(options_of(tmp_path, **changes), lambda _: MEASURED)


def test_measurements_of_a_training_are_none_of_a_prediction(tmp_path):
    file = tmp_path / "plan.json"
    file.write_text('{"measurements": {}}')
    with pytest.raises(ConfigError, match="it holds no measurements of a prediction; name a file"):
        plan_prediction(options_of(tmp_path, measurements=file))


def test_a_photo_is_predicted_and_its_parts_are_timed(module_path):
    model_dir = write_model(module_path / "model")
    found = measure_prediction(PredictionQuestion(str(model_dir), 2, "fp32"), 128)
    assert 0 < found.network_s < found.total_s
    assert found.num_passes == 2  # one window in two poses
    assert found.photo_mpx == 128**2 / 1e6
    assert found.network_mpx == pytest.approx(2 * found.photo_mpx)
    assert (found.gsd_m, found.device, found.precision) == (0.1, "cpu", "fp32")
    # A ResNet50 has 4.1 GMAC for 224 x 224 px: 82 for a million. The decoder comes on top.
    assert 82 < found.gmac / found.network_mpx < 160


def test_the_command_line(tmp_path, capsys):
    file = tmp_path / "plan.json"
    plan_prediction(options_of(tmp_path, json=file), lambda _: MEASURED)
    words = ["--instance-type", "ml.m5.2xlarge", "--measurements", str(file)]
    capsys.readouterr()
    assert main(["plan", *words, "--predict", "20"]) == 0
    assert "for 20 km2." in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["plan", *words, "--predict", "0"])
    assert "expected square kilometres above 0, got '0'" in capsys.readouterr().err
