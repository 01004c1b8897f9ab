"""The first lines of a job's log: versions, machine, hosts, channels, settings."""

import logging
import os
import platform
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from app import __version__
from app.base.dataset_names import READ_BY_WINDOWS
from app.base.errors import printable
from app.base.storage import read_free_gib
from app.base.units import GIB
from app.job.inputs import Hosts, is_spot_job, read_channel_modes
from app.job.paths import Paths
from app.resources.cgroup import read_cpu_limit, read_memory_limit_gib
from app.resources.cores import count_allowed_cores
from app.resources.gpus import Gpus, TorchBuild
from app.resources.shared_memory import read_shm_gib

logger = logging.getLogger(__name__)

REVISION_VARIABLE = "ROOF_MODEL_REVISION"
_SECRET_NAME = re.compile(r"key|token|secret|passw|credential|auth", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{12,}|://[^/\s]*@|\b(gh[a-z]|hf)_\w+")
_MAX_VALUE_CHARS = 100
_COUNTING_LIMIT_S = 0.1


def log_start(
    paths: Paths,
    hosts: Hosts,
    gpus: Gpus,
    torch_build: TorchBuild,
    settings: Mapping[str, object],
) -> None:
    """Log versions, machine, hosts, channels and settings; warn of mistakes that cost much later.

    Args:
        paths: The job's folders.
        hosts: The job's hosts.
        gpus: GPUs of this host.
        torch_build: The installed torch.
        settings: Hyperparameters as they were sent; secrets among them are masked.
    """
    logger.info(
        "roof-model %s, revision %s, Python %s, torch %s",
        __version__,
        read_revision(),
        platform.python_version(),
        torch_build.version,
    )
    logger.info("machine: %s", "; ".join(_describe_machine(paths)))
    logger.info("GPUs: %s", gpus.describe())
    if len(hosts.names) > 1:
        logger.info(
            "host %s of %s, interface %s", hosts.current, ", ".join(hosts.names), hosts.interface
        )
    for name, mode in read_channel_modes(paths).items():
        logger.info("channel %s: %s", name, _describe_channel(paths.data_dir / name, mode))
        if mode == "FastFile" and name in READ_BY_WINDOWS:
            logger.warning(
                "channel %s: FastFile fetches large files again for windows all over them; File "
                "mode, which copies them once, is quicker for it",
                name,
            )
    shown = [f"{name}={mask_secret(name, value)}" for name, value in sorted(settings.items())]
    logger.info("settings given: %s", ", ".join(shown) or "none")
    if is_spot_job(paths) and not paths.checkpoint_config.is_file():
        logger.warning(
            "the job runs on spot instances without a CheckpointConfig: an interruption will cost "
            "all of its training; start it with CheckpointConfig.S3Uri set"
        )


def read_revision() -> str:
    """The git revision of the code, as the image or who started the job names it, or "unknown"."""
    return os.environ.get(REVISION_VARIABLE, "unknown")


def mask_secret(name: str, value: object) -> str:
    """A setting's value as a log may show it: stars where it looks like a secret."""
    text = str(value)
    if _SECRET_NAME.search(name) or _SECRET_VALUE.search(text):
        return "***"
    short = text if len(text) <= _MAX_VALUE_CHARS else text[: _MAX_VALUE_CHARS - 3] + "..."
    return printable(short)


def _describe_machine(paths: Paths) -> Iterator[str]:
    cpu_limit, memory_limit_gib = read_cpu_limit(), read_memory_limit_gib()
    host_gib = psutil.virtual_memory().total / GIB
    cores = f"{os.cpu_count()} cores"
    usable = count_allowed_cores()
    if cpu_limit is not None or usable != os.cpu_count():
        cores += f", of which {min(usable, cpu_limit or usable):g} may be used"
    yield cores
    if memory_limit_gib < host_gib:
        yield f"memory limit {memory_limit_gib:.2f} GiB (host {host_gib:.1f} GiB)"
    else:
        yield f"memory {host_gib:.1f} GiB, no limit below"
    shm = read_shm_gib()
    yield "no /dev/shm" if shm is None else f"/dev/shm {shm[0] * 1024:.0f} MiB"
    folders = {"model": paths.model_dir, "checkpoints": paths.checkpoint_dir}
    for name, folder in folders.items():
        free_gib = read_free_gib(folder)
        if free_gib is not None:
            yield f"{free_gib:.1f} GiB free for {name}"


def _describe_channel(folder: Path, mode: str) -> str:
    """Mode and number of files, as far as they can be counted in a moment."""
    if mode != "File":
        # Every listing is a request to S3, and a pipe has no files.
        return mode
    deadline_s = time.monotonic() + _COUNTING_LIMIT_S
    num_files = 0
    for _, _, names in os.walk(folder):
        if time.monotonic() > deadline_s:
            return f"{mode}, more than {num_files} files"
        num_files += len(names)
    return f"{mode}, {num_files} files"
