import pytest
from torch import nn

from app.base.errors import CheckpointError, StorageError
from app.job.paths import Paths
from app.settings.hyperparameters import Hyperparameters
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
    check_space_for_run(paths, num_kept=3, state=state_of(8))


@pytest.mark.parametrize(
    ("num_there", "needed_gib"),
    # 2^20 * 2^20 * 4 B = 4096 GiB of weights; a checkpoint is four times as large. Of three kept
    # the oldest goes when the fourth is there. The model is written once, with 16 MiB beside it.
    [
        (0, 4 * 16384 + 4096),
        (1, 3 * 16384 + 4096),
        (3, 16384 + 4096),
        (7, 16384 + 4096),
    ],
)
def test_a_large_one_is_refused_before_it_begins(paths, num_there, needed_gib):
    for step in range(num_there):
        (paths.checkpoint_dir / f"step-{step:08d}.pt").write_text("")
    with pytest.raises(
        StorageError,
        match=rf"^{paths.checkpoint_dir} and {paths.model_dir}: \d+\.\d\d GiB free, but the run "
        rf"will write {needed_gib}\.02 GiB there; give it more space \(on SageMaker: "
        r"VolumeSizeInGB\), or lower keep_checkpoints$",
    ):
        check_space_for_run(paths, num_kept=3, state=state_of(2**20))


@pytest.fixture
def older(tmp_path):
    """A checkpoint of a time before a setting."""
    state, _ = build()
    state.step = 7
    identity = Hyperparameters().result_affecting()
    del identity["backbone_lr_decay"]
    save(tmp_path, state, identity)
    return tmp_path


def test_a_setting_that_came_later_had_the_effect_of_its_default(older):
    state, _ = build()
    identity = Hyperparameters().result_affecting()
    resume_run(older, "auto", identity, state, NO_FILES)
    assert state.step == 7
    other = Hyperparameters(backbone_lr_decay=0.5).result_affecting()
    with pytest.raises(
        CheckpointError, match=r"another run: backbone_lr_decay was 1\.0, now 0\.5; give the ear"
    ):
        resume_run(older, "auto", other, state, NO_FILES)


def test_a_setting_that_is_gone_counts_as_what_every_run_does_now(tmp_path):
    state, _ = build()
    identity = Hyperparameters().result_affecting()
    save(tmp_path / "fixed", state, {**identity, "task_weighting": "fixed"})
    resume_run(tmp_path / "fixed", "auto", identity, state, NO_FILES)
    save(tmp_path / "learned", state, {**identity, "task_weighting": "uncertainty"})
    with pytest.raises(CheckpointError, match=r"with task_weighting=uncertainty, which"):
        resume_run(tmp_path / "learned", "auto", identity, state, NO_FILES)


def test_other_groups_of_parameters_cannot_be_forced(older):
    state, _ = build()
    state.optimizer.add_param_group({"params": [], "peak_lr": 0.1})
    with pytest.raises(
        CheckpointError, match=r"it has 1 groups of parameters, these settings make 2 .*backbone_lr"
    ):
        resume_run(older, "force", {}, state, NO_FILES)
