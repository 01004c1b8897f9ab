"""Samples kept on this machine's disk as their files gave them, so that each is made once a job.

Unpacking a photo and deriving its lines take several times as long as all that is done to it
afterwards. What is kept is read as a whole, not mapped: mapped pages would count as memory of every
worker, and a full disk would end a process that writes to them.
"""

import atexit
import contextlib
import errno
import hashlib
import json
import logging
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import psutil
import torch
from torch import Tensor

from app.base.units import GIB
from app.data.line_bits import pack_lines, unpack_lines
from app.data.sample import PLANES, TARGETS, LineBits, PlaneName, Sample, make_planes

logger = logging.getLogger(__name__)

_MAX_KEPT_GIB: Final = 8.0
# Of the disk's free space; and what stays free whoever fills it, for checkpoints and the model.
_MAX_FREE_SHARE: Final = 0.25
_MIN_FREE_GIB: Final = 4.0
# Their files would take up memory.
_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
_FOLDER_PREFIX: Final = "samples-"
_LENGTH_BYTES: Final = 4

_Bytes = npt.NDArray[np.uint8]


class KeptSamples:
    """Samples of whole photos by their index, each in a file of its own.

    Processes may share the folder: a file appears there complete, and all write the same. Photos
    are taken to stay unchanged while the folder is used, which is for one job: nothing that an
    earlier one derived from them, or with other code, is ever read.

    Args:
        folder: For the files; it is made with the first of them.
        num_samples: How many there are. None is kept if they would not fit: those kept first would
            be read as often as the others.
    """

    def __init__(self, folder: Path, num_samples: int) -> None:
        self.folder = folder
        self._num_samples = num_samples
        # None until the first sample has shown how large they are.
        self._is_keeping: bool | None = None

    def get(self, index: int, read: Callable[[], Sample]) -> Sample:
        """A sample, byte for byte as `read` gives it.

        Args:
            index: Its number.
            read: Makes it from its files.

        Raises:
            SampleError: As `read`; nothing is kept of what cannot be used.
        """
        try:
            return _unpack(np.fromfile(self._path(index), np.uint8))
        except FileNotFoundError:
            sample = read()
            self._keep(index, sample)
            return sample
        except (OSError, ValueError):  # a disk that fails
            return read()

    def delete(self) -> None:
        """Delete what is kept; processes that still read have to read files again."""
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # others are in there
            self.folder.parent.rmdir()

    def _path(self, index: int) -> Path:
        return self.folder / f"{index}.sample"

    def _keep(self, index: int, sample: Sample) -> None:
        if self._is_keeping is False:
            return
        packed = _pack(sample)
        if self._is_keeping is None:
            self._is_keeping = self._fits(packed.nbytes * self._num_samples)
        if not self._is_keeping:
            return
        path = self._path(index)
        staged = path.with_suffix(f".{os.getpid()}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(self.folder).free < _MIN_FREE_GIB * GIB:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            packed.tofile(staged)
            staged.replace(path)
        except OSError as error:
            logger.warning("%s: samples are read from their files again: %s", self.folder, error)
            with contextlib.suppress(OSError):
                staged.unlink(missing_ok=True)
            self._is_keeping = False

    def _fits(self, num_bytes: int) -> bool:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if _is_in_memory(self.folder):
                return False
            free_bytes = shutil.disk_usage(self.folder).free
        except OSError:
            return False
        return num_bytes <= min(_MAX_KEPT_GIB * GIB, _MAX_FREE_SHARE * free_bytes)


def keep_samples(scratch_dir: Path, identity: str, num_samples: int) -> KeptSamples:
    """Where a reader keeps its samples for the job that this process is of.

    Its training processes share them, and the first of these to end deletes them. Those that a
    killed job has left behind are deleted here.

    Args:
        scratch_dir: Folder for what can be made again.
        identity: All that decides what the samples are.
        num_samples: How many there are.
    """
    # In a container, process 1 may read samples itself, and has no parent there.
    job = _name_process(os.getppid()) or _name_process(os.getpid())
    for left_over in scratch_dir.glob(f"{_FOLDER_PREFIX}*"):
        owner = left_over.name.removeprefix(_FOLDER_PREFIX)
        process_id = owner.partition("-")[0]
        if not process_id.isdecimal() or _name_process(int(process_id)) != owner:
            shutil.rmtree(left_over, ignore_errors=True)
    folder = scratch_dir / f"{_FOLDER_PREFIX}{job}"
    digest = hashlib.sha256(identity.encode(errors="surrogateescape")).hexdigest()
    kept = KeptSamples(folder / digest[:16], num_samples)
    atexit.register(kept.delete)
    return kept


def _name_process(process_id: int) -> str:
    """A process's number and when it began, since numbers come again; empty where it has ended."""
    try:
        begun_s = psutil.Process(process_id).create_time()
    except psutil.Error:
        return ""
    return f"{process_id}-{round(100 * begun_s)}"


def _is_in_memory(folder: Path) -> bool:
    """Whether files of a folder take up memory in place of a disk."""
    mounts = {Path(disk.mountpoint): disk.fstype for disk in psutil.disk_partitions(all=True)}
    resolved = folder.resolve()
    found = next((mounts[place] for place in (resolved, *resolved.parents) if place in mounts), "")
    return found in _IN_MEMORY


def _pack(sample: Sample) -> _Bytes:
    """A sample as bytes; targets that are unknown everywhere take none."""
    names = [name for name in TARGETS if any(sample[name].stride()[-2:])]
    # Heights first: numbers of four bytes begin at multiples of four.
    names.sort(key=lambda name: not PLANES[name].dtype.is_floating_point)
    header = {
        "size": list(sample["image"].shape[-2:]),
        "dataset": sample["dataset"],
        "sample_id": sample["sample_id"],
        "gsd_m": sample["gsd_m"],
        "planes": names,
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 4)
    parts = [np.frombuffer(len(text).to_bytes(_LENGTH_BYTES, "little") + text, np.uint8)]
    for name in names:
        plane = sample[name].numpy()
        stored = pack_lines(plane) if name == "lines" else np.ascontiguousarray(plane)
        parts.append(stored.view(np.uint8).ravel())
    parts.append(sample["image"].permute(1, 2, 0).contiguous().numpy().ravel())
    return np.concatenate(parts)


def _unpack(packed: _Bytes) -> Sample:
    """The inverse of `_pack`.

    Raises:
        ValueError: If these are not its bytes.
    """
    begin = _LENGTH_BYTES + int.from_bytes(packed[:_LENGTH_BYTES].tobytes(), "little")
    header = json.loads(packed[_LENGTH_BYTES:begin].tobytes())
    height, width = header["size"]

    def take(dtype: str, *shape: int) -> npt.NDArray[Any]:
        nonlocal begin
        end = begin + math.prod(shape) * np.dtype(dtype).itemsize
        taken = packed[begin:end].view(dtype).reshape(shape)
        begin = end
        return taken

    found: dict[PlaneName, Tensor] = {
        name: PLANES[name].nowhere_known(height, width) for name in TARGETS
    }
    bits: LineBits = {}
    for name in header["planes"]:
        if name == "lines":
            packed_lines = take("uint8", height, width)
            bits = {"line_bits": torch.from_numpy(packed_lines)}
            found[name] = torch.from_numpy(unpack_lines(packed_lines))
        else:
            dtype = "float32" if PLANES[name].dtype.is_floating_point else "uint8"
            found[name] = torch.from_numpy(take(dtype, height, width))
    found["image"] = torch.from_numpy(take("uint8", height, width, 3)).permute(2, 0, 1)
    return {
        **make_planes(lambda name: found[name]),
        **bits,
        "dataset": header["dataset"],
        "sample_id": header["sample_id"],
        "gsd_m": header["gsd_m"],
    }
