"""imdb.mat as MATLAB writes it, in both versions, with few and small crops."""

import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import scipy.io

from app.data.reader import Split
from app.data.roofline.dataset import RooflineDataset
from app.data.roofline.matlab import open_mat

Fields = dict[str, npt.NDArray[np.generic]]  # in MATLAB's order of axes

SIZE_PX = 32
BLOCK_PX = 9


def draw_fields(num_samples: int, size_px: int = SIZE_PX, seed: int = 0) -> Fields:
    """images, elements and depths as MATLAB's axes stand: (y, x, 3, N) twice, and (y, x, N).

    No crop equals its mirror image or another crop. Elements are an eave down the third column of
    blocks, a ridge along the second row of blocks, and no hip.
    """
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (size_px, size_px, 3, num_samples)).astype(np.float32)
    elements = np.zeros((size_px, size_px, 3, num_samples), np.float32)
    elements[:, 2 * BLOCK_PX : 3 * BLOCK_PX, 0] = 1
    elements[BLOCK_PX : 2 * BLOCK_PX, :, 1] = 1
    depths = rng.uniform(0, 9, (size_px, size_px, num_samples)).astype(np.float32)
    return {"images": images, "elements": elements, "depths": depths}


def write_v73(
    path: Path, fields: Mapping[str, Any], struct_name: str | None = "imdb", **storage: Any
) -> Path:
    """HDF5 behind MATLAB's 512 bytes, axes reversed; storage goes to h5py's create_dataset."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_group("#refs#")
        group = file if struct_name is None else file.create_group(struct_name)
        for name, values in fields.items():
            group.create_dataset(name, data=np.asarray(values).T, **storage)
    with path.open("r+b") as raw:
        raw.write(b"MATLAB 7.3 MAT-file".ljust(116) + bytes(8) + b"\x00\x02IM")
    return path


def write_v5(
    path: Path,
    fields: Mapping[str, Any],
    struct_name: str | None = "imdb",
    *,
    compress: bool = True,
) -> Path:
    """Version 5, as MATLAB's save without -v7.3 writes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = dict(fields) if struct_name is None else {struct_name: dict(fields)}
    scipy.io.savemat(path, content, do_compression=compress)
    return path


def open_roofline(root: Path, split: Split = "all", **settings: Any) -> RooflineDataset:
    """The reader of a folder or file, with a scratch folder beside it."""
    return RooflineDataset(root, split, root.parent / "scratch", **settings)


def v5_element(kind: int, content: bytes) -> bytes:
    """A data element of a file of version 5."""
    return struct.pack("<II", kind, len(content)) + content.ljust(-(-len(content) // 8) * 8)


def v5_matrix() -> bytes:
    """A field of a struct of version 5: the number 1."""
    body = v5_element(6, struct.pack("<II", 6, 0)) + v5_element(5, struct.pack("<ii", 1, 1))
    return v5_element(14, body + v5_element(1, b"") + v5_element(9, struct.pack("<d", 1.0)))


NAMES = ("images", "elements", "depths")


def open_all(path, names=NAMES):
    """Its arrays; those of version 5 are kept beside it."""
    return open_mat(path, "imdb", names, path.parent / "scratch")


def open_one(path):
    return open_all(path, ["images"])
