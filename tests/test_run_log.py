import logging

import pytest

from app.run_log import log_epoch

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
