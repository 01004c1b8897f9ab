"""`train` before it trains: folders that another job works in, and a stop while it measures."""

import json

import pytest

from app.__main__ import main
from app.base.errors import StopRequested
from app.commands.train import find_pass_limit
from app.job.failure import write_failure
from app.job.folder_locks import FolderLocks
from app.job.job import Job
from app.job.paths import Paths
from app.job.signals import StopFlag, StopRequests
from app.resources import batch_size
from app.resources.pass_limit import PassLimit
from app.settings.hyperparameters import Hyperparameters
from app.settings.settled import remember

AUTO = Hyperparameters(batch_size="auto", crop_size_px=64, device="cpu")


@pytest.fixture(autouse=True)
def own_handlers(monkeypatch):
    for kind in (StopRequests, StopFlag):  # pytest has its own
        monkeypatch.setattr(kind, "listen", lambda _: None)


@pytest.fixture
def paths(tmp_path):
    paths = Paths(tmp_path / "ml")
    paths.hyperparameters.parent.mkdir(parents=True)
    return paths


def contents(folder):
    return {
        str(path.relative_to(folder)): path.is_file() and path.read_bytes()
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("arguments", [(), ("--in-process",)])
@pytest.mark.parametrize("given", [{}, {"epochs": "0"}])
def test_nothing_of_a_job_at_work_is_touched(paths, caplog, given, arguments):
    """Also not by a start that would be refused for its settings."""
    paths.hyperparameters.write_text(json.dumps(given))
    write_failure(paths, "of the job at work")
    paths.checkpoint_dir.mkdir()
    (paths.checkpoint_dir / "step-00000010.pt.tmp").write_text("is being written")
    with FolderLocks() as locks:
        for folder in (paths.output_dir, paths.model_dir, paths.checkpoint_dir):
            locks.take(folder)
        before = contents(paths.base_dir)
        assert main(["train", "--base-dir", str(paths.base_dir), *arguments]) == 2
        assert contents(paths.base_dir) == before
    [record] = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.getMessage().startswith(f"{paths.output_dir}: another job works here: process ")


def test_a_shared_checkpoint_folder_is_this_job_s_own_failure(paths, tmp_path):
    shared = tmp_path / "shared"
    config = {"LocalPath": str(shared)}
    paths.checkpoint_config.write_text(json.dumps(config))
    with FolderLocks() as locks:
        locks.take(shared)
        assert main(["train", "--base-dir", str(paths.base_dir)]) == 2
    assert paths.failure_file.read_text().startswith(f"{shared}: another job works here: ")


@pytest.mark.parametrize(
    ("variable", "hosts", "are_taken"),
    [(None, ["algo-1"], True), (None, ["algo-0", "algo-1"], False), ("train.py", ["a"], False)],
    ids=["alone", "not-first", "script"],
)
def test_who_writes_results_has_their_folders_alone(paths, monkeypatch, variable, hosts, are_taken):
    if variable:
        monkeypatch.setenv("SAGEMAKER_PROGRAM", variable)
    config = {"current_host": hosts[-1], "hosts": hosts, "network_interface_name": "lo"}
    paths.resource_config.write_text(json.dumps(config))
    paths.checkpoint_dir.mkdir()
    left_over = paths.checkpoint_dir / "step-00000010.pt.tmp"
    left_over.touch()
    seen = []

    def run_job(*_):
        seen.append((paths.checkpoint_dir / ".lock").exists() and not left_over.exists())
        return 0

    monkeypatch.setattr("app.job.supervisor.run_job", run_job)
    assert main(["train", "--base-dir", str(paths.base_dir)]) == 0
    assert seen == [are_taken]
    assert not list(paths.base_dir.rglob(".lock"))


def find_limit(paths, monkeypatch, *, is_stopped=False, measured=4, rank="0", job=None):
    def measure(*_):
        if is_stopped:
            raise StopRequested
        return measured

    monkeypatch.setattr(batch_size, "find_largest_pass", measure)
    monkeypatch.setenv("LOCAL_RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", "2")
    return find_pass_limit(Job(paths, AUTO, {}, lambda: is_stopped, job))


def test_a_stop_while_the_batch_size_is_measured_invents_none(paths, monkeypatch):
    assert find_limit(paths, monkeypatch) == PassLimit(found=4)
    assert find_limit(paths, monkeypatch, is_stopped=True) == PassLimit(was_stopped=True)
    assert find_limit(paths, monkeypatch, rank="1") == PassLimit()


def test_what_is_known_is_not_measured(paths, monkeypatch):
    paths.checkpoint_dir.mkdir()
    (paths.checkpoint_dir / "step-00000010.pt").touch()
    key = {"global_batch_size": None, "crop_size_px": 64, "num_processes": 2}
    document = {"batch_size": {**key, "batch_size": 8}}
    remember(paths.checkpoint_dir, document, None, is_resumed=False)
    assert find_limit(paths, monkeypatch, is_stopped=True) == PassLimit(recalled=8)


def test_the_option_for_a_model_is_a_setting(paths, monkeypatch):
    paths.hyperparameters.write_text(json.dumps({"initial_model": "none", "seed": "3"}))
    seen = []

    def run_job(_arguments, _paths, settings, *_):
        seen.append(settings)
        return 0

    monkeypatch.setattr("app.job.supervisor.run_job", run_job)
    words = ["train", "--base-dir", str(paths.base_dir)]
    model = str(paths.base_dir)  # anything that is there
    assert main([*words, "--initial-model", model]) == 0
    assert main(words) == 0
    assert [one["initial_model"] for one in seen] == [model, "none"]
    assert [one["seed"] for one in seen] == ["3", "3"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--set", "epochs=x"], "epochs: "),
        (["--rid", "absent"], "--rid absent: no such folder; correct the path"),
        (["--own", __file__], f"--own {__file__}: not a folder; correct the path"),
        (["--initial-model", "absent"], "--initial-model absent: not found; correct the path"),
    ],
)
def test_a_dry_run_says_what_is_wrong_and_writes_nothing(tmp_path, capsys, words, message):
    base_dir = tmp_path / "ml"
    assert main(["train", "--dry-run", "--base-dir", str(base_dir), *words]) == 2
    assert message in capsys.readouterr().out
    assert not base_dir.exists()


def test_a_dry_run_trains_nothing(tmp_path, capsys):
    words = ["train", "--dry-run", "--base-dir", str(tmp_path / "ml"), "--rid", str(tmp_path)]
    assert main(words) == 0
    assert "settings and folders can be used" in capsys.readouterr().out
    assert not (tmp_path / "ml").exists()


def test_a_tree_of_make_that_comes_to_nothing_is_removed(paths, tmp_path, caplog, monkeypatch):
    link = tmp_path / "latest"
    words = ["train", "--base-dir", str(paths.base_dir), "--newest", str(link)]
    paths.hyperparameters.write_text(json.dumps({"epochs": "0"}))
    # One of several processes gets the same words, and leaves the tree to the one that started it.
    with monkeypatch.context() as patch:
        patch.setattr("app.commands.train._train_as_a_rank", lambda _: None)
        assert main([*words, "--supervised", "rank"]) == 0
    assert paths.base_dir.exists()
    assert not link.is_symlink()
    assert main(words) == 2
    assert not paths.base_dir.exists()
    assert not link.is_symlink()
    assert "epochs: " in caplog.text
