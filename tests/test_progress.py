import pytest
from torch import nn

from app.errors import StorageError
from app.progress import check_space_for_run
from app.sagemaker import Paths
from app.training_state import TrainingState


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
