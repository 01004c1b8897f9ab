import logging

import pytest

from app.training.log import log_epoch, log_gradient_norms

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


def test_gradient_norms_are_one_line_and_advice_is_not_repeated(caplog):
    caplog.set_level(logging.INFO)
    even = {"segments": 0.12, "lines": 0.3, "depth": 0.05}
    uneven = {"segments": 0.12, "lines": 1.2, "depth": 0.05}
    log_gradient_norms(even, [])
    log_gradient_norms(uneven, [{"step": 1, "norms": even}])
    log_gradient_norms(uneven, [{"step": 1, "norms": even}, {"step": 201, "norms": uneven}])
    assert [record.message for record in caplog.records] == [
        "gradient norm at the shared feature: segments 0.12, lines 0.3, depth 0.05",
        "gradient norm at the shared feature: segments 0.12, lines 1.2, depth 0.05",
        "lines pulls 24 times as strongly as depth: a lower lines_weight or a higher depth_weight "
        "would let both learn",
        "gradient norm at the shared feature: segments 0.12, lines 1.2, depth 0.05",
    ]
    assert [record.levelname for record in caplog.records].count("WARNING") == 1
