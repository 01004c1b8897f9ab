"""All that a training job finds under its base directory, with synthetic datasets."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from app.base.dataset_names import DatasetName
from app.synthetic.staging import SplitParameters, write_problems
from app.synthetic.write_airs import write_airs
from app.synthetic.write_rid import write_rid
from app.synthetic.write_roofline import CropParameters, write_roofline

_CHANNEL = {
    "TrainingInputMode": "File",
    "S3DistributionType": "FullyReplicated",
    "RecordWrapperType": "None",
}

Writer = Callable[[Path], None]

# Large enough to train on for a look, and small enough to be written in a minute.
SAMPLE: Final[Mapping[DatasetName, Writer]] = {
    "rid": partial(write_rid, parameters=SplitParameters(240, 10, 10)),
    "roofline": partial(write_roofline, parameters=CropParameters(300)),
    "airs": partial(write_airs, parameters=SplitParameters(8, 1, 1, size_px=2048)),
}
# A few photos of usual sizes, to measure the time that reading takes.
FEW: Final[Mapping[DatasetName, Writer]] = {
    "rid": partial(write_rid, parameters=SplitParameters(12, 1, 1)),
    "roofline": partial(write_roofline, parameters=CropParameters(30)),
    "airs": partial(write_airs, parameters=SplitParameters(1, 1, 1, size_px=1024)),
}


def make_sample(base_dir: Path, writers: Mapping[DatasetName, Writer] = SAMPLE) -> None:
    """Write all that a training job finds under its base directory, with synthetic scenes.

    Args:
        base_dir: The folder that stands for a container's /opt/ml. Scenes go to input/data/NAME,
            configuration to input/config, where files that are there already are left unchanged.
        writers: The writer of each dataset, called with the dataset's folder.

    Raises:
        ConfigError: As the writers of the datasets.
    """
    for name, write in writers.items():
        write(base_dir / "input/data" / name)
    _write_config(base_dir / "input/config", list(writers))


def ensure_sample(base_dir: Path) -> dict[DatasetName, Path]:
    """The folders of a sample's datasets, by name; it is written where it is not there.

    Args:
        base_dir: As `make_sample`.

    Raises:
        ConfigError: As `make_sample`.
    """
    data_dir = base_dir / "input/data"
    # The last file that is written: where it is, all is.
    if not (base_dir / "input/config/resourceconfig.json").exists():
        shutil.rmtree(data_dir, ignore_errors=True)
        make_sample(base_dir)
    return {name: data_dir / name for name in SAMPLE}


def _write_config(config_dir: Path, channels: Sequence[str]) -> None:
    """Write the files that SageMaker writes; one that is there already is left unchanged."""
    contents: dict[str, dict[str, object]] = {
        # Texts, as SageMaker writes them. Enough to show that the sample teaches, in minutes.
        "hyperparameters.json": {"epochs": "5", "batch_size": "4"},
        "inputdataconfig.json": dict.fromkeys(channels, _CHANNEL),
        "resourceconfig.json": {
            "current_host": "algo-1",
            "hosts": ["algo-1"],
            "network_interface_name": "eth0",
        },
    }
    with write_problems(config_dir):
        config_dir.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        path = config_dir / name
        with write_problems(path):
            if not path.exists():
                path.write_text(json.dumps(content, indent=2) + "\n")
