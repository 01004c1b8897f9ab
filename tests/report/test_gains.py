"""What a run has gained and lost against the model it started from."""

from pathlib import Path

from app.base.tasks import build_tasks
from app.report.gains import view_gains
from tests.support.report import Page, make_metrics, section, write

TASKS = build_tasks()


def entry(value: float | None, unit: str = "") -> dict[str, object]:
    return {"value": value, "unit": unit, "support": 1, "support_unit": "pixels"}


def test_each_dataset_by_itself_and_errors_the_other_way_round() -> None:
    start = {
        "epoch": 0, "step": 0, "val/score": 0.5, "val/rid/segments/roof_iou": 0.8,
        "val/own/segments/roof_iou": 0.4, "val/own/depth/above_half_m_mae_m": 3.0,
        "val/rid/depth/above_half_m_mae_m": 2.0, "val/own/lines/recall_3px": None,
    }  # fmt: skip
    metrics = {
        "kept": {"score": 0.625},
        "datasets": {"rid": {}, "own": {}},
        "metrics": {
            "val/rid/segments/roof_iou": entry(0.7),
            "val/rid/depth/above_half_m_mae_m": entry(2.0, "m"),
            "val/own/segments/roof_iou": entry(0.6),
            "val/own/depth/above_half_m_mae_m": entry(2.5, "m"),
            "val/own/lines/recall_3px": entry(0.5),
        },
    }
    rows = view_gains([start, {"epoch": 1}], metrics, TASKS)
    assert [(row.dataset, row.title, row.change, row.css_class) for row in rows] == [
        ("all", "Score", "+0.125", "good"),
        ("RID", "Roof planes: roof overlap", "-0.100", "warn"),
        ("RID", "Heights: height off by", "0", ""),
        ("Own roofs", "Roof planes: roof overlap", "+0.200", "good"),
        ("Own roofs", "Heights: height off by", "-0.500 m", "good"),
    ]
    assert (rows[1].before, rows[1].after) == ("0.800", "0.700")


def test_one_dataset_has_no_names_of_its_own(tmp_path: Path) -> None:
    history = [{"epoch": 0, "val/segments/roof_iou": 0.5}, {"epoch": 1}]
    html = write(tmp_path, history=history)
    text = Page(section(html, "gains")).text
    assert "RIDRoof planes: roof overlap0.5000.250-0.250" in text


def test_without_an_initial_model_there_is_no_table(tmp_path: Path) -> None:
    assert view_gains([{"epoch": 1}], make_metrics(), TASKS) == []
    assert 'id="gains"' not in write(tmp_path, history=[{"epoch": 1}])


def test_a_model_of_an_earlier_epoch_says_so(tmp_path: Path) -> None:
    chosen = {"epoch": 1, "step": 617, "score": 0.625}
    validated = {"epoch": 1, "step": 617}
    metrics = make_metrics() | {"kept": chosen, "validated": validated}
    history = [{"epoch": 1}, {"epoch": 2}]
    text = Page(write(tmp_path, metrics=metrics, history=history)).text
    assert (
        "are those of epoch 1, step 617: of 2 validations the one with the best score, 0.625. "
        "Training went on to step 1,234."
    ) in text
    assert "Scored before the end" not in text
    metrics["kept"] = {"epoch": 2, "step": 1234, "score": 0.625}
    assert "the one with the best score" not in Page(write(tmp_path, metrics=metrics)).text
