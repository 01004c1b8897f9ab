"""The report as a file: its names, its escaping, and that it loads nothing."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from app.base.tasks import build_tasks, find_task
from app.metrics.definitions import define_metrics
from app.report.report import ReportInput, write_report
from app.report.tables import describe_duration, view_confusion
from tests.support.report import (
    CLASS_NAMES,
    HOSTILE,
    Page,
    make_history,
    make_memory,
    make_metrics,
    make_panel,
    make_profile,
    make_steps,
    section,
    write,
    write_full,
)


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
    links = [one for one in references if not one.startswith(("#", "data:image/"))]
    # Documents of the repository beside the report, which only a click opens.
    assert links
    assert all(re.fullmatch(r"(\.\./)+[\w./-]*docs/\w+\.md", link) for link in links)
    assert {attributes.get("href") for tag, attributes in page.tags if tag == "a"} >= set(links)
    assert "@import" not in html
    policy = next(a for tag, a in page.tags if tag == "meta" and "http-equiv" in a)
    assert str(policy["content"]).startswith("default-src 'none';")


def test_names_from_users_are_shown_as_they_are(tmp_path: Path) -> None:
    page = Page(write(tmp_path, panels=[make_panel(HOSTILE)]))
    # heading of the panel; the bad file's name and path; a hyperparameter
    assert page.text.count(HOSTILE) == 4
    alts = [attributes["alt"] for tag, attributes in page.tags if tag == "img"]
    assert alts == [
        f"{what}: RID {HOSTILE}"
        for what in (
            "Planes, truth",
            "Planes, prediction",
            "Where planes differ",
            "Lines, truth",
            "Lines, prediction",
        )
    ]


def test_nothing_that_a_run_names_becomes_markup(tmp_path: Path) -> None:
    metrics = make_metrics() | {
        "versions": {HOSTILE: HOSTILE},
        "class_distribution": {"shares": {HOSTILE: {HOSTILE: 0.5}}},
        "step_time": make_steps().summary(),
        "memory_profile": make_profile() | {"holders": [HOSTILE], "outside_gib": {HOSTILE: 1.0}},
    }
    words = ("unit", "support_unit", "definition", "dataset")
    entry = {"value": 1.0, "support": 1, **dict.fromkeys(words, HOSTILE)}
    metrics["metrics"][f"val/{HOSTILE}/segments/roof_iou"] = entry
    metrics["confusion_matrix"][f"val/{HOSTILE}/segments"] = {
        "class_names": [HOSTILE, "b"],
        "counts": [[1, 2], [3, 4]],
    }
    metrics["datasets"][HOSTILE] = {"num_train": HOSTILE, "num_val": HOSTILE, "folder": HOSTILE}
    metrics["run"] = dict.fromkeys(("created", "revision", "command"), HOSTILE)
    page = Page(write(tmp_path, metrics=metrics, memory=make_memory((HOSTILE,))))
    assert "script" not in {tag for tag, _ in page.tags}
    # Of make_metrics 3; versions 2; shares 2; holder 1; phase 1; run 4; matrix 4. Of the dataset:
    # summary 1, facts 4, quarantine 1, columns of two tables 2, units in them 2.
    assert page.text.count(HOSTILE) == 27


def test_a_name_that_is_not_utf_8_can_be_written(tmp_path: Path) -> None:
    metrics = make_metrics()
    metrics["datasets"]["rid"]["quarantined"] = [
        {"sample_id": "a", "path": os.fsdecode(b"a\xff.tif"), "reason": "damaged"}
    ]
    assert "a\\udcff.tifdamaged" in Page(write(tmp_path, metrics=metrics)).text


def test_shapes_set_aside_are_shown(tmp_path: Path) -> None:
    metrics = make_metrics()
    feature = {"layer": "planes", "feature": 28, "photo": "caf", "reason": f"invalid {HOSTILE}"}
    metrics["datasets"]["own"] = {"features_set_aside": {"total": 130, "listed": [feature] * 100}}
    text = Page(write(tmp_path, metrics=metrics)).text
    assert "Own roofs: 130 shapes set aside. Their photos were used." in text
    assert f"cafplanes28invalid {HOSTILE}" in text
    assert "check-data names them all" in text


def test_findings_of_a_look_at_the_labels_are_shown(tmp_path: Path) -> None:
    finding = {"severity": "error", "what": "heights are feet", "remedy": f"set {HOSTILE}"}
    looks = {"rid": {"findings": []}, "roofline": {"findings": [finding]}}
    text = Page(write(tmp_path, metrics=make_metrics() | {"label_looks": looks})).text
    assert "A look at the labels found something to act on." in text
    assert f"errorheights are feetset {HOSTILE}" in text
    assert "A look at the labels" not in Page(write(tmp_path)).text


def test_names_every_metric_class_and_direction(tmp_path: Path) -> None:
    text = Page(write(tmp_path)).text
    missing = [name for name in make_metrics()["metrics"] if name.split("/")[-1] not in text]
    assert missing == []
    for class_name in (*CLASS_NAMES, *find_task("lines").class_names):
        assert class_name in text


def test_a_definition_stands_once_whatever_it_defines(tmp_path: Path) -> None:
    html = section(write(tmp_path), "metrics")
    text = Page(html).text
    for task in build_tasks():
        for row in define_metrics(task):
            shown = row.text.format_map({name: f"<{name}>" for name in row.placeholders})
            assert text.count(shown) >= 1
    assert text.count("of class <class>: pixels that are it and are predicted as it") == 1
    assert "of class SSW: pixels" not in text


def test_opening_says_what_was_trained_and_how_it_ended(tmp_path: Path) -> None:
    metrics = make_metrics() | {
        "run": {"created": "2026-11-30T19:04:12Z", "revision": "0123abc", "command": "python -m"}
    }
    metrics["datasets"]["rid"]["folder"] = "/data/rid"
    metrics["datasets"]["airs"] = {"num_train": 0, "num_val": 5}
    text = Page(write(tmp_path, metrics=metrics)).text
    for words in (
        "Finished",
        "2026-11-30 19:04:12 UTC; 1 h 2 min, 2 epochs, 1,234 steps; trained on RID",
        "RID312 images to learn from, 78 to check against /data/rid",
        "AIRSnot trained on; checked against 5 of its images",
        "Commandpython -m",
        "Revision0123abc",
    ):
        assert words in text
    assert "synthetic" not in text
    stopped = Page(write(tmp_path, metrics=make_metrics() | {"stopped": True})).text
    assert "Stopped early on request" in stopped
    assert "Finished" not in stopped


def test_synthetic_data_are_called_so_wherever_they_are_named(tmp_path: Path) -> None:
    metrics = make_metrics()
    metrics["datasets"] = {
        name: {"num_train": 10, "num_val": 2, "synthetic": name == "rid"}
        for name in ("rid", "airs")
    }
    entry = metrics["metrics"]["val/segments/roof_iou"]
    metrics["metrics"]["val/rid/segments/roof_iou"] = entry | {"dataset": "rid"}
    metrics["confusion_matrix"]["val/rid/segments"] = metrics["confusion_matrix"]["val/segments"]
    text = Page(write(tmp_path, metrics=metrics)).text
    # The line below the title, the facts, the verdict, the columns of two tables, the matrix, the
    # panel with its five tiles, and the files.
    assert text.count("RID (synthetic)") == 8
    assert "AIRS (synthetic)" not in text
    assert "Numbers of RID (synthetic) say nothing about real roofs." in text


def test_scores_of_earlier_weights_say_so(tmp_path: Path) -> None:
    validated = {"epoch": 1, "step": 1100}
    text = Page(write(tmp_path, metrics=make_metrics() | {"validated": validated})).text
    assert "Scored before the end. The scores on this page are of epoch 1, step 1,100." in text
    assert "trained on since then, to step 1,234, and has not been scored again" in text
    last = {"epoch": 2, "step": 1234}
    assert (
        "Scored before"
        not in Page(write(tmp_path, metrics=make_metrics() | {"validated": last})).text
    )


@pytest.mark.parametrize(
    ("duration_s", "text"),
    [(42.4, "42 s"), (59.7, "1 min 0 s"), (7199.9, "2 h 0 min")],
)
def test_duration_in_words(duration_s: float, text: str) -> None:
    assert describe_duration(duration_s) == text


def test_headline_numbers_in_words(tmp_path: Path) -> None:
    metrics = make_metrics()
    metrics["metrics"]["val/segments/roof_recall"]["value"] = 0.876
    metrics["metrics"]["val/segments/roof_iou"]["value"] = 0.654
    metrics["metrics"]["val/segments/plane_right"]["value"] = 0.321
    metrics["metrics"]["val/lines/recall_3px"]["value"] = None
    metrics["metrics"]["val/lines/precision_3px"]["value"] = None
    text = Page(write(tmp_path, metrics=metrics)).text
    assert "Roof found88 %" in text
    assert "Roof overlap65 %" in text
    assert "Planes right32 %" in text
    assert "Lines foundnot defined on these images" in text
    assert "Drawn lines trueno line was drawn" in text
    assert "Height off bynot trained: no labels" in text
    assert "Heights (not trained: no labels). What the model says about them" in text


def test_numbers_of_each_dataset_stand_side_by_side(tmp_path: Path) -> None:
    metrics = make_metrics()
    metrics["datasets"]["airs"] = {"num_train": 3, "num_val": 1}
    entry = metrics["metrics"]["val/segments/roof_recall"]
    metrics["metrics"]["val/rid/segments/roof_recall"] = entry | {"value": 0.5}
    metrics["metrics"]["val/airs/segments/roof_recall"] = entry | {"value": 0.75}
    text = Page(section(write(tmp_path, metrics=metrics), "numbers")).text
    assert "AllRIDAIRSRoof found25 %50 %75 %" in text
    assert "Roof overlap25 %--" in text
    # Of one dataset there is nothing to tell apart.
    assert "By dataset" not in write(tmp_path)


def test_a_task_with_nothing_to_find_is_not_called_untrained(tmp_path: Path) -> None:
    # Of background alone there is no roof to find.
    metrics = make_metrics()
    for name, entry in metrics["metrics"].items():
        entry["value"] = None if name.startswith("val/segments/") else entry["value"]
    text = Page(write(tmp_path, metrics=metrics)).text
    assert "Roof foundnot defined on these images" in text
    assert "Roof planes (not defined on these images)" in text
    assert "Roof planes: not trained" not in text


def test_curves_of_what_was_trained_and_of_nothing_else(tmp_path: Path) -> None:
    text = Page(write_full(tmp_path)).text
    assert "Loss of roof planestraining" in text
    assert "Direction of planes, error in degreesmean over pixels" in text
    assert "Learning rate at the end of an epochof decoder and heads" in text
    assert "Loss of heights" not in text
    assert "Heights, error in metres" not in text


def test_a_mistake_of_less_than_a_percent_is_not_called_nothing() -> None:
    confusion = view_confusion(["S", "background"], [[10, 0], [3, 997]], {})
    assert confusion is not None
    assert confusion.worst == [("under 1", "background", "S", "3")]


def test_confusion_is_in_percent_of_the_true_class(tmp_path: Path) -> None:
    html = write(tmp_path)
    assert "75.0 % of true S was called SSW" in html
    assert "25.0 % of true S was called S" in html
    assert "75 % of the pixels that are S were called SSW (750 pixels)" in Page(html).text


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
    assert "(97 %). It came close to being stopped by the system." in Page(html).text
    html = write_full(tmp_path, history=[], metrics=make_metrics() | {"memory": {}})
    assert "The job used at most 3.00 GiB." in Page(html).text


@pytest.mark.parametrize("history", [[], make_history(1)])
def test_short_histories(history: list[dict[str, object]], tmp_path: Path) -> None:
    text = Page(write(tmp_path, history=history)).text
    assert ("No epoch was finished." in text) == (not history)


def test_nothing_known_still_makes_a_report(tmp_path: Path) -> None:
    write_report(tmp_path / "report.html", ReportInput(build_tasks()))
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
    assert "RID: every file could be used." in text
    assert "No validation was finished." in text


def test_numbers_that_are_not_finite_are_left_out(tmp_path: Path) -> None:
    metrics = make_metrics()
    metrics["metrics"]["val/segments/roof_iou"]["value"] = float("nan")
    history = make_history(2)
    history[1]["train/loss"] = float("inf")
    text = Page(write(tmp_path, metrics=metrics, history=history)).text
    assert "Loss (lower is better)all tasks" in text
    assert "Roof overlapnot defined on these images" in text


def test_same_input_makes_the_same_file(tmp_path: Path) -> None:
    history = make_history(1)
    from_json = json.loads(json.dumps(make_metrics()))
    assert write(tmp_path, history=history, metrics=from_json) == write(tmp_path, history=history)


def test_shares_of_classes_stand_beside_their_weights(tmp_path: Path) -> None:
    distribution = {
        "shares": {"segments": {"N": 0.0125, HOSTILE: 0.7}, "lines": {"eave": 0.034}},
        "weights": {"segments": {"N": 1.053}, "lines": {"eave": 5.33}},
    }
    html = write(tmp_path, metrics=make_metrics() | {"class_distribution": distribution})
    text = Page(html).text
    assert "How often each class comes: roof planes" in text
    assert "N1.25 %1.05" in text
    assert f"{HOSTILE}70.00 %1.00" in text  # a label of several classes weighs 1
    assert "eave3.40 %5.33" in text
    assert "width:70.0%" in html


def test_every_number_stands_beside_those_of_single_datasets(tmp_path: Path) -> None:
    metrics = make_metrics()
    entry = metrics["metrics"]["val/segments/roof_iou"]
    metrics["metrics"]["val/airs/segments/roof_iou"] = entry | {"value": 0.5}
    metrics["metrics"]["val/airs/lines/f1_3px"] = entry | {"value": None}
    text = Page(section(write(tmp_path, metrics=metrics), "metrics")).text
    assert "Roof planes (56 numbers)NameAllairsCounted over" in text
    assert "roof_iou0.25000.500012,345 target roof pixels" in text
    assert "roof_precision0.2500-12,345 predicted roof pixels" in text


def test_everything_together_is_one_well_formed_page(tmp_path: Path) -> None:
    html = write_full(tmp_path)
    page = Page(html)
    identifiers = [attributes["id"] for _, attributes in page.tags if attributes.get("id")]
    assert len(identifiers) == len(set(identifiers))
    targets = [str(a["href"])[1:] for _, a in page.tags if str(a.get("href")).startswith("#")]
    assert set(targets) <= set(identifiers)
