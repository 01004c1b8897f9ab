"""A training killed again and again, and started again each time: does it end as if it never was?

    python -m bench.kill_drill [--json FILE] [--kills 20] [--image roof-model:cpu]

Trains once without a stop. Trains again, with `docker kill --signal KILL` at random moments, also
while a checkpoint is written, and compares the weights byte by byte.
"""

import hashlib
import random
import re
import sys
import tempfile
import time
from pathlib import Path

from bench.support.environment import describe_conditions
from bench.support.figures import Target, build_parser, report
from bench.support.jobs.containers import (
    docker,
    logs,
    require_image,
    running,
    wait,
    write_job,
)

_TARGETS = (Target("weights_equal", ">=", 1), Target("kills", ">=", 20))
_NUM_TRAIN, _NUM_VAL, _SIZE_PX = 12, 3, 96
_SETTINGS = {
    "batch_size": "2",
    "crop_size_px": "64",
    "num_workers": "1",
    "precision": "fp32",
    "checkpoint_every_steps": "6",
    "max_val_samples": "1",
    "max_samples": str(_NUM_TRAIN),
}
# Seconds from the start of the container: some kills come before the first step, most during
# training.
_KILL_AFTER_S = (2.0, 12.0)
_RESUMED = re.compile(r"resuming from \S+: epoch \d+, step (\d+)")
_DAMAGED = re.compile(r"checkpoint \S+ is damaged")


def _train_to_the_end(image: str, base_dir: Path) -> None:
    with running(image, base_dir) as container:
        exit_code = wait(container, limit_s=3600)
        if exit_code:
            sys.exit(f"kill_drill: training ended with {exit_code}:\n{logs(container)[-3000:]}")


def _kill_at_random(image: str, base_dir: Path, num_kills: int, rng: random.Random) -> int:
    """Start and kill a training again and again; how many damaged checkpoints were met."""
    num_damaged = 0
    for number in range(1, num_kills + 1):
        delay_s = rng.uniform(*_KILL_AFTER_S)
        with running(image, base_dir) as container:
            time.sleep(delay_s)
            killed = docker("kill", "--signal", "KILL", container)
            printed = logs(container)
            if killed.returncode:
                sys.exit(
                    f"kill_drill: the training was over before kill {number}; raise --epochs:\n"
                    f"{printed[-2000:]}"
                )
        resumed = _RESUMED.search(printed)
        num_damaged += bool(_DAMAGED.search(printed))
        unfinished = [path.name for path in (base_dir / "checkpoints").glob("*.tmp")]
        print(
            f"kill {number:2d} after {delay_s:4.1f} s; resumed at step "
            f"{resumed.group(1) if resumed else '-'}; left half written: "
            f"{', '.join(unfinished) or 'nothing'}",
            flush=True,
        )
    return num_damaged


def _digest(base_dir: Path) -> str:
    return hashlib.sha256((base_dir / "model/model.safetensors").read_bytes()).hexdigest()


def main() -> None:
    """Measure, print, write."""
    parser = build_parser(__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=70)
    parser.add_argument("--seed", type=int, default=0, help="of the moments of the kills")
    parser.add_argument("--image", default="roof-model:cpu")
    options = parser.parse_args()
    require_image(options.image)
    print(describe_conditions(), flush=True)
    settings = {**_SETTINGS, "epochs": str(options.epochs)}
    with tempfile.TemporaryDirectory(prefix="roof-drill-") as scratch:
        trees = [Path(scratch, name) for name in ("uninterrupted", "killed")]
        for base_dir in trees:
            write_job(base_dir, settings, num_train=_NUM_TRAIN, num_val=_NUM_VAL, size_px=_SIZE_PX)
        _train_to_the_end(options.image, trees[0])
        print("trained without a stop", flush=True)
        num_damaged = _kill_at_random(
            options.image, trees[1], options.kills, random.Random(options.seed)
        )
        _train_to_the_end(options.image, trees[1])
        digests = [_digest(base_dir) for base_dir in trees]
    print(
        f"weights without a stop: sha256 {digests[0]}\nweights after the kills: sha256 {digests[1]}"
    )
    figures = {
        "weights_equal": float(digests[0] == digests[1]),
        "kills": options.kills,
        "damaged_checkpoints": num_damaged,
    }
    report(figures, _TARGETS, options.json)


if __name__ == "__main__":
    main()
