"""One more dataset, added at the places that CONTRIBUTING names and at no other, is trained on."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import app

NAMES = "app/base/dataset_names.py"
DATASETS = "app/data/datasets.py"
# What is written instead of what, by file. Each text stands there once.
EDITS = {
    NAMES: [
        ('"airs", "own"]', '"airs", "own", "toy"]'),
        (
            "\n}\nDATASET_NAMES: Final",
            '\n    "toy": DatasetRow("Toy", reads_windows=False, licence="none"),\n'
            "}\nDATASET_NAMES: Final",
        ),
    ],
    DATASETS: [
        (
            '    "own": DatasetParts(OwnDataset, audit_own),\n',
            '    "own": DatasetParts(OwnDataset, audit_own),\n'
            '    "toy": DatasetParts(ToyDataset, audit_toy),\n',
        ),
        (
            "from app.data.transforms import",
            "from app.data.toy.audit import audit_toy\n"
            "from app.data.toy.dataset import ToyDataset\n"
            "from app.data.transforms import",
        ),
    ],
}

DATASET = '''
"""Photos in a folder, one NumPy file each: a flat roof on the left half."""

from typing import ClassVar

import numpy as np
import torch

from app.base.dataset_names import DATASET_TITLES
from app.base.errors import DataError, SampleError
from app.base.tasks import BACKGROUND_CLASS, FLAT_CLASS
from app.data.reader import Release
from app.data.sample import with_unknown
from app.data.whole_photos import WholePhotos


class ToyDataset(WholePhotos):
    name: ClassVar = "toy"
    title: ClassVar = DATASET_TITLES["toy"]
    labels: ClassVar = {"segments": ("flat", "background")}

    def __init__(self, root, split):
        self.paths = sorted(root.glob("*.npy"))
        if not self.paths:
            raise DataError(f"Toy: no photos in {root}; copy them there")
        self.sample_ids = [f"{split}:{path.stem}" for path in self.paths]
        self.num_files = len(self.paths)
        self.missing = []
        self.span_m = 6.4

    @classmethod
    def open(cls, request):
        return cls(request.root, request.split)

    @classmethod
    def release(cls, hyperparameters):
        return Release(num_train=1000, num_val=100, span_m=6.4)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        try:
            image = torch.from_numpy(np.load(self.paths[index]))
        except ValueError as error:
            raise SampleError(self.sample_ids[index], self.paths[index], str(error)) from error
        segments = torch.full(image.shape[1:], BACKGROUND_CLASS, dtype=torch.uint8)
        segments[:, : segments.shape[1] // 2] = FLAT_CLASS
        return {
            **with_unknown(image, {"segments": segments}),
            "dataset": self.name,
            "sample_id": self.sample_ids[index],
            "gsd_m": 0.1,
        }
'''

AUDIT = """
from app.base.errors import SampleError
from app.data.findings.report import tally_sample
from app.data.toy.dataset import ToyDataset


def audit_toy(report, scope):
    reader = ToyDataset(report.root, "all")
    for index in range(len(reader)):
        try:
            report.tally.add(tally_sample(reader[index]))
        except SampleError as error:
            report.add_error(error)
"""

# Opened and read as training, validation, plan and check-data do, each in a line of output.
SCRIPT = """
import sys
from pathlib import Path

from app.__main__ import main
from app.commands.plan.facts import FactsRequest
from app.commands.probe.count import count_facts
from app.data.datasets import TrainBatches, open_datasets
from app.data.loading import read_photos
from app.settings.texts import parse_hyperparameters

folder, scratch = Path(sys.argv[1]), Path(sys.argv[2])
texts = {"crop_size_px": "64", "dataset_weights": "toy=1", "num_workers": "0"}
hyperparameters = parse_hyperparameters({**texts, "batch_size": "4"})
datasets = open_datasets({"toy": folder}, hyperparameters, scratch)
order = datasets.train_order(hyperparameters)
batch = next(TrainBatches(datasets, hyperparameters, order))
print("batch", tuple(batch["image"].shape), sorted(batch["segments"].unique().tolist()))
whole, _ = next(read_photos(datasets.val["toy"], num_workers=0))
print("validated on", whole.sample_id)
facts = count_facts(FactsRequest(texts, {"toy": str(folder)}, True, (), "fp32"))
print("published", facts.num_photos, facts.num_val["toy"])
sys.exit(main(["check-data", "--toy", str(folder)]))
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the package with one dataset more."""
    shutil.copytree(
        Path(app.__file__).parent,
        tmp_path / "app",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    for name, edits in EDITS.items():
        text = (tmp_path / name).read_text()
        for old, new in edits:
            assert text.count(old) == 1, old
            text = text.replace(old, new)
        (tmp_path / name).write_text(text)
    folder = tmp_path / "app/data/toy"
    folder.mkdir()
    for name, content in (("__init__", ""), ("dataset", DATASET), ("audit", AUDIT)):
        (folder / f"{name}.py").write_text(content)
    return tmp_path


def run_in(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        env=environment,
        cwd=tree,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_dataset_of_the_documented_places_alone_is_trained_on_scored_planned_and_checked(tree):
    photos = tree / "photos"
    photos.mkdir()
    for number in range(6):
        np.save(photos / f"{number}.npy", np.full((3, 64, 64), 90 + number, np.uint8))
    done = run_in(tree, "-c", SCRIPT, str(photos), str(tree / "scratch"))
    assert "batch (4, 3, 64, 64) [16, 17, 255]" in done.stdout, done.stdout + done.stderr
    assert "validated on val:0" in done.stdout
    assert "published {'toy': 1000} 100" in done.stdout
    assert "Toy" in done.stdout
    assert done.returncode in (0, 1)  # "constant image" is a warning


def test_messages_name_the_new_dataset(tree):
    done = run_in(tree, "-m", "app", "check-data")
    assert "add --rid DIR, --roofline DIR, --airs DIR, --own DIR or --toy DIR" in done.stdout
    done = run_in(tree, "-m", "app", "train", "--base-dir", str(tree / "ml"))
    assert "--rid, --roofline, --airs, --own or --toy DIR" in done.stdout
