"""A prediction of photos killed again and again, and started again: does it end as if it never was?

    python -m bench.predict_kills [--model DIR] [--kills 10] [--photos 24] [--json FILE]

Predicts photos once without a stop. Predicts them again, with SIGKILL at random moments, and
compares every file byte by byte: rasters, shapes, take-offs and the record. A network that was
trained, if there is one, finds roofs to write.
"""

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from bench.support.environment import ROOT, describe_conditions
from bench.support.figures import Target, build_parser, report
from bench.support.predicting.models import DEFAULT_MODEL, choose_model
from bench.support.predicting.photos import draw_village, write_photo

_TARGETS: Final = (
    Target("files_differ", "<=", 0),
    Target("left_over", "<=", 0),
    Target("kills", ">=", 10),
)
_VILLAGE_PX, _PHOTO_PX = 1536, 384
_FORMATS: Final = "gpkg,geojson"
# Made when the first photo begins.
_BEGUN: Final = ".unfinished"


class _Folders:
    """A folder of outputs, and one of temporary files, for the runs that belong together."""

    def __init__(self, root: Path) -> None:
        self.out, self.temporary = root / "out", root / "tmp"
        self.temporary.mkdir(parents=True)

    def start(self, model: Path, photos: Path) -> subprocess.Popen[bytes]:
        """The command, as people start it."""
        return subprocess.Popen(
            [sys.executable, "-m", "app", "predict", str(photos), f"--model={model}",
             f"--out={self.out}", f"--format={_FORMATS}"],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(self.temporary)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )  # fmt: skip

    def wait_for_work(self, process: subprocess.Popen[bytes]) -> None:
        """Until the first photo has begun; what was left of it by a kill is gone by then."""
        begun = self.out / _BEGUN
        before = begun.stat().st_mtime_ns if begun.exists() else 0
        while process.poll() is None:
            if begun.exists() and begun.stat().st_mtime_ns != before:
                return
            time.sleep(0.01)

    def files(self) -> dict[str, bytes]:
        """Content of all files, by name."""
        return {
            str(path.relative_to(self.out)): path.read_bytes()
            for path in self.out.rglob("*")
            if path.is_file()
        }

    def left_over(self) -> list[str]:
        """Names of files and folders that are no outputs."""
        hidden = [path for path in self.out.iterdir() if path.name.startswith(".")]
        unfinished = list(self.out.rglob("*.tmp"))
        return sorted(path.name for path in (*hidden, *unfinished, *self.temporary.iterdir()))


def _predict_to_the_end(folders: _Folders, model: Path, photos: Path) -> float:
    """Seconds from the first photo to the end."""
    process = folders.start(model, photos)
    folders.wait_for_work(process)
    start_s = time.monotonic()
    _, errors = process.communicate()
    if process.returncode:
        sys.exit(
            f"predict_kills: the command ended with {process.returncode}:\n"
            f"{errors.decode()[-3000:]}"
        )
    return time.monotonic() - start_s


def _kill_at_random(folders: _Folders, model: Path, photos: Path, delays_s: list[float]) -> None:
    for number, delay_s in enumerate(delays_s, start=1):
        process = folders.start(model, photos)
        folders.wait_for_work(process)
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if process.returncode != -signal.SIGKILL:
            sys.exit(f"predict_kills: all was done before kill {number}; raise --photos")
        num_done = len(list(folders.out.glob("*_takeoff.html")))
        print(
            f"kill {number:2d} after {delay_s:4.1f} s of work: {num_done} photos done; left half "
            f"written: {', '.join(folders.left_over()) or 'nothing'}",
            flush=True,
        )


def main() -> None:
    """Measure, print, write."""
    parser = build_parser(__doc__)
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, metavar="DIR")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--photos", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    options = parser.parse_args()
    print(describe_conditions(), flush=True)
    with tempfile.TemporaryDirectory(prefix="roof-drill-") as name:
        scratch = Path(name)
        model, is_trained = choose_model(options.model, scratch)
        photos = scratch / "photos"
        photos.mkdir()
        village = draw_village(_VILLAGE_PX)
        rng = random.Random(options.seed)
        for number in range(options.photos):
            top, left = (rng.randrange(_VILLAGE_PX - _PHOTO_PX) for _ in range(2))
            part = village[:, top : top + _PHOTO_PX, left : left + _PHOTO_PX]
            write_photo(photos / f"p{number:02d}.tif", part, _PHOTO_PX)
        whole, killed = _Folders(scratch / "whole"), _Folders(scratch / "killed")
        total_s = _predict_to_the_end(whole, model, photos)
        print(
            f"{options.photos} photos in {total_s:.1f} s, "
            f"{'a trained' if is_trained else 'an untrained'} network",
            flush=True,
        )
        # On average half of them are done by all the runs that are killed.
        longest_s = total_s / options.kills
        delays_s = [rng.uniform(0, longest_s) for _ in range(options.kills)]
        _kill_at_random(killed, model, photos, delays_s)
        _predict_to_the_end(killed, model, photos)
        expected, got = whole.files(), killed.files()
        differing = sorted(
            name for name in expected.keys() | got.keys() if expected.get(name) != got.get(name)
        )
        print(f"{len(expected)} files; that differ: {', '.join(differing) or 'none'}")
        figures = {
            "files_differ": float(len(differing)),
            "left_over": float(len(whole.left_over()) + len(killed.left_over())),
            "kills": float(options.kills),
        }
    report(figures, _TARGETS, options.json)


if __name__ == "__main__":
    main()
