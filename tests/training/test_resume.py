import logging

import pytest
from torch import nn

from app.base.errors import CheckpointError, StorageError
from app.job.paths import Paths
from app.settings.hyperparameters import Hyperparameters
from app.training.checkpoints import RunCheckpoints
from app.training.resume import check_space_for_run, resume_run
from app.training.state import TrainingState
from tests.support.steps import NO_FILES, build, save


@pytest.fixture
def paths(tmp_path):
    paths = Paths(tmp_path)
    for folder in (paths.model_dir, paths.checkpoint_dir):
        folder.mkdir()
    return paths


def state_of(side):
    """Weights of side * side numbers, which take up no memory."""
    model = nn.Linear(side, side, bias=False, device="meta")
    return TrainingState(model, ema=None, optimizer=None, scaler=None)


def test_a_small_run_fits(paths):
    check_space_for_run(paths, RunCheckpoints(paths.checkpoint_dir, 3), state_of(8))


def test_weights_of_the_best_validations_need_space_too(paths):
    """One of before the oldest checkpoint, and one of after each of the three."""
    checkpoints = RunCheckpoints(paths.checkpoint_dir, 3, keeps_best=True)
    with pytest.raises(StorageError, match=rf"write {4 * 16384 + 4 * 4096 + 4096}\.02 GiB there"):
        check_space_for_run(paths, checkpoints, state_of(2**20))


@pytest.mark.parametrize(
    ("num_own", "needed_gib"),
    # 2^20 * 2^20 * 4 B = 4096 GiB of weights; a checkpoint is four times as large. Of three kept
    # the oldest goes when the fourth is there. The model is written once, with 16 MiB beside it.
    [
        (0, 4 * 16384 + 4096),
        (1, 3 * 16384 + 4096),
        (3, 16384 + 4096),
        (7, 16384 + 4096),
    ],
)
def test_a_large_one_is_refused_before_it_begins(paths, num_own, needed_gib):
    checkpoints = RunCheckpoints(paths.checkpoint_dir, 3, own=["one"] * num_own)
    for step in range(9):  # of an earlier run, which stay
        (paths.checkpoint_dir / f"step-{step:08d}.pt").write_text("")
    with pytest.raises(
        StorageError,
        match=rf"^{paths.checkpoint_dir} and {paths.model_dir}: \d+\.\d\d GiB free, but the run "
        rf"will write {needed_gib}\.02 GiB there; give it more space \(on SageMaker: "
        r"VolumeSizeInGB\), or lower keep_checkpoints$",
    ):
        check_space_for_run(paths, checkpoints, state_of(2**20))


IDENTITY = Hyperparameters().result_affecting()


@pytest.fixture
def folder(tmp_path):
    """Two checkpoints of a job "a" on SageMaker, at steps 7 and 8."""
    write(tmp_path, IDENTITY, "a")
    return tmp_path


def write(folder, identity, job=None, steps=(7, 8)):
    state, _ = build()
    checkpoints = RunCheckpoints(folder, 2, job)
    for state.step in steps:
        save(checkpoints, state, identity)


def resume(folder, mode="auto", identity=IDENTITY, job=None):
    """The step that a run goes on from, and which checkpoints are its own."""
    state, _ = build()
    checkpoints = RunCheckpoints(folder, 2, job)
    resume_run(checkpoints, mode, identity, state, NO_FILES)
    return state.step, checkpoints.own


BOTH = ["step-00000007.pt", "step-00000008.pt"]


@pytest.mark.parametrize(
    ("mode", "job", "expected"),
    [
        ("auto", "a", (8, BOTH)),
        ("auto", "b", (8, BOTH)),
        ("auto", None, (8, BOTH)),
        ("force", None, (8, BOTH)),
        # Not those of before this job; but those of this job, which was interrupted.
        ("never", "b", (0, [])),
        ("never", None, (0, [])),
        ("never", "a", (8, BOTH)),
    ],
)
def test_what_is_resumed(folder, mode, job, expected):
    assert resume(folder, mode, job=job) == expected


def test_without_a_platform_every_start_is_a_job_of_its_own(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    write(tmp_path, IDENTITY)
    assert resume(tmp_path, "never") == (0, [])
    assert "starting again from step 0; checkpoints of an earlier run (2, the newest" in caplog.text


def test_a_job_finds_its_own_among_those_of_others(folder):
    """As after an interruption, where S3 gives back what had been moved aside."""
    write(folder / "b", IDENTITY, "b", steps=(3,))
    (folder / "b/step-00000003.pt").rename(folder / "step-00000003.pt")
    assert resume(folder, "never", job="b") == (3, ["step-00000003.pt"])


def test_a_job_whose_only_checkpoint_is_damaged_starts_anew(folder, caplog):
    for name in BOTH:
        (folder / name).write_bytes(b"damaged")
    assert resume(folder, "never", job="a") == (0, [])
    assert "step-00000008.pt is damaged" in caplog.text


def test_other_settings_within_a_job_that_never_resumes_others(folder):
    with pytest.raises(CheckpointError, match=r"epochs was 30, now 9; .* or start another job$"):
        resume(folder, "never", Hyperparameters(epochs=9).result_affecting(), "a")


def test_a_run_that_is_forced_on_leaves_the_earlier_one_s_checkpoints(folder):
    other = Hyperparameters(epochs=9).result_affecting()
    assert resume(folder, "force", other) == (8, [])
    # One of another run, which was left among this one's, is nobody's to delete.
    write(folder / "other", other, steps=(6,))
    (folder / "other/step-00000006.pt").rename(folder / "step-00000006.pt")
    assert resume(folder) == (8, BOTH)


@pytest.fixture
def older(tmp_path):
    """A checkpoint of a time before a setting."""
    write(tmp_path, {k: v for k, v in IDENTITY.items() if k != "backbone_lr_decay"}, steps=(7,))
    return tmp_path


def test_a_setting_that_came_later_had_the_effect_of_its_default(older):
    assert resume(older) == (7, ["step-00000007.pt"])
    other = Hyperparameters(backbone_lr_decay=0.5).result_affecting()
    with pytest.raises(
        CheckpointError, match=r"another run: backbone_lr_decay was 1\.0, now 0\.5; give the ear"
    ):
        resume(older, identity=other)


def test_a_setting_that_is_gone_counts_as_what_every_run_does_now(tmp_path):
    write(tmp_path / "fixed", {**IDENTITY, "task_weighting": "fixed"})
    assert resume(tmp_path / "fixed") == (8, BOTH)
    write(tmp_path / "learned", {**IDENTITY, "task_weighting": "uncertainty"})
    with pytest.raises(CheckpointError, match=r"with task_weighting=uncertainty, which"):
        resume(tmp_path / "learned")


def test_other_groups_of_parameters_cannot_be_forced(older):
    state, _ = build()
    state.optimizer.add_param_group({"params": [], "peak_lr": 0.1})
    with pytest.raises(
        CheckpointError, match=r"it has 1 groups of parameters, these settings make 2 .*backbone_lr"
    ):
        resume_run(RunCheckpoints(older, 1), "force", {}, state, NO_FILES)
