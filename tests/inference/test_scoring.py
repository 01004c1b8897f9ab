import pytest

from app.base.errors import DataError
from app.base.tasks import build_tasks
from app.data.loading import EvalDataset
from app.data.rid.dataset import RidDataset
from app.data.transforms import EvalTransform
from app.inference.scoring import Scores, check_scored
from tests.support.fakes_roofline import open_roofline


@pytest.fixture(scope="module")
def datasets(three_ml):
    data_dir = three_ml / "input/data"
    readers = {
        "rid": RidDataset(data_dir / "rid", "val"),
        "roofline": open_roofline(data_dir / "roofline", "val"),
    }
    return {name: EvalDataset(reader, EvalTransform(0.1)) for name, reader in readers.items()}


@pytest.mark.parametrize(
    ("num_rid", "num_roofline", "message"),
    [
        (3, 0, r"^Roofline\S*: no image to score can be read; repair the files named above$"),
        (
            0,
            0,
            r"^RID: no image to score can be read; repair the files named above; Roofline\S*: no "
            r"image to score can be read; repair the files named above$",
        ),
    ],
)
def test_a_dataset_without_one_image_that_can_be_read(datasets, num_rid, num_roofline, message):
    scores = Scores(build_tasks(), list(datasets))
    scores.num_samples.update(rid=num_rid, roofline=num_roofline)
    with pytest.raises(DataError, match=message):
        check_scored(scores, datasets)


def test_one_image_of_each_is_enough(datasets):
    scores = Scores(build_tasks(), list(datasets))
    scores.num_samples.update(rid=1, roofline=1)
    check_scored(scores, datasets)
    assert scores.num_samples == {"rid": 1, "roofline": 1}
