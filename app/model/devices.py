"""Where a run computes, and in which precision."""

import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import cv2
import torch

from app.base.errors import ConfigError
from app.settings.hyperparameters import Hyperparameters

# What `precision` stands for; None is float32 throughout.
DTYPES: Final[Mapping[str, torch.dtype | None]] = {
    "fp32": None,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}

# Of PyTorch's CPU allocator, OpenCV, and NumPy.
_NO_MEMORY_WORDS: Final = ("DefaultCPUAllocator", "Insufficient memory", "ArrayMemoryError")


@dataclass(frozen=True)
class Compute:
    """Where a network computes, and in which precision.

    Attributes:
        device: Where the network lies.
        autocast_dtype: bfloat16 or float16, or None for float32 throughout.
    """

    device: torch.device
    autocast_dtype: torch.dtype | None = None

    @property
    def precision(self) -> str:
        """What `precision` came to: "fp32", "bf16" or "fp16"."""
        return next(name for name, dtype in DTYPES.items() if dtype == self.autocast_dtype)

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        """Mixed precision, where there is a dtype for it."""
        return autocast(self.device, self.autocast_dtype)


def choose_compute(hyperparameters: Hyperparameters) -> Compute:
    """The device and the precision that the settings ask for on this machine.

    Raises:
        ConfigError: If the machine does not have them.
    """
    device = choose_device(hyperparameters.device)
    return Compute(device, choose_autocast_dtype(hyperparameters.precision, device))


def choose_device(choice: str) -> torch.device:
    """The device that the hyperparameter `device` asks for.

    Raises:
        ConfigError: If it asks for CUDA where there is none.
    """
    if choice == "auto":
        choice = "cuda" if torch.cuda.is_available() else "cpu"
    if choice == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "device=cuda, but torch finds no CUDA device; use an instance with a GPU and a torch "
            "that supports it, or set device=auto"
        )
    return torch.device(choice, local_rank()) if choice == "cuda" else torch.device(choice)


def choose_autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """The mixed-precision dtype that `precision` asks for; None for float32 throughout.

    "auto" takes bfloat16 only where the hardware computes in it: emulated, it is slower than
    float32 (1.8 times with AVX-512, 10 times with AVX2).

    Raises:
        ConfigError: If it asks for float16 on a CPU.
    """
    if precision == "fp16" and device.type == "cpu":
        raise ConfigError(
            "precision=fp16, but the device is a CPU, which does not compute in it; set "
            "precision=auto"
        )
    if precision == "auto":
        if device.type == "cpu":
            precision = "bf16" if _cpu_computes_bf16() else "fp32"
        else:
            precision = "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    return DTYPES[precision]


def _cpu_computes_bf16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def autocast(
    device: torch.device, dtype: torch.dtype | None
) -> contextlib.AbstractContextManager[Any]:
    """Mixed precision where a dtype is given."""
    return torch.autocast(device.type, dtype, enabled=dtype is not None)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the device, or the process, could get no more memory.

    PyTorch has a class of errors for accelerators; its CPU allocator raises a bare RuntimeError,
    and so does a data worker in place of NumPy's errors. OpenCV has a class for all its errors.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    is_bare = isinstance(error, RuntimeError | cv2.error)
    return is_bare and any(words in str(error) for words in _NO_MEMORY_WORDS)


def local_rank() -> int:
    """Which of its host's training processes this one is."""
    return int(os.environ.get("LOCAL_RANK", "0"))
