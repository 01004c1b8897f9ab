"""All that a training job finds under its base directory, with synthetic datasets."""

import json
import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from app.base.dataset_names import DatasetName
from app.base.errors import printable
from app.synthetic.staging import SplitParameters, write_problems
from app.synthetic.write_airs import write_airs
from app.synthetic.write_own import write_own
from app.synthetic.write_rid import write_rid
from app.synthetic.write_roofline import CropParameters, write_roofline

_CHANNEL = {
    "TrainingInputMode": "File",
    "S3DistributionType": "FullyReplicated",
    "RecordWrapperType": "None",
}
_CHANNELS_FILE: Final = "inputdataconfig.json"

Writer = Callable[[Path], None]

# Of the photos, validation and test have a tenth each.
_HELD_OUT_SHARE: Final = 0.1

# Large enough to train on for a look, and small enough to be written in a minute.
_RID = SplitParameters(240, 10, 10)
_ROOFLINE = CropParameters(300)
_AIRS = SplitParameters(8, 1, 1, size_px=2048)
_OWN = SplitParameters(40, 5, 5, size_px=1024)
# A few photos of usual sizes, to measure the time that reading takes.
FEW: Final[Mapping[DatasetName, Writer]] = {
    "rid": partial(write_rid, parameters=SplitParameters(12, 1, 1)),
    "roofline": partial(write_roofline, parameters=CropParameters(30)),
    "airs": partial(write_airs, parameters=SplitParameters(1, 1, 1, size_px=1024)),
    "own": partial(write_own, parameters=SplitParameters(2, 1, 1, size_px=1024)),
}

# Texts, as SageMaker writes them. Enough to show that the sample teaches, in minutes: of coarse
# photos two cores see more roofs in the same time, and learn more.
_SETTINGS: Final = {
    "epochs": "5",
    "steps_per_epoch": "36",
    "batch_size": "16",
    "gsd_m": "0.2",
    "crop_size_px": "128",
}

logger = logging.getLogger(__name__)


def choose_writers(
    *,
    with_own: bool = False,
    num_scenes: int | None = None,
    seed: int = 0,
    size_px: int | None = None,
) -> dict[DatasetName, Writer]:
    """The writers of a sample, by dataset.

    Args:
        with_own: Whether people's own layout is written beside the three published ones.
        num_scenes: Photos of each dataset, of which validation and test get a tenth each; None is
            the usual number of each.
        seed: Seed of every dataset.
        size_px: Rows and columns of each photo; None is the usual size of each dataset.
    """

    def split(usual: SplitParameters) -> SplitParameters:
        sizes = usual.num_train, usual.num_val, usual.num_test
        if num_scenes is not None:
            held_out = max(1, round(_HELD_OUT_SHARE * num_scenes))
            sizes = num_scenes - 2 * held_out, held_out, held_out
        return SplitParameters(*sizes, seed, size_px or usual.size_px)

    crops = CropParameters(num_scenes or _ROOFLINE.num_tiles, seed, size_px or _ROOFLINE.size_px)
    writers: dict[DatasetName, Writer] = {
        "rid": partial(write_rid, parameters=split(_RID)),
        "roofline": partial(write_roofline, parameters=crops),
        "airs": partial(write_airs, parameters=split(_AIRS)),
    }
    if with_own:
        writers["own"] = partial(write_own, parameters=split(_OWN))
    return writers


SAMPLE: Final[Mapping[DatasetName, Writer]] = choose_writers()


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
    contents: dict[str, Mapping[str, object]] = {
        "hyperparameters.json": _SETTINGS,
        _CHANNELS_FILE: dict.fromkeys(channels, _CHANNEL),
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
            elif name == _CHANNELS_FILE:
                _warn_of_channels(path, channels)


def _warn_of_channels(path: Path, channels: Sequence[str]) -> None:
    """Say which of the datasets a job would not find, where the file of channels is older."""
    text = path.read_text(errors="replace")
    absent = [name for name in channels if f'"{name}"' not in text]
    if absent:
        logger.warning(
            "%s was there already and does not name %s: a job trains without; remove the file and "
            "write the sample again",
            printable(str(path)),
            ", ".join(absent),
        )
