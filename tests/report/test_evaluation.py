"""The page of `evaluate`."""

from app.base.tasks import build_tasks
from app.report.evaluation import EvaluationInput, write_evaluation
from tests.support.report import HOSTILE, Page, make_panel

VALUES = {
    "test/segments/roof_iou": 0.5,
    "test/rid/segments/roof_iou": 0.25,
    "test/own/segments/roof_iou": 0.75,
}


def test_scores_stand_by_dataset_and_photos_in_their_order(tmp_path):
    source = EvaluationInput(
        model=HOSTILE,
        split="test",
        tasks=build_tasks(),
        values=VALUES,
        num_photos={"rid": 2, "own": 3},
        score_words="roof IoU",
        panels=[make_panel(f"{number}: roof IoU 0.{number}") for number in (1, 2)],
    )
    write_evaluation(tmp_path / "page.html", source)
    html = (tmp_path / "page.html").read_text()
    page = Page(html)
    assert "scores on 5 photos of the test split" in page.text
    assert "RID, 2 photosOwn roofs, 3 photosall, 5 photos" in page.text
    assert "roof IoU0.2500.7500.500" in page.text
    assert page.text.index("1: roof IoU 0.1") < page.text.index("2: roof IoU 0.2")
    assert "<script" not in html
    assert "http" not in html.replace("http-equiv", "").replace("http://evil", "")


def test_scores_on_drawn_photos_are_called_synthetic(tmp_path):
    panel = make_panel("1: roof IoU 0.1", dataset="RID")
    source = EvaluationInput(
        "model", "test", build_tasks(), VALUES, {"rid": 2, "own": 3}, "roof IoU", [panel], ["rid"]
    )
    write_evaluation(tmp_path / "page.html", source)
    page = Page((tmp_path / "page.html").read_text())
    assert "RID (synthetic), 2 photosOwn roofs, 3 photos" in page.text
    assert "RID (synthetic) 1: roof IoU 0.1" in page.text


def test_without_anything_known_the_page_says_so(tmp_path):
    source = EvaluationInput("model", "val", build_tasks(1), {}, {"rid": 0}, "roof IoU", [])
    write_evaluation(tmp_path / "page.html", source)
    page = Page((tmp_path / "page.html").read_text())
    assert "Nothing that the model was taught is labelled here." in page.text
