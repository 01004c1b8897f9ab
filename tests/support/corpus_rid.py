"""Damaged RID trees."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from rasterio import Affine

from tests.support import corpus, corpus_tree
from tests.support.corpus import Damage, Variant
from tests.support.fakes import (
    IMAGES,
    LISTS,
    MASKS,
    RID_TRANSFORM,
    gable,
    write_fake_rid,
    write_raster,
)

SUPERSTRUCTURES = "masks_superstructures_reviewed"
LIST = f"{LISTS}/train_filenames_1_rev.txt"
ALL_IDS = frozenset({"2", "3", "7", "8", "9"})
VICTIM = "3"


def write_good_rid(root: Path) -> None:
    """Three samples to train on, one for val, one for test, with superstructures."""
    write_fake_rid(root, num_train=3, num_val=1, num_test=1, superstructures=True)


_IMAGE: Mapping[str, Damage] = {
    **corpus.ANY_FILE,
    **corpus.ANY_RASTER,
    "one band": corpus.other_bands(lambda bands: bands[:1]),
    "five bands": corpus.other_bands(lambda bands: np.concatenate((bands, bands))[:5]),
    "complex": corpus.as_type("complex64"),
    "png": corpus.encode(".png"),
    "scale of a degree as metres": corpus.georeference("EPSG:25832", RID_TRANSFORM),
    "scale of 100 m": corpus.georeference("EPSG:25832", Affine(100, 0, 7e5, 0, -100, 5e6)),
    "scale of zero": corpus.georeference("EPSG:25832", Affine(0, 0, 7e5, 0, 0, 5e6)),
    "scale not a number": corpus.georeference(
        "EPSG:25832", Affine(float("nan"), 0, 7e5, 0, float("nan"), 5e6)
    ),
    "scale infinite": corpus.georeference("EPSG:25832", Affine(float("inf"), 0, 7e5, 0, -0.1, 5e6)),
    "latitude of 5000": corpus.georeference("EPSG:4326", Affine(1e-6, 0, 11, 0, -1, 5000)),
    "header of 60000 px in one strip": corpus.lying_tiff(3, 1),
    "header of 60000 px in strips": corpus.lying_tiff(3, 1000),
    "sparse file of 60000 px": corpus.sparse_tiff(3),
    "png header of 60000 px": corpus.lying_png(2),
    "pixel data missing": corpus.missing_strips,
}
_MASK: Mapping[str, Damage] = {
    **corpus.ANY_FILE,
    **corpus.ANY_PNG,
    "of uint16": corpus.as_type("uint16"),
    "of colours": corpus.other_bands(lambda bands: np.concatenate((bands, bands, 9 * bands))),
    "all transparent": corpus.other_bands(lambda bands: np.concatenate((bands, 0 * bands))),
    "tiff header of 60000 px": corpus.lying_tiff(1, 1),
    "sparse file of 60000 px": corpus.sparse_tiff(1),
    "header of 60000 px": corpus.lying_png(0),
    "colour header of 60000 px": corpus.lying_png(2),
    "value 255": corpus.set_value(255),
    "value 200": corpus.set_value(200),
    "all 255": corpus.other_bands(lambda bands: 0 * bands + 255),
    "0 and 255": corpus.other_bands(lambda bands: np.where(bands < 17, 255, 0).astype(np.uint8)),
}
_SEGMENTS = {
    **_MASK,
    "value 18": corpus.set_value(18),
    "one too high": corpus.other_bands(lambda b: b + 1),
}
_PARTS = {
    **_MASK,
    "value 9": corpus.set_value(9),
    "segments": corpus.other_bands(lambda bands: bands + 9),
}


def _one_file() -> list[Variant]:
    kinds = (
        ("image", IMAGES, ".tif", _IMAGE),
        ("mask", MASKS, ".png", _SEGMENTS),
        ("superstructures", SUPERSTRUCTURES, ".png", _PARTS),
    )
    return [
        Variant(
            f"{kind} {name}",
            "rid",
            corpus_tree.at(f"{folder}/{VICTIM}{suffix}", damage),
            bad=frozenset({VICTIM}),
            culprit=f"{VICTIM}{suffix}",
        )
        for kind, folder, suffix, damages in kinds
        for name, damage in damages.items()
    ]


def _pair() -> list[Variant]:
    image, mask = f"{IMAGES}/{VICTIM}.tif", f"{MASKS}/{VICTIM}.png"

    def one(name: str, damage: Damage, culprit: str) -> Variant:
        return Variant(name, "rid", damage, bad=frozenset({VICTIM}), culprit=culprit)

    def refused(name: str, damage: Damage, culprit: str) -> Variant:
        return Variant(name, "rid", damage, refused=True, culprit=culprit)

    def mask_of_another_size(root: Path) -> None:
        write_raster(root / mask, gable(96, 0)[None])

    def parts_of_another_size(root: Path) -> None:
        write_raster(root / SUPERSTRUCTURES / f"{VICTIM}.png", np.full((1, 32, 32), 8, np.uint8))

    def folder_link(root: Path) -> None:
        outside = root.parent / "outside-folder"
        shutil.move(root / MASKS, outside)
        (root / MASKS).symlink_to(outside)

    return [
        one("image missing", corpus_tree.remove(image), f"{VICTIM}.tif"),
        one("mask missing", corpus_tree.remove(mask), f"{VICTIM}.png"),
        one("image and mask missing", corpus_tree.remove(image, mask), VICTIM),
        one("image and mask swapped", corpus_tree.swap(image, mask), VICTIM),
        one("mask in place of the image", corpus_tree.copy(mask, image), f"{VICTIM}.tif"),
        one("image in place of the mask", corpus_tree.copy(image, mask), f"{VICTIM}.png"),
        one("mask of another size", mask_of_another_size, f"{VICTIM}.png"),
        one("superstructures of another size", parts_of_another_size, f"{VICTIM}.png"),
        refused("image twice, .tif and .tiff", corpus_tree.copy(image, f"{image}f"), VICTIM),
        refused("image twice, .tif and .TIF", corpus_tree.copy(image, image[:-4] + ".TIF"), VICTIM),
        refused("mask twice, .png and .PNG", corpus_tree.copy(mask, mask[:-4] + ".PNG"), VICTIM),
        refused("no images", corpus_tree.remove(IMAGES), IMAGES),
        refused("no masks", corpus_tree.remove(MASKS), MASKS),
        refused("no lists", corpus_tree.remove(LISTS), LISTS),
        refused("images are a file", corpus_tree.become_file(IMAGES), IMAGES),
        refused("masks are a link outside", folder_link, MASKS),
        refused("nothing", corpus_tree.remove(IMAGES, MASKS, LISTS, SUPERSTRUCTURES), "empty"),
    ]


def _lists() -> list[Variant]:
    good = b"2.png\r\n3.png\r\n7.png\r\n"
    # Lists that name what is not there: the rest is used.
    escapes = {
        **corpus_tree.absent_names(".png"),
        "windows path": (b"C:\\Windows\\win.ini", "win"),
        "null byte": (b"11\x0012.png", "11"),
        "other alphabet": ("дом.png".encode(), "дом"),
        "name absent": (b"4711.png", "4711"),
        "wildcard": (b"*.png", "*"),
    }
    listed = [
        Variant(
            f"list with a {what}",
            "rid",
            corpus_tree.write(LIST, good + line + b"\r\n"),
            num_absent=1,
            culprit=culprit,
        )
        for what, (line, culprit) in escapes.items()
    ]
    absent = b"".join(b"%d.png\n" % number for number in range(5000, 9000))
    broken = {
        **corpus_tree.no_list(LIST, good),
        "image": corpus_tree.copy(f"{IMAGES}/2.tif", LIST),
        "of absent names": corpus_tree.write(LIST, absent),
        "link outside": corpus_tree.at(LIST, corpus.ANY_FILE["link outside"]),
        "missing": corpus_tree.remove(LIST),
    }
    return [
        *listed,
        *(
            Variant(f"list {what}", "rid", damage, refused=True, culprit=Path(LIST).name)
            for what, damage in broken.items()
        ),
    ]


def _names() -> list[Variant]:
    """Files whose names are the trouble; all samples stay good."""

    names = {
        **corpus_tree.ODD_NAMES,
        "hidden file": b".3.tif",
        "macOS companion": b"._3.tif",
        "backup": b"3 (copy).tif",
    }
    return [
        Variant(what, "rid", corpus_tree.copy_beside(name, f"{IMAGES}/2.tif"))
        for what, name in names.items()
    ]


VARIANTS = (*_one_file(), *_pair(), *_lists(), *_names())
