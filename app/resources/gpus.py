"""The GPUs of this host, their driver, and whether the installed torch can use them."""

import contextlib
import importlib.util
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pynvml

from app.base.errors import ConfigError
from app.base.units import GIB

# The oldest drivers that run a major version of CUDA.
# Source: CUDA Compatibility, "Minor Version Compatibility", NVIDIA.
MIN_DRIVERS: Final = {11: "450", 12: "525", 13: "580"}
_OLDER_CUDA_INDEX: Final = "https://download.pytorch.org/whl/cu126"


@dataclass(frozen=True)
class Gpus:
    """The GPUs that this process may use.

    Attributes:
        names: Name of each GPU.
        memory_gib: Memory of each GPU.
        driver: Version of NVIDIA's driver; None where there is none.
        cuda: Newest version of CUDA that the driver runs, as (major, minor).
        problem: Why they could not be asked, where a driver is there but does not answer.
    """

    names: tuple[str, ...] = ()
    memory_gib: tuple[float, ...] = ()
    driver: str | None = None
    cuda: tuple[int, int] = (0, 0)
    problem: str | None = None

    def describe(self) -> str:
        """For people: how many of what, and the driver."""
        if self.problem:
            return f"unknown ({self.problem})"
        if not self.names:
            return "none"
        kinds = [
            f"{name} ({gib:.1f} GiB)" for name, gib in zip(self.names, self.memory_gib, strict=True)
        ]
        counted = [f"{kinds.count(kind)} x {kind}" for kind in dict.fromkeys(kinds)]
        return f"{', '.join(counted)}, driver {self.driver} for CUDA up to {_dotted(self.cuda)}"


@dataclass(frozen=True)
class TorchBuild:
    """The torch that is installed.

    Attributes:
        version: As 2.14.1+cu130.
        cuda: Version of CUDA it is built with, as (major, minor); None for the CPU alone.
    """

    version: str
    cuda: tuple[int, int] | None


def read_gpus() -> Gpus:
    """The GPUs the driver reports, without those hidden by CUDA_VISIBLE_DEVICES."""
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        absent = (pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, pynvml.NVML_ERROR_DRIVER_NOT_LOADED)
        return Gpus() if error.value in absent else Gpus(problem=str(error))
    try:
        handles = [
            pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())
        ]
        shown = os.environ.get("CUDA_VISIBLE_DEVICES")
        if shown is not None:
            uuids = [str(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles]
            handles = [handles[index] for index in choose_visible(shown, uuids)]
        cuda = pynvml.nvmlSystemGetCudaDriverVersion_v2()
        return Gpus(
            names=tuple(str(pynvml.nvmlDeviceGetName(handle)) for handle in handles),
            memory_gib=tuple(
                pynvml.nvmlDeviceGetMemoryInfo(handle).total / GIB for handle in handles
            ),
            driver=str(pynvml.nvmlSystemGetDriverVersion()),
            cuda=(cuda // 1000, cuda % 1000 // 10),
        )
    except pynvml.NVMLError as error:
        return Gpus(problem=str(error))
    finally:
        with contextlib.suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def choose_visible(text: str, uuids: Sequence[str]) -> list[int]:
    """Indices of the devices that a value of CUDA_VISIBLE_DEVICES names, as CUDA reads it.

    The first name that fits no device ends the list.

    Args:
        text: The variable's value: indices or beginnings of UUIDs, with commas between them.
        uuids: UUIDs of all devices.
    """
    chosen: list[int] = []
    for name in (part.strip() for part in text.split(",")):
        if name.isdecimal() and int(name) < len(uuids):
            chosen.append(int(name))
            continue
        found = [i for i, uuid in enumerate(uuids) if name and uuid.startswith(name)]
        if len(found) != 1:
            break
        chosen += found
    return chosen


def read_torch_build() -> TorchBuild:
    """What torch's own version file says: importing torch would take seconds."""
    spec = importlib.util.find_spec("torch")
    folders = list(spec.submodule_search_locations or ()) if spec else []
    text = Path(folders[0], "version.py").read_text() if folders else ""
    version = re.search(r"^__version__ = '(.+)'$", text, flags=re.MULTILINE)
    cuda = re.search(r"^cuda\b.* = '(\d+)\.(\d+)'$", text, flags=re.MULTILINE)
    return TorchBuild(
        version=version.group(1) if version else "unknown",
        cuda=(int(cuda.group(1)), int(cuda.group(2))) if cuda else None,
    )


def check_gpus(gpus: Gpus, torch_build: TorchBuild, device: str) -> None:
    """Check that torch can use the GPUs; if not, it would silently train on the CPU.

    Raises:
        ConfigError: If the job may use GPUs or a driver that torch cannot use; says what to do.
    """
    if device == "cpu":
        return
    if gpus.problem:
        raise ConfigError(
            f"there is an NVIDIA driver, but it does not answer: {gpus.problem}; repair it or take "
            "another instance, or set device=cpu to train on the CPU all the same"
        )
    if not gpus.names:
        return
    found = f"{len(gpus.names)} x {gpus.names[0]}, driver {gpus.driver}"
    if torch_build.cuda is None:
        raise ConfigError(
            f"torch {torch_build.version} is built for the CPU alone, but there are GPUs "
            f"({found}); use the GPU image, or set device=cpu to train on the CPU all the same"
        )
    needed = torch_build.cuda[0]
    if gpus.cuda[0] < needed:
        raise ConfigError(
            f"torch {torch_build.version} is built for CUDA {_dotted(torch_build.cuda)}, which "
            f"needs driver {MIN_DRIVERS.get(needed, 'of that version')} or newer, but there is "
            f"{found} for CUDA up to {_dotted(gpus.cuda)}; build the image with --build-arg "
            f"TORCH_INDEX_URL={_OLDER_CUDA_INDEX} (driver {MIN_DRIVERS[12]} or newer), take an "
            "instance with a newer driver, or set device=cpu"
        )


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
