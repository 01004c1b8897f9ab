"""The figures that benchmarks compute from measurements; the measuring itself is not tested."""

import json
import re
from pathlib import Path

import pytest
import torch

from bench.memory import LogLine, Sample, Watch, growth_per_epoch
from bench.step import Comparison
from bench.support.figures import Target, report
from bench.support.networks.designs import NAIVE, OURS, TASKS, Design, NaiveModel
from bench.support.step.worker import count_gmac, make_batch, take_step
from tests.support.paths import ROOT

MIB = 2**20


@pytest.mark.parametrize(
    ("relation", "bound", "value", "expected"),
    [
        (">=", 1.1, 1.1, "PASS"),
        (">=", 1.1, 1.09, "below target"),
        ("<=", 3.0, 3.0, "PASS"),
        ("<=", 3.0, 3.01, "below target"),
        ("<", 5.0, 4.99, "PASS"),
        ("<", 5.0, 5.0, "below target"),
    ],
)
def test_verdict(relation: str, bound: float, value: float, expected: str) -> None:
    assert Target("key", relation, bound).verdict(value).endswith(expected)


def test_report_writes_every_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "new" / "figures.json"
    report({"ratio": 1.234567, "step_s": 2.0}, [Target("ratio", ">=", 1)], path)
    assert json.loads(path.read_text()) == {"ratio": 1.2346, "step_s": 2.0}
    assert re.fullmatch(r"ratio +1\.23 +target >= 1 +PASS\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([100, 102, 104, 106], 2.0),
        ([100, 102, 150, 106, 108], 2.0),  # one spike: 6 of 10 pairs leave it out
        ([7, 7, 7], 0.0),
        ([10, 4], -6.0),
    ],
)
def test_growth_per_epoch(values: list[float], expected: float) -> None:
    assert growth_per_epoch(values) == expected


def test_watch_splits_samples_by_epoch() -> None:
    """Start-up (before the first step) and export (after the last epoch) belong to no epoch."""
    watch = Watch(
        samples=[
            Sample(t, mib * MIB, 0) for t, mib in ((1, 9), (3, 10), (5, 12), (6, 13), (9, 99))
        ],
        lines=[
            LogLine(
                0.5, "INFO app.training.train: training segments and lines on 10 samples of rid"
            ),
            LogLine(2.0, "INFO app.training.train: first step done"),
            LogLine(4.0, "INFO app.training.train: epoch 1/2  loss 2.1"),
            LogLine(4.0, "INFO app.training.train: metric epoch=1 step=5 train/loss=2.1"),
            LogLine(8.0, "INFO app.training.train: epoch 2/2  loss 1.9"),
        ],
    )
    assert watch.first_step_s() == 2.0
    assert watch.epochs_mib() == [[10.0], [12.0, 13.0]]


def test_watch_needs_the_line_of_the_first_step() -> None:
    with pytest.raises(SystemExit, match='the log has no line "first step done"'):
        Watch(lines=[LogLine(1.0, "INFO app.training.train: epoch 1/2  loss 2.1")]).first_step_s()


def test_ratio_is_that_of_medians() -> None:
    comparison = Comparison(None, ours_s=[1.0, 2.0, 4.0], other_s=[3.0, 5.0, 100.0])
    assert comparison.ratio() == 2.5
    assert comparison.ratio_range() == (2.5, 25.0)


@pytest.mark.parametrize(
    ("design", "gmac", "parameters_m"),
    [
        # By hand: three 512->256 3x3 convolutions at 512 px are 927.7 GMAC and 3.5 M parameters,
        # ResNet50 21.3 and 23.5, 2048->512 at 16 px 0.3 and 1.0, three classifiers 1.5 and 0.0.
        pytest.param(NAIVE, 950.9, 28.1, id="naive"),
    ],
)
def test_cost_of_a_design(design: Design, gmac: float, parameters_m: float) -> None:
    assert count_gmac(design, 512) == pytest.approx(gmac, abs=0.1)
    with torch.device("meta"):
        model = design.build()
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(parameters_m, abs=0.05)


def test_ours_costs_a_thirtieth_of_the_naive_design() -> None:
    assert count_gmac(NAIVE, 64) / count_gmac(OURS, 64) > 25


def test_step_reaches_every_parameter() -> None:
    """The naive design stands in for all: the same step runs ours and the peers."""
    torch.manual_seed(0)
    model = NaiveModel().train()
    image, targets = make_batch(batch_size=2, size_px=64)
    assert {name: tuple(target.shape) for name, target in targets.items()} == {
        "segments": (2, 64, 64),
        "lines": (2, 4, 64, 64),
        "depth": (2, 64, 64),
    }
    outputs = model(image)
    assert {name: tuple(output.shape) for name, output in outputs.items()} == {
        task.name: (2, task.num_classes, 64, 64) for task in TASKS
    }
    take_step(model, image, targets, None)
    missing = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert missing == []


def test_peers_lock_is_hashed_and_leaves_ours_alone() -> None:
    text = (ROOT / "bench" / "peers.txt").read_text()
    entries = re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]
    names = {entry.split("==")[0] for entry in entries}
    assert {"segmentation-models-pytorch", "timm"} <= names
    for entry in entries:
        assert re.match(r"[\w.-]+==\S+ \\\n( +--hash=sha256:[0-9a-f]{64}( \\)?\n)+", entry), entry
    assert "://" not in text
    locks = [(ROOT / f"locks/{name}.lock").read_text() for name in ("torch", "runtime", "dev")]
    locked = re.findall(r"^([\w.-]+)==", "".join(locks), re.MULTILINE)
    # hydra-core takes no other version than 4.9 of it, and moto none below 4.13.
    assert names.intersection(locked) == {"antlr4-python3-runtime"}
