"""Whole runs with what is off by default: found rates, learned weights, a frozen backbone."""

import re
import signal

import pytest
import torch
from torchvision.models import resnet50

from tests.support.runs import (
    SMALL,
    checkpoints,
    copy_tree,
    failure,
    read_history,
    read_metrics,
    run,
    start,
    wait_for,
    weights,
)

pytestmark = pytest.mark.slow

# Long enough to try 25 rates.
SEARCH = {
    **SMALL, "learning_rate": "auto", "steps_per_epoch": "50", "batch_size": "1",
    "grad_accum_steps": "1", "checkpoint_every_steps": "70", "num_workers": "0",
}  # fmt: skip


@pytest.fixture(scope="module")
def searched(small_ml, tmp_path_factory):
    """A run that looked for its learning rate."""
    base_dir = copy_tree(small_ml, tmp_path_factory.mktemp("searched") / "ml", SEARCH)
    exit_code, output = run(base_dir)
    assert exit_code == 0, output
    return base_dir


def test_a_rate_that_was_found_trains_as_one_that_was_given(searched, small_ml, tmp_path):
    document = read_metrics(searched)
    search = document["learning_rate_search"]
    chosen = search["chosen"]
    assert document["hyperparameters"]["learning_rate"] == chosen
    assert 10 < len(search["rates"]) == len(search["losses"]) <= 25
    given = copy_tree(small_ml, tmp_path / "ml", {**SEARCH, "learning_rate": str(chosen)})
    exit_code, output = run(given)
    assert exit_code == 0, output
    assert weights(given) == weights(searched)
    assert read_metrics(given)["learning_rate_search"] is None


def test_a_run_that_goes_on_keeps_the_rate_and_its_search(searched, tmp_path):
    base_dir = copy_tree(searched, tmp_path / "ml", SEARCH)
    checkpoints(base_dir)[-1].unlink()
    exit_code, output = run(base_dir)
    assert exit_code == 0, output
    assert "as in the run that goes on here" in output
    assert "resuming from" in output
    assert weights(base_dir) == weights(searched)
    names = ("learning_rate_search", "gradient_norms")
    before, after = read_metrics(searched), read_metrics(base_dir)
    assert [before[name] for name in names] == [after[name] for name in names]


def test_two_processes_find_one_rate(small_ml, tmp_path):
    settings = {**SEARCH, "processes_per_host": "2", "checkpoint_every_steps": "1"}
    base_dir = copy_tree(small_ml, tmp_path / "ml", settings)
    process = start(base_dir)
    wait_for(lambda: checkpoints(base_dir), process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    assert output.count("learning_rate=auto: ") == 1
    document = read_metrics(base_dir)
    assert document["stopped"] is True
    assert len(document["learning_rate_search"]["rates"]) > 10


def test_asked_to_stop_while_it_looks_for_a_rate(small_ml, tmp_path):
    base_dir = copy_tree(small_ml, tmp_path / "ml", {**SEARCH, "epochs": "1000"})
    process = start(base_dir)
    line = ""
    assert process.stdout is not None
    while "random weights" not in line:  # of the network that is built for the search
        line = process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0, output
    assert "asked to stop before training began" in output
    assert not checkpoints(base_dir)
    assert not (base_dir / "checkpoints/settled.json").exists()


def test_a_frozen_backbone_and_learned_weights_survive_a_break(small_ml, tmp_path):
    torch.manual_seed(1)
    torch.save({"teacher": resnet50().state_dict()}, tmp_path / "backbone.pth")
    settings = {
        **SMALL, "backbone_weights": str(tmp_path / "backbone.pth"),
        "freeze_backbone_fraction": "0.5", "backbone_lr_decay": "0.8",
        "backbone_batchnorm": "frozen", "task_weighting": "uncertainty",
    }  # fmt: skip
    base_dir = copy_tree(small_ml, tmp_path / "ml", settings)
    exit_code, output = run(base_dir)
    assert exit_code == 0, output
    assert "the backbone keeps its weights from step 1 on" in output
    assert "the backbone learns from step 4 on" in output
    assert "learned weights of the losses: segments " in output
    expected, document = weights(base_dir), read_metrics(base_dir)
    learned = document["task_weighting"]["log_variances"]
    assert learned.keys() == {"segments", "lines"}
    assert read_history(base_dir)[-1]["train/lines/log_variance"] == pytest.approx(
        learned["lines"], abs=1e-6
    )
    newest = checkpoints(base_dir)[-1]
    assert newest.name == "step-00000006.pt"
    newest.unlink()
    exit_code, output = run(base_dir)
    assert exit_code == 0, output
    assert "epoch 1, step 4" in output
    assert "keeps its weights" not in output
    assert weights(base_dir) == expected
    assert read_metrics(base_dir)["task_weighting"] == document["task_weighting"]


def test_a_training_whose_gradients_are_no_numbers_ends_with_its_samples(small_ml, tmp_path):
    backbone = resnet50()
    torch.nn.init.constant_(backbone.conv1.weight, 3e38)  # finite, but no sum of two of them is
    torch.save(backbone.state_dict(), tmp_path / "backbone.pth")
    settings = {**SMALL, "epochs": "3", "backbone_weights": str(tmp_path / "backbone.pth")}
    base_dir = copy_tree(small_ml, tmp_path / "ml", settings)
    exit_code, output = run(base_dir)
    assert exit_code == 1, output
    assert output.count("gradient is not finite: step skipped; samples: ") == 6
    assert "Traceback" not in output
    assert re.fullmatch(
        r"gradient not finite in 6 steps in a row; lower learning_rate or set precision=fp32; last "
        r"samples: .*\n",
        failure(base_dir),
    )
