"""Curves of quality against seconds of training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from matplotlib.figure import Figure

_COLOURS: Final = {"ours": "#1f5fbe", "smp_fpn": "#d1570a", "smp_unet": "#1c7a45"}
_PANELS: Final = {
    "miou": "mIoU without background",
    "line_f1": "line F1 at 2 px",
    "height_rmse_m": "RMSE of roof heights, m",
    "azimuth_error_deg": "azimuth error, degrees",
}


def write_curves(path: Path, results: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Draw every run as a thin line and the mean of its network as a thick one.

    The end of a run is a dot apart: it is scored on more scenes than the marks on the way.

    Args:
        path: Path of a PNG.
        results: Runs by network.
    """
    figure = Figure(figsize=(9.0, 5.6), layout="constrained")
    for axes, (score, title) in zip(figure.subplots(2, 2).flat, _PANELS.items(), strict=True):
        for network, runs in results.items():
            colour = _COLOURS.get(network, "#5b6370")
            curves = [
                [(mark["seconds"], mark["scores"][score]) for mark in run["curve"]]
                for run in runs
                if all(score in mark["scores"] for mark in run["curve"])
            ]
            for *marks, end in curves:
                axes.plot(*zip(*marks, strict=True), color=colour, linewidth=0.8, alpha=0.5)
                axes.plot(*end, "o", color=colour, markersize=3, alpha=0.5)
            means = [
                [fmean(values) for values in zip(*marks, strict=True)]
                for marks in zip(*curves, strict=False)
            ]
            if means:
                *marks, end = means
                axes.plot(*zip(*marks, strict=True), color=colour, linewidth=2.2, label=network)
                axes.plot(*end, "o", color=colour, markersize=7)
        axes.set_title(title, fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(bottom=0)
    figure.axes[0].legend(frameon=False)
    figure.supxlabel("seconds of training", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
