"""Whole runs with settings that are off by default, and one that diverges."""

import re

import pytest
import torch
from torchvision.models import resnet50

from tests.support.runs import (
    SMALL,
    checkpoints,
    copy_tree,
    failure,
    run,
    weights,
)

pytestmark = pytest.mark.slow


def test_a_frozen_backbone_survives_a_break(small_ml, tmp_path):
    torch.manual_seed(1)
    torch.save({"teacher": resnet50().state_dict()}, tmp_path / "backbone.pth")
    settings = {
        **SMALL, "backbone_weights": str(tmp_path / "backbone.pth"),
        "freeze_backbone_fraction": "0.5", "backbone_lr_decay": "0.8",
        "backbone_batchnorm": "frozen",
    }  # fmt: skip
    base_dir = copy_tree(small_ml, tmp_path / "ml", settings)
    exit_code, output = run(base_dir)
    assert exit_code == 0, output
    assert "the backbone keeps its weights from step 1 on" in output
    assert "the backbone learns from step 4 on" in output
    expected = weights(base_dir)
    newest = checkpoints(base_dir)[-1]
    assert newest.name == "step-00000006.pt"
    newest.unlink()
    exit_code, output = run(base_dir)
    assert exit_code == 0, output
    assert "epoch 1, step 4" in output
    assert "keeps its weights" not in output
    assert weights(base_dir) == expected


def test_a_training_whose_gradients_are_no_numbers_ends_with_its_samples(small_ml, tmp_path):
    backbone = resnet50()
    torch.nn.init.constant_(backbone.conv1.weight, 3e38)  # finite, but no sum of two of them is
    torch.save(backbone.state_dict(), tmp_path / "backbone.pth")
    settings = {**SMALL, "epochs": "3", "backbone_weights": str(tmp_path / "backbone.pth")}
    base_dir = copy_tree(small_ml, tmp_path / "ml", settings)
    exit_code, output = run(base_dir)
    assert exit_code == 1, output
    assert output.count("gradient is not finite: step skipped; samples: ") == 6
    assert "Traceback" not in output
    assert re.fullmatch(
        r"gradient not finite in 6 steps in a row; lower learning_rate or set precision=fp32; last "
        r"samples: .*\n",
        failure(base_dir),
    )
