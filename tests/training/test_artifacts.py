"""What the model folder says of a model, and which pictures are drawn."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from app.base.tasks import AzimuthBins, build_tasks
from app.data.photos import ReadyPhoto
from app.data.sample import with_unknown
from app.inference.panels import collect_panels
from app.inference.predictor import Predictor
from app.model.devices import Compute
from app.model.export import describe_model, export_model, load_exported_model
from app.model.network import HybridRoofModel
from app.report.report import write_report
from app.resources.memory_sampler import MemorySampler
from app.resources.steps import StepSeries
from app.settings.hyperparameters import Hyperparameters
from app.training.artifacts import Outcome, render_table, write_artifacts
from app.training.results import Row, Validation
from tests.support.report import make_metrics

pytestmark = pytest.mark.usefixtures("shallow")

CPU = torch.device("cpu")


class Photos:
    """Stands in for EvalDataset: photos of 32 px, numbered; some cannot be read."""

    def __init__(self, title: str, num_photos: int, bad: tuple[int, ...] = ()) -> None:
        self.reader = SimpleNamespace(title=title)
        self.num_photos = num_photos
        self.bad = bad

    def __len__(self) -> int:
        return self.num_photos

    def open_photo(self, index: int) -> tuple[ReadyPhoto | None, dict[str, Any]]:
        if index in self.bad:
            return None, {}
        image = torch.full((3, 32, 32), 99, dtype=torch.uint8)
        return ReadyPhoto(with_unknown(image, {}), str(index), 0.1), {}


def drawn(*datasets: Photos) -> list[str]:
    model = HybridRoofModel(decoder_channels=32)
    predictor = Predictor(model, ("lines",), Compute(CPU))
    panels = collect_panels(predictor, datasets)  # type: ignore[arg-type]
    assert all(panel.segments_prediction is None for panel in panels)
    assert all(panel.lines_prediction.shape == (4, 32, 32) for panel in panels)
    return [f"{panel.dataset} {panel.sample_id}" for panel in panels]


def test_six_pictures_are_spread_over_one_dataset() -> None:
    assert drawn(Photos("RID", 12)) == [f"RID {i}" for i in (0, 2, 4, 6, 8, 10)]


def test_pictures_are_shared_among_datasets_small_ones_included() -> None:
    datasets = Photos("RID", 100), Photos("Roofline", 1), Photos("AIRS", 4)
    assert drawn(*datasets) == ["RID 0", "RID 50", "Roofline 0", "AIRS 0", "AIRS 2"]


def test_a_picture_that_cannot_be_read_is_left_out() -> None:
    assert drawn(Photos("RID", 3, bad=(1,))) == ["RID 0", "RID 2"]


@pytest.mark.parametrize("azimuth_bins", [16, 8, 4, 1])
def test_the_description_rebuilds_the_model_and_names_what_was_taught(
    azimuth_bins: AzimuthBins, tmp_path: Path
) -> None:
    tasks = build_tasks(azimuth_bins, superstructures=True)
    model = HybridRoofModel(tasks, decoder_channels=32)
    taught = {"segments": tasks[0].class_names, "lines": ("ridge", "eave")}
    description = describe_model(model, Hyperparameters(), taught)  # type: ignore[arg-type]
    export_model(tmp_path, model, description)
    loaded, read = load_exported_model(tmp_path)
    assert loaded.tasks == tasks
    assert read == json.loads(json.dumps({"format_version": 2, **description}))
    trained = {name: task["trained_classes"] for name, task in read["tasks"].items()}
    assert trained == {
        "segments": list(tasks[0].class_names),
        "lines": ["eave", "ridge"],
        "depth": [],
        "superstructures": [],
    }
    assert [name for name, task in read["tasks"].items() if task["trained"]] == list(taught)
    # Nothing that asks to be subtracted or divided by once more.
    assert read["input"].keys() == {"shape", "bands", "dtype", "range", "preparation"}
    readings = {name: task["output"].split(":")[0] for name, task in read["tasks"].items()}
    assert readings == {
        "segments": "logits",
        "lines": "logits",
        "depth": "metres, not negative",
        "superstructures": "logits",
    }


def test_a_task_with_nothing_to_find_is_not_called_untrained() -> None:
    metrics = make_metrics()["metrics"]
    for name in metrics:
        metrics[name]["value"] = 0.5 if name.startswith("val/lines/") else None
    shown = Validation(1, 1, 0.5, metrics)
    table = render_table(shown, build_tasks(), ("segments", "lines"), 1)
    lines = {line.split()[0]: line for line in table if line[:2] == "  "}
    assert lines["segments"] == "  segments         not defined on these images"
    assert lines["depth"] == "  depth            not trained: no labels"
    assert lines["lines"].endswith("0.500")


@pytest.mark.parametrize(
    ("shown", "line"),
    [
        ((2, 200), "validation after epoch 2, step 200, score 0.250 (all "),
        (
            (1, 100),
            "validation after epoch 1, step 100, score 0.250; the model is that of step 200 (all ",
        ),
        (None, "no epoch was validated"),
    ],
)
def test_a_validation_says_of_which_weights_it_is(
    shown: tuple[int, int] | None, line: str, tmp_path: Path
) -> None:
    model = HybridRoofModel(decoder_channels=32)
    rows: list[Row] = [{"epoch": shown[0], "step": shown[1]}] if shown else []
    validation = Validation(*shown, 0.25, make_metrics()["metrics"]) if shown else None
    document = {"steps": 200, "kept": {"step": 200}}
    outcome = Outcome(document, rows, validation, StepSeries(), MemorySampler(60.0))
    description = describe_model(model, Hyperparameters(), {})
    write_report(tmp_path / "report.html", write_artifacts(tmp_path, model, description, outcome))
    validated = json.loads((tmp_path / "metrics.json").read_text())["validated"]
    assert validated == (dict(zip(("epoch", "step"), shown, strict=True)) if shown else None)
    assert render_table(validation, build_tasks(), ("segments", "lines"), 200)[0].startswith(line)
    assert ("scored before the end" in (tmp_path / "report.html").read_text().lower()) is (
        shown == (1, 100)
    )
