"""What the tests of the report share: a small run's results, and a reader of the page."""

import base64
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from app.base.tasks import BACKGROUND_CLASS, Task, build_tasks, find_task
from app.metrics.definitions import define_metrics
from app.report.pictures import Panel
from app.report.report import ReportInput, write_report
from app.resources.memory_sampler import COLUMNS
from app.resources.steps import StepSeries

HOSTILE = "<script src='http://evil.example/x.js'>alert(\"1\")</script>&$x$"
CLASS_NAMES = list(find_task("segments").class_names)
VOID_TAGS = {"meta", "img", "br", "hr", "input", "path", "use"}


class Page(HTMLParser):
    """Collects tags, attributes and text, and checks that every tag is closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open_tags: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        assert self.open_tags == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID_TAGS:
            self.open_tags.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID_TAGS:
            assert self.open_tags.pop() == tag

    def handle_data(self, data: str) -> None:
        # Line breaks between tags lay out the source, not the page.
        is_layout = "\n" in data and not data.strip()
        if self.open_tags[-1:] != ["style"] and not is_layout:
            self.text += data.strip("\n")


def make_panel(sample_id: str = "1207", size_px: int = 32, **changes: Any) -> Panel:
    """West half roof facing north, east half background; the model says NNE and finds it all."""
    half = size_px // 2
    target = np.full((size_px, size_px), BACKGROUND_CLASS, np.uint8)
    target[:, :half] = 0
    prediction = target.copy()
    prediction[:, :half] = 1
    lines = np.zeros((4, size_px, size_px), np.uint8)
    lines[1, half] = 1
    values: dict[str, Any] = {
        "dataset": "RID",
        "sample_id": sample_id,
        "image": np.full((size_px, size_px, 3), 127, np.uint8),
        "segments_target": target,
        "segments_prediction": prediction,
        "lines_target": lines,
        "lines_prediction": lines,
    }
    return Panel(**(values | changes))


def make_metrics(tasks: Sequence[Task] = build_tasks()) -> dict[str, Any]:
    """metrics.json of a run without heights: every metric named, those of depth null."""
    metrics = {
        f"val/{row.task}/{name}": {
            "value": None if row.task == "depth" else 0.25,
            "unit": row.unit,
            "split": "val",
            "dataset": "rid",
            "support": 0 if row.task == "depth" else 12345,
            "support_unit": row.support_unit,
            "definition": text,
        }
        for task in tasks
        for row in define_metrics(task)
        for name, text in row.expand()
    }
    class_names = list(tasks[0].class_names)
    counts = np.diag([1000] * len(class_names))
    if class_names == CLASS_NAMES:
        counts[8] = 0
        counts[8, 8], counts[8, 9] = 250, 750
    return {
        "format_version": 1,
        "stopped": False,
        "epochs": 2,
        "steps": 1234,
        "duration_s": 3725.4,
        "trained_tasks": [task.name for task in tasks if task.name != "depth"],
        "metrics": metrics,
        "confusion_matrix": {
            "val/segments": {"class_names": class_names, "counts": counts.tolist()}
        },
        "memory": {"peaks": {}, "limit_gib": 8.0},
        "datasets": {
            "rid": {
                "num_train": 312,
                "num_val": 78,
                "quarantined": [{"sample_id": HOSTILE, "path": HOSTILE, "reason": "value 213"}],
            }
        },
        "hyperparameters": {"learning_rate": 0.001, "backbone_weights": HOSTILE},
        "versions": {"torch": "2.14.1"},
    }


def make_history(num_epochs: int) -> list[dict[str, object]]:
    return [
        {
            "epoch": epoch,
            "train/loss": 2.0 / epoch,
            "train/segments/loss": 1.0 / epoch,
            "train/depth/loss": None,
            "val/segments/roof_iou": 0.4,
            "val/segments/azimuth_error_deg": 30.0,
            "learning_rate": 0.001 / epoch,
            "val/lines/f1_3px": 0.3,
            "val/depth/mae_m": None,
        }
        for epoch in range(1, num_epochs + 1)
    ]


def make_memory(phases: tuple[str, ...] = ("start", "train", "export")) -> list[dict[str, Any]]:
    """Rows as MemorySampler has them, 10 s apart: 1 GiB in use, then 2, 3 and so on."""
    return [
        dict.fromkeys(COLUMNS) | {"time_s": 10.0 * index, "phase": phase, "rss_gib": index + 1.0}
        for index, phase in enumerate(phases)
    ]


def make_steps(num_steps: int = 5) -> StepSeries:
    """Steps of 2 s, of which 0.5 s are waiting and 0.25 s in no part, after a first one of 6 s."""
    series = StepSeries()
    parts = {"wait": 0.5, "transfer": 0.0, "forward": 0.4, "backward": 0.8, "optimizer": 0.05}
    for step in range(1, num_steps + 1):
        scale = 3.0 if step == 1 else 1.0
        seconds = {name: scale * value for name, value in {"step": 2.0, **parts}.items()}
        series.add(step, 8, 1.0 / step, seconds)
    return series


def make_profile(device: str = "cpu", num_holders: int = 3) -> dict[str, Any]:
    """A step in four moments: 1 GiB of parameters throughout, activations up to 3 GiB, workers."""
    names = ["activations of layer1", *(f"holder {i}" for i in range(3, num_holders))]
    series = [
        {"part": part, "gib": {"parameters": 1.0, **{name: gib for name in names if gib}}}
        for part, gib in (("load", 0.0), ("forward", 1.5), ("backward", 3.0), ("update", 0.0))
    ]
    return {
        "device": device,
        "holders": [*names, "parameters", "data workers"],
        "peak_gib": 1.0 + 3.0 * len(names),
        "peak_by_holder_gib": series[2]["gib"],
        "own_peak_gib": series[2]["gib"],
        "outside_gib": {"data workers": 1.0},
        "series": series,
    }


def write(tmp_path: Path, **changes: Any) -> str:
    """The HTML of a report without charts, which take most of the time, but for what is given."""
    arguments: dict[str, Any] = {
        "tasks": build_tasks(),
        "metrics": make_metrics(),
        "panels": [make_panel()],
    }
    write_report(tmp_path / "report.html", ReportInput(**(arguments | changes)))
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def write_full(tmp_path: Path, **changes: Any) -> str:
    """The HTML of a report with everything in it."""
    step_time = {"step_time": make_steps().summary(), "memory_profile": make_profile()}
    arguments = {
        "history": make_history(2),
        "metrics": make_metrics() | step_time,
        "memory": make_memory(),
        "steps": make_steps().rows,
    }
    return write(tmp_path, **(arguments | changes))


def section(html: str, name: str) -> str:
    """The HTML of one section."""
    start = html.index(f'<section id="{name}">')
    return html[start : html.index("</section>", start) + len("</section>")]


def overlay_of(html: str, caption: str) -> np.ndarray:
    """The drawing with that caption, (h, w, 4) uint8 RGBA."""
    found = re.search(rf'src="data:image/png;base64,([^"]+)" alt="{caption}: ', html)
    assert found, caption
    data = np.frombuffer(base64.b64decode(found.group(1)), np.uint8)
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), cv2.COLOR_BGRA2RGBA)
