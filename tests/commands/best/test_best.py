"""`best`: its stages, what it keeps to resume, what it scores and says; a stand-in trains."""

import json
import os
import shutil
import signal
import subprocess
import sys

import psutil
import pytest

from app.__main__ import main
from app.base.errors import ConfigError, FolderInUseError
from app.commands.best.best import StageError, train_best
from app.commands.best.run import BestRun
from app.job.folder_locks import FolderLocks
from app.job.signals import StopRequests
from app.settings.recipes import COARSE, Recipe, Stage
from tests.support.best import STEP_S, calls, stand_in
from tests.support.paths import ROOT
from tests.support.processes import LIMIT_S, has_ended, start_until, wait_until

HOURS = 0.01  # 36 s: of coarse 25.2 s, 51 steps; of fine 10.8 s, 22 steps
ROOF_IOU = f"  {'roof IoU':<18}  {'0.750':>15}"  # below "Own roofs, test"
# Trains, as the command does it.
TRAIN = """
import sys
from pathlib import Path
from app.base.logs import configure_logging
from app.commands.best.best import train_best
from app.commands.best.run import BestRun
from app.job.signals import StopRequests
from tests.support.best import stand_in
configure_logging()
requests = StopRequests()
requests.listen()
base_dir, own, hours, kind = sys.argv[1:]
run = BestRun(Path(base_dir), {"own": Path(own)}, {}, float(hours), app=stand_in(kind))
sys.exit(train_best(run, requests))
"""


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture
def own(tmp_path):
    folder = tmp_path / "roofs"
    folder.mkdir()
    return folder


@pytest.fixture
def base_dir(tmp_path):
    return tmp_path / "best"


def run_of(base_dir, own, kind="", **changes):
    request = {"channels": {"own": own}, "settings": {}, "hours": HOURS, **changes}
    return BestRun(base_dir, app=stand_in(kind), **request)


def test_each_stage_begins_with_the_model_of_the_one_before(base_dir, own):
    assert train_best(run_of(base_dir, own, settings={"seed": "3"}), StopRequests()) == 0
    *paces, coarse, fine, scored = calls(base_dir)
    assert [call["--base-dir"] for call in paces] == [str(base_dir / ".pace")] * 2
    assert [call["steps_per_epoch"] for call in paces] == ["12"] * 2
    assert [call["--base-dir"] for call in (coarse, fine)] == [
        str(base_dir / "coarse"),
        str(base_dir / "fine"),
    ]
    # 51 and 22 steps, in whole epochs of four.
    assert [(call["epochs"], call["steps_per_epoch"]) for call in (coarse, fine)] == [
        ("4", "12"),
        ("4", "5"),
    ]
    assert (coarse["gsd_m"], fine["gsd_m"]) == ("0.2", "0.1")
    assert "initial_model" not in coarse
    assert fine["initial_model"] == str(base_dir / "coarse/model")
    assert fine["initial_model_rate_factor"] == "0.3"
    assert {call["seed"] for call in (*paces, coarse, fine, scored)} == {"3"}
    assert {call["--own"] for call in (*paces, coarse, fine, scored)} == {str(own)}
    assert {call["dataset_weights"] for call in (*paces, coarse, fine)} == {"own=0.8"}
    assert (scored["--model"], scored["--split"], scored["--tta"], scored["--vectors"]) == (
        str(base_dir / "model"), "test", "8", "",
    )  # fmt: skip
    state = json.loads((base_dir / "best.json").read_text())
    assert state["steps"] == {"coarse": 48, "fine": 20}
    assert state["step_s"] == {"coarse": STEP_S, "fine": STEP_S}
    assert not (base_dir / ".pace").exists()


def test_a_setting_that_is_given_wins_in_every_stage(base_dir, own):
    settings = {"dataset_weights": "own=1", "crop_size_px": "64", "epochs": "2", "keep": "last"}
    train_best(run_of(base_dir, own, settings=settings), StopRequests())
    *paces, coarse, fine, _ = calls(base_dir)
    for call in (coarse, fine):
        assert settings.items() <= call.items()
    assert [call["steps_per_epoch"] for call in (coarse, fine)] == ["25", "11"]
    assert [(call["epochs"], call["crop_size_px"]) for call in paces] == [("1", "64")] * 2


def test_a_recipe_of_one_stage(base_dir, own):
    recipe = Recipe("alone", [Stage("only", 1, COARSE)])
    assert train_best(run_of(base_dir, own, recipe=recipe), StopRequests()) == 0
    assert [call[""] for call in calls(base_dir)] == ["train", "train", "evaluate"]
    assert (base_dir / "model/model.safetensors").read_bytes() == b"only"


def test_the_model_is_the_last_stages_with_the_scores_in_its_card(base_dir, own, caplog):
    caplog.set_level("INFO")
    train_best(run_of(base_dir, own), StopRequests())
    model = base_dir / "model"
    assert (model / "model.safetensors").read_bytes() == b"fine"
    assert (model / "report.html").exists()
    assert not (model / ".lock").exists()
    card = (model / "README.md").read_text()
    assert "| roof IoU | 0.750 |" in card
    assert "plane PQ" not in card  # has no value
    assert not (base_dir / "fine/model/README.md").exists()
    lines = [record.getMessage() for record in caplog.records]
    assert ROOF_IOU in lines
    assert f"  {'within 22.5 deg, %':<18}  {'90':>15}" in lines
    assert f"report: {model / 'report.html'}" in lines


def test_a_stage_killed_while_it_wrote_its_results_writes_the_rest(base_dir, own):
    with pytest.raises(ConfigError, match="cannot be scored"):
        train_best(run_of(base_dir, own, "unscored"), StopRequests())
    shutil.rmtree(base_dir / "model")
    (base_dir / "fine/model/report.html").unlink()
    num_calls = len(calls(base_dir))
    assert train_best(run_of(base_dir, own), StopRequests()) == 0
    again, scored = calls(base_dir)[num_calls:]
    assert (again[""], again["--base-dir"]) == ("train", str(base_dir / "fine"))
    assert scored[""] == "evaluate"
    assert (base_dir / "model/report.html").exists()


def test_what_is_finished_is_said_and_not_done_again(base_dir, own, caplog):
    train_best(run_of(base_dir, own), StopRequests())
    num_calls = len(calls(base_dir))
    caplog.set_level("INFO")
    caplog.clear()
    assert train_best(run_of(base_dir, own), StopRequests()) == 0
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0].startswith("finished before, nothing to do")
    assert ROOF_IOU in lines
    assert len(calls(base_dir)) == num_calls
    (own / "photo.tif").touch()
    assert train_best(run_of(base_dir, own), StopRequests()) == 0
    assert "photos or labels have changed since this training began" in caplog.text
    assert len(calls(base_dir)) == num_calls


def test_a_model_that_is_gone_is_scored_no_second_time(base_dir, own):
    train_best(run_of(base_dir, own), StopRequests())
    num_calls = len(calls(base_dir))
    (base_dir / "model/metrics.json").unlink()
    assert train_best(run_of(base_dir, own), StopRequests()) == 0
    assert len(calls(base_dir)) == num_calls
    assert "| roof IoU | 0.750 |" in (base_dir / "model/README.md").read_text()


def start(base_dir, own, hours=HOURS):
    """A training in its first stage."""
    return start_until(
        base_dir / "coarse/waits", TRAIN, str(base_dir), str(own), str(hours), "waits"
    )


@pytest.mark.parametrize(
    ("number", "exit_code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)], ids=["TERM", "INT"]
)
def test_a_stop_reaches_the_stage_and_the_same_command_resumes(base_dir, own, number, exit_code):
    process = start(base_dir, own)
    process.send_signal(number)
    output, _ = process.communicate(timeout=LIMIT_S)
    assert process.returncode == exit_code
    assert output.rstrip().endswith("stopped; the same command resumes")
    assert not (base_dir / "model").exists()
    state = (base_dir / "best.json").read_text()
    assert train_best(run_of(base_dir, own, "waits"), StopRequests()) == 0
    # The pace is not measured again, so that the stage has as many steps as it began with.
    names = [
        call["--base-dir"].rpartition("/")[2] for call in calls(base_dir) if call[""] == "train"
    ]
    assert names == [".pace", ".pace", "coarse", "coarse", "fine"]
    assert json.loads((base_dir / "best.json").read_text())["steps"] == json.loads(state)["steps"]


def test_a_stage_does_not_outlive_a_command_that_is_killed(base_dir, own):
    process = start(base_dir, own)
    [job] = psutil.Process(process.pid).children()
    process.kill()
    process.wait()
    wait_until(lambda: has_ended(job.pid))
    assert json.loads((base_dir / "coarse/model/metrics.json").read_text())["stopped"] is True
    assert train_best(run_of(base_dir, own, "waits"), StopRequests()) == 0


def test_a_stage_that_fails_says_why_and_ends_the_command_as_it_ended(base_dir, own):
    with pytest.raises(StageError, match=r"^coarse: Own roofs: too little ground$") as error:
        train_best(run_of(base_dir, own, "refused"), StopRequests())
    assert error.value.exit_code == 2
    # What was put right resumes.
    assert train_best(run_of(base_dir, own), StopRequests()) == 0


def test_a_signal_that_ends_a_stage_is_an_exit_code_as_in_shells():
    assert StageError("killed", -9).exit_code == 137


def test_photos_that_chose_the_weights_are_scored_where_there_is_no_test(base_dir, own, caplog):
    assert train_best(run_of(base_dir, own, "without test"), StopRequests()) == 0
    assert "Own roofs, test: cannot be scored: no photo of split test" in caplog.text
    card = (base_dir / "model/README.md").read_text()
    assert "Photos of Own roofs, val also chose the weights" in card


def test_a_model_that_cannot_be_scored_stays(base_dir, own):
    reasons = "test: no photo of split test; val: no photo of split val; put that right"
    with pytest.raises(ConfigError, match=f"cannot be scored on Own roofs: {reasons}"):
        train_best(run_of(base_dir, own, "unscored"), StopRequests())
    assert (base_dir / "model/model.safetensors").exists()
    num_calls = len(calls(base_dir))
    assert train_best(run_of(base_dir, own), StopRequests()) == 0
    assert [call[""] for call in calls(base_dir)[num_calls:]] == ["evaluate"]


def test_a_model_without_planes_is_scored_by_pixel(base_dir, own):
    assert train_best(run_of(base_dir, own, "planeless"), StopRequests()) == 0
    assert "--vectors" not in calls(base_dir)[-1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"hours": 2.0}, r"--hours: 0\.01, now 2\.0"),
        ({"settings": {"seed": "1"}}, "--set: none, now seed=1"),
    ],
)
def test_another_training_in_the_same_folder_is_refused(base_dir, own, changes, words):
    train_best(run_of(base_dir, own), StopRequests())
    with pytest.raises(ConfigError, match=rf"asked for something else \({words}\); ask for"):
        train_best(run_of(base_dir, own, **changes), StopRequests())


def test_a_training_by_an_earlier_recipe_is_not_gone_on_with(base_dir, own):
    train_best(run_of(base_dir, own), StopRequests())
    later = Recipe("alone", [Stage("only", 1, COARSE)])
    words = "another version of roof-model, coarse_to_fine, expected this version's, alone; move"
    with pytest.raises(ConfigError, match=words):
        train_best(run_of(base_dir, own, recipe=later), StopRequests())


def test_other_peoples_folders_are_left_alone(base_dir, own):
    (base_dir / "model").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"holds model and no best\.json, expected an empty fol"):
        train_best(run_of(base_dir, own), StopRequests())
    (base_dir / "best.json").write_text("[]")
    with pytest.raises(ConfigError, match=r"best\.json: got a file that cannot be read"):
        train_best(run_of(base_dir, own), StopRequests())


def test_two_trainings_do_not_share_a_folder(base_dir, own, monkeypatch, caplog):
    monkeypatch.setattr(StopRequests, "listen", lambda _: None)  # pytest has its own handlers
    with FolderLocks() as locks:
        locks.take(base_dir)
        assert main(["best", "--base-dir", str(base_dir), "--own", str(own)]) == 2
        assert [path.name for path in base_dir.iterdir()] == [".lock"]
    assert f"{base_dir}: another job works here: process {os.getpid()} of host" in caplog.text


def test_a_stage_that_is_still_at_work_is_left_alone(base_dir, own):
    with FolderLocks() as locks:
        locks.take(base_dir / "coarse/output")
        (base_dir / "best.json").write_text(
            json.dumps({"request": run_of(base_dir, own).describe(), "files": None})
        )
        with pytest.raises(FolderInUseError, match="coarse/output: another job works here: "):
            train_best(run_of(base_dir, own), StopRequests())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--hours", "0"], "argument --hours: expected hours above 0, at most 1000, such as 1.5"),
        (["--hours", "nan"], "argument --hours: expected hours above 0, at most 1000"),
        (["--hours", "soon"], "such as 1.5, got 'soon'"),
    ],
)
def test_hours_that_are_none(capsys, arguments, message):
    with pytest.raises(SystemExit) as raised:
        main(["best", *arguments])
    assert raised.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rid", "absent"], "--rid absent: no such folder; correct the path"),
        (["--set", "epochs=0"], "epochs: got '0', expected a whole number, at least 1"),
        (["--set", "steps_per_epoch=3"], "best: --set steps_per_epoch: --hours decides it; leave"),
        (["--set", "resume=never"], "best: --set resume: the same command resumes; another --b"),
    ],
)
def test_bad_words_leave_nothing(base_dir, monkeypatch, caplog, arguments, message):
    monkeypatch.setattr(StopRequests, "listen", lambda _: None)
    assert main(["best", "--base-dir", str(base_dir), *arguments]) == 2
    assert message in caplog.text
    assert not base_dir.exists()


def test_a_dry_run_writes_nothing(base_dir, own, monkeypatch):
    monkeypatch.setattr(StopRequests, "listen", lambda _: None)
    words = ["best", "--base-dir", str(base_dir), "--own", str(own), "--hours", "2", "--dry-run"]
    assert main(words) == 0
    assert not base_dir.exists()


def test_the_command_imports_no_torch():
    check = "import sys, app.commands.best.best; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=False).returncode == 0
