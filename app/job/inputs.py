"""What the platform tells a job: its name, hyperparameters, hosts and channels.

Source: "How Amazon SageMaker Provides Training Information" and "How Amazon SageMaker Processes
Training Output", Amazon SageMaker Developer Guide.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from app.base.dataset_names import DATASET_NAMES, dataset_options
from app.base.errors import ConfigError, join_problems
from app.job.paths import Paths, read_json_map

logger = logging.getLogger(__name__)

DATASET_CHANNELS = DATASET_NAMES
PRETRAINED_CHANNEL = "pretrained"
# As SageMaker's incremental training names it: an earlier job's model.tar.gz.
MODEL_CHANNEL = "model"
KNOWN_CHANNELS = (*DATASET_CHANNELS, PRETRAINED_CHANNEL, MODEL_CHANNEL)
# Set by the platform on every host; the ARN names region and account, too.
_JOB_VARIABLES = ("TRAINING_JOB_ARN", "TRAINING_JOB_NAME")


@dataclass(frozen=True)
class Hosts:
    """The hosts of a job.

    Attributes:
        names: Names of all of them, sorted; the first one leads.
        current: Name of this one.
        interface: Network interface to the others, as the platform names it.
        job: What all hosts of the job know and others hardly do: its ARN or name on SageMaker.
    """

    names: tuple[str, ...] = ("localhost",)
    current: str = "localhost"
    interface: str | None = None
    job: str = ""

    @property
    def first(self) -> str:
        """The host that leads."""
        return self.names[0]

    @property
    def is_first(self) -> bool:
        """Whether this is the host that leads."""
        return self.current == self.first

    @property
    def index(self) -> int:
        """This host's place among all of them, from 0."""
        return self.names.index(self.current)


def read_hosts(paths: Paths) -> Hosts:
    """The job's hosts; this one alone where there is no file that names them.

    Raises:
        ConfigError: If the file does not name them, or this host is none of them.
    """
    path = paths.resource_config
    try:
        config = read_json_map(path)
    except FileNotFoundError:
        return Hosts()
    current, names = config.get("current_host"), config.get("hosts")
    if not isinstance(names, list) or not names or not all(isinstance(n, str) for n in names):
        raise ConfigError(f"{path}: expected hosts to be a list of names, got {names!r:.200}")
    if not isinstance(current, str) or current not in names:
        raise ConfigError(
            f"{path}: current_host is {current!r:.100}, expected one of hosts: "
            f"{', '.join(names):.200}"
        )
    interface = config.get("network_interface_name")
    return Hosts(
        names=tuple(sorted(set(names))),
        current=current,
        interface=interface if isinstance(interface, str) else None,
        job=read_job_identifier() or "",
    )


def read_job_identifier() -> str | None:
    """What SageMaker calls this job, also after an interruption; None where there is no such name.

    Without one, every start is a job of its own.
    """
    return next(filter(None, map(os.environ.get, _JOB_VARIABLES)), None)


def is_spot_job(paths: Paths) -> bool:
    """Whether the job runs on spot instances, as far as the platform's files tell."""
    try:
        return read_json_map(paths.job_config).get("EnableManagedSpotTraining") is True
    except (FileNotFoundError, ConfigError):
        return False


def read_channel_modes(paths: Paths) -> dict[str, str]:
    """Input mode by channel, for the log; empty where the file cannot be used."""
    try:
        config = read_json_map(paths.input_data_config)
    except (FileNotFoundError, ConfigError):
        return {}
    return {
        name: str(channel.get("TrainingInputMode", "File")) if isinstance(channel, dict) else "?"
        for name, channel in config.items()
    }


def read_hyperparameters(paths: Paths) -> dict[str, object]:
    """The hyperparameters as they were sent, not yet checked; none where there is no file.

    Raises:
        ConfigError: If the file is no flat JSON map.
    """
    path = paths.hyperparameters
    try:
        values = read_json_map(path)
    except FileNotFoundError:
        return {}
    problems = [
        f"{path}: {name!r:.100} must be a text or a number, got a {type(value).__name__}"
        for name, value in values.items()
        if isinstance(value, dict | list)
    ]
    if problems:
        raise ConfigError(join_problems(problems))
    return values


def read_channels(paths: Paths) -> dict[str, Path]:
    """The folder of each of the job's channels, by channel name.

    Channels come from inputdataconfig.json, never from a listing: beside their folders the platform
    leaves manifest files.

    Raises:
        ConfigError: If a channel is unknown, in Pipe mode, missing or empty, or no channel holds a
            dataset; names all problems.
    """
    path = paths.input_data_config
    try:
        config = read_json_map(path)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: no such file, so the job has no data channels; start the job with a channel "
            f"named {' or '.join(DATASET_CHANNELS)}, or pass {dataset_options()} DIR"
        ) from error
    problems = _find_channel_name_problems(path, config)
    num_hosts = len(read_hosts(paths).names)
    channels = {name: paths.data_dir / name for name in config if name in KNOWN_CHANNELS}
    for name, channel_dir in channels.items():
        problem = _find_mode_problem(config[name], num_hosts) or _find_folder_problem(channel_dir)
        if problem:
            problems.append(f"channel {name}: {problem}")
    if problems:
        raise ConfigError(join_problems(problems))
    return channels


def _find_channel_name_problems(path: Path, config: Mapping[str, object]) -> list[str]:
    expected = ", ".join(KNOWN_CHANNELS)
    found = f"{', '.join(config) or 'none':.200}"
    unknown = [name for name in config if name not in KNOWN_CHANNELS]
    if unknown:
        names = f"{', '.join(unknown):.200}"
        return [f"{path}: unknown channels {names}: expected some of {expected}, found {found}"]
    if not any(name in config for name in DATASET_CHANNELS):
        needed = " or ".join(DATASET_CHANNELS)
        return [f"{path}: no dataset to train on: expected a channel named {needed}, found {found}"]
    return []


def _find_mode_problem(channel: object, num_hosts: int) -> str | None:
    if not isinstance(channel, dict):
        return f"expected a map with TrainingInputMode, got {channel!r:.100}"
    if channel.get("S3DistributionType") == "ShardedByS3Key" and num_hosts > 1:
        return (
            "ShardedByS3Key gives every host other files, and parts images from their masks; set "
            "S3DataDistributionType to FullyReplicated"
        )
    mode = channel.get("TrainingInputMode", "File")
    if mode in ("File", "FastFile"):
        return None
    return (
        f"input mode {mode!r:.100} is not supported, since samples are read in random order; set "
        "TrainingInputMode to File or FastFile"
    )


def _find_folder_problem(channel_dir: Path) -> str | None:
    # Only the first entry is looked at: in FastFile mode every listing is a request to S3.
    try:
        with os.scandir(channel_dir) as entries:
            is_empty = next(entries, None) is None
    except OSError as error:
        return f"cannot read folder {channel_dir}: {error.strerror}"
    return f"folder {channel_dir} is empty; check the channel's S3 prefix" if is_empty else None
