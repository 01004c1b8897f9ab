"""The report as a file: what it names, what it escapes, what it must never load."""

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from app.memory import COLUMNS
from app.metrics import METRIC_DEFINITIONS
from app.report import Panel, write_report
from app.tasks import BACKGROUND_CLASS, IGNORE_INDEX, SOME_ROOF, find_task

HOSTILE = "<script src='http://evil.example/x.js'>alert(\"1\")</script>&$x$"
CLASS_NAMES = list(find_task("segments").class_names)
VOID_TAGS = {"meta", "img", "br", "hr", "path", "use"}


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
        if self.open_tags[-1:] != ["style"]:
            self.text += data


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
        "sample_id": sample_id,
        "image": np.full((size_px, size_px, 3), 127, np.uint8),
        "segments_target": target,
        "segments_prediction": prediction,
        "lines_target": lines,
        "lines_prediction": lines,
    }
    return Panel(**(values | changes))


def make_metrics() -> dict[str, Any]:
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
        for row in METRIC_DEFINITIONS
        for name, text in row.expand()
    }
    counts = np.diag([1000] * 18)
    counts[8] = 0
    counts[8, 8], counts[8, 9] = 250, 750
    return {
        "format_version": 1,
        "stopped": False,
        "epochs": 2,
        "steps": 1234,
        "duration_s": 3725.4,
        "metrics": metrics,
        "confusion_matrix": {
            "val/segments": {"class_names": CLASS_NAMES, "counts": counts.tolist()}
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
            "val/lines/f1_3px": 0.3,
            "val/depth/mae_m": None,
        }
        for epoch in range(1, num_epochs + 1)
    ]


def write_memory(path: Path, phases: tuple[str, ...] = ("start", "train", "export")) -> Path:
    rows = [f"time_s,phase,{','.join(COLUMNS)}"]
    rows += [
        f"{index * 10}.0,{phase},{index + 1}.0,,0.5,0.0,,,,16.0,8.0"
        for index, phase in enumerate(phases)
    ]
    path.write_text("\n".join(rows) + "\n")
    return path


def write(tmp_path: Path, **changes: Any) -> str:
    """The HTML of a report without charts, which take most of the time, but for what is given."""
    arguments: dict[str, Any] = {
        "history": [],
        "metrics": make_metrics(),
        "memory_csv": tmp_path / "absent.csv",
        "panels": [make_panel()],
    }
    write_report(tmp_path / "report.html", **(arguments | changes))
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def write_full(tmp_path: Path, **changes: Any) -> str:
    """The HTML of a report with everything in it."""
    memory_csv = write_memory(tmp_path / "memory.csv")
    return write(tmp_path, **({"history": make_history(2), "memory_csv": memory_csv} | changes))


def overlay_of(html: str, caption: str) -> np.ndarray:
    """The drawing with that caption, (h, w, 4) uint8 RGBA."""
    found = re.search(rf'src="data:image/png;base64,([^"]+)" alt="{caption}: ', html)
    assert found, caption
    data = np.frombuffer(base64.b64decode(found.group(1)), np.uint8)
    return cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_UNCHANGED), cv2.COLOR_BGRA2RGBA)


def test_loads_nothing_and_runs_nothing(tmp_path: Path) -> None:
    html = write_full(tmp_path, panels=[make_panel(HOSTILE)])
    page = Page(html)
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [name for _, attributes in page.tags for name in attributes if name[:2] == "on"]
    references = [
        value or ""
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href", "srcset", "data", "action")
    ]
    references += re.findall(r"url\(([^)]*)\)", html)
    assert any(reference.startswith("data:image/jpeg") for reference in references)
    assert all(reference.startswith(("#", "data:image/")) for reference in references)
    assert "@import" not in html
    policy = next(a for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert str(policy["content"]).startswith("default-src 'none';")


def test_names_from_users_are_shown_as_they_are(tmp_path: Path) -> None:
    page = Page(write(tmp_path, panels=[make_panel(HOSTILE)]))
    # heading of the panel; the bad file's name and path; a hyperparameter
    assert page.text.count(HOSTILE) == 4
    alts = [attributes["alt"] for tag, attributes in page.tags if tag == "img"]
    assert alts == [
        f"{what}: {HOSTILE}"
        for what in (
            "Planes, truth",
            "Lines, truth",
            "Where planes differ",
            "Planes, prediction",
            "Lines, prediction",
        )
    ]


def test_names_every_metric_class_and_direction(tmp_path: Path) -> None:
    text = Page(write(tmp_path)).text
    missing = [name for name in make_metrics()["metrics"] if name not in text]
    assert missing == []
    for class_name in (*CLASS_NAMES, *find_task("lines").class_names):
        assert class_name in text
    for entry in make_metrics()["metrics"].values():
        assert entry["definition"] in text


def test_opening_says_what_was_trained_and_how_it_ended(tmp_path: Path) -> None:
    text = Page(write(tmp_path)).text
    assert "Finished" in text
    assert "Trained on rid: 312 images to learn from and 78 to check against." in text
    assert "2 rounds through the data, 1,234 steps. Took 1 h 2 min." in text
    stopped = Page(write(tmp_path, metrics=make_metrics() | {"stopped": True})).text
    assert "Stopped early on request" in stopped
    assert "Finished" not in stopped


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [(42.4, "Took 42 s."), (59.7, "Took 1 min 0 s."), (7199.9, "Took 2 h 0 min.")],
)
def test_duration_in_words(duration_s: float, text: str, tmp_path: Path) -> None:
    assert text in Page(write(tmp_path, metrics={"duration_s": duration_s})).text


def test_headline_numbers_in_words(tmp_path: Path) -> None:
    metrics = make_metrics()
    metrics["metrics"]["val/segments/roof_iou"]["value"] = 0.876
    metrics["metrics"]["val/segments/azimuth_error_deg"]["value"] = 17.4
    metrics["metrics"]["val/lines/f1_3px"]["value"] = None
    text = Page(write(tmp_path, metrics=metrics)).text
    assert "Roof found88 %" in text
    assert "Direction off by17 degrees" in text
    assert "Lines foundnot defined on these images" in text
    assert "Height off bynot trained: no labels" in text
    assert "Heights: not trained: no labels." in text
    assert "Heights (not trained: no labels)" in text


def test_curves_of_what_was_trained_and_of_nothing_else(tmp_path: Path) -> None:
    text = Page(write_full(tmp_path)).text
    assert "Loss of roof planestraining" in text
    assert "Direction of planes, error in degreesmean error" in text
    assert "Loss of heights" not in text
    assert "Heights, error in metres" not in text


def test_confusion_is_in_percent_of_the_true_class(tmp_path: Path) -> None:
    html = write(tmp_path)
    assert "75.0 % of true S was called SSW" in html
    assert "25.0 % of true S was called S" in html
    assert "75 % of what is S was called SSW (750 pixels)" in Page(html).text


def test_class_without_pixels_has_no_shares(tmp_path: Path) -> None:
    counts = np.zeros((18, 18), int)
    counts[0, 0] = 5
    matrix = {"val/segments": {"class_names": CLASS_NAMES, "counts": counts.tolist()}}
    html = write(tmp_path, metrics={"confusion_matrix": matrix})
    assert "of true N was called" in html
    assert "of true NNE was called" not in html


def test_memory_peak_is_set_against_the_limit(tmp_path: Path) -> None:
    text = Page(write_full(tmp_path, history=[])).text
    assert "The job used at most 3.00 GiB of the 8.0 GiB it may use (38 %)." in text
    assert "writing results" in text
    metrics = make_metrics() | {"memory": {"limit_gib": 3.1}}
    html = write_full(tmp_path, history=[], metrics=metrics)
    assert "came close to being stopped" in Page(html).text


@pytest.mark.parametrize("history", [[], make_history(1)])
def test_short_histories(history: list[dict[str, object]], tmp_path: Path) -> None:
    text = Page(write(tmp_path, history=history)).text
    assert ("No epoch was finished." in text) == (not history)


def test_nothing_known_still_makes_a_report(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", [], {}, tmp_path / "absent.csv", [])
    text = Page((tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert "No epoch was finished." in text
    assert "No validation was finished." in text
    assert "No validation image was drawn." in text


def test_stopped_before_the_first_validation(tmp_path: Path) -> None:
    metrics = make_metrics() | {
        "metrics": {},
        "confusion_matrix": {"val/segments": {"class_names": CLASS_NAMES, "counts": []}},
        "datasets": {"rid": {"num_train": 3, "num_val": 1, "quarantined": []}},
    }
    text = Page(write(tmp_path, history=[], metrics=metrics, panels=[])).text
    assert "rid: every file could be used." in text
    assert "No validation was finished." in text


def test_numbers_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    metrics = make_metrics()
    metrics["metrics"]["val/segments/miou"]["value"] = float("nan")
    history = make_history(2)
    history[1]["train/loss"] = float("inf")
    text = Page(write(tmp_path, metrics=metrics, history=history)).text
    assert "Loss (lower is better)all tasks" in text
    assert "Planes exactly rightnot defined on these images" in text


def test_planes_are_tinted_by_direction_and_unlabelled_ones_striped(tmp_path: Path) -> None:
    target = np.full((32, 32), BACKGROUND_CLASS, np.uint8)
    target[:16, :16], target[16:, :16], target[16:, 16:] = 8, SOME_ROOF, IGNORE_INDEX
    overlay = overlay_of(
        write(tmp_path, panels=[make_panel(segments_target=target)]), "Planes, truth"
    )
    assert tuple(overlay[8, 8, :3]) == find_task("segments").colours[8]
    assert 0 < overlay[8, 8, 3] < 255  # the photo shows through
    assert overlay[15, 8, 3] == 255  # but not through the outline
    assert tuple(overlay[24, 8, :3]) == (255, 255, 255)
    assert tuple(overlay[8, 24, :3]) == (0, 0, 0)
    assert set(overlay[20:28, 20:28, 3].ravel()) == {0, 120}


def test_mistakes_are_told_apart(tmp_path: Path) -> None:
    # Eight columns of four pixels; N, N, N, N | background | some roof | unknown | N against
    # N, NNW, S, background | NE | W | W | flat.
    target = np.repeat(np.uint8([0, 0, 0, 0, 17, 18, 255, 0]), 4)[None].repeat(32, 0)
    prediction = np.repeat(np.uint8([0, 15, 8, 17, 2, 12, 12, 16]), 4)[None].repeat(32, 0)
    panel = make_panel(segments_target=target, segments_prediction=prediction)
    html = write(tmp_path, panels=[panel])
    colours = overlay_of(html, "Where planes differ")[0, 2::4]
    one_step, further, missed, invented = (
        (240, 228, 66), (213, 94, 0), (204, 60, 200), (60, 190, 255),
    )  # fmt: skip
    assert colours[0, 3] == 0
    assert [tuple(colours[i, :3]) for i in (1, 2, 3, 4, 7)] == [
        one_step, further, missed, invented, further,
    ]  # fmt: skip
    assert colours[5, 3] == 0  # some roof: any direction is right
    assert all(tuple(colours[6, :3]) != colour for colour in (one_step, further, missed, invented))
    # Roof: columns 0-3, 5, 7, one of six missed. Pitched: 0-3 and 7, right are N and NNW.
    text = Page(html).text
    assert "83 % of the roof area found" in text
    assert "within 22.5° on 40 % of pitched roof" in text


def test_lines_are_drawn_in_the_colour_of_their_kind(tmp_path: Path) -> None:
    lines = np.full((4, 32, 32), 0, np.uint8)
    lines[3, 10] = 1
    lines[:, 20:] = IGNORE_INDEX
    overlay = overlay_of(write(tmp_path, panels=[make_panel(lines_target=lines)]), "Lines, truth")
    assert tuple(overlay[10, 16]) == (*find_task("lines").colours[3], 255)
    assert tuple(overlay[11, 16, :3]) == (0, 0, 0)  # the rim
    assert overlay[2, 16, 3] == 0
    assert set(overlay[24:, :, 3].ravel()) == {0, 120}


def test_heights_are_drawn_only_where_the_truth_is_known(tmp_path: Path) -> None:
    truth = np.full((32, 32), np.nan, np.float32)
    truth[:16] = 8.0
    panel = make_panel(depth_target=truth, depth_prediction=np.full((32, 32), 4.0, np.float32))
    overlay = overlay_of(
        write(tmp_path, panels=[panel]), r"Height, prediction \(dark 0 m, yellow 8 m\)"
    )
    assert tuple(overlay[8, 8]) == (33, 145, 140, 235)  # half way up the scale
    assert overlay[24, 8, 3] == 0
    unknown = make_panel(depth_target=np.full((32, 32), np.nan, np.float32))
    assert "Height, truth" not in write(tmp_path, panels=[unknown])


def test_task_that_was_not_trained_has_no_prediction(tmp_path: Path) -> None:
    panel = make_panel(segments_prediction=None, lines_prediction=None)
    html = write(tmp_path, panels=[panel])
    assert "Planes, truth" in html
    assert "prediction: 1207" not in html
    assert "Where planes differ: 1207" not in html
    assert "Planes were not trained." in html


def test_six_large_panels_stay_small(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (512, 512, 3), np.uint8)  # no photo is as hard to encode
    panels = [make_panel(str(i), 512, image=cv2.blur(noise, (3, 3))) for i in range(6)]
    assert len(write(tmp_path, panels=panels)) < 4_000_000


def test_large_images_are_shrunk_with_their_thin_lines(tmp_path: Path) -> None:
    lines = np.zeros((4, 1280, 1280), np.uint8)
    lines[0, 601:604] = 1
    panel = make_panel(size_px=1280, lines_target=lines)
    overlay = overlay_of(write(tmp_path, panels=[panel]), "Lines, truth")
    assert overlay.shape == (640, 640, 4)
    assert tuple(overlay[301, 320]) == (*find_task("lines").colours[0], 255)


def test_same_input_makes_the_same_file(tmp_path: Path) -> None:
    history = make_history(1)
    from_json = json.loads(json.dumps(make_metrics()))
    assert write(tmp_path, history=history, metrics=from_json) == write(tmp_path, history=history)
