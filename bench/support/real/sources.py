"""The real roofs beside the checkout, as folders that training and scoring take."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyogrio
import pyproj
import shapely

from app.base.dataset_names import DatasetName
from app.synthetic.staging import SplitParameters
from app.synthetic.write_own import write_own
from bench.support.environment import SHARED_DATA

# Vectors of several countries in one file.
_CRS: Final = "EPSG:4326"
# What can be left out of training.
PLACES: Final = ("rid", "invercargill", "gables", "enschede")
_LAYERS: Final = ("planes", "lines", "areas")
_FIELDS: Final = ("photo", "azimuth_degrees", "flat", "kind")
_VILLAGES: Final = SplitParameters(600, 30, 60, seed=11, size_px=512)
_HIDDEN_OF_RID: Final = ("val", "test")
_RID_LISTS: Final = "filenames_train_val_test_split"


class ScoredPart(NamedTuple):
    """Photos that no recipe trains on.

    Attributes:
        label: Its name in tables.
        dataset: Which reader reads it.
        folder: Its folder, whose split `test` is scored.
        settings: Hyperparameters that choose its photos.
    """

    label: str
    dataset: DatasetName
    folder: Path
    settings: Mapping[str, str] = {}


class RealRoofs(NamedTuple):
    """Folders of a comparison.

    Attributes:
        train: What recipes train on, by dataset; own roofs of all places lie in one folder.
        hidden: What they are scored on.
    """

    train: Mapping[DatasetName, Path]
    hidden: Sequence[ScoredPart]


def prepare_real_roofs(cache: Path, without: str = "") -> RealRoofs:
    """The folders, written to the cache where they are not there.

    Args:
        cache: Folder of this benchmark.
        without: One of PLACES, which nothing is trained on then; empty for none.
    """
    villages = cache / "villages"
    write_own(villages, _VILLAGES)
    places = {
        "invercargill": SHARED_DATA / "own_invercargill",
        "gables": SHARED_DATA / "own_german_gables",
        "villages": villages,
    }
    chosen = {name: folder for name, folder in places.items() if name != without}
    own = cache / f"own-{'-'.join(chosen)}"
    merge_own(chosen, own)
    train: dict[DatasetName, Path] = {"own": own}
    if without != "enschede":
        train["airs"] = SHARED_DATA / "enschede"
    if without != "rid":
        train["rid"] = SHARED_DATA / "rid"
    rid = cache / "rid-hidden"
    _hide_rid(SHARED_DATA / "rid", rid)
    hidden = (
        ScoredPart("rid", "rid", rid, {"rid_split": "release"}),
        *(ScoredPart(name, "own", folder) for name, folder in places.items()),
        ScoredPart("enschede", "airs", SHARED_DATA / "enschede"),
    )
    return RealRoofs(train, hidden)


def merge_own(sources: Mapping[str, Path], root: Path) -> None:
    """Lay folders of own roofs together: photos, heights, shapes, splits.

    Photos keep their reference systems, and shapes come into one; names of photos begin with the
    name of their source.

    Args:
        sources: Folders by name.
        root: Absent, or whole from an earlier call.
    """
    if root.exists():
        return
    with _whole_folder(root) as unfinished:
        splits = ["photo,split"]
        for name, source in sources.items():
            for kind in ("photos", "heights"):
                for path in sorted((source / kind).glob("*.tif")):
                    (unfinished / kind).mkdir(exist_ok=True)
                    shutil.copyfile(path, unfinished / kind / f"{name}_{path.name}")
            lines = (source / "splits.csv").read_text().splitlines()[1:]
            splits += [f"{name}_{line}" for line in lines]
        (unfinished / "splits.csv").write_text("\n".join(splits) + "\n")
        for layer in _LAYERS:
            _merge_layer(layer, sources, unfinished / "roofs.gpkg")


@contextmanager
def _whole_folder(root: Path) -> Iterator[Path]:
    root.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix=f".{root.name}-", dir=root.parent))
    try:
        yield unfinished
        unfinished.rename(root)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _merge_layer(layer: str, sources: Mapping[str, Path], path: Path) -> None:
    geometries: list[Any] = []
    columns: dict[str, list[Any]] = {name: [] for name in _FIELDS}
    for name, source in sources.items():
        file = source / "roofs.gpkg"
        if layer not in {str(found) for found, _ in pyogrio.list_layers(file)}:
            continue
        meta, _, shapes, values = pyogrio.raw.read(file, layer=layer)
        to_common = pyproj.Transformer.from_crs(meta["crs"], _CRS, always_xy=True)
        moved = shapely.transform(
            shapely.from_wkb(shapes), lambda xy, to=to_common: np.stack(to.transform(*xy.T), axis=1)
        )
        geometries += list(shapely.to_wkb(moved))
        found = dict(zip(meta["fields"], values, strict=True))
        for field in _FIELDS:
            cells = list(found.get(field, [None] * len(moved)))
            if field == "photo":
                cells = [None if cell is None else f"{name}_{cell}" for cell in cells]
            columns[field] += cells
    used = {
        field: cells for field, cells in columns.items() if any(cell is not None for cell in cells)
    }
    pyogrio.raw.write(
        path,
        geometry=np.array(geometries, object),
        field_data=[_as_column(cells) for cells in used.values()],
        fields=list(used),
        geometry_type="LineString" if layer == "lines" else "Polygon",
        crs=_CRS,
        layer=layer,
        append=path.exists(),
    )


def _as_column(cells: Sequence[Any]) -> np.ndarray:
    """A column of numbers if all its values are, else of text, or of no value."""
    if any(isinstance(cell, str) for cell in cells):
        return np.array(cells, object)
    return np.array([np.nan if cell is None else float(cell) for cell in cells], np.float64)


def _hide_rid(source: Path, root: Path) -> None:
    """A folder of RID whose test photos are those of validation and test together."""
    if root.exists():
        return
    with _whole_folder(root) as unfinished:
        for folder in source.iterdir():
            if folder.is_dir() and folder.name != "vector":
                shutil.copytree(folder, unfinished / folder.name, copy_function=shutil.copyfile)
                (unfinished / folder.name).chmod(0o755)
        lists = unfinished / _RID_LISTS
        hidden = {
            name.strip()
            for split in _HIDDEN_OF_RID
            for name in (lists / f"{split}_filenames_1_rev.txt").read_text().splitlines()
        }
        (lists / "test_filenames_1_rev.txt").write_text("\n".join(sorted(hidden - {""})) + "\n")


def read_scores(path: Path) -> dict[str, float]:
    """Metrics of a file that `evaluate` has written, without the split's name."""
    document = json.loads(path.read_text())
    return {
        name.removeprefix(f"{document['split']}/"): value["value"]
        for name, value in document["metrics"].items()
        if value["value"] is not None
    }
