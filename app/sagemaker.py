"""SageMaker's folder tree: the only module that knows /opt/ml and the files in it.

Source: "How Amazon SageMaker Provides Training Information" and "How Amazon SageMaker Processes
Training Output", Amazon SageMaker Developer Guide.
"""

import contextlib
import json
import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from app.dataset_names import DATASET_NAMES
from app.errors import ConfigError, join_problems

logger = logging.getLogger(__name__)

SAGEMAKER_DIR = Path("/opt/ml")
DATASET_CHANNELS = DATASET_NAMES
PRETRAINED_CHANNEL = "pretrained"
KNOWN_CHANNELS = (*DATASET_CHANNELS, PRETRAINED_CHANNEL)

# DescribeTrainingJob shows the first 1024 characters, and its own prefix takes some of them.
_MAX_MESSAGE_CHARS = 1000


@dataclass(frozen=True)
class Paths:
    """Where a training job reads and writes.

    Attributes:
        base_dir: /opt/ml on SageMaker, any folder elsewhere.
        checkpoint_path: Where checkpoints go, if not to base_dir's checkpoints.
    """

    base_dir: Path = SAGEMAKER_DIR
    checkpoint_path: Path | None = None

    @property
    def hyperparameters(self) -> Path:
        """Flat JSON map of texts."""
        return self.base_dir / "input/config/hyperparameters.json"

    @property
    def input_data_config(self) -> Path:
        """JSON map of the job's channels."""
        return self.base_dir / "input/config/inputdataconfig.json"

    @property
    def resource_config(self) -> Path:
        """JSON map of the job's hosts."""
        return self.base_dir / "input/config/resourceconfig.json"

    @property
    def data_dir(self) -> Path:
        """One folder per channel."""
        return self.base_dir / "input/data"

    @property
    def model_dir(self) -> Path:
        """Becomes model.tar.gz when the job ends."""
        return self.base_dir / "model"

    @property
    def checkpoint_dir(self) -> Path:
        """Copied to and from S3 while the job runs."""
        return self.checkpoint_path or self.base_dir / "checkpoints"

    @property
    def checkpoint_config(self) -> Path:
        """JSON map; there where the job has a place for checkpoints on S3."""
        return self.base_dir / "input/config/checkpointconfig.json"

    @property
    def job_config(self) -> Path:
        """JSON map of the request for the job. Not documented, so never relied on."""
        return self.base_dir / "input/config/trainingjobconfig.json"

    @property
    def code_dir(self) -> Path:
        """A user's own script, where the job brings one."""
        return self.base_dir / "code"

    @property
    def scratch_dir(self) -> Path:
        """For what can be made again: neither uploaded nor part of a channel."""
        return self.base_dir / "scratch"

    @property
    def failure_file(self) -> Path:
        """Why the job failed; the platform shows how it starts."""
        return self.base_dir / "output/failure"

    @property
    def output_data_dir(self) -> Path:
        """Becomes output.tar.gz when the job ends."""
        return self.base_dir / "output/data"


@dataclass(frozen=True)
class Hosts:
    """The hosts of a job.

    Attributes:
        names: Of all of them, sorted; the first one leads.
        current: Name of this one.
        interface: Network interface to the others, as the platform names it.
    """

    names: tuple[str, ...] = ("localhost",)
    current: str = "localhost"
    interface: str | None = None

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
        """Which of the hosts this one is."""
        return self.names.index(self.current)


def read_paths(base_dir: Path) -> Paths:
    """The job's folders, checkpoints where its configuration wants them.

    Raises:
        ConfigError: If that configuration cannot be read.
    """
    paths = Paths(base_dir)
    try:
        local_path = _read_json_map(paths.checkpoint_config).get("LocalPath")
    except FileNotFoundError:
        return paths
    if local_path is None:
        return paths
    if not isinstance(local_path, str) or not local_path.startswith("/"):
        raise ConfigError(
            f"{paths.checkpoint_config}: expected LocalPath to be an absolute path, got "
            f"{local_path!r:.100}"
        )
    folder = Path(local_path)
    if folder.is_relative_to(SAGEMAKER_DIR):  # which base_dir stands for
        folder = base_dir / folder.relative_to(SAGEMAKER_DIR)
    return Paths(base_dir, folder)


def read_hosts(paths: Paths) -> Hosts:
    """The job's hosts; this one alone where there is no file that names them.

    Raises:
        ConfigError: If the file does not name them, or this host is none of them.
    """
    path = paths.resource_config
    try:
        config = _read_json_map(path)
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
        tuple(sorted(set(names))), current, interface if isinstance(interface, str) else None
    )


def is_spot_job(paths: Paths) -> bool:
    """Whether the job runs on spot instances, as far as the platform's files tell."""
    try:
        return _read_json_map(paths.job_config).get("EnableManagedSpotTraining") is True
    except (FileNotFoundError, ConfigError):
        return False


def read_channel_modes(paths: Paths) -> dict[str, str]:
    """Input mode by channel, for the log; empty where the file cannot be used."""
    try:
        config = _read_json_map(paths.input_data_config)
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
        values = _read_json_map(path)
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
        config = _read_json_map(path)
    except FileNotFoundError as error:
        raise ConfigError(
            f"{path}: no such file, so the job has no data channels; start the job with a channel "
            f"named {' or '.join(DATASET_CHANNELS)}, or pass --rid, --roofline or --airs DIR"
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


def _read_json_map(path: Path) -> dict[str, object]:
    """A file's JSON map.

    Raises:
        FileNotFoundError: If there is no such file.
        ConfigError: If it cannot be read or is no JSON map.
    """
    try:
        # -sig: editors on Windows put a byte order mark in front.
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            f"{path}: expected a JSON map, got a file that is not JSON: {error}"
        ) from error
    if not isinstance(content, dict):
        # Not the content, which may hold secrets.
        raise ConfigError(f"{path}: expected a JSON map, got a {type(content).__name__}")
    return content


def check_writable(*folders: Path) -> None:
    """Make the folders and see that a file can be written there, before hours go into its content.

    Raises:
        ConfigError: If one of them cannot be written to; names all of them.
    """
    problems = []
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            problems.append(
                f"{folder}: cannot be written to: {error.strerror}; mount it writable, or choose "
                "another folder"
            )
    if problems:
        raise ConfigError(join_problems(problems))


@contextlib.contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for what can be made again, gone after the with block.

    Raises:
        ConfigError: If none can be made.
    """
    try:
        folder = tempfile.TemporaryDirectory(prefix="roof-model-", ignore_cleanup_errors=True)
    except OSError as error:
        raise ConfigError(
            f"no temporary folder can be made: {error.strerror or error}; set TMPDIR to a folder "
            "that can be written to"
        ) from error
    with folder as path:
        yield Path(path)


def clear_failure(paths: Paths) -> None:
    """Take away what an earlier job left in the same tree."""
    with contextlib.suppress(OSError):
        paths.failure_file.unlink()


def write_failure(paths: Paths, message: str, details: str = "") -> None:
    """Leave the reason why the job fails where the platform looks for it.

    Of several processes that fail, the first one's reason stays. Never raises, since it is called
    while another error is under way: where the file cannot be written, that is logged.

    Args:
        paths: The job's folders.
        message: What went wrong; stands first, and is cut after 1000 characters.
        details: Stand after it, for the log that a person reads: a traceback.
    """
    if len(message) > _MAX_MESSAGE_CHARS:
        message = message[: _MAX_MESSAGE_CHARS - 3] + "..."
    path = paths.failure_file
    # Written beside and linked: a job killed meanwhile leaves no half message, and a link, other
    # than a rename, leaves what is there.
    temporary = path.with_name(f".failure.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = f"{message}\n\n{details}" if details else f"{message}\n"
        # backslashreplace: an error text may hold a file name that is not valid UTF-8.
        temporary.write_text(content, encoding="utf-8", errors="backslashreplace")
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            pass
        except OSError:  # a file system without links
            temporary.replace(path)
        temporary.unlink(missing_ok=True)
    except OSError as error:
        logger.error("%s: cannot write the reason of the failure: %s", path, error)


def read_failure(paths: Paths) -> str | None:
    """The first line of the failure file; None where there is none, or an empty one."""
    try:
        with paths.failure_file.open(encoding="utf-8", errors="backslashreplace") as file:
            return file.readline(2 * _MAX_MESSAGE_CHARS).strip() or None
    except OSError:
        return None
