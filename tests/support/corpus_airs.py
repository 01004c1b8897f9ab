"""Damaged AIRS trees, in the mirror's layout."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from rasterio import Affine

from tests.support import corpus, corpus_tree
from tests.support.corpus import Damage, Variant
from tests.support.fakes_airs import houses, write_mirror, write_tile

ALL_IDS = frozenset(f"christchurch_{number}" for number in (1, 2, 11, 3, 4))
VICTIM = "christchurch_2"
LIST = "train.txt"
IMAGE, LABEL = f"train/image/{VICTIM}.tif", f"train/label/{VICTIM}.tif"


def write_good_airs(root: Path) -> None:
    """Three tiles to train on, one for val, one for test."""
    write_mirror(root)


_TILE: Mapping[str, Damage] = {
    **corpus.ANY_FILE,
    **corpus.ANY_RASTER,
    "png": corpus.encode(".png"),
    "png header of 60000 px": corpus.lying_png(2),
    "pixel data missing": corpus.missing_strips,
}
_IMAGE: Mapping[str, Damage] = {
    **_TILE,
    "of one band": corpus.other_bands(lambda bands: bands[:1]),
    "of five bands": corpus.other_bands(lambda bands: np.concatenate((bands, bands))[:5]),
    "complex": corpus.as_type("complex64"),
    "header of 60000 px in one strip": corpus.lying_tiff(3, 1),
    "header of 60000 px in strips": corpus.lying_tiff(3, 1000),
    "sparse file of 60000 px": corpus.sparse_tiff(3),
    "scale of 100 m": corpus.georeference("EPSG:2193", Affine(100, 0, 1.5e6, 0, -100, 5e6)),
    "scale of zero": corpus.georeference("EPSG:2193", Affine(0, 0, 1.5e6, 0, 0, 5e6)),
    "scale not a number": corpus.georeference(
        "EPSG:2193", Affine(float("nan"), 0, 1.5e6, 0, float("nan"), 5e6)
    ),
    "scale infinite": corpus.georeference(
        "EPSG:2193", Affine(float("inf"), 0, 1.5e6, 0, -0.1, 5e6)
    ),
}
_LABEL: Mapping[str, Damage] = {
    **_TILE,
    "of four bands": corpus.other_bands(lambda bands: np.concatenate((bands, bands, bands, bands))),
    "with the value 2": corpus.set_value(2),
    "with the value 200": corpus.set_value(200),
    "with 1 and 255": corpus.set_value(255),
    "all 7": corpus.other_bands(lambda bands: 0 * bands + 7),
    "header of 60000 px": corpus.lying_tiff(1, 1),
    "sparse file of 60000 px": corpus.sparse_tiff(1),
}


def _one_file() -> list[Variant]:
    return [
        Variant(
            f"{kind} {name}",
            "airs",
            corpus_tree.at(place, damage),
            bad=frozenset({VICTIM}),
            culprit=VICTIM,
        )
        for kind, place, damages in (("image", IMAGE, _IMAGE), ("label", LABEL, _LABEL))
        for name, damage in damages.items()
    ]


def _pairs() -> list[Variant]:
    def one(name: str, damage: Damage) -> Variant:
        return Variant(name, "airs", damage, bad=frozenset({VICTIM}), culprit=VICTIM)

    def refused(name: str, damage: Damage, culprit: str) -> Variant:
        return Variant(name, "airs", damage, refused=True, culprit=culprit)

    def label_of_another_size(root: Path) -> None:
        write_tile(root / "aside", VICTIM, houses(200))
        (root / f"aside/label/{VICTIM}.tif").rename(root / LABEL)
        shutil.rmtree(root / "aside")

    def labels_link_outside(root: Path) -> None:
        outside = root.parent / "outside-labels"
        shutil.move(root / "train/label", outside)
        (root / "train/label").symlink_to(outside)

    return [
        one("image missing", corpus_tree.remove(IMAGE)),
        one("label missing", corpus_tree.remove(LABEL)),
        one("image and label missing", corpus_tree.remove(IMAGE, LABEL)),
        one("image and label swapped", corpus_tree.swap(IMAGE, LABEL)),
        one("label in place of the image", corpus_tree.copy(LABEL, IMAGE)),
        one("image in place of the label", corpus_tree.copy(IMAGE, LABEL)),
        one("label of another size", label_of_another_size),
        refused("image twice, .tif and .tiff", corpus_tree.copy(IMAGE, f"{IMAGE}f"), VICTIM),
        refused("label twice, .tif and .TIF", corpus_tree.copy(LABEL, f"{LABEL[:-4]}.TIF"), VICTIM),
        refused("no labels", corpus_tree.remove("train/label"), "train/label"),
        refused("no images", corpus_tree.remove("train/image"), "train/image"),
        refused("no val", corpus_tree.remove("val"), "val"),
        refused("labels are a file", corpus_tree.become_file("train/label"), "train/label"),
        refused(
            "nothing", corpus_tree.remove("train", "val", "test", "train.txt", "val.txt"), "dataset"
        ),
        refused("two datasets", lambda root: shutil.copytree(root, root / "copy") and None, "copy"),
    ]


def _lists() -> list[Variant]:
    good = b"christchurch_1.tif\r\nchristchurch_2.tif\r\nchristchurch_11.tif\r\n"
    escapes = {
        **corpus_tree.absent_names(".tif"),
        "windows path": (b"C:\\Windows\\win.tif", "win"),
        "null byte": (b"christ\x00church.tif", "christ"),
        "name absent": (b"christchurch_4711", "4711"),
        "wildcard": (b"*", "*"),
    }
    broken = {
        **corpus_tree.no_list(LIST, good),
        "of absent names": corpus_tree.write(
            LIST, b"".join(b"tile_%d.tif\n" % n for n in range(4000))
        ),
        "link to nothing": corpus_tree.at(LIST, corpus.ANY_FILE["link to nothing"]),
    }
    return [
        *(
            Variant(f"list with a {what}", "airs", corpus_tree.write(LIST, good + line),
                    num_absent=1, culprit=culprit)
            for what, (line, culprit) in escapes.items()
        ),
        *(
            Variant(f"list {what}", "airs", damage, refused=True, culprit="train")
            for what, damage in broken.items()
        ),
    ]  # fmt: skip


def _names() -> list[Variant]:
    """Files whose names are the trouble; all tiles of the lists stay good."""

    names = {
        **corpus_tree.ODD_NAMES,
        "macOS companion": b"._christchurch_2.tif",
        "second preview": b"christchurch_1_vis.tif",
    }
    return [
        Variant(what, "airs", corpus_tree.copy_beside(name, IMAGE, LABEL))
        for what, name in names.items()
    ]


VARIANTS = (*_one_file(), *_pairs(), *_lists(), *_names())
