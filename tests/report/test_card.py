"""The model card claims what was measured, with its protocol, and nothing else."""

import json

import pytest

from app.base.errors import CheckpointError
from app.metrics.held_out import HeldOut
from app.report.card import render_card, write_card
from tests.support.best import scores_of

METRICS = {
    "val/segments/roof_iou": {
        "value": 0.51234, "unit": "", "split": "val", "dataset": "rid", "support": 900,
        "support_unit": "target roof pixels", "definition": "Roof against background.",
    },
    "val/depth/mae_m": {
        "value": None, "unit": "m", "split": "val", "dataset": "rid", "support": 0,
        "support_unit": "pixels", "definition": "Mean absolute error.",
    },
    "val/segments/loss": {
        "value": 1.5, "unit": "loss", "split": "val", "dataset": "rid", "support": 900,
        "support_unit": "known pixels", "definition": "Loss.",
    },
}  # fmt: skip
DOCUMENT = {
    "metrics": METRICS,
    "validated": {"epoch": 3, "step": 30},
    "kept": {"keep": "best", "step": 30},
    "stopped": False,
    "steps": 40,
}
RID = {"title": "RID", "num_train": 7, "synthetic": False, "licence": "CC BY-NC 4.0"}
DRAWN = {"title": "AIRS", "num_train": 9, "synthetic": True, "licence": "MIT"}
DESCRIPTION = {
    "architecture": {"name": "HybridRoofModel"},
    "tasks": {
        "segments": {"class_names": ["N", "S"], "trained": True, "trained_classes": ["N"]},
        "depth": {"class_names": ["height"], "trained": False, "trained_classes": []},
    },
    "gsd_m": 0.1,
    "data": {"rid": RID},
    "created": "2026-11-30T17:01:17Z",
    "revision": "0123abc",
    "versions": {"torch": "2.14.1"},
}


def render(description=None, **document):
    return render_card({**DESCRIPTION, **(description or {})}, {**DOCUMENT, **document})


def test_what_was_measured_stands_there_with_its_protocol():
    text = render()
    row = (
        "| `val/segments/roof_iou` | 0.5123 | 900 target roof pixels | rid, val | Roof against "
        "background. |"
    )
    assert row in text.splitlines()
    assert "mae_m" not in text  # has no value
    assert "val/segments/loss" not in text  # is none of those that matter
    assert "by the weights of step 30. These photos also chose the weights that are kept." in text


def test_the_head_is_huggingfaces():
    _, head, _ = render().split("---\n", 2)
    lines = head.splitlines()
    assert lines[:4] == [
        "library_name: roof-model",
        "pipeline_tag: image-segmentation",
        "license: other",
        "license_name: by-the-data",
    ]
    assert '    dataset: {name: "rid", type: "rid", split: "val"}' in lines
    assert lines[-1] == '    - {type: "val/segments/roof_iou", value: 0.5123}'


def test_scores_on_drawn_photos_are_called_synthetic():
    drawn, real = {"rid": {"synthetic": True}}, {"rid": {"synthetic": False}}
    assert "900 target roof pixels | rid (synthetic), val |" in render(datasets=drawn)
    assert 'dataset: {name: "rid (synthetic)", type: "rid", split: "val"}' in render(datasets=drawn)
    assert "synthetic" not in render(datasets=real)
    both = {**METRICS["val/segments/roof_iou"], "dataset": "rid+own"}
    text = render(datasets=drawn, metrics={"val/segments/roof_iou": both})
    assert "| rid+own (rid is synthetic), val |" in text
    part = HeldOut.of_document({**scores_of("test"), "synthetic": ["own"]})
    assert "| score | Own roofs (synthetic), test |" in render_card(DESCRIPTION, DOCUMENT, [part])


def render_scored(split, **document):
    held_out = [HeldOut.of_document(scores_of(split)), HeldOut.of_document(scores_of(split, "rid"))]
    return render_card(DESCRIPTION, {**DOCUMENT, **document}, held_out)


def test_scores_by_dataset_stand_there_with_their_protocol():
    lines = render_scored("test").splitlines()
    assert "| score | Own roofs, test | RID, test |" in lines
    assert "| within 22.5 deg, % | 90 | 90 |" in lines
    assert "| photos | 3 | 3 |" in lines
    assert "- roof IoU (`segments/roof_iou`): Definition of segments/roof_iou." in lines
    [protocol] = [line for line in lines if line.startswith("By `evaluate` after training")]
    assert "whole photos at 0.1 m per pixel. The model was asked in 8 turns and flips" in protocol
    args = 'split: "test", args: {tta: 8, vectors: true}'
    assert f'    dataset: {{name: "own", type: "own", {args}}}' in lines
    assert '    - {type: "test/segments/roof_iou", value: 0.75}' in lines


@pytest.mark.parametrize(
    ("split", "keep", "is_said"),
    [("val", "best", True), ("val", "last", False), ("test", "best", False)],
)
def test_photos_that_chose_the_weights_are_named(split, keep, is_said):
    text = render_scored(split, kept={"keep": keep, "step": 30})
    words = "Photos of Own roofs, val; RID, val also chose the weights that are kept"
    assert (words in text) is is_said


def test_where_nothing_was_measured_nothing_is_claimed():
    text = render(metrics={}, validated=None)
    assert "Nothing was measured" in text
    assert "model-index" not in text
    assert "| metric |" not in text


def test_weights_of_another_step_are_told():
    text = render(kept={"keep": "last", "step": 40})
    assert "by the weights of step 30; the model is that of 40. All metrics" in text


def test_data_have_their_licences_also_those_of_the_model_before():
    text = render({"data": {"airs": DRAWN}, "initial_model": {"sha256": "0", "data": {"rid": RID}}})
    assert "| AIRS (synthetic) | 9 | MIT |" in text
    assert "| RID (of the model that it started from) | 7 | CC BY-NC 4.0 |" in text
    assert "drawn villages alone" not in text


@pytest.mark.parametrize(
    ("description", "words", "is_said"),
    [
        ({"data": {"airs": DRAWN}}, "It has seen drawn villages alone.", True),
        ({}, "drawn villages", False),
        ({}, "A task that was not taught is not predicted.", True),
        ({}, "Stated directions were not checked against true ones", True),
        ({"calibration": {}}, "Stated directions were not checked against true ones", False),
    ],
)
def test_limits_are_those_of_the_model(description, words, is_said):
    assert (words in render(description)) is is_said


def test_tasks_say_what_was_taught():
    lines = render().splitlines()
    assert "| segments | N | S |" in lines
    assert "| depth | none | height |" in lines


def test_a_stopped_run_says_so():
    assert "revision 0123abc, in 40 steps; the run was stopped before its end." in render(
        stopped=True
    )


def test_it_is_written_of_a_folder(tmp_path):
    (tmp_path / "model.json").write_text(json.dumps(DESCRIPTION))
    with pytest.raises(CheckpointError, match=r"got a model\.json or metrics\.json that cannot be"):
        write_card(tmp_path)
    (tmp_path / "metrics.json").write_text(json.dumps(DOCUMENT))
    write_card(tmp_path)
    assert (tmp_path / "README.md").read_text() == render()
    (tmp_path / "metrics.json").write_text("{}")
    with pytest.raises(CheckpointError, match="KeyError: 'metrics'"):
        write_card(tmp_path)
