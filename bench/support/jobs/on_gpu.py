"""Whole training jobs on a GPU: pace, memory, waiting for data, and scores after minutes."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from app.base.children import stopping_with_parent
from bench.support.environment import ROOT
from bench.support.figures import print_table

_COMMON: Final = ("crop_size_px=512", "batch_size=16", "num_workers=12")
_MODES: Final = ("fp32", "auto")
_CURVES: Final = {
    "val/segments/miou_no_background": "mIoU without background",
    "val/segments/roof_iou": "IoU of roofs",
    "val/lines/f1_2px": "line F1 at 2 px",
    "val/depth/above_half_m_rmse_m": "RMSE of heights above 0.5 m, m",
}


def read_figures(model_dir: Path) -> dict[str, float]:
    """Figures of a run's second epoch, which has no start-up in it, from the run's own files."""
    text = (model_dir / "metrics.jsonl").read_text()
    first, last = [json.loads(line) for line in text.splitlines()]
    metrics: Mapping[str, Any] = json.loads((model_dir / "metrics.json").read_text())
    peaks, step_time = metrics["memory"]["peaks"]["train"], metrics["step_time"]
    num_samples = metrics["num_samples"] / 2
    return {
        "epoch_s": last["time_s"] - first["time_s"],
        "samples_per_s": num_samples / (last["time_s"] - first["time_s"]),
        "step_s": step_time["step_s"],
        "wait_share": step_time["wait_s"] / step_time["step_s"],
        "transfer_share": step_time["transfer_s"] / step_time["step_s"],
        "cuda_allocated_gib": peaks["cuda_allocated_gib"] or 0.0,
        "cuda_reserved_gib": peaks["cuda_reserved_gib"] or 0.0,
        "rss_gib": peaks["rss_gib"],
        "train_loss": last["train/loss"],
    }


def _train(scratch: Path, name: str, settings: Sequence[str]) -> Path:
    """The folder of the model that `python -m app train` leaves."""
    data_dir, base_dir = scratch / "sample/input/data", scratch / name
    words = [sys.executable, "-m", "app", "train", "--base-dir", str(base_dir)]
    for dataset in ("rid", "roofline", "airs"):
        words += [f"--{dataset}", str(data_dir / dataset)]
    for setting in (*_COMMON, *settings):
        words += ["--set", setting]
    result = subprocess.run(
        words,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=stopping_with_parent(),
    )
    if result.returncode:
        sys.exit(f"gpu: training ended with {result.returncode}:\n{result.stdout[-3000:]}")
    return base_dir / "model"


def measure_training(scratch: Path, settings: Sequence[str], num_steps: int) -> dict[str, float]:
    """Two epochs in float32 and two in the format that the device is fastest in, from real files.

    Args:
        scratch: Folder that holds `sample`, as `make_sample` writes it.
        settings: Hyperparameters, as key=value.
        num_steps: Steps of an epoch.

    Returns:
        Figures of `read_figures` by mode, and "wait_share" of the faster one.
    """
    short = ["epochs=2", f"steps_per_epoch={num_steps}", "max_val_samples=1"]
    found = {
        mode: read_figures(_train(scratch, mode, [*short, f"precision={mode}", *settings]))
        for mode in _MODES
    }
    print()
    rows = [[name, *(f"{found[mode][name]:.3f}" for mode in _MODES)] for name in found["auto"]]
    print_table(["figure", *(f"precision={mode}" for mode in _MODES)], rows)
    figures = {f"{mode}_{name}": v for mode in _MODES for name, v in found[mode].items()}
    return {**figures, "wait_share": found["auto"]["wait_share"]}


def follow_curve(
    scratch: Path, settings: Sequence[str], minutes: float, plot: Path | None
) -> dict[str, float]:
    """A training of about so many minutes, validated ten times: its rows printed, and drawn.

    Two short epochs first tell how many steps fit into that time.

    Args:
        scratch: As measure_training.
        settings: As measure_training.
        minutes: Duration of the whole.
        plot: Path of a PNG; None for none.
    """
    pace = read_figures(
        _train(scratch, "pace", ["epochs=2", "steps_per_epoch=20", "max_val_samples=10", *settings])
    )
    num_steps = max(1, round(60 * minutes / 10 / (pace["epoch_s"] / 20)))
    long = ["epochs=10", f"steps_per_epoch={num_steps}", "max_val_samples=10", *settings]
    model_dir = _train(scratch, "curve", long)
    rows = [json.loads(line) for line in (model_dir / "metrics.jsonl").read_text().splitlines()]
    names = [name for name in _CURVES if rows[-1].get(name) is not None]
    print()
    print_table(
        ["minutes", "train loss", *(_CURVES[name] for name in names)],
        [
            [
                f"{row['time_s'] / 60:.1f}",
                f"{row['train/loss']:.3f}",
                *(f"{row[name]:.3f}" for name in names),
            ]
            for row in rows
        ],
    )
    if plot is not None:
        _draw(plot, rows, names)
    return {f"curve_{name.removeprefix('val/')}": rows[-1][name] for name in names}


def _draw(path: Path, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    figure = Figure(figsize=(9.0, 5.6), layout="constrained")
    minutes = [row["time_s"] / 60 for row in rows]
    for axes, name in zip(figure.subplots(2, 2).flat, names, strict=False):
        axes.plot(minutes, [row[name] for row in rows], color="#1f5fbe", linewidth=2.2)
        axes.set_title(_CURVES[name], fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(bottom=0)
    figure.supxlabel("minutes of training", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
