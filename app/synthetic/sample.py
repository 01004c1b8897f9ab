"""All that a training job finds under its base directory, with synthetic datasets."""

import json
import shutil
from pathlib import Path

from app.base.dataset_names import DATASET_NAMES, DatasetName
from app.synthetic.staging import write_problems
from app.synthetic.write_airs import write_airs
from app.synthetic.write_rid import write_rid
from app.synthetic.write_roofline import write_roofline

_CHANNEL = {
    "TrainingInputMode": "File",
    "S3DistributionType": "FullyReplicated",
    "RecordWrapperType": "None",
}


def make_sample(
    base_dir: Path,
    num_train: int = 240,
    num_val: int = 10,
    num_test: int = 10,
    seed: int = 0,
    size_px: int = 512,
    *,
    num_roofline: int = 300,
    roofline_size_px: int = 224,
    num_airs: tuple[int, int, int] = (8, 1, 1),
    airs_size_px: int = 2048,
) -> None:
    """Write all that a training job finds under its base directory, with synthetic scenes.

    Args:
        base_dir: What is /opt/ml in a container. Scenes go to input/data/{rid,roofline,airs},
            configuration to input/config, where files that are there already are left as they are.
        num_train: RID's scenes to train on.
        num_val: RID's scenes to validate on.
        num_test: RID's scenes to test on.
        seed: Same seed, same bytes.
        size_px: Rows and columns of an image of RID.
        num_roofline: Crops of Roofline-Extraction; 0 leaves the dataset out.
        roofline_size_px: Rows and columns of a crop.
        num_airs: Tiles of AIRS to train on, validate on and test on; none to train on leaves the
            dataset out.
        airs_size_px: Rows and columns of a tile.

    Raises:
        ConfigError: As the writers of the datasets.
    """
    data_dir = base_dir / "input/data"
    channels = ["rid"]
    write_rid(data_dir / "rid", num_train, num_val, num_test, seed, size_px)
    if num_roofline:
        channels.append("roofline")
        write_roofline(data_dir / "roofline", num_roofline, seed, roofline_size_px)
    if num_airs[0]:
        channels.append("airs")
        write_airs(data_dir / "airs", *num_airs, seed, airs_size_px)
    _write_config(base_dir / "input/config", channels)


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
    return {name: data_dir / name for name in DATASET_NAMES}


def _write_config(config_dir: Path, channels: list[str]) -> None:
    """Write the files that SageMaker writes; one that is there already is left as it is."""
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
