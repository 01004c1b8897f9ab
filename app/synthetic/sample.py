"""All that a training job finds under its base directory, with synthetic datasets."""

import json
from pathlib import Path

from app.synthetic.write_rid import write_rid

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
) -> None:
    """Write all that a training job finds under its base directory, with synthetic scenes as RID.

    Args:
        base_dir: What is /opt/ml in a container. Scenes go to input/data/rid, configuration to
            input/config, where files that are there already are left as they are.
        num_train: Scenes to train on.
        num_val: Scenes to validate on.
        num_test: Scenes to test on.
        seed: Same seed, same bytes.
        size_px: Rows and columns of an image.

    Raises:
        ConfigError: As write_rid.
    """
    write_rid(base_dir / "input/data/rid", num_train, num_val, num_test, seed, size_px)
    _write_config(base_dir / "input/config", ["rid"])


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
    config_dir.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        path = config_dir / name
        if not path.exists():
            path.write_text(json.dumps(content, indent=2) + "\n")
