"""All that a folder of own roofs holds, laid on its photos."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

import numpy as np
import shapely

from app.base.arrays import Floats, Ints
from app.base.azimuth import NUM_BINS
from app.base.errors import DataError, join_problems, printable
from app.base.tasks import LINE_KINDS as LINE_KIND_NAMES
from app.data.files.ground import GroundError
from app.data.files.problems import FileProblem
from app.data.findings.tools import name_some
from app.data.own.azimuth import find_convention
from app.data.own.clusters import find_lined
from app.data.own.coco import CocoLabels, read_coco
from app.data.own.convention import Convention, Evidence
from app.data.own.drawing import Roofs
from app.data.own.facing import facing_deg
from app.data.own.features import Lines, Planes, read_lines, read_planes
from app.data.own.layers import Layer, read_layers
from app.data.own.layout import LAYER_NAMES, TITLE, LayerName, OwnFiles
from app.data.own.places import PhotoPlace, find_places, grid_north_deg
from app.data.own.spots import Outside, Spot, lay_coco_on_photos, lay_on_photos
from app.data.reader import spread
from app.data.sample import BadFeature, BadFile
from app.data.shapes import Shapes
from app.settings.hyperparameters import Hyperparameters

# Photos whose outlines are asked what azimuths count from.
_NUM_ASKED: Final = 300
_STAIRS_PX: Final = 1.0
# Features, and photos, mostly fail alike; metrics.json and the audit have all of them.
_MAX_DESCRIBED: Final = 3


class LabelSettings(NamedTuple):
    """What the user says of labels: own_azimuth, own_north, own_gsd_m and azimuth_bins."""

    convention: str = "auto"
    north: str = "auto"
    gsd_m: float = 0.1
    azimuth_bins: int = NUM_BINS

    @classmethod
    def of(cls, hyperparameters: Hyperparameters) -> Self:
        """Those of a run."""
        return cls(
            hyperparameters.own_azimuth,
            hyperparameters.own_north,
            hyperparameters.own_gsd_m,
            hyperparameters.azimuth_bins,
        )


BY_OUTLINES: Final = LabelSettings()


class PhotoRoofs(NamedTuple):
    """A photo and what is labelled on it."""

    place: PhotoPlace
    roofs: Roofs


@dataclass(frozen=True)
class Catalogue:
    """All that a folder holds.

    Attributes:
        photos: Those that can be used.
        bad_photos: The others.
        bad_features: Features that are not drawn, or not wholly.
        layers: The layers read, for audits.
        outside: Features that no photo shows.
        conventions: What azimuths of each file count from; none where there are none.
        contents: What each file says of planes and lines, one line each.
        doubts: What is odd about files as a whole, one line each.
    """

    photos: tuple[PhotoRoofs, ...]
    bad_photos: tuple[BadFile, ...]
    bad_features: tuple[BadFeature, ...]
    layers: tuple[Layer, ...]
    outside: tuple[Outside, ...]
    conventions: tuple[Convention, ...]
    contents: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()

    @property
    def empty_photos(self) -> list[str]:
        """Names of photos that show no plane and no area."""
        return [photo.place.name for photo in self.photos if not photo.roofs.show_anything]

    @property
    def num_features(self) -> int:
        """All features, bad ones included."""
        return sum(layer.num_features for layer in self.layers)


class _Source(NamedTuple):
    """Labels that mean the same throughout: of the layers of a folder, or of a COCO file.

    Attributes:
        spots: The photos that they are of.
        layers: Planes first.
        planes: What is said of planes.
        lines: What is said of lines.
        compass_deg: (N,) directions of planes that need no convention; NaN where there are none.
        has_areas: Whether they say where every roof is labelled.
        bad: Features that are not drawn, or not wholly.
        outside: Features that no photo shows.
        doubts: What is odd about the file as a whole, one line each.
    """

    spots: Sequence[Spot]
    layers: tuple[Layer, ...]
    planes: Planes
    lines: Lines
    compass_deg: Floats
    has_areas: bool
    bad: tuple[BadFeature, ...]
    outside: tuple[Outside, ...]
    doubts: tuple[str, ...] = ()


def read_catalogue(files: OwnFiles, settings: LabelSettings) -> Catalogue:
    """All that a folder holds.

    Raises:
        DataError: If it cannot be used as a whole; names all problems.
    """
    coco = _read_pixel_labels(files)
    by_pixels = {name: settings.gsd_m for labels in coco for name in labels.sizes_px}
    layers = read_layers(files)
    usual_crs = layers["planes"].crs if layers else None
    places, bad_photos = find_places(files.photos, files.root, usual_crs, by_pixels)
    if not places:
        reasons = [bad.reason.removeprefix(f"{TITLE}: ") for bad in bad_photos[:_MAX_DESCRIBED]]
        raise DataError(
            f"{TITLE}: none of {len(bad_photos)} photos can be used, such as: {'; '.join(reasons)}"
        )
    sources = []
    if layers:
        sources.append(_lay_vectors(layers, [p for p in places if p.name not in by_pixels]))
    try:
        sources += [_lay_pixels(labels, places) for labels in coco]
    except FileProblem as problem:
        raise DataError(f"{TITLE}: {problem}") from problem
    photos, conventions, doubts = [], [], []
    for source in sources:
        convention = _settle_convention(source, settings)
        photos += [_label(spot, source, convention, settings) for spot in source.spots]
        conventions += [convention] if convention is not None else []
        doubts += [*source.doubts, *source.planes.doubts, _why_undirected(source)]
        doubts += [convention.doubt if convention else ""]
    order = {place.name: number for number, place in enumerate(places)}
    photos.sort(key=lambda photo: order[photo.place.name])
    return Catalogue(
        tuple(photos),
        tuple(bad_photos),
        tuple(bad for source in sources for bad in source.bad),
        tuple(layer for source in sources for layer in source.layers),
        tuple(each for source in sources for each in source.outside),
        tuple(conventions),
        tuple(_describe(source) for source in sources),
        tuple(doubt for doubt in doubts if doubt),
    )


def _read_pixel_labels(files: OwnFiles) -> list[CocoLabels]:
    """The COCO files of a folder, each of photos of its own."""
    found: list[CocoLabels] = []
    problems: list[str] = []
    for path in files.pixel_labels:
        try:
            labels = read_coco(path, files.photos)
        except FileProblem as problem:
            problems.append(str(problem))
            continue
        for other in found:
            both = sorted(labels.sizes_px.keys() & other.sizes_px.keys())
            if both:
                names = join_problems(both)
                problems.append(f"{path} and {other.planes.path} both label photos {names}")
        found.append(labels)
    if problems:
        raise DataError(f"{TITLE}: {join_problems(problems)}")
    return found


def _lay_vectors(layers: Mapping[LayerName, Layer], places: Sequence[PhotoPlace]) -> _Source:
    if not places:
        names = join_problems(list(dict.fromkeys(str(layer.path) for layer in layers.values())))
        raise DataError(
            f"{TITLE}: {names}: every photo that can be used has labels in pixels, expected one "
            "without them that lies somewhere; move these files away, or add photos"
        )
    planes, lines = read_planes(layers["planes"]), read_lines(layers.get("lines"))
    spots, homes, outside = lay_on_photos(places, layers)
    bad = [feature for layer in layers.values() for feature in layer.bad]
    bad = [
        feature._replace(photo=homes.get((feature.path, feature.layer, feature.fid), ""))
        for feature in (*bad, *planes.bad, *lines.bad)
    ]
    compass_deg = np.full(len(planes.azimuth_deg), np.nan)
    has_areas = "areas" in layers
    ordered = tuple(layers[name] for name in LAYER_NAMES if name in layers)
    return _Source(
        spots, ordered, planes, lines, compass_deg, has_areas, tuple(bad), tuple(outside)
    )


def _lay_pixels(labels: CocoLabels, places: Sequence[PhotoPlace]) -> _Source:
    layers = [labels.planes] if labels.areas is None else [labels.planes, labels.areas]
    planes = read_planes(labels.planes)
    bad = [
        *(feature for layer in layers for feature in layer.bad),
        *(feature._replace(photo=labels.photo_of[feature.fid]) for feature in planes.bad),
    ]
    return _Source(
        lay_coco_on_photos(labels, places),
        tuple(layers),
        planes,
        read_lines(None),
        np.asarray(labels.planes.fields["compass"], np.float64),
        labels.areas is not None,
        tuple(bad),
        tuple(each for each in map(_find_photoless, layers) if len(each.fids)),
        tuple(_doubt_names(labels)),
    )


def _find_photoless(layer: Layer) -> Outside:
    fids = layer.fids[layer.fields["photo"] == ""]
    return Outside(layer, fids, "are of photos that are not in photos/")


def _doubt_names(labels: CocoLabels) -> Iterator[str]:
    """What a COCO file calls its photos, where it is not as they are called."""
    path = labels.planes.path
    if labels.absent:
        names = name_some([printable(name) for name in labels.absent])
        yield f"{path}: labels photos that are not in photos/: {names}; copy them there"
    if labels.renamed:
        name, photo = next(iter(labels.renamed.items()))
        yield (
            f"{path}: names that a tool has changed are taken for those of photos (of "
            f"{len(labels.renamed)}), such as {printable(name)} for {printable(photo)}; see that "
            "they have the same pixels"
        )


def _settle_convention(source: _Source, settings: LabelSettings) -> Convention | None:
    """What azimuths of a file count from; None where it has none."""
    if not source.planes.has_azimuth:
        return None
    evidence = _gather_evidence(source)
    field, where = source.planes.azimuth_field, source.planes.where
    try:
        return find_convention(evidence, field, where, settings.convention, settings.north)
    except DataError as error:
        bad = source.planes.bad
        if not bad:
            raise
        others = str(error).removeprefix(f"{TITLE}: ")
        raise DataError(
            f"{TITLE}: {len(bad)} planes have an azimuth that is none ({bad[0].reason}), and of "
            f"the others: {others}"
        ) from error


def _describe(source: _Source) -> str:
    """How many planes have a direction, and of which kinds lines are."""
    planes = source.planes
    is_known = np.isfinite(planes.azimuth_deg) | np.isfinite(source.compass_deg)
    num_flat = int(planes.is_flat.sum())
    num_directed = int((is_known & ~planes.is_flat).sum())
    others = len(is_known) - num_flat - num_directed
    text = (
        f"{source.layers[0].path.name}: {num_directed:,} planes with a direction, {num_flat:,} "
        f"flat, {others:,} some roof"
    )
    names = (*LINE_KIND_NAMES, "other")
    counts = dict(
        zip(names, np.bincount(source.lines.kinds, minlength=len(names)).tolist(), strict=True)
    )
    # They train the channel of eaves, but a person drew them as rakes.
    num_rakes = int(source.lines.is_rake.sum())
    counts = {"eave": counts.pop("eave") - num_rakes, "rake": num_rakes, **counts}
    kinds = [f"{count:,} {name}" for name, count in counts.items() if count]
    return "; ".join([text, *([f"lines: {', '.join(kinds)}"] if kinds else [])])


def _why_undirected(source: _Source) -> str:
    """Why no plane has a direction; empty where some have, or all are flat."""
    planes, layer = source.planes, source.layers[0]
    if planes.has_azimuth or planes.is_flat.all() or np.isfinite(source.compass_deg).any():
        return ""
    where = f"{layer.path}: layer {layer.name}: no plane has a direction, all are some roof"
    if planes.azimuth_field:
        return f"{where}: its field {planes.azimuth_field} is empty; fill it in"
    there = printable(", ".join(layer.fields)) or "no fields"
    return (
        f"{where}: got {there}, expected a field such as azimuth_degrees or azimuth; name the "
        "field so (docs/datasets.md lists the names)"
    )


def _gather_evidence(source: _Source) -> Evidence:
    """The planes of some photos whose outlines tell a direction, each once."""
    planes, layer = source.planes, source.layers[0]
    labelled = [spot for spot in source.spots if np.isfinite(planes.azimuth_deg[spot.planes]).any()]
    found: dict[int, tuple[float, float, float]] = {}
    for spot in spread(labelled, _NUM_ASKED):
        # Masks have stairs for edges.
        polygons = spot.polygons if layer.crs else shapely.simplify(spot.polygons, _STAIRS_PX)
        facing = facing_deg(polygons, spot.place.gsd_m) + spot.place.north_deg
        stored = planes.azimuth_deg[spot.planes]
        north_deg = _grid_north(layer, spot.planes)
        for plane in np.flatnonzero(np.isfinite(facing) & np.isfinite(stored)):
            found[int(spot.planes[plane])] = (stored[plane], facing[plane], north_deg)
    columns = np.array(list(found.values()), np.float64).reshape(-1, 3).T
    return Evidence(*columns)


def _grid_north(layer: Layer, planes: Ints) -> float:
    """Where the grid of the file's reference system points around some of its planes."""
    bounds = shapely.bounds(layer.geometries[planes[:1]])[0]
    try:
        return grid_north_deg(layer.crs, tuple(bounds.tolist()))
    except GroundError:
        return 0.0  # a plane of a site: its grid is all the north there is


def _label(
    spot: Spot, source: _Source, convention: Convention | None, settings: LabelSettings
) -> PhotoRoofs:
    """A photo's shapes with what is known of them."""
    order = np.argsort(-shapely.area(spot.polygons), kind="stable")
    polygons, ids = spot.polygons[order], spot.planes[order]
    azimuth_deg = np.full(len(ids), np.nan)
    if convention is not None and len(ids):
        grid_deg = np.full(len(ids), _grid_north(source.layers[0], ids))
        azimuth_deg = convention.to_true(source.planes.azimuth_deg[ids], grid_deg)
    azimuth_deg = np.where(np.isnan(azimuth_deg), source.compass_deg[ids], azimuth_deg)
    is_flat = source.planes.is_flat[ids]
    roofs = Roofs(
        planes=Shapes.of(polygons),
        azimuth_deg=np.where(is_flat, np.nan, azimuth_deg - spot.place.north_deg),
        pitch_deg=source.planes.pitch_deg[ids],
        is_flat=is_flat,
        has_lines=find_lined(polygons, spot.line_shapes, spot.place.gsd_m),
        hidden=Shapes.of(spot.hidden),
        areas=Shapes.of(spot.areas) if source.has_areas else None,
        lines=Shapes.of(spot.line_shapes),
        line_kinds=source.lines.kinds[spot.lines],
        is_rake=source.lines.is_rake[spot.lines],
        tells_rakes=bool(source.lines.is_rake.any()),
        drawn_kinds=source.lines.drawn_kinds,
        azimuth_bins=settings.azimuth_bins,
    )
    return PhotoRoofs(spot.place, roofs)


def describe_bad(features: Sequence[BadFeature]) -> str:
    """Features that are not drawn, by layer, for the log."""
    counts = Counter(feature.layer for feature in features)
    found = ", ".join(f"{count} of layer {layer}" for layer, count in counts.items())
    more = len(features) - _MAX_DESCRIBED
    reasons = [feature.reason for feature in features[:_MAX_DESCRIBED]]
    hidden = [f"and {more} more, which check-data --own lists"] if more > 0 else []
    return f"{found}: {'; '.join([*reasons, *hidden])}"
