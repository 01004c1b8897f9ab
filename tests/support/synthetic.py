"""Small synthetic samples of all datasets, for whole jobs."""

from functools import partial
from pathlib import Path

from app.base.dataset_names import DatasetName
from app.synthetic.sample import Writer
from app.synthetic.staging import SplitParameters
from app.synthetic.write_airs import write_airs
from app.synthetic.write_rid import write_rid
from app.synthetic.write_roofline import CropParameters, write_roofline


def rid_alone(parameters: SplitParameters) -> dict[DatasetName, Writer]:
    """RID's scenes and no other dataset."""
    return {"rid": partial(write_rid, parameters=parameters)}


def all_three(
    rid: SplitParameters, crops: CropParameters, airs: SplitParameters
) -> dict[DatasetName, Writer]:
    """All datasets, each of the size given."""
    return {
        **rid_alone(rid),
        "roofline": partial(write_roofline, parameters=crops),
        "airs": partial(write_airs, parameters=airs),
    }


def little_of_all() -> dict[DatasetName, Writer]:
    """All datasets, each just large enough for a job."""
    return all_three(
        SplitParameters(4, 2, 2, size_px=128),
        CropParameters(12),
        SplitParameters(1, 1, size_px=400),
    )


def files_of(root: Path) -> dict[str, bytes]:
    """The content of all files below a folder, by their path in it."""
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }
