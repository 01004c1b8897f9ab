"""Damaged folders of own roofs: files of shapes of all formats, photos, heights and splits."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from rasterio import Affine

from tests.support import corpus, corpus_tree
from tests.support.corpus import ANY_FILE, Damage, Variant
from tests.support.fakes import write_raster
from tests.support.own import UTM, hip_roofs, moved, place_of, write_layer, write_photo

ALL_IDS = frozenset({"0", "1", "2", "3"})
VICTIM = "1"
SIDE_PX = 64
SPLITS = b"photo,split\n0,train\n1,train\n2,val\n3,test\n"

_EAST, _NORTH = place_of(1)


def planes_of_all() -> tuple[list[Any], list[float]]:
    """The planes of all four roofs, and the grid bearings in which they run down."""
    return hip_roofs(len(ALL_IDS), (5.0, 3.0))


def write_good_own(root: Path) -> None:
    """Four photos of 6.4 m with a roof each: two to train on, one for val, one for test."""
    areas = []
    for number in range(len(ALL_IDS)):
        east, north = place_of(number)
        write_photo(root / f"photos/{number}.tif", east, north, SIDE_PX)
        areas.append(shapely.box(east - 3.2, north - 3.2, east + 3.2, north + 3.2))
    planes, bearings = planes_of_all()
    write_layer(root / "roofs.gpkg", planes, azimuth=bearings)
    write_layer(root / "roofs.gpkg", areas, layer="areas", append=True)
    transform = Affine(0.5, 0, _EAST - 4, 0, -0.5, _NORTH + 4)
    heights = np.full((1, 16, 16), 5, np.float32)
    write_raster(root / f"heights/{VICTIM}.tif", heights, crs=UTM, transform=transform)
    (root / "splits.csv").write_bytes(SPLITS)


def as_format(suffix: str, crs: str = UTM) -> Damage:
    """The planes alone, in a file of another format."""

    def damage(root: Path) -> None:
        (root / "roofs.gpkg").unlink()
        planes, bearings = planes_of_all()
        write_layer(root / f"planes{suffix}", moved(planes, UTM, crs), crs, azimuth=bearings)

    return damage


def then(*damages: Damage) -> Damage:
    """One damage after the other."""

    def damage(root: Path) -> None:
        for each in damages:
            each(root)

    return damage


def refused(name: str, damage: Damage, culprit: str) -> Variant:
    """A folder that cannot be used."""
    return Variant(name, "own", damage, refused=True, culprit=culprit)


def used(name: str, damage: Damage, num_features: int = 0, culprit: str = "") -> Variant:
    """A folder that is used, with so many features set aside."""
    return Variant(name, "own", damage, num_features=num_features, culprit=culprit)


def bad_photo(name: str, damage: Damage, culprit: str = "") -> Variant:
    """A folder of which one photo is set aside."""
    return Variant(name, "own", damage, bad=frozenset({VICTIM}), culprit=culprit or VICTIM)


# What is no file of its format is known by its first bytes, whatever the format.
_SOME_FILE = (
    "of no bytes", "of 100 bytes", "cut to half", "random bytes", "pipe", "link outside",
)  # fmt: skip
_ANY_GPKG = (
    *_SOME_FILE, "of 8 bytes", "cut to a quarter", "first half zeros", "web page", "zip", "pickle",
    "virtual raster", "folder", "link to /dev/zero", "link to a secret",
)  # fmt: skip


def _vector_files() -> list[Variant]:
    formats = {
        "roofs.gpkg": (corpus_tree.remove(), _ANY_GPKG),
        "planes.geojson": (as_format(".geojson", "EPSG:4326"), _SOME_FILE),
        "planes.fgb": (as_format(".fgb"), _SOME_FILE),
        "planes.shp": (as_format(".shp"), _SOME_FILE),
    }
    return [
        refused(
            f"{file_name} {name}",
            then(convert, corpus_tree.at(file_name, ANY_FILE[name])),
            file_name,
        )
        for file_name, (convert, names) in formats.items()
        for name in names
    ]


def _shapefile_parts() -> list[Variant]:
    as_shape = as_format(".shp")

    def beside(name: str, end: str, damage: Damage) -> Variant:
        file_name = f"planes{end}"
        damages = then(as_shape, corpus_tree.at(file_name, damage))
        return refused(f"planes{end} {name}", damages, "planes")

    latin = then(
        as_shape,
        lambda root: (root / "planes.cpg").write_bytes(b"KLINGON") and None,
    )
    return [
        *(
            beside(name, end, ANY_FILE[name])
            for end in (".dbf", ".shx", ".prj")
            for name in ("of no bytes", "random bytes", "pipe")
        ),
        beside("cut to half", ".dbf", ANY_FILE["cut to half"]),
        beside("cut to half", ".shx", ANY_FILE["cut to half"]),
        beside("missing", ".dbf", Path.unlink),
        beside("missing", ".shx", Path.unlink),
        beside("missing", ".prj", Path.unlink),
        used("planes.cpg of no known letters", latin),
        beside("pipe", ".cpg", ANY_FILE["pipe"]),
    ]


def _folder() -> list[Variant]:
    def twice(root: Path) -> None:
        shutil.copy(root / "roofs.gpkg", root / "planes.gpkg")

    def odd_name(root: Path) -> None:
        shutil.copy(root / "roofs.gpkg", bytes(root) + b"/\xff\xfe.geojson")

    def zipped(root: Path) -> None:
        corpus.zip_it(root / "roofs.gpkg")
        (root / "roofs.gpkg").rename(root / "roofs.zip")

    return [
        refused("no photos", corpus_tree.remove("photos"), "photos"),
        refused("photos are a file", corpus_tree.become_file("photos"), "photos"),
        refused("no shapes", corpus_tree.remove("roofs.gpkg"), "no shapes"),
        refused("shapes zipped", zipped, "roofs.zip"),
        refused("shapes twice", twice, "two layers of planes"),
        refused("a name that is no text", odd_name, "geojson"),
        refused("only other shapes", _renamed("houses.geojson"), "houses.geojson"),
        used("a folder among photos", lambda root: (root / "photos/2024").mkdir()),
        used("heights are a file", corpus_tree.become_file("heights")),
        used("heights of no photo", corpus_tree.copy("heights/1.tif", "heights/99.tif")),
    ]


def _renamed(name: str) -> Damage:
    return then(
        as_format(".geojson", "EPSG:4326"),
        lambda root: (root / "planes.geojson").rename(root / name) and None,
    )


_PHOTO: Mapping[str, Damage] = {
    **{name: ANY_FILE[name] for name in (*_SOME_FILE, "virtual raster")},
    **{name: corpus.ANY_RASTER[name] for name in ("of uint16", "of two bands", "jpeg")},
    "without a place": lambda path: _without_place(path),
    "scale of 100 m": corpus.georeference(UTM, Affine(100, 0, _EAST, 0, -100, _NORTH)),
    "scale not a number": corpus.georeference(
        UTM, Affine(float("nan"), 0, _EAST, 0, float("nan"), _NORTH)
    ),
    "turned by 30 degrees": corpus.georeference(
        UTM, Affine.translation(_EAST, _NORTH) @ Affine.rotation(30) @ Affine.scale(0.1, -0.1)
    ),
    "pixel data missing": corpus.missing_strips,
}


def _without_place(path: Path) -> None:
    path.unlink()
    write_raster(path, np.zeros((3, SIDE_PX, SIDE_PX), np.uint8))


def _photos() -> list[Variant]:
    photo = f"photos/{VICTIM}.tif"

    def with_world_file(content: bytes) -> Damage:
        def damage(root: Path) -> None:
            (root / photo).unlink()
            write_raster(root / f"photos/{VICTIM}.png", np.zeros((3, SIDE_PX, SIDE_PX), np.uint8))
            (root / f"photos/{VICTIM}.pgw").write_bytes(content)

        return damage

    world_files = {
        "of no bytes": b"",
        "not a number": b"nan\n0\n0\nnan\n1\n1\n",
        "of zeros": b"0\n0\n0\n0\n0\n0\n",
        "of a megabyte": b"0.1\n" * 2**19,
    }
    return [
        *(
            bad_photo(f"photo {name}", corpus_tree.at(photo, damage))
            for name, damage in _PHOTO.items()
        ),
        *(
            bad_photo(f"world file {name}", with_world_file(content))
            for name, content in world_files.items()
        ),
        refused("photo twice", corpus_tree.copy(photo, f"photos/{VICTIM}.jpg"), f"{VICTIM}.jpg"),
        used("photo in a name of other case", _rename_photo("1.TIF")),
        *(
            used(f"photo in a {name}", corpus_tree.copy_beside(odd, photo))
            for name, odd in corpus_tree.ODD_NAMES.items()
            if name != "name that is no UTF-8"
        ),
        Variant(
            "photo in a name that is no UTF-8",
            "own",
            corpus_tree.copy_beside(b"\xff\xfe.tif", photo),
            num_absent=1,
            culprit="not UTF-8",
        ),
    ]


def _rename_photo(name: str) -> Damage:
    return lambda root: (root / f"photos/{VICTIM}.tif").rename(root / "photos" / name) and None


def _heights() -> list[Variant]:
    def stored(**options: Any) -> Damage:
        values = options.pop("values", np.full((1, 16, 16), 5, np.float32))
        place = {"crs": UTM, "transform": Affine(0.5, 0, _EAST - 4, 0, -0.5, _NORTH + 4)}

        def damage(path: Path) -> None:
            path.unlink()
            write_raster(path, values, **{**place, **options})

        return damage

    bad: Mapping[str, Damage] = {
        **{name: ANY_FILE[name] for name in ("of no bytes", "cut to half", "zip", "pipe")},
        "above the sea": stored(values=np.full((1, 16, 16), 515, np.float32)),
        "of two bands": stored(values=np.zeros((2, 16, 16), np.float32)),
        "complex": stored(values=np.zeros((1, 16, 16), np.complex64)),
        "without a place": stored(crs=None, transform=None),
        "of a site of its own": stored(crs='LOCAL_CS["site",UNIT["metre",1]]'),
    }
    fine = {
        "of nothing": stored(values=np.full((1, 16, 16), np.nan, np.float32)),
        "of whole numbers": stored(values=np.full((1, 16, 16), 5, np.int16)),
    }
    place = f"heights/{VICTIM}.tif"
    return [
        *(
            bad_photo(f"heights {name}", corpus_tree.at(place, damage))
            for name, damage in bad.items()
        ),
        *(used(f"heights {name}", corpus_tree.at(place, damage)) for name, damage in fine.items()),
    ]


def _splits() -> list[Variant]:
    broken = {
        **corpus_tree.no_list("splits.csv", SPLITS),
        "link outside": corpus_tree.at("splits.csv", ANY_FILE["link outside"]),
        "link to nothing": corpus_tree.at("splits.csv", ANY_FILE["link to nothing"]),
        **{
            name: corpus_tree.write("splits.csv", content)
            for name, content in {
                "with a heading alone": b"photo,split\n",
                "with another split": SPLITS + b"0,training\n",
                "with three columns": SPLITS + b"0,train,1\n",
                "with one column": SPLITS + b"0\n",
                "with semicolons": SPLITS.replace(b",", b";"),
                "with a photo in two splits": SPLITS + b"0,val\n",
                "with quotes that do not end": b'"0,train\n1,val\n',
                "with a null byte": SPLITS + b"a\0b;train\n",
                "with a line of a megabyte": SPLITS + b"4" * 2**20 + b"\n",
            }.items()
        },
    }
    absent = {
        "path upwards": b"../../../../etc/passwd",
        "control characters": b"1\x1b[31m1.png",
    }
    fine = {
        "with a mark and CR LF": b"\xef\xbb\xbf" + SPLITS.replace(b"\n", b"\r\n"),
        "with quotes": SPLITS.replace(b"0,train", b'"0","train"'),
    }
    return [
        *(refused(f"splits.csv {name}", damage, "splits.csv") for name, damage in broken.items()),
        *(
            Variant(
                f"splits.csv with a {name}",
                "own",
                corpus_tree.write("splits.csv", SPLITS + line + b",train\n"),
                num_absent=1,
                culprit="splits.csv",
            )
            for name, line in absent.items()
        ),
        *(
            used(f"splits.csv {name}", corpus_tree.write("splits.csv", content))
            for name, content in fine.items()
        ),
    ]


_Maker = Callable[[], list[Variant]]
_MAKERS: tuple[_Maker, ...] = (
    _vector_files, _shapefile_parts, _folder, _photos, _heights, _splits,
)  # fmt: skip
VARIANTS = tuple(variant for make in _MAKERS for variant in make())
