"""Damaged files of Roofline-Extraction, of both MATLAB versions."""

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
import scipy.sparse

from tests.support.corpus import ANY_FILE, LYING_PX, Damage, Variant
from tests.support.corpus_hdf5 import NODES, SHAPE
from tests.support.fakes_roofline import SIZE_PX, Fields, draw_fields, write_v5, write_v73

NUM_SAMPLES = SHAPE[0]
ALL_IDS = frozenset(f"roofline:{number}" for number in range(1, NUM_SAMPLES + 1))
VICTIM = 4  # from 0: roofline:5
NAME = "imdb.mat"

Change = Callable[[Fields], Any]


def write_good_roofline(root: Path) -> None:
    """Ten crops in a file of version 7.3."""
    write_v73(root / NAME, draw_fields(NUM_SAMPLES))


def _rewrite(change: Change, write: Callable[..., Path] = write_v73, **storage: Any) -> Damage:
    """The file with other arrays."""

    def damage(root: Path) -> None:
        fields = draw_fields(NUM_SAMPLES)
        changed = change(fields)
        (root / NAME).unlink()
        write(root / NAME, fields if changed is None else changed, **storage)

    return damage


def _set(name: str, value: float, where: Any = np.s_[3:6, 4:9]) -> Change:
    """Some values of one crop."""

    def change(fields: Fields) -> None:
        fields[name][(*where, ..., VICTIM)] = value

    return change


def _array(name: str, change: Callable[[Any], Any]) -> Change:
    """Another array under the name."""
    return lambda fields: fields | {name: change(fields[name])}


def _whole_file() -> list[Variant]:
    def v5(damage: Damage, *, compress: bool) -> Damage:
        def damage_v5(root: Path) -> None:
            (root / NAME).unlink()
            damage(write_v5(root / NAME, draw_fields(NUM_SAMPLES), compress=compress))

        return damage_v5

    def v73(damage: Damage) -> Damage:
        return lambda root: damage(root / NAME)

    cuts = ("cut to half", "of 100 bytes")  # each costs several children that read it
    return [
        *(
            Variant(f"file {what}", "roofline", v73(damage), refused=True, culprit=NAME)
            for what, damage in ANY_FILE.items()
        ),
        *(
            Variant(
                f"version 5 {'compressed' if compress else 'plain'} {what}",
                "roofline",
                v5(ANY_FILE[what], compress=compress),
                refused=True,
                culprit=NAME,
            )
            for compress in (False, True)
            for what in cuts
        ),
    ]


def _one_sample() -> list[Variant]:
    nan, inf = float("nan"), float("inf")
    changes = {
        "NaN in an image": _set("images", nan),
        "infinity in an image": _set("images", inf),
        "image of NaN": _set("images", nan, np.s_[:, :]),
        "image below zero": _set("images", -300),
        "image above 255": _set("images", 5000),
        "image of huge numbers": _set("images", 3e38, np.s_[:, :]),
        "NaN in elements": _set("elements", nan),
        "infinity in elements": _set("elements", -inf),
        "elements above 1": _set("elements", 7),
        "elements below 0": _set("elements", -1),
        "elements of 255 in one crop": _set("elements", 255),
    }
    of_v5 = ("NaN in an image", "elements above 1")  # stored as version 7.3, and read as that
    files = [
        *(("", write_v73, what) for what in changes),
        *(("version 5 ", write_v5, what) for what in of_v5),
    ]
    bad = frozenset({f"roofline:{VICTIM + 1}"})
    return [
        *(
            Variant(
                f"{version}{what}", "roofline", _rewrite(changes[what], write), bad=bad,
                culprit=f"roofline:{VICTIM + 1}",
            )
            for version, write, what in files
        ),
        *(
            Variant(f"broken chunk of {name}{how}", "roofline", _break_chunk(name, **storage),
                    bad=bad, culprit=NAME)
            for name in ("images", "elements", "depths")
            for how, storage in (
                ("", {"compression": "gzip"}),
                (" with a checksum", {"fletcher32": True}),
            )
        ),
    ]  # fmt: skip


def _break_chunk(name: str, **storage: Any) -> Damage:
    """Random bytes in the middle of the stored values of one crop."""

    def damage(root: Path) -> None:
        path = root / NAME
        path.unlink()
        path.parent.mkdir(exist_ok=True)
        with h5py.File(path, "w") as file:
            for key, values in draw_fields(NUM_SAMPLES).items():
                reversed_axes = values.T
                file.create_dataset(
                    f"imdb/{key}", data=reversed_axes, chunks=(1, *reversed_axes.shape[1:]),
                    **storage,
                )  # fmt: skip
        with h5py.File(path) as file:
            chunk = file[f"imdb/{name}"].id.get_chunk_info(VICTIM)
        content = bytearray(path.read_bytes())
        start = chunk.byte_offset + chunk.size // 2
        content[start : start + 20] = np.random.default_rng(0).bytes(20)
        path.write_bytes(content)

    return damage


def _heights() -> list[Variant]:
    """Heights that cannot be are unknown; the crop's lines are used."""
    values = {
        "NaN": float("nan"),
        "infinite": float("inf"),
        "minus infinite": -float("inf"),
        "of -9999 m": -9999,
        "of 1e38 m": 1e38,
        "constant": 5,
    }
    return [
        Variant(f"heights {what}", "roofline", _rewrite(_set("depths", value, np.s_[:, :])))
        for what, value in values.items()
    ]


def _layout() -> list[Variant]:
    changes: dict[str, Change] = {
        "no images": lambda fields: fields.pop("images") is None,
        "only images": lambda fields: {"images": fields["images"]},
        "nothing": lambda _: {},
        "other names": lambda fields: {f"my_{name}": values for name, values in fields.items()},
        "fewer elements": _array("elements", lambda array: array[..., :-1]),
        "more heights": _array("depths", lambda array: np.concatenate((array, array), -1)),
        "elements of another size": _array("elements", lambda array: array[:16, :16]),
        "heights of another size": _array("depths", lambda array: array[:20, :20]),
        "images that are not square": _array("images", lambda array: array[:30]),
        "images of two channels": _array("images", lambda array: array[:, :, :2]),
        "images of four channels": _array("images", lambda a: np.concatenate((a, a), 2)[:, :, :4]),
        "images of five axes": _array("images", lambda array: array[..., None, :]),
        "images of one axis": _array("images", np.ravel),
        "heights of three channels": _array("depths", lambda a: np.stack((a, a, a), 2)),
        "crops of 8 px": lambda fields: {name: a[:8, :8] for name, a in fields.items()},
        "no crops": lambda fields: {name: array[..., :0] for name, array in fields.items()},
        "images of NaN": _array("images", lambda array: array * np.nan),
        "images up to 65535": _array("images", lambda array: array * 257),
        "elements up to 1000": _array("elements", lambda array: array * 1000),
        "complex images": _array("images", lambda array: array + 1j * array),
    }
    always_scaled = {"images of NaN"}
    refused = [
        Variant(what, "roofline", _rewrite(_named(change)), refused=True, culprit=NAME)
        for what, change in changes.items()
        if what not in always_scaled
    ]
    all_bad = Variant(
        "images of NaN",
        "roofline",
        _rewrite(changes["images of NaN"]),
        bad=ALL_IDS,
        too_many=True,
        culprit=NAME,
    )
    return [*refused, all_bad]


def _named(change: Change) -> Change:
    def named(fields: Fields) -> Any:
        changed = change(fields)
        return changed if isinstance(changed, dict) else fields

    return named


def _hdf5() -> list[Variant]:
    def place(name: str, write: Callable[[h5py.File, str], None]) -> Damage:
        def damage(root: Path) -> None:
            fields = draw_fields(NUM_SAMPLES)
            del fields[name]
            (root / NAME).unlink()
            write_v73(root / NAME, fields)
            with h5py.File(root / NAME, "r+") as file:
                write(file, f"imdb/{name}")

        return damage

    return [
        Variant(f"{name}: {what}", "roofline", place(name, write), refused=True, culprit=NAME)
        for name in ("images", "depths")
        for what, write in NODES.items()
    ]


def _matlab5() -> list[Variant]:
    """What version 5 can hold in place of an array."""

    def cell(array: Any) -> Any:
        cells = np.empty(NUM_SAMPLES, object)
        for index in range(NUM_SAMPLES):
            cells[index] = array[..., index]
        return cells

    def lying_size(root: Path) -> None:
        """Crops of 60,000 px, by the account of the header alone."""
        path = write_v5(root / NAME, draw_fields(NUM_SAMPLES), compress=False)
        lengths = struct.pack("<4i", SIZE_PX, SIZE_PX, 3, NUM_SAMPLES)
        lying = struct.pack("<4i", LYING_PX, LYING_PX, 3, NUM_SAMPLES)
        assert lengths in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(lengths, lying))

    def bomb(root: Path) -> None:
        """A few kilobytes that unpack to 20 GB by their own account."""
        path = write_v5(root / NAME, {"images": np.ones(3)}, compress=True)
        unpacked = struct.pack("<II", 14, 2**32 - 16) + bytes(100_000)
        packed = zlib.compress(unpacked)
        element = struct.pack("<II", 15, len(packed)) + packed
        path.write_bytes(path.read_bytes()[:128] + 5 * element)

    def sparse(root: Path) -> None:
        (root / NAME).unlink()
        scipy.io.savemat(root / NAME, {"images": scipy.sparse.eye(9, format="csc")})

    changes: dict[str, Change] = {
        "cells": _array("images", cell),
        "text": _array("elements", lambda _: "not an array"),
        "struct in a struct": _array("elements", lambda array: {"a": array}),
        "array of structs": _array("elements", lambda _: [{"a": 1}, {"a": 2}]),
    }
    return [
        *(
            Variant(f"version 5 {what}", "roofline", _rewrite(change, write_v5), refused=True,
                    culprit=NAME)
            for what, change in changes.items()
        ),
        Variant("version 5 of a lying size", "roofline", lying_size, refused=True, culprit=NAME),
        Variant("version 5 that unpacks to 20 GB", "roofline", bomb, refused=True, culprit=NAME),
        Variant("version 5 sparse matrix", "roofline", sparse, refused=True, culprit=NAME),
    ]  # fmt: skip


def _folder() -> list[Variant]:
    def two_files(root: Path) -> None:
        (root / NAME).rename(root / "a.mat")
        write_v73(root / "b.mat", draw_fields(NUM_SAMPLES))

    def other_ending(root: Path) -> None:
        (root / NAME).rename(root / "imdb.h5")

    def deeper(root: Path) -> None:
        (root / "data").mkdir()
        (root / NAME).rename(root / "data" / NAME)

    def odd_name(root: Path) -> None:
        (root / NAME).rename(Path(str(root / "x").replace("x", "\udcff\n.mat")))

    return [
        Variant("two files", "roofline", two_files, refused=True, culprit="a.mat; b.mat"),
        Variant("another ending", "roofline", other_ending, refused=True, culprit="imdb.h5"),
        Variant("file in a folder", "roofline", deeper, refused=True, culprit="data"),
        Variant("nothing in the folder", "roofline", lambda root: (root / NAME).unlink(),
                refused=True, culprit="dataset"),
        Variant("file name that is no UTF-8", "roofline", odd_name),
    ]  # fmt: skip


VARIANTS = (
    *_whole_file(),
    *_one_sample(),
    *_heights(),
    *_layout(),
    *_hdf5(),
    *_matlab5(),
    *_folder(),
)
