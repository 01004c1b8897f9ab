"""Whole runs with settings that are off by default, and one that diverges."""

import re

import pytest
import torch
from torchvision.models import resnet50

from tests.support.runs import (
    SMALL,
    copy_tree,
    failure,
    run_here,
)

pytestmark = pytest.mark.slow


def test_a_training_whose_gradients_are_no_numbers_ends_with_its_samples(small_ml, tmp_path):
    backbone = resnet50()
    torch.nn.init.constant_(backbone.conv1.weight, 3e38)  # finite, but no sum of two of them is
    torch.save(backbone.state_dict(), tmp_path / "backbone.pth")
    settings = {**SMALL, "epochs": "3", "backbone_weights": str(tmp_path / "backbone.pth")}
    base_dir = copy_tree(small_ml, tmp_path / "ml", settings)
    exit_code, output = run_here(base_dir)
    assert exit_code == 1, output
    assert output.count("gradient is not finite: step skipped; samples: ") == 6
    assert "Traceback" not in output
    assert re.fullmatch(
        r"gradient not finite in 6 steps in a row; lower learning_rate or set precision=fp32; last "
        r"samples: .*\n",
        failure(base_dir),
    )
