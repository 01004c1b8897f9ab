"""`best` really trains: interrupted, resumed, finished, called again; and as a command."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from app.__main__ import main
from app.commands.best import best
from app.commands.best.run import BestRun
from app.inference.model import load_model
from app.job.signals import StopRequests
from app.model.export import digest_weights
from app.settings import recipes
from app.synthetic.staging import SplitParameters
from app.synthetic.write_own import write_own
from tests.support.models import shallow_backbones
from tests.support.paths import ROOT
from tests.support.runs import checkpoints, read_metrics, without_report

SETTINGS = {
    "epochs": "1", "crop_size_px": "64", "batch_size": "2", "num_workers": "0",
    "max_val_samples": "1", "precision": "fp32", "checkpoint_every_steps": "2",
}  # fmt: skip
STEPS = {"coarse": 4, "fine": 1}
LIMIT_S = 300.0  # against hangs


@pytest.fixture
def trained_here(monkeypatch):
    """Commands run in this process, which has imported torch, on a shallow network.

    Returns the words of the commands as they are run.
    """
    ran = []

    def run_here(command, requests, output=None):  # noqa: ARG001
        words = list(command[command.index("app") + 1 :])
        ran.append(words)
        in_process = ["--in-process"] if words[0] == "train" else []
        with shallow_backbones(), without_report():
            return main([*words, *in_process])

    monkeypatch.setattr(best, "run_child_job", run_here)
    monkeypatch.setattr(recipes, "PACE_STEPS", 1)
    monkeypatch.setattr(best, "count_steps", lambda stage, *_: STEPS[stage.name])
    return ran


def stop_at_first_checkpoint(base_dir):
    """Asks this process to stop once a job has saved something, as a platform does."""

    def ask():
        deadline_s = time.monotonic() + LIMIT_S
        while not checkpoints(base_dir) and time.monotonic() < deadline_s:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    # Whoever listens when it comes too late.
    signal.signal(signal.SIGTERM, lambda *_: None)
    thread = threading.Thread(target=ask)
    thread.start()
    return thread


@pytest.mark.slow
def test_a_training_is_interrupted_resumed_finished_and_called_again(
    module_path, trained_here, caplog
):
    own, base_dir = module_path / "village", module_path / "best"
    write_own(own, SplitParameters(4, 1, 1, seed=5, size_px=192))
    run = BestRun(base_dir, {"own": own}, SETTINGS, hours=1)
    caplog.set_level("INFO")
    thread = stop_at_first_checkpoint(base_dir / "coarse")
    assert best.train_best(run, StopRequests()) == 0
    thread.join()
    assert caplog.messages[-1] == "stopped; the same command resumes"
    stopped = read_metrics(base_dir / "coarse")
    assert stopped["stopped"] is True
    assert 1 <= stopped["steps"] < STEPS["coarse"]
    assert not (base_dir / "model").exists()

    assert best.train_best(run, StopRequests()) == 0
    places = [words[words.index("--base-dir") + 1] for words in trained_here if words[0] == "train"]
    names = [place.rpartition("/")[2] for place in places]
    assert names == [".pace", ".pace", "coarse", "coarse", "fine"]
    assert any(message.startswith("resuming from ") for message in caplog.messages)
    assert {name: read_metrics(base_dir / name)["steps"] for name in STEPS} == STEPS
    # The last stage began where the first one ended.
    begun = read_metrics(base_dir)["initial_model"]["sha256"]
    assert begun == digest_weights(base_dir / "coarse/model")
    card = (base_dir / "model/README.md").read_text()
    assert "| score | Own roofs (synthetic), test |" in card
    scores = json.loads((base_dir / "scores/own-test.json").read_text())
    assert (scores["split"], scores["tta"], scores["num_samples"]) == ("test", 8, {"own": 1})
    assert "test/planes/pq" in scores["metrics"]
    with shallow_backbones():
        assert load_model(base_dir).gsd_m == 0.1

    told = caplog.messages[-len(json.loads((base_dir / "best.json").read_text())["lines"]) :]
    num_ran = len(trained_here)
    caplog.clear()
    assert best.train_best(run, StopRequests()) == 0
    assert caplog.messages[0].startswith("finished before, nothing to do")
    assert caplog.messages[1:] == told
    assert len(trained_here) == num_ran


def test_data_that_cannot_be_trained_on_are_one_line_and_leave_no_tree(tmp_path):
    own, base_dir, link = tmp_path / "empty", tmp_path / "runs/best", tmp_path / "latest"
    own.mkdir()
    words = ["best", f"--base-dir={base_dir}", f"--own={own}", f"--newest={link}"]
    done = subprocess.run(
        [sys.executable, "-m", "app", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    assert done.returncode == 2
    [error] = [line for line in done.stdout.splitlines() if " ERROR " in line]
    assert f"coarse, a short job: Own roofs: no photos in {own}/photos: " in error
    assert not base_dir.exists()
    assert not link.is_symlink()
