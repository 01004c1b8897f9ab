"""Synthetic photos on disk with their roofs as shapes, in the layout of people's own data."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import shapely
from pyproj import Geod, Transformer
from rasterio.transform import Affine

from app.synthetic.outlines import RoofShapes, find_shapes
from app.synthetic.scene import make_scene
from app.synthetic.staging import IN_BLOCKS, SplitParameters, each_result, write_splits, write_tiff

PHOTO_DIR: Final = "photos"
HEIGHT_DIR: Final = "heights"
SHAPES_FILE: Final = "roofs.gpkg"
SPLITS_FILE: Final = "splits.csv"
GSD_M: Final = 0.1

# RID's own village in metres of UTM, whose grid stands 2.2 degrees off true north there.
_CRS: Final = "EPSG:25832"
_WEST_M, _NORTH_M = 720_000.0, 5_365_000.0
# Splits that stand closer than 20 m would share ground.
_GAP_M: Final = 30.0
_TYPES: Final[Mapping["LayerName", str]] = {
    "planes": "Polygon",
    "lines": "LineString",
    "areas": "Polygon",
}

LayerName = Literal["planes", "lines", "areas"]
_Values = npt.NDArray[Any]


class _Job(NamedTuple):
    """A photo to write."""

    root: Path
    number: int
    name: str
    parameters: SplitParameters
    transform: Affine


class _Features(NamedTuple):
    """The features of a photo in one layer: N shapes, and (N,) values of each field."""

    shapes: _Values
    fields: Mapping[str, _Values]


_Layers = Mapping[LayerName, _Features]


def write_own(root: Path, parameters: SplitParameters) -> None:
    """Write photos and shapes as people have them of their own roofs.

    photos/NAME.tif, RGB at 0.1 m per pixel in UTM; heights/NAME.tif, metres above ground;
    splits.csv with photo,split; and roofs.gpkg with three layers. `planes`: polygons that share
    their edges, with azimuth_degrees (clockwise from true north, none where flat), pitch_degrees
    and flat. `lines`: with kind (eave, rake, ridge, hip, valley). `areas`: each photo, since all of
    its roofs are labelled, with photo. Photos stand 30 m apart. A sample.json beside them holds the
    parameters.

    The root appears only when all is written, so a root that is there is whole; one with the same
    parameters is left unchanged.

    Args:
        root: The dataset's folder: absent, empty, or written by an earlier call.
        parameters: Number, seed and side of the photos.

    Raises:
        ConfigError: If a number is out of range, or the root holds something else.
    """
    write_splits(root, parameters, _write_all, title="own photos", lowest_px=32)


def _write_all(root: Path, parameters: SplitParameters) -> None:
    for name in (PHOTO_DIR, HEIGHT_DIR):
        (root / name).mkdir()
    num_photos = parameters.num_photos
    num_columns = math.ceil(math.sqrt(num_photos))
    digits = len(str(num_photos - 1))
    jobs = [
        _Job(
            root,
            number,
            f"village-{number:0{digits}}",
            parameters,
            _georeference(*divmod(number, num_columns), parameters.size_px),
        )
        for number in range(num_photos)
    ]
    _write_list(root / SPLITS_FILE, jobs, parameters)
    with each_result(_write_photo, jobs) as results:
        _write_shapes(root / SHAPES_FILE, list(results))


def _write_list(path: Path, jobs: Sequence[_Job], parameters: SplitParameters) -> None:
    sizes = (parameters.num_train, parameters.num_val, parameters.num_test)
    splits = np.repeat(("train", "val", "test"), sizes)
    dealt = np.random.default_rng(parameters.seed).permutation(splits)
    rows = [f"{job.name}.tif,{split}\n" for job, split in zip(jobs, dealt, strict=True)]
    path.write_text("".join(("photo,split\n", *rows)), encoding="ascii")


def _georeference(row: int, column: int, size_px: int) -> Affine:
    """Pixel to metres, for a cell of a grid that leaves gaps between photos."""
    step_m = size_px * GSD_M + _GAP_M
    return Affine(GSD_M, 0.0, _WEST_M + column * step_m, 0.0, -GSD_M, _NORTH_M - row * step_m)


def _write_photo(job: _Job) -> _Layers:
    """Write the rasters of a photo; returns its shapes."""
    parameters = job.parameters
    scene = make_scene((parameters.seed, job.number), parameters.size_px, GSD_M)
    rasters: tuple[tuple[str, _Values, dict[str, object]], ...] = (
        (PHOTO_DIR, scene.image.transpose(2, 0, 1), {"photometric": "RGB", "predictor": 2}),
        (HEIGHT_DIR, scene.height_m[None], {"predictor": 3}),
    )
    for folder, bands, options in rasters:
        write_tiff(
            job.root / folder / f"{job.name}.tif",
            bands,
            _CRS,
            job.transform,
            **options,
            **IN_BLOCKS,
            compress="deflate",
            zlevel=1,
        )
    extent_m = parameters.size_px * GSD_M
    roofs = [find_shapes(wings, extent_m) for wings in scene.buildings]
    return _place(roofs, job, extent_m)


def _place(roofs: Sequence[RoofShapes], job: _Job, extent_m: float) -> _Layers:
    """Shapes of an image, in metres of the map, and what is said of them."""
    west_m, north_m = job.transform.c, job.transform.f
    planes = [shape for roof in roofs for shape in roof.planes]
    lines = [shape for roof in roofs for shape in roof.lines]
    north_deg = _grid_north_deg(west_m + extent_m / 2, north_m - extent_m / 2)
    azimuth_deg = [
        np.nan if plane.is_flat else (plane.azimuth_deg + north_deg) % 360 for _, plane in planes
    ]
    fields = {
        "azimuth_degrees": np.array(azimuth_deg, np.float64),
        "pitch_degrees": np.array([plane.pitch_deg for _, plane in planes], np.float64),
        "flat": np.array([plane.is_flat for _, plane in planes], np.bool_),
    }
    kinds = {"kind": np.array([kind for _, kind in lines], object)}
    return {
        "planes": _Features(_to_map([one.polygon for one in planes], west_m, north_m), fields),
        "lines": _Features(_to_map([one.line for one in lines], west_m, north_m), kinds),
        "areas": _Features(
            _to_map([shapely.box(0.0, 0.0, extent_m, extent_m)], west_m, north_m),
            {"photo": np.array([job.name], object)},
        ),
    }


def _to_map(shapes: Sequence[Any], west_m: float, north_m: float) -> _Values:
    """Shapes given in metres east and south of a corner, as an array."""
    corner = np.array([west_m, north_m])
    moved = shapely.transform(
        np.array(shapes, object), lambda points: corner + points * np.array([1.0, -1.0])
    )
    return np.asarray(moved, object)


def _grid_north_deg(east_m: float, north_m: float) -> float:
    """Degrees by which the map's grid points clockwise from true north."""
    to_degrees = Transformer.from_crs(_CRS, "EPSG:4258", always_xy=True)
    reach_m = 50.0
    south, north = (to_degrees.transform(east_m, north_m + reach) for reach in (-reach_m, reach_m))
    bearing_deg, _, _ = Geod(ellps="GRS80").inv(*south, *north)
    return float(bearing_deg)


def _write_shapes(path: Path, photos: Sequence[_Layers]) -> None:
    """Write the layers of all photos into one GeoPackage."""
    # Late: others need not hold a second GDAL in memory.
    import pyogrio

    with _without_date():
        for number, (layer, geometry_type) in enumerate(_TYPES.items()):
            features = [photo[layer] for photo in photos]
            names = list(features[0].fields)
            pyogrio.raw.write(
                path,
                shapely.to_wkb(np.concatenate([one.shapes for one in features])),
                [np.concatenate([one.fields[name] for one in features]) for name in names],
                names,
                layer=layer,
                driver="GPKG",
                geometry_type=geometry_type,
                crs=_CRS,
                append=number > 0,
                promote_to_multi=False,
            )


@contextmanager
def _without_date() -> Iterator[None]:
    """The same seed gives the same bytes: GDAL writes the time into a GeoPackage otherwise."""
    import pyogrio

    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "1970-01-01T00:00:00.000Z"})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})
