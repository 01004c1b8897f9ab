"""Damaged AIRS trees, in the mirror's layout."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from rasterio import Affine

from tests.support.corpus import (
    ANY_FILE,
    ANY_RASTER,
    Damage,
    Variant,
    as_type,
    become_pipe,
    encode,
    georeference,
    lying_png,
    lying_tiff,
    missing_strips,
    other_bands,
    set_value,
    sparse_tiff,
)
from tests.support.fakes_airs import houses, write_mirror, write_tile

ALL_IDS = frozenset(f"christchurch_{number}" for number in (1, 2, 11, 3, 4))
VICTIM = "christchurch_2"
IMAGE, LABEL = f"train/image/{VICTIM}.tif", f"train/label/{VICTIM}.tif"


def write_good_airs(root: Path) -> None:
    """Three tiles to train on, one for val, one for test."""
    write_mirror(root)


_TILE: Mapping[str, Damage] = {
    **ANY_FILE,
    **ANY_RASTER,
    "png": encode(".png"),
    "png header of 60000 px": lying_png(2),
    "pixel data missing": missing_strips,
}
_IMAGE: Mapping[str, Damage] = {
    **_TILE,
    "of one band": other_bands(lambda bands: bands[:1]),
    "of five bands": other_bands(lambda bands: np.concatenate((bands, bands))[:5]),
    "complex": as_type("complex64"),
    "header of 60000 px in one strip": lying_tiff(3, 1),
    "header of 60000 px in strips": lying_tiff(3, 1000),
    "sparse file of 60000 px": sparse_tiff(3),
    "scale of 100 m": georeference("EPSG:2193", Affine(100, 0, 1.5e6, 0, -100, 5e6)),
    "scale of zero": georeference("EPSG:2193", Affine(0, 0, 1.5e6, 0, 0, 5e6)),
    "scale not a number": georeference(
        "EPSG:2193", Affine(float("nan"), 0, 1.5e6, 0, float("nan"), 5e6)
    ),
    "scale infinite": georeference("EPSG:2193", Affine(float("inf"), 0, 1.5e6, 0, -0.1, 5e6)),
}
_LABEL: Mapping[str, Damage] = {
    **_TILE,
    "of four bands": other_bands(lambda bands: np.concatenate((bands, bands, bands, bands))),
    "with the value 2": set_value(2),
    "with the value 200": set_value(200),
    "with 1 and 255": set_value(255),
    "all 7": other_bands(lambda bands: 0 * bands + 7),
    "header of 60000 px": lying_tiff(1, 1),
    "sparse file of 60000 px": sparse_tiff(1),
}


def _one_file() -> list[Variant]:
    def at(place: str, damage: Damage) -> Damage:
        return lambda root: damage(root / place)

    return [
        Variant(
            f"{kind} {name}", "airs", at(place, damage), bad=frozenset({VICTIM}), culprit=VICTIM
        )
        for kind, place, damages in (("image", IMAGE, _IMAGE), ("label", LABEL, _LABEL))
        for name, damage in damages.items()
    ]


def _pairs() -> list[Variant]:
    def one(name: str, damage: Damage) -> Variant:
        return Variant(name, "airs", damage, bad=frozenset({VICTIM}), culprit=VICTIM)

    def refused(name: str, damage: Damage, culprit: str) -> Variant:
        return Variant(name, "airs", damage, refused=True, culprit=culprit)

    def remove(*places: str) -> Damage:
        def damage(root: Path) -> None:
            for place in places:
                path = root / place
                shutil.rmtree(path) if path.is_dir() else path.unlink()

        return damage

    def copy(source: str, target: str) -> Damage:
        return lambda root: shutil.copy(root / source, root / target) and None

    def swap(root: Path) -> None:
        (root / IMAGE).rename(root / "aside")
        (root / LABEL).rename(root / IMAGE)
        (root / "aside").rename(root / LABEL)

    def label_of_another_size(root: Path) -> None:
        write_tile(root / "aside", VICTIM, houses(200))
        (root / f"aside/label/{VICTIM}.tif").rename(root / LABEL)
        shutil.rmtree(root / "aside")

    def labels_link_outside(root: Path) -> None:
        outside = root.parent / "outside-labels"
        shutil.move(root / "train/label", outside)
        (root / "train/label").symlink_to(outside)

    def folder_is_file(root: Path) -> None:
        shutil.rmtree(root / "train/label")
        (root / "train/label").write_bytes(b"")

    return [
        one("image missing", remove(IMAGE)),
        one("label missing", remove(LABEL)),
        one("image and label missing", remove(IMAGE, LABEL)),
        one("image and label swapped", swap),
        one("label in place of the image", copy(LABEL, IMAGE)),
        one("image in place of the label", copy(IMAGE, LABEL)),
        one("label of another size", label_of_another_size),
        refused("image twice, .tif and .tiff", copy(IMAGE, f"{IMAGE}f"), VICTIM),
        refused("label twice, .tif and .TIF", copy(LABEL, f"{LABEL[:-4]}.TIF"), VICTIM),
        refused("no labels", remove("train/label"), "train/label"),
        refused("no images", remove("train/image"), "train/image"),
        refused("no val", remove("val"), "val"),
        refused("labels are a file", folder_is_file, "train/label"),
        refused("nothing", remove("train", "val", "test", "train.txt", "val.txt"), "dataset"),
        refused("two datasets", lambda root: shutil.copytree(root, root / "copy") and None, "copy"),
    ]


def _lists() -> list[Variant]:
    def write(content: bytes) -> Damage:
        return lambda root: (root / "train.txt").write_bytes(content) and None

    def apply(damage: Damage) -> Damage:
        return lambda root: damage(root / "train.txt")

    good = b"christchurch_1.tif\r\nchristchurch_2.tif\r\nchristchurch_11.tif\r\n"
    escapes = {
        "path upwards": (b"../../../../etc/passwd", "passwd"),
        "absolute path": (b"/etc/shadow.tif", "shadow"),
        "windows path": (b"C:\\Windows\\win.tif", "win"),
        "null byte": (b"christ\x00church.tif", "christ"),
        "line of a megabyte": (b"4" * 2**20 + b".tif", "4444"),
        "control characters": (b"1\x1b[31m1.tif", "31m1"),
        "name absent": (b"christchurch_4711", "4711"),
        "wildcard": (b"*", "*"),
    }
    broken = {
        "empty": write(b""),
        "blank": write(b"\r\n \r\n"),
        "binary": write(np.random.default_rng(1).bytes(3000)),
        "utf-16": write(good.decode().encode("utf-16")),
        "of absent names": write(b"".join(b"tile_%d.tif\n" % n for n in range(4000))),
        "folder": apply(ANY_FILE["folder"]),
        "pipe": apply(become_pipe),
        "link to /dev/zero": apply(ANY_FILE["link to /dev/zero"]),
        "link to a secret": apply(ANY_FILE["link to a secret"]),
        "link to nothing": apply(ANY_FILE["link to nothing"]),
    }
    return [
        *(
            Variant(f"list with a {what}", "airs", write(good + line), num_absent=1,
                    culprit=culprit)
            for what, (line, culprit) in escapes.items()
        ),
        *(
            Variant(f"list {what}", "airs", damage, refused=True, culprit="train")
            for what, damage in broken.items()
        ),
    ]  # fmt: skip


def _names() -> list[Variant]:
    """Files whose names are the trouble; all tiles of the lists stay good."""

    def odd_name(name: bytes) -> Damage:
        def damage(root: Path) -> None:
            for place in (IMAGE, LABEL):
                shutil.copy(root / place, bytes(root / place).rpartition(b"/")[0] + b"/" + name)

        return damage

    names = {
        "name that is no UTF-8": b"\xff\xfe\x80.tif",
        "name with a line break": b"1\n2.tif",
        "name with an escape": b"1\x1b[2J.tif",
        "macOS companion": b"._christchurch_2.tif",
        "second preview": b"christchurch_1_vis.tif",
    }
    return [Variant(what, "airs", odd_name(name)) for what, name in names.items()]


VARIANTS = (*_one_file(), *_pairs(), *_lists(), *_names())
