"""Which weights are kept, and which files of them lie beside the checkpoints."""

import logging
import types

import pytest
import torch
from torch import nn

from app.settings.hyperparameters import Hyperparameters
from app.training.checkpoints import RunCheckpoints
from app.training.kept import keep_if_best, load_kept
from app.training.progress import Progress
from app.training.results import Results, Validation


def make_run(folder, **settings):
    """A run whose averaged weights are what `validate` makes them."""
    hyperparameters = Hyperparameters(**settings)
    return types.SimpleNamespace(
        hyperparameters=hyperparameters,
        progress=Progress(),
        checkpoints=RunCheckpoints(folder, 2, keeps_best=hyperparameters.keep == "best"),
        averaged_model=nn.Linear(1, 1, bias=False),
        state=types.SimpleNamespace(step=0),
    )


def validate(run, step, score):
    """An epoch: its checkpoint, then its validation."""
    nn.init.constant_(run.averaged_model.weight, step)
    run.state.step, run.progress.epoch = step, step // 10
    run.checkpoints.save(step, {"step": step}, {})
    validation = Validation(run.progress.epoch, step, score, {"val/x": {"value": score}})
    keep_if_best(run, validation)
    run.progress.results.add({"epoch": run.progress.epoch, "step": step}, validation)


def names(run):
    return sorted(path.name for path in run.checkpoints.folder.iterdir() if path.suffix == ".pt")


@pytest.mark.parametrize(
    ("keep", "scores", "kept", "shown"),
    [
        ("best", (0.3, 0.5, 0.4, 0.45), (2, 20, 0.5), 20),
        ("best", (0.3, 0.5, 0.5, None), (2, 20, 0.5), 20),  # of equal ones the first
        ("best", (0.1, 0.2, 0.3, 0.4), (4, 40, 0.4), 40),
        ("best", (None, None, None, None), (4, 40, None), 40),
        ("last", (0.3, 0.5, 0.4, 0.45), (4, 40, 0.45), 40),
    ],
)
def test_the_best_validation_or_the_last_weights(tmp_path, keep, scores, kept, shown):
    run = make_run(tmp_path, keep=keep)
    for step, score in zip((10, 20, 30, 40), scores, strict=True):
        validate(run, step, score)
    validation, note = load_kept(run)
    assert (note["epoch"], note["step"], note["score"]) == kept
    assert note["keep"] == keep
    assert run.averaged_model.weight.item() == note["step"]
    assert validation.step == shown
    assert validation.metrics == {"val/x": {"value": scores[shown // 10 - 1]}}


def test_a_stopped_run_keeps_its_best_validation_else_its_newest_weights(tmp_path):
    run = make_run(tmp_path / "validated")
    validate(run, 10, 0.3)
    run.state.step = 17
    nn.init.constant_(run.averaged_model.weight, 17)
    validation, note = load_kept(run)
    assert (run.averaged_model.weight.item(), note["step"], validation.step) == (10, 10, 10)
    run = make_run(tmp_path / "not")
    run.state.step = 7
    validation, note = load_kept(run)
    assert validation is None
    assert (note["epoch"], note["step"], note["score"]) == (0, 7, None)


def test_only_weights_that_a_kept_checkpoint_names_stay(tmp_path):
    run = make_run(tmp_path)
    for step, score in ((10, 0.1), (20, 0.2), (30, 0.3)):
        validate(run, step, score)
    # The checkpoint of step 20 was written before its validation, and names 10.
    assert names(run) == [
        "best-00000010.pt", "best-00000020.pt", "best-00000030.pt",
        "step-00000020.pt", "step-00000030.pt",
    ]  # fmt: skip
    for step in (40, 50, 60, 70):
        validate(run, step, 0.25)
    assert names(run) == ["best-00000030.pt", "step-00000060.pt", "step-00000070.pt"]


def test_without_keeping_the_best_no_file_is_written(tmp_path):
    run = make_run(tmp_path, keep="last")
    validate(run, 10, 0.5)
    assert names(run) == ["step-00000010.pt"]


def test_weights_that_are_gone_or_damaged_cost_a_warning(tmp_path, caplog):
    for content in (None, b"damaged"):
        run = make_run(tmp_path / str(content))
        validate(run, 10, 0.5)
        validate(run, 20, 0.4)
        best = run.checkpoints.folder / "best-00000010.pt"
        best.unlink() if content is None else best.write_bytes(content)
        caplog.clear()
        validation, note = load_kept(run)
        assert "the best weights, of step 10, cannot be read (" in caplog.text
        assert "the last ones are kept, of step 20" in caplog.text
        assert (note["step"], note["score"], validation.step) == (20, 0.4, 20)
        assert run.averaged_model.weight.item() == 20


def test_weights_of_another_network_leave_all_as_they_are(tmp_path, caplog):
    run = make_run(tmp_path)
    validate(run, 10, 0.5)
    validate(run, 20, 0.4)
    torch.save({"weight": torch.zeros(1, 1), "more": torch.ones(1)}, tmp_path / "best-00000010.pt")
    load_kept(run)
    assert "more: not in this network" in caplog.text
    assert run.averaged_model.weight.item() == 20


def test_those_of_another_run_are_moved_aside_with_its_checkpoints(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    other = make_run(tmp_path)
    validate(other, 10, 0.9)
    run = make_run(tmp_path)
    validate(run, 10, 0.1)
    assert names(run) == ["best-00000010.pt", "step-00000010.pt"]
    assert torch.load(tmp_path / "best-00000010.pt")["weight"].item() == 10
    moved = sorted(path.name for path in (tmp_path / "earlier-1").iterdir())
    assert moved == ["best-00000010.pt", "step-00000010.pt"]


def test_results_survive_a_checkpoint():
    row = {"epoch": 0, "step": 0, "val/score": 0.5}
    first, last = Validation(0, 0, 0.5, {"a": {"value": 1}}), Validation(1, 9, None)
    results = Results([row, {"epoch": 1, "step": 9}], last, first)
    again = Results.from_state_dict(results.state_dict())
    assert again == results
    assert again.start == row
    assert Results([{"epoch": 1, "step": 9}]).start is None
