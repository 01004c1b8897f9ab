"""A network of another library is trained, started from and scored by the commands of ours."""

import json
import os
import subprocess
import sys

import pytest
from safetensors.torch import load_file

from tests.support.own import write_village
from tests.support.paths import ROOT

# In the place of the library, which only the peers' environment has.
LIBRARY = """
from torch import nn


class FPN(nn.Module):
    def __init__(self, encoder, encoder_weights, classes):
        super().__init__()
        assert (encoder, encoder_weights) == ("resnet50", None)
        norm = nn.BatchNorm2d(8)
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), norm, nn.ReLU())
        self.decoder = nn.Conv2d(8, 8, 3, padding=1)
        larger = nn.Upsample(scale_factor=4, mode="bilinear")
        self.segmentation_head = nn.Sequential(nn.Conv2d(8, classes, 1), larger, nn.Identity())


Unet = None
"""
SETTINGS = {
    "crop_size_px": 64,
    "batch_size": 2,
    "epochs": 1,
    "steps_per_epoch": 1,
    "max_val_samples": 1,
    "num_workers": 1,
    "precision": "fp32",
}


@pytest.mark.slow
def test_a_peer_goes_through_all_stages(tmp_path):
    (tmp_path / "segmentation_models_pytorch.py").write_text(LIBRARY)
    village = write_village(tmp_path / "village", num_photos=10)
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{tmp_path}"}

    def run(*words):
        command = [sys.executable, "-m", "bench.support.real.as_peer", "smp_fpn", *map(str, words)]
        done = subprocess.run(
            command, cwd=ROOT, env=environment, check=False, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    settings = [f"--set={name}={value}" for name, value in SETTINGS.items()]
    first, second = tmp_path / "first", tmp_path / "second"
    run("train", "--base-dir", first, "--own", village, *settings)
    tensors = load_file(first / "model/model.safetensors")
    assert {name.partition(".")[0] for name in tensors} == {"backbone", "pyramid", "heads"}
    assert tensors["backbone.0.weight"].shape == (8, 3, 3, 3)
    assert tensors["heads.segments.0.weight"].shape == (18, 8, 1, 1)
    start = f"--set=initial_model={first / 'model'}"
    log = run("train", "--base-dir", second, "--own", village, *settings, start)
    assert "the heads of segments and lines" in log
    scores = tmp_path / "scores.json"
    words = ["--model", second / "model", "--own", village, "--split", "all", "--out", scores]
    run("evaluate", *words, "--set=num_workers=0", "--vectors")
    assert json.loads(scores.read_text())["metrics"]["all/segments/roof_iou"]["support"] > 0
