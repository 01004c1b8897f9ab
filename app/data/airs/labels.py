"""What the labels of AIRS's tiles hold: 0, and 1 or 255 on roofs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import numpy as np
import numpy.typing as npt

from app.data.airs.layout import TILE_REMEDY
from app.data.files.problems import FileProblem

# What labels hold: roofs are 1, or 255 in its place.
ROOF_CLASSES: Final = frozenset({0, 1})
# Edges are a few per cent of a label.
_MIN_BLURRED_VALUES: Final = 5
_MAX_RARE_SHARE: Final = 0.2
_BLURRED_REMEDY: Final = (
    "make the label again with nearest neighbours, or cut it at half: "
    "gdal_calc.py -A label.tif --calc='A>127' --type=Byte --co COMPRESS=DEFLATE --outfile=new.tif"
)


def roof_value_of(path: Path, label: npt.NDArray[np.uint8]) -> Literal[0, 1, 255]:
    """What stands for roof among pixels of a label: 1 or 255; 0 if no roof is among them."""
    if not _is_two_valued(label):
        raise wrong_values(path, label)
    top = int(label.max())
    return 0 if top == 0 else 1 if top == 1 else 255


def wrong_values(path: Path, label: npt.NDArray[np.uint8], roof_value: int = 0) -> FileProblem:
    """The problem of a label that holds other values than 0 and one for roof.

    Args:
        path: The label.
        label: Pixels of it.
        roof_value: What stands for roof elsewhere in the tile; 0 if that is not known.
    """
    values = [str(value) for value in np.unique(label)]
    got = f"label values {', '.join(values[:10])}"
    if len(values) > 10:
        got += f" and {len(values) - 10} more"
    expected = "0 and 1, or 0 and 255 (roof)"
    if roof_value:
        expected = f"0 and {roof_value}, as elsewhere in the tile"
    counts = np.sort(np.bincount(label.ravel(), minlength=256))[::-1]
    is_rest_rare = counts[2:].sum() < _MAX_RARE_SHARE * label.size
    if len(values) >= _MIN_BLURRED_VALUES and is_rest_rare:
        got += ", few of all but two of them, as JPEG or resampling with averages leaves them"
        return FileProblem(path, got, expected, _BLURRED_REMEDY)
    return FileProblem(path, got, expected, _remedy(path, values))


def _is_two_valued(label: npt.NDArray[np.uint8]) -> bool:
    values = np.unique(label)
    return bool(np.isin(values, (0, 1)).all() or np.isin(values, (0, 255)).all())


def _remedy(path: Path, values: Sequence[str]) -> str:
    """What to do about a label of these values."""
    if set(values) <= {"1", "2"}:
        calc = f"gdal_calc.py -A {path.name} --calc=A-1 --outfile=label.tif"
        return f"if 1 is ground and 2 roof, `{calc}` makes it 0 and 1"
    return TILE_REMEDY
