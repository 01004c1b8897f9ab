"""Speed, memory and seams of `predict` on a CPU, beside the loop that TorchGeo's users write.

    python -m bench.predict [--model DIR] [--only speed|memory|seams] [--json FILE]

Everything is measured from the photo's file to the rasters on disk, networks loaded before. Ours
writes four rasters with overviews, the loop one of classes, without blending and without overviews.
They take turns, so that other work on the machine slows both. Seams need a trained network:
--model, or the one of `make train`. The first run makes .venv-peers.
"""

import contextlib
import itertools
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import rasterio

from bench.support.environment import (
    describe_conditions,
    load_average,
    peer_versions,
    prepare_peers_python,
)
from bench.support.figures import Target, build_parser, print_table, report
from bench.support.predicting.models import DEFAULT_MODEL, choose_model
from bench.support.predicting.photos import draw_village, write_photo
from bench.support.workers import Worker

_TARGETS: Final = {
    "speed": (
        Target("ratio_torchgeo", ">=", 2),
        Target("ratio_torchgeo_same", ">=", 1),
        Target("blend_overhead_percent", "<=", 10),
    ),
    "memory": (Target("peak_gib_10000", "<=", 2), Target("peak_ratio_50000", "<=", 1.05)),
    "seams": (Target("seam_percent", "<=", 0.5),),
}
_NUM_THREADS: Final = 2
_VILLAGE_PX: Final = 3072
_LARGE_PX, _SPARSE_PX, _PLACES_PX = 10_000, 50_000, (0, 17_000, 40_000)
# What lies nearer to the edge of a cut photo has lost some of what the network sees around it.
_EDGE_PX: Final = 320
# Half of a window of a photo of 3072 px, and half of what a network shrinks photos by besides.
_SHIFT_PX, _PHASE_PX = 544, 16


@contextlib.contextmanager
def _worker(python: Path, kind: str, model: Path) -> Iterator[Worker]:
    module = "bench.support.predicting.worker"
    command = [str(python), "-m", module, kind, f"--model={model}", f"--threads={_NUM_THREADS}"]
    # Logs of ours would come between its answers.
    with Worker(f"predict, {kind}", command) as worker:
        worker.hear()
        yield worker


def _predict(worker: Worker, photo: Path, scratch: Path) -> dict[str, float]:
    """The figures of predicting a photo into a new folder."""
    out = Path(tempfile.mkdtemp(dir=scratch))
    return worker.ask(f"{photo}\t{out}")


def _measure_speed(model: Path, scratch: Path, side_px: int, num_rounds: int) -> dict[str, float]:
    folder = scratch / "speed"
    folder.mkdir()
    photo = write_photo(folder / "village.tif", draw_village(side_px), side_px)
    python = prepare_peers_python()
    kinds = ("ours", "torchgeo", "torchgeo_same")
    times: dict[str, list[dict[str, float]]] = {kind: [] for kind in kinds}
    with contextlib.ExitStack() as stack:
        workers = {kind: stack.enter_context(_worker(python, kind, model)) for kind in kinds}
        for number in range(num_rounds + 1):
            for kind, worker in workers.items():
                figures = _predict(worker, photo, scratch)
                if number > 0:  # the first round warms up
                    times[kind].append(figures)
            print(f"round {number} of {num_rounds}: load {load_average()}", flush=True)
    medians = {
        kind: statistics.median(figures["wall_s"] for figures in runs)
        for kind, runs in times.items()
    }
    rows = [
        [kind, f"{median:.1f}", f"{side_px**2 / median / 1e6:.2f}",
         f"{max(figures['peak_gib'] for figures in times[kind]):.2f}"]
        for kind, median in medians.items()
    ]  # fmt: skip
    print_table(["loop", "s", "million px/s", "peak GiB"], rows)
    shares = [run["blending_s"] / run["asking_s"] for run in times["ours"]]
    return {
        "ours_mpx_per_s": side_px**2 / medians["ours"] / 1e6,
        "ratio_torchgeo": medians["torchgeo"] / medians["ours"],
        "ratio_torchgeo_same": medians["torchgeo_same"] / medians["ours"],
        "blend_overhead_percent": 100 * statistics.median(shares),
    }


def _measure_memory(model: Path, scratch: Path) -> dict[str, float]:
    village = draw_village(_VILLAGE_PX)
    large = write_photo(scratch / "large.tif", village, _LARGE_PX)
    places = list(zip(_PLACES_PX, reversed(_PLACES_PX), strict=True))
    sparse = write_photo(scratch / "sparse.tif", village, _SPARSE_PX, places)
    figures = {}
    for photo in (large, sparse):
        with _worker(Path(sys.executable), "ours", model) as worker:
            figures[photo.stem] = _predict(worker, photo, scratch)
        print(f"{photo.stem}: {figures[photo.stem]}", flush=True)
    return {
        "peak_gib_10000": figures["large"]["peak_gib"],
        "large_s": figures["large"]["wall_s"],
        "peak_ratio_50000": figures["sparse"]["peak_gib"] / figures["large"]["peak_gib"],
        "sparse_s": figures["sparse"]["wall_s"],
    }


def _measure_seams(model: Path, scratch: Path) -> dict[str, float]:
    """How many roof pixels change their class when the photo begins later.

    By half a window, and by half a window and half of the network's stride. The network itself says
    something else after half of its stride, wherever windows lie.
    """
    village = draw_village(_VILLAGE_PX)
    figures = {}
    with _worker(Path(sys.executable), "ours", model) as worker:
        whole, background = _predict_classes(worker, village, scratch / "whole.tif")
        for name, shift_px in (
            ("seam_percent", _SHIFT_PX),
            ("phase_percent", _SHIFT_PX + _PHASE_PX),
        ):
            cut = np.ascontiguousarray(village[:, shift_px:, shift_px:])
            later, _ = _predict_classes(worker, cut, scratch / f"{name}.tif")
            first = whole[shift_px + _EDGE_PX :, shift_px + _EDGE_PX :]
            second = later[_EDGE_PX:, _EDGE_PX:]
            is_roof = (first != background) | (second != background)
            figures[name] = 100 * float((first != second)[is_roof].mean())
    print(f"roof: {is_roof.mean():.1%} of {first.size / 1e6:.1f} million px")
    return figures


def _predict_classes(
    worker: Worker, photo: npt.NDArray[np.uint8], path: Path
) -> tuple[npt.NDArray[np.uint8], int]:
    """(H, W) classes of a photo (3, H, W), which is written to a path; and that of background."""
    write_photo(path, photo, photo.shape[1])
    out = Path(tempfile.mkdtemp(dir=path.parent))
    worker.ask(f"{path}\t{out}")
    with rasterio.open(out / f"{path.stem}_segments.tif") as file:
        tags = file.tags()
        (background,) = (
            int(key.removeprefix("CLASS_"))
            for key, name in tags.items()
            if key.startswith("CLASS_") and name == "background"
        )
        return file.read(1), background


def main() -> None:
    """Measure, print, write."""
    parser = build_parser(__doc__)
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, metavar="DIR")
    parser.add_argument("--only", choices=tuple(_TARGETS), action="append")
    parser.add_argument("--side-px", type=int, default=3072, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    options = parser.parse_args()
    parts = options.only or list(_TARGETS)
    peers = peer_versions() if "speed" in parts else "peers left out"
    print(describe_conditions(peers), flush=True)
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="roof-bench-") as name:
        scratch = Path(name)
        model, is_trained = choose_model(options.model, scratch)
        if "speed" in parts:
            figures |= _measure_speed(model, scratch, options.side_px, options.rounds)
        if "memory" in parts:
            figures |= _measure_memory(model, scratch)
        if "seams" in parts:
            if is_trained:
                figures |= _measure_seams(model, scratch)
            else:
                print(f"no seams without a trained network: none in {options.model}")
    print()
    targets = [target for target in itertools.chain(*_TARGETS.values()) if target.key in figures]
    report(figures, targets, options.json)


if __name__ == "__main__":
    main()
