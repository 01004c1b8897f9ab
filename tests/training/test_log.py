import logging
from types import SimpleNamespace

import pytest

from app.settings.hyperparameters import Hyperparameters
from app.training.log import describe_few_photos, log_epoch, log_gradient_norms

ROW = {
    "epoch": 2,
    "step": 20,
    "train/loss": 1.25,
    "val/segments/roof_iou": 0.5,
    "val/airs/segments/roof_iou": 0.25,
    "samples_per_s": 3.0,
    "val/depth/rmse_m": None,
}


@pytest.mark.parametrize("on_a_terminal", [True, False])
def test_an_epoch_has_a_line_for_people_and_one_for_machines(monkeypatch, caplog, on_a_terminal):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("sys.stdout.isatty", lambda: on_a_terminal)
    log_epoch(ROW, 5, 1.5)
    lines = [record.message for record in caplog.records]
    assert lines[0] == (
        "epoch 2/5  loss 1.250  roof IoU 0.500  speed 3.0 samples/s  memory 1.50 GiB"
    )
    assert len(lines) == (1 if on_a_terminal else 2)
    if not on_a_terminal:
        assert lines[1].startswith("metric epoch=2 step=20 train/loss=1.25")
        assert "airs" not in lines[1]


EVEN = {"segments": 0.12, "lines": 0.3, "depth": 0.05}
UNEVEN = {"segments": 0.12, "lines": 1.2, "depth": 0.05}
ADVICE = (
    "lines has pulled more than 10 times as strongly as depth for 200 steps: a lower lines_weight "
    "or a higher depth_weight would let both learn"
)


@pytest.mark.parametrize(
    ("series", "advised_at"),
    [
        ([UNEVEN, UNEVEN], []),  # one of them is of untrained heads
        ([EVEN, UNEVEN, EVEN, UNEVEN], []),
        ([EVEN, UNEVEN, UNEVEN, UNEVEN], [2]),  # not repeated
        ([UNEVEN, UNEVEN, UNEVEN, EVEN, UNEVEN, UNEVEN], [2, 5]),
    ],
)
def test_advice_needs_two_measurements_of_trained_heads(caplog, series, advised_at):
    caplog.set_level(logging.INFO)
    rows = [{"step": 200 * index + 1, "norms": norms} for index, norms in enumerate(series)]
    advised = []
    for index, norms in enumerate(series):
        caplog.clear()
        log_gradient_norms(norms, rows[:index])
        values = ", ".join(f"{name} {norm:.2g}" for name, norm in norms.items())
        lines = [record.message for record in caplog.records]
        assert lines[0] == f"gradient norm at the shared feature: {values}"
        if len(lines) > 1:
            assert lines[1:] == [ADVICE]
            advised.append(index)
    assert advised == advised_at


def make_run(initial_model=None, **settings):
    """Runs of 1000 samples an epoch on 12 photos of RID, four in a sample, and 200 of one's own."""
    sources = [
        SimpleNamespace(
            reader=SimpleNamespace(name=name), num_photos=number, share=share, per_side=per_side
        )
        for name, number, share, per_side in (("rid", 12, 0.25, 2), ("own", 200, 0.75, 1))
    ]
    datasets = SimpleNamespace(
        samples_per_epoch=1000, train=SimpleNamespace(sources=sources), val={"rid": "abc"}
    )
    return SimpleNamespace(
        hyperparameters=Hyperparameters(epochs=3, **settings),
        datasets=datasets,
        initial_model=initial_model,
    )


def test_few_photos_get_a_line_with_what_they_can_teach():
    [line] = describe_few_photos(make_run())
    assert line.startswith("rid: 12 photos to train on are few, and each comes about 250 times: ")
    assert "scores on 3 validation photos change much with single ones; start from a model" in line
    [line] = describe_few_photos(make_run(initial_model={}))
    assert line.endswith(
        "a lower initial_model_rate_factor keeps more of what the initial model knows"
    )
    assert describe_few_photos(make_run(max_samples=12)) == []
