"""NAME_roofs.gpkg: buildings, planes and lines as layers that QGIS shows in colour at once."""

import contextlib
import errno
import shutil
import sqlite3
import tempfile
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError

from app.base.errors import first_line, printable
from app.base.storage import replacing
from app.roofs.model import Roofs
from app.roofs.writing.columns import Column, Layer, LayerName, build_layers
from app.roofs.writing.origin import Origin
from app.roofs.writing.styles import build_style

_GEOMETRY_TYPES: Final[dict[LayerName, str]] = {
    "buildings": "MultiPolygon",
    "planes": "Polygon",
    "lines": "LineString",
}
_GEOMETRY_COLUMN: Final = "geom"
# What GDAL from 3.0 and QGIS from 3.10 read without a warning.
_VERSION: Final = "1.3"
_NO_CRS: Final = "'crs' was not provided"
# As QGIS itself creates it, when a style is saved into a database.
_STYLES_TABLE: Final = """
CREATE TABLE layer_styles (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL, f_table_catalog TEXT(256),
    f_table_schema TEXT(256), f_table_name TEXT(256), f_geometry_column TEXT(256),
    styleName TEXT(30), styleQML TEXT, styleSLD TEXT, useAsDefault BOOLEAN, description TEXT,
    owner TEXT(30), ui TEXT(30),
    update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ','now'))
)
"""


def write_geopackage(path: Path, roofs: Roofs, origin: Origin, scratch: Path | None = None) -> None:
    """Write the layers; equal input makes equal bytes.

    Where a photo has no reference system, x is the column and y minus the row, so that QGIS, which
    lays such a photo downwards from (0, 0), shows the roofs where they are in the photo.

    Args:
        path: The file; it is replaced as a whole.
        roofs: What to write.
        origin: Goes into the file's metadata.
        scratch: A folder on a disk of this machine, for what is not finished; by default that of
            temporary files.

    Raises:
        OSError: If it cannot be written.
    """
    # SQLite needs a disk that can be written in any order and locked, which the folder of results
    # may not be, as where it is a bucket.
    with tempfile.TemporaryDirectory(prefix="roofs-", dir=scratch) as folder:
        unfinished = Path(folder) / "roofs.gpkg"
        with _disk_errors(unfinished):
            for layer in build_layers(roofs):
                _write_layer(unfinished, layer, roofs, origin)
            _finish(unfinished, origin.stamp)
        with replacing(path) as file, unfinished.open("rb") as source:
            shutil.copyfileobj(source, file)


def _write_layer(path: Path, layer: Layer, roofs: Roofs, origin: Origin) -> None:
    geometries = np.array(layer.geometries, dtype=object)
    if roofs.crs is None:
        geometries = shapely.transform(geometries, lambda points: points * (1.0, -1.0))
    data, masks = zip(*map(_to_arrays, layer.columns), strict=True)
    about = {"photo": printable(roofs.photo), "gsd_m": f"{roofs.gsd_m:g}", **origin.as_texts()}
    with warnings.catch_warnings():
        if roofs.crs is None:
            warnings.filterwarnings("ignore", message=_NO_CRS, category=UserWarning)
        pyogrio.raw.write(
            path,
            shapely.to_wkb(geometries),
            data,
            [column.name for column in layer.columns],
            field_mask=masks,
            layer=layer.name,
            driver="GPKG",
            geometry_type=_GEOMETRY_TYPES[layer.name],
            crs=roofs.crs,
            promote_to_multi=layer.name == "buildings",
            append=layer.name != "buildings",
            layer_metadata=about,
            dataset_options=None if layer.name != "buildings" else {"VERSION": _VERSION},
            layer_options={
                "GEOMETRY_NAME": _GEOMETRY_COLUMN,
                "IDENTIFIER": layer.name,
                "DESCRIPTION": layer.title,
            },
        )


def _to_arrays(column: Column) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
    """Values, and where there are none; None for a column that says so by NaN, or has all."""
    if column.kind is float:
        return np.array(column.values, np.float64), None
    if column.kind is str:
        return np.array(column.values, object), None
    if column.kind is bool:
        return np.array(column.values, np.bool_), None
    is_missing = np.array([value is None for value in column.values], np.bool_)
    return np.array([value or 0 for value in column.values], np.int32), is_missing


def _finish(path: Path, stamp: datetime) -> None:
    """Add the styles, and take out the time of writing."""
    time = stamp.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN")
        database.execute(_STYLES_TABLE)
        for name in _GEOMETRY_TYPES:
            database.execute(
                "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, "
                "f_geometry_column, styleName, styleQML, styleSLD, useAsDefault, description, "
                "owner, update_time) VALUES ('', '', ?, ?, ?, ?, '', 1, '', '', ?)",
                (name, _GEOMETRY_COLUMN, name, build_style(name), time),
            )
        database.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier, description, "
            "last_change, srs_id) VALUES ('layer_styles', 'attributes', 'layer_styles', "
            "'Styles of the other layers, as QGIS reads them', ?, 0)",
            (time,),
        )
        database.execute(
            "INSERT INTO gpkg_ogr_contents (table_name, feature_count) VALUES ('layer_styles', ?)",
            (len(_GEOMETRY_TYPES),),
        )
        database.execute("UPDATE gpkg_contents SET last_change = ?", (time,))
        database.execute("UPDATE gpkg_metadata_reference SET timestamp = ?", (time,))
        database.execute("COMMIT")
        # Pages written anew: none keeps bytes of a time that was overwritten.
        database.execute("VACUUM")


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    """Turn what GDAL and SQLite say of a disk that is full into an error of the disk."""
    try:
        yield
    except (DataSourceError, DataLayerError, sqlite3.Error) as error:
        raise OSError(errno.EIO, first_line(error), str(path)) from error
