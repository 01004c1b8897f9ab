"""Training on a GPU: samples per second, memory, and the share of time that waits for data.

    python bench/gpu.py [--json FILE] [--steps 60] [--set key=value ...]

Runs `python -m app train` on a synthetic sample with whole photos of 512 px. Without a GPU it says
so and ends; `--device cpu` shows that it runs, and nothing else.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[1]
if __name__ == "__main__":  # a script sees its own folder, where neither app nor bench is
    sys.path[0] = str(ROOT)

from app.machine import read_gpus  # noqa: E402
from app.synthetic.write_rid import write_rid  # noqa: E402
from bench.support.environment import describe_machine  # noqa: E402
from bench.support.figures import add_json_option, print_table, report  # noqa: E402

_NUM_TRAIN, _NUM_VAL = 64, 4
_SIZE_PX = 512
_MODES = {
    "fp32": {"precision": "fp32"},
    "auto": {"precision": "auto"},
}


def read_figures(model_dir: Path) -> dict[str, float]:
    """What a run's own files say of its second epoch, which has no start-up in it."""
    text = (model_dir / "metrics.jsonl").read_text()
    first, last = [json.loads(line) for line in text.splitlines()]
    metrics: Mapping[str, Any] = json.loads((model_dir / "metrics.json").read_text())
    peaks = metrics["memory"]["peaks"]["train"]
    num_samples = metrics["num_samples"] / 2
    return {
        "epoch_s": last["time_s"] - first["time_s"],
        "samples_per_s": num_samples / (last["time_s"] - first["time_s"]),
        "cuda_allocated_gib": peaks["cuda_allocated_gib"] or 0.0,
        "cuda_reserved_gib": peaks["cuda_reserved_gib"] or 0.0,
        "rss_gib": peaks["rss_gib"],
        "train_loss": last["train/loss"],
    }


def _train(scratch: Path, name: str, settings: Sequence[str]) -> dict[str, float]:
    base_dir = scratch / name
    words = [sys.executable, "-m", "app", "train", "--base-dir", str(base_dir)]
    words += ["--rid", str(scratch / "rid")]
    for setting in settings:
        words += ["--set", setting]
    result = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"gpu: training ended with {result.returncode}:\n{result.stdout[-3000:]}")
    return read_figures(base_dir / "model")


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    add_json_option(parser)
    parser.add_argument("--steps", type=int, default=60, help="of an epoch; two are trained")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("not measured: torch finds no GPU here")
        return
    print(f"{describe_machine()}; GPUs: {read_gpus().describe()}", flush=True)
    common = [
        f"device={options.device}", "epochs=2", f"steps_per_epoch={options.steps}",
        f"crop_size_px={_SIZE_PX}", "checkpoint_every_steps=1000000", "max_val_samples=1",
    ]  # fmt: skip
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="roof-gpu-") as folder:
        scratch = Path(folder)
        write_rid(scratch / "rid", _NUM_TRAIN, _NUM_VAL, 1, seed=0, size_px=_SIZE_PX)
        for mode, settings in _MODES.items():
            own = [f"{key}={value}" for key, value in settings.items()]
            measured = _train(scratch, mode, [*common, *own, *options.set])
            figures |= {f"{mode}_{key}": value for key, value in measured.items()}
    names = [key.removeprefix("fp32_") for key in figures if key.startswith("fp32_")]
    rows = [[name, *(f"{figures[f'{mode}_{name}']:.3f}" for mode in _MODES)] for name in names]
    print_table(["figure", *(f"precision={mode}" for mode in _MODES)], rows)
    report(figures, (), options.json)


if __name__ == "__main__":
    main()
