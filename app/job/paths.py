"""SageMaker's folder tree: the only module that knows /opt/ml.

Source: "How Amazon SageMaker Provides Training Information" and "How Amazon SageMaker Processes
Training Output", Amazon SageMaker Developer Guide.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from app.base.errors import ConfigError, join_problems

SAGEMAKER_DIR = Path("/opt/ml")


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
        """JSON map; exists only if the job keeps checkpoints on S3."""
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
        """For files that can be made again: neither uploaded nor part of a channel."""
        return self.base_dir / "scratch"

    @property
    def output_dir(self) -> Path:
        """Where the platform looks for the failure file."""
        return self.base_dir / "output"

    @property
    def tensorboard_dir(self) -> Path:
        """Copied to S3 while the job runs, where its TensorBoardOutputConfig says so."""
        return self.output_dir / "tensorboard"

    @property
    def failure_file(self) -> Path:
        """Why the job failed; the platform shows its beginning."""
        return self.output_dir / "failure"


def read_paths(base_dir: Path) -> Paths:
    """The job's folders, checkpoints where its configuration wants them.

    Raises:
        ConfigError: If that configuration cannot be read.
    """
    paths = Paths(base_dir)
    try:
        local_path = read_json_map(paths.checkpoint_config).get("LocalPath")
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
    if folder.is_relative_to(SAGEMAKER_DIR):  # base_dir stands for it
        folder = base_dir / folder.relative_to(SAGEMAKER_DIR)
    return Paths(base_dir, folder)


def read_json_map(path: Path) -> dict[str, object]:
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
    """Make the folders and check that files can be written there, before hours go into them.

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
def scratch_folder(owner: Path | None = None) -> Iterator[Path]:
    """A folder for files that can be made again; deleted after the with block.

    Args:
        owner: A folder that this process has locked. What another one that had it left behind when
            it was killed is deleted, too.

    Raises:
        ConfigError: If none can be made.
    """
    try:
        if owner is None:
            path = Path(tempfile.mkdtemp(prefix="roof-model-"))
        else:
            digest = hashlib.sha256(os.fsencode(owner.resolve())).hexdigest()[:16]
            path = Path(tempfile.gettempdir(), f"roof-model-{os.getuid()}-{digest}")
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(mode=0o700)
    except OSError as error:
        raise ConfigError(
            f"no temporary folder can be made: {error.strerror or error}; set TMPDIR to a folder "
            "that can be written to"
        ) from error
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
