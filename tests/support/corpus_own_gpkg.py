"""Damaged GeoPackages of own roofs: SQLite databases with something wrong in them."""

import contextlib
import itertools
import sqlite3
import struct
from pathlib import Path

import numpy as np
import shapely

from tests.support.corpus import ANY_FILE, Damage, Variant
from tests.support.corpus_own import planes_of_all, refused, used
from tests.support.own import write_layer

NAME = "roofs.gpkg"
_VICTIM = 7  # GeoPackages count from 1
# Little endian, a box of no kind, reference system 25832.
_HEADER = b"GP\0\x01" + struct.pack("<i", 25832)


def _sql(*statements: str, values: tuple[object, ...] = ()) -> Damage:
    """Statements run; triggers need functions that only GDAL has, so they go first."""

    def damage(root: Path) -> None:
        with contextlib.closing(sqlite3.connect(root / NAME)) as database, database:
            database.execute("PRAGMA synchronous = OFF")
            triggers = database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            for (name,) in triggers.fetchall():
                database.execute(f'DROP TRIGGER "{name}"')
            for statement in statements:
                database.execute(statement, values if "?" in statement else ())

    return damage


def _geometry(content: bytes | None) -> Damage:
    return _sql(f"UPDATE planes SET geom = ? WHERE fid = {_VICTIM}", values=(content,))


def _shape(shape: shapely.Geometry) -> Damage:
    return _geometry(_HEADER + shapely.to_wkb(shape))


def _azimuth(value: object) -> Damage:
    return _sql(f"UPDATE planes SET azimuth = ? WHERE fid = {_VICTIM}", values=(value,))


def _layers(*names: str) -> Damage:
    """The planes in layers of these names, and no other."""

    def damage(root: Path) -> None:
        (root / NAME).unlink()
        planes, bearings = planes_of_all()
        for name in names:
            append = (root / NAME).exists()
            write_layer(root / NAME, planes, layer=name, append=append, azimuth=bearings)

    return damage


def _plain_database(root: Path) -> None:
    (root / NAME).unlink()
    with contextlib.closing(sqlite3.connect(root / NAME)) as database, database:
        database.execute("CREATE TABLE planes (fid INTEGER PRIMARY KEY, geom BLOB, azimuth REAL)")


def _with_journal(kind: str) -> Damage:
    def damage(root: Path) -> None:
        beside = root / f"{NAME}-journal"
        beside.write_bytes(b"")
        ANY_FILE[kind](beside)

    return damage


def _in_wal_mode(root: Path) -> None:
    with contextlib.closing(sqlite3.connect(root / NAME)) as database:
        database.execute("PRAGMA journal_mode = WAL")


def _ring() -> list[tuple[float, float]]:
    return list(planes_of_all()[0][_VICTIM - 1].exterior.coords)


def _one_feature() -> list[Variant]:
    ring = _ring()
    with np.errstate(invalid="ignore"):
        without_number = shapely.Polygon([ring[0], (np.nan, np.nan), *ring[2:]])
    damages: dict[str, Damage] = {
        "no shape": _geometry(None),
        "a shape of random bytes": _geometry(bytes(range(256))),
        "a shape of a header alone": _geometry(_HEADER),
        "a shape that is cut": _geometry((_HEADER + shapely.to_wkb(shapely.Polygon(ring)))[:40]),
        "2 billion corners": _geometry(_HEADER + struct.pack("<BIII", 1, 3, 1, 2**31 - 1)),
        "a shape of type 99": _geometry(_HEADER + struct.pack("<BII", 1, 99, 0)),
        "a triangulated surface": _geometry(_HEADER + struct.pack("<BII", 1, 16, 0)),
        "a point": _shape(shapely.Point(ring[0])),
        "a corner that is no number": _shape(without_number),
        "a corner far away": _shape(shapely.Polygon([ring[0], (1e300, 1e300), *ring[2:]])),
    }
    place = f"{NAME}: layer planes, feature {_VICTIM}"
    damages["azimuth of 1e300"] = _azimuth(1e300)
    return [used(f"{NAME} with {what}", damage, 1, place) for what, damage in damages.items()]


def _fine() -> list[Variant]:
    damages: dict[str, Damage] = {
        "with a trigger": _sql(
            "CREATE TRIGGER odd AFTER INSERT ON planes BEGIN SELECT RAISE(ABORT, 'no'); END"
        ),
        "with a view nobody names": _sql("CREATE VIEW evil AS SELECT * FROM planes"),
        "with azimuths null for a few": _sql("UPDATE planes SET azimuth = NULL WHERE fid < 3"),
        "called Planes": _layers("Planes"),
        "with one layer of any name": _layers("Dachflächen"),
        "in WAL mode": _in_wal_mode,
        "with a curve": _geometry(
            _HEADER
            + struct.pack("<BII", 1, 10, 1)
            + struct.pack("<BII", 1, 8, 5)
            + struct.pack("<10d", *itertools.chain(*_ring()[:4], _ring()[0]))
        ),
        "with a column of bytes": _sql("ALTER TABLE planes ADD COLUMN more BLOB DEFAULT x'80ff'"),
    }
    return [used(f"{NAME} {what}", damage) for what, damage in damages.items()]


def _whole() -> list[Variant]:
    srs = "UPDATE gpkg_spatial_ref_sys SET"
    damages: dict[str, Damage] = {
        "without features": _sql("DELETE FROM planes"),
        "without contents": _sql("DROP TABLE gpkg_contents"),
        "without columns of shapes": _sql("DROP TABLE gpkg_geometry_columns"),
        "without its table": _sql("DROP TABLE planes"),
        "that is a plain database": _plain_database,
        "with layers of other names": _layers("roof_a", "roof_b"),
        "with areas alone": _sql(
            "DELETE FROM gpkg_contents WHERE table_name = 'planes'",
            "DELETE FROM gpkg_geometry_columns WHERE table_name = 'planes'",
        ),
        "without a reference system": _sql(
            "UPDATE gpkg_contents SET srs_id = -1", "UPDATE gpkg_geometry_columns SET srs_id = -1"
        ),
        "of a reference system that is not there": _sql(
            "UPDATE gpkg_contents SET srs_id = 77", "UPDATE gpkg_geometry_columns SET srs_id = 77"
        ),
        "of a reference system of words": _sql(
            f"{srs} definition = 'here', organization = 'me' WHERE srs_id = 25832"
        ),
        "with azimuths of nonsense": _sql("UPDATE planes SET azimuth = (azimuth * 37) % 360"),
        "without azimuths that are numbers": _sql("UPDATE planes SET azimuth = 'x' || fid"),
        "with shapes null": _sql("UPDATE planes SET geom = NULL"),
    }
    return [
        *(refused(f"{NAME} {what}", damage, NAME) for what, damage in damages.items()),
        *(
            refused(f"{NAME} with a {kind} for a journal", _with_journal(kind), f"{NAME}-journal")
            for kind in ("pipe", "link outside", "folder")
        ),
    ]


VARIANTS = (*_one_feature(), *_fine(), *_whole())
