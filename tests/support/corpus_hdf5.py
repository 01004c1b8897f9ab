"""What an HDF5 file can hold in place of an array of crops."""

import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.support.corpus import LYING_PX
from tests.support.fakes_roofline import SIZE_PX

SHAPE = (10, 3, SIZE_PX, SIZE_PX)


def _references(file: h5py.File, name: str) -> None:
    target = file.create_dataset("#refs#/a", data=np.ones(3))
    file.create_dataset(name, data=np.full((10, 1), target.ref, h5py.ref_dtype))


def _region_references(file: h5py.File, name: str) -> None:
    target = file.create_dataset("#refs#/a", data=np.ones((4, 4)))
    data = np.array([target.regionref[:2, :2]], h5py.regionref_dtype)
    file.create_dataset(name, data=data)


def _external_link(file: h5py.File, name: str) -> None:
    file[name] = h5py.ExternalLink("/etc/hostname", "/x")


def _link_to_other_file(file: h5py.File, name: str) -> None:
    other = Path(file.filename).parents[1] / "outside.h5"
    with h5py.File(other, "w") as outside:
        outside["x"] = np.ones(SHAPE, np.float32)
    file[name] = h5py.ExternalLink(str(other), "/x")


def _external_values(file: h5py.File, name: str) -> None:
    external = [("/etc/passwd", 0, h5py.h5f.UNLIMITED)]
    file.create_dataset(name, SHAPE, "u1", external=external)


def _virtual(file: h5py.File, name: str) -> None:
    layout = h5py.VirtualLayout(SHAPE, "f4")
    layout[:] = h5py.VirtualSource("/tmp/no-such-file.h5", "x", SHAPE)
    file.create_virtual_dataset(name, layout)


def _loop(file: h5py.File, name: str) -> None:
    file[name] = h5py.SoftLink(f"/{name}")


def _hard_loop(file: h5py.File, name: str) -> None:
    group = file.create_group(name)
    group["again"] = group


def _shape_without_values(file: h5py.File, name: str) -> None:
    shape = (SHAPE[0], 3, LYING_PX, LYING_PX)
    file.create_dataset(name, shape, "f4", chunks=(1, 1, 64, 64))


def _huge_chunks(file: h5py.File, name: str) -> None:
    shape = (SHAPE[0], 3, LYING_PX, LYING_PX)
    array = file.create_dataset(
        name, shape, "f4", chunks=(1, 1, 30_000, 30_000), compression="gzip"
    )
    array.id.write_direct_chunk((0, 0, 0, 0), zlib.compress(bytes(1000)))


def _many_huge_crops(file: h5py.File, name: str) -> None:
    shape = (SHAPE[0], 3, LYING_PX, LYING_PX)
    array = file.create_dataset(name, shape, "f4", chunks=(1, 1, 64, 64), compression="gzip")
    array[0, 0, :64, :64] = 1


def _endless(file: h5py.File, name: str) -> None:
    shape = (2**40, 3, SIZE_PX, SIZE_PX)
    array = file.create_dataset(name, shape, "f4", chunks=(1, 3, SIZE_PX, SIZE_PX))
    array[0] = 1


def _unknown_filter(file: h5py.File, name: str) -> None:
    settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    settings.set_chunk((1, 3, SIZE_PX, SIZE_PX))
    settings.set_filter(32015, h5py.h5z.FLAG_OPTIONAL, (1,))
    space = h5py.h5s.create_simple(SHAPE)
    place = h5py.h5p.create(h5py.h5p.LINK_CREATE)
    place.set_create_intermediate_group(True)
    h5py.h5d.create(file.id, name.encode(), h5py.h5t.IEEE_F32LE, space, dcpl=settings, lcpl=place)


def _put(data: Any, **options: Any) -> Callable[[h5py.File, str], None]:
    return lambda file, name: file.create_dataset(name, data=data, **options) and None


_PAIRS = np.zeros(SHAPE[0], [("real", "f8"), ("imag", "f8")])
NODES: Mapping[str, Callable[[h5py.File, str], None]] = {
    "object references": _references,
    "region references": _region_references,
    "link to another file": _external_link,
    "link to arrays in another file": _link_to_other_file,
    "values in another file": _external_values,
    "virtual array": _virtual,
    "link to itself": _loop,
    "group that holds itself": _hard_loop,
    "struct": lambda file, name: file.create_group(name) and None,
    "shape without values": _shape_without_values,
    "chunks of 3 GB": _huge_chunks,
    "crops of 60000 px": _many_huge_crops,
    "shape of a trillion crops": _endless,
    "filter of a plugin": _unknown_filter,
    "texts": _put(np.array([b"a", b"b"], "S8")),
    "texts of any length": _put(["a", "b"], dtype=h5py.string_dtype()),
    "arrays of any length": _put(
        np.array([np.ones(2), np.ones(3)], object), dtype=h5py.vlen_dtype("f4")
    ),
    "pairs": _put(_PAIRS),
    "opaque values": _put(np.array([b"abc"], "V3")),
    "single number": _put(3.0),
    "empty space": _put(h5py.Empty("f4")),
    "named type": lambda file, name: file.__setitem__(name, np.dtype("f8")),
}
