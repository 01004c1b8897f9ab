"""Which files a folder of people's own roofs holds: photos, layers of shapes, heights, splits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, NamedTuple

from app.base.dataset_names import DATASET_TITLES
from app.base.errors import DataError, join_problems, printable
from app.data.files.listing import Listings
from app.data.files.names import PHOTO_ENDINGS, index_by_name, without_ending
from app.data.files.problems import FileProblem, check_inside
from app.data.findings.tools import name_some

TITLE: Final = DATASET_TITLES["own"]
PHOTO_REMEDY: Final = "export the photo again"
HEIGHT_ENDINGS: Final = (".tif", ".tiff")
# Rasters that are left unread.
_OTHER_ENDINGS: Final = frozenset(
    (".jp2", ".j2k", ".ecw", ".sid", ".webp", ".bmp", ".gif", ".heic", ".img", ".vrt", ".jxl",
     ".dng", ".asc", ".zip")
)  # fmt: skip
PHOTO_DIR: Final = "photos"
HEIGHT_DIR: Final = "heights"
SPLITS_FILE: Final = "splits.csv"

LayerName = Literal["planes", "lines", "areas"]
LAYER_NAMES: Final[tuple[LayerName, ...]] = ("planes", "lines", "areas")
_VECTOR_ENDINGS: Final = (".gpkg", ".geojson", ".json", ".fgb", ".shp")
# GDAL goes by content, and some formats point to other files.
_SIGNATURES: Final[Mapping[str, tuple[bytes, ...]]] = {
    ".gpkg": (b"SQLite format 3\0",),
    ".geojson": (b"{",),
    ".json": (b"{",),
    ".fgb": (b"fgb",),
    ".shp": (b"\0\0\x27\x0a",),
}
# What make-sample says of the villages that it has drawn.
_PARAMETERS_FILE: Final = "sample.json"
# Files of one layer that may be called by what they hold; others hold several layers, by name.
_WHOLE_NAME: Final = "roofs"
_LAYOUT: Final = (
    "photos/ and roofs.gpkg, roofs.geojson or planes.geojson (.fgb, .shp); docs/datasets.md shows "
    "the layout"
)


class OwnFiles(NamedTuple):
    """The files of a folder of own roofs.

    Attributes:
        root: The folder.
        photos: By name, in natural order.
        vectors: Files of shapes, by the layers that they may hold: one, or all of them.
        pixel_labels: COCO files, for photos without georeference.
        heights: Rasters of metres above ground, by the name of the photo.
        splits_path: The list of splits; None without one.
        unread: Photos of formats that are not read, folders among photos, heights of no photo.
    """

    root: Path
    photos: Mapping[str, Path]
    vectors: Mapping[Path, tuple[LayerName, ...]]
    pixel_labels: tuple[Path, ...]
    heights: Mapping[str, Path]
    splits_path: Path | None
    unread: tuple[Path, ...] = ()

    @property
    def why_unread(self) -> str:
        """What is not read, in one line; empty if all is."""
        if not self.unread:
            return ""
        names = name_some([str(path.relative_to(self.root)) for path in self.unread])
        return printable(
            f"{names} not read: expected .tif, .jpg or .png in photos/ itself, and .tif of a "
            "photo's name in heights/; convert, rename or move them"
        )


def find_own_files(root: Path) -> OwnFiles:
    """The files of a folder.

    Raises:
        DataError: If the folder holds no photos or no shapes; names all problems.
    """
    listings = Listings(TITLE)
    problems: list[str] = []
    if not listings.is_folder(root):
        what = (
            "name the folder that this file is in" if listings.is_file(root) else "correct the path"
        )
        raise DataError(f"{TITLE}: folder not found: {root}; {what}")
    photos = _find_rasters(listings, root / PHOTO_DIR, PHOTO_ENDINGS, "photo", problems)
    heights = _find_rasters(listings, root / HEIGHT_DIR, HEIGHT_ENDINGS, "heights of", problems)
    unread = _find_unread(listings, root, photos, heights)
    if not photos and not problems:
        folder = root / PHOTO_DIR if listings.is_folder(root / PHOTO_DIR) else root
        problems.append(
            f"no photos in {root / PHOTO_DIR}: got {listings.describe(folder)} in {folder}, "
            f"expected .tif, .jpg or .png files in {PHOTO_DIR}/ itself; move or convert them"
        )
    vectors: dict[Path, tuple[LayerName, ...]] = {}
    pixel_labels = []
    for name in listings.names(root):
        path = root / name
        is_other = name.startswith(".") or name == _PARAMETERS_FILE
        if is_other or path.suffix.lower() not in _VECTOR_ENDINGS:
            continue
        try:
            check_signature(path, root)
        except FileProblem as problem:
            problems.append(str(problem))
            continue
        if path.suffix.lower() == ".json" and is_coco(path):
            pixel_labels.append(path)
        elif path.stem.lower() in LAYER_NAMES:
            vectors[path] = tuple(layer for layer in LAYER_NAMES if layer == path.stem.lower())
        elif path.stem.lower() == _WHOLE_NAME or path.suffix.lower() == ".gpkg":
            vectors[path] = LAYER_NAMES
        else:
            problems.append(
                f"{path}: a file of shapes of another name than is known; call it planes, lines, "
                f"areas or {_WHOLE_NAME}, or move it away"
            )
    is_unclear = len(problems) > (not photos)
    if not vectors and not pixel_labels and not is_unclear:
        there = listings.describe(root)
        problems.append(f"no shapes in {root}: got {there}, expected {_LAYOUT}")
    if problems:
        raise DataError(f"{TITLE}: {join_problems(problems)}")
    splits_path = root / SPLITS_FILE if SPLITS_FILE in listings.names(root) else None
    return OwnFiles(root, photos, vectors, tuple(pixel_labels), heights, splits_path, unread)


def _find_unread(
    listings: Listings, root: Path, photos: Mapping[str, Path], heights: Mapping[str, Path]
) -> tuple[Path, ...]:
    """What a person may take for read; what lies beside photos, such as world files, is none."""
    found = [path for name, path in heights.items() if name not in photos]
    for folder in (root / PHOTO_DIR, root / HEIGHT_DIR):
        if not listings.is_folder(folder):
            continue
        for name in listings.names(folder):
            is_other = Path(name).suffix.lower() in _OTHER_ENDINGS
            if is_other or ("." not in name and listings.is_folder(folder / name)):
                found.append(folder / name)
    return tuple(sorted(found))


def check_signature(path: Path, root: Path) -> None:
    """Check that a file begins as its ending says.

    Raises:
        FileProblem: If it does not, leads outside of root, or cannot be read.
    """
    remedy = "export it again"
    check_inside(path, root, remedy)
    expected = _SIGNATURES[path.suffix.lower()]
    try:
        with path.open("rb") as file:
            start = file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip()
    except OSError as error:
        got = f"an unreadable file ({error.strerror})"
        raise FileProblem(path, got, "a readable file", remedy) from error
    if not start.startswith(expected):
        got = "an empty file" if not start else f"a file that begins with {start[:12]!r}"
        raise FileProblem(path, got, f"one of the format {path.suffix.lower()[1:]}", remedy)


def is_coco(path: Path) -> bool:
    """Whether a JSON file holds COCO's lists, and no GeoJSON."""
    with path.open("rb") as file:
        start = file.read(2**20)
    return b'"FeatureCollection"' not in start


def _find_rasters(
    listings: Listings, folder: Path, endings: tuple[str, ...], title: str, problems: list[str]
) -> dict[str, Path]:
    if not listings.is_folder(folder):
        return {}
    names = listings.names(folder)
    return index_by_name(
        folder, names, lambda name: without_ending(name, endings), printable(title), problems
    )
