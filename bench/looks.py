"""Time of the look at labels that every job takes at its start, on datasets of the releases' sizes.

    python -m bench.looks [--json FILE]

Files are hard links to a few synthetic scenes and to one tile, so all is read from the page cache.
The look is made by threads, so on two idle cores it takes half of the CPU time. Needs 700 MB in the
folder for temporary files. Opening the datasets is not part of the look.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from app.base.dataset_names import DatasetName
from app.base.logs import ignore_expected_warnings
from app.data.datasets import open_reader
from app.data.plausibility.look import look_at_labels
from app.resources.cores import num_cores
from app.settings.hyperparameters import Hyperparameters
from app.synthetic.staging import SplitParameters
from app.synthetic.write_rid import write_rid
from bench.support.environment import describe_conditions
from bench.support.figures import Target, build_parser, print_table, report
from bench.support.loading.tiles import write_tiles

_NUM_CORES = 2
_TARGETS = (Target("looks_on_2_cores_s", "<", 5),)
_NUM_SCENES = 48
_NUM_RID = 1880
_NUM_TILES = 951
# To index as many compressed tiles takes minutes, and changes nothing in the look.
_NUM_COMPRESSED = 64
_FOLDERS = ("images_roof_centered_geotiff", "masks_segments_reviewed")
_LISTS = "filenames_train_val_test_split"


def _link_rid(scenes: Path, root: Path) -> None:
    """A RID tree of the release's size; its copies show the same ground, so it is not split."""
    names = sorted(path.stem for path in (scenes / _FOLDERS[0]).iterdir())
    for folder, suffix in zip(_FOLDERS, (".tif", ".png"), strict=True):
        (root / folder).mkdir(parents=True)
        for number in range(_NUM_RID):
            source = scenes / folder / f"{names[number % len(names)]}{suffix}"
            os.link(source, root / folder / f"{number + 2}{suffix}")
    (root / _LISTS).mkdir()
    for split, numbers in {"train": range(2, 1880), "val": [1880], "test": [1881]}.items():
        text = "".join(f"{number}.png\r\n" for number in numbers)
        (root / _LISTS / f"{split}_filenames_1_rev.txt").write_text(text)


def _link_tiles(tile_root: Path, root: Path, num_tiles: int) -> None:
    for split, numbers in {"train": range(1, num_tiles), "val": [num_tiles]}.items():
        for folder in ("image", "label"):
            (root / split / folder).mkdir(parents=True)
            for number in numbers:
                source = tile_root / "train" / folder / "christchurch_1.tif"
                os.link(source, root / split / folder / f"christchurch_{number}.tif")


class Times(NamedTuple):
    """What a look took."""

    cpu_s: float
    wall_s: float
    num_samples: int


def _time_look(name: DatasetName, root: Path, scratch_dir: Path) -> Times:
    settings = Hyperparameters(rid_split="release")
    reader = open_reader(name, root, "train", settings, scratch_dir)
    cpu_s, wall_s = time.process_time(), time.perf_counter()
    look = look_at_labels(reader, root, settings)
    return Times(time.process_time() - cpu_s, time.perf_counter() - wall_s, look.num_samples)


def main() -> None:
    """Measure, print, write."""
    ignore_expected_warnings()
    options = build_parser(__doc__).parse_args()
    print(describe_conditions(f"{num_cores()} cores"))
    with tempfile.TemporaryDirectory(prefix="looks-") as folder:
        scratch = Path(folder)
        write_rid(scratch / "scenes", SplitParameters(_NUM_SCENES, 1, 1, seed=0))
        _link_rid(scratch / "scenes", scratch / "rid")
        rows = {"rid": _time_look("rid", scratch / "rid", scratch / "index")}
        for kind, tile_root in write_tiles(scratch / "tiles").items():
            num_tiles = _NUM_TILES if kind == "striped" else _NUM_COMPRESSED
            _link_tiles(tile_root, scratch / kind, num_tiles)
            rows[f"airs {kind}"] = _time_look("airs", scratch / kind, scratch / f"index_{kind}")
    print_table(
        ["dataset", "CPU s", "wall s", "samples"],
        [
            [name, f"{row.cpu_s:.2f}", f"{row.wall_s:.2f}", str(row.num_samples)]
            for name, row in rows.items()
        ],
    )
    figures = {f"{name.replace(' ', '_')}_cpu_s": row.cpu_s for name, row in rows.items()}
    tiles_s = max(rows[f"airs {kind}"].cpu_s for kind in ("striped", "tiled"))
    figures["looks_on_2_cores_s"] = (rows["rid"].cpu_s + tiles_s) / _NUM_CORES
    report(figures, _TARGETS, options.json)


if __name__ == "__main__":
    main()
