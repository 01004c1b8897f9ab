"""What SageMaker reads out of a job's log: its metrics by name, each with a regex.

The line it reads is that of `app.base.logs.metric_line`. The names stand here once more, since the
tables of `app.metrics` need torch, which a machine that only launches jobs may do without.
"""

from typing import Final

# CreateTrainingJob takes 40. What is left out is in the log and in metrics.json all the same: lines
# at other tolerances, classes one by one, and what reads like one of these.
METRIC_NAMES: Final = (
    "epoch", "learning_rate", "samples_per_s",
    "train/loss", "train/segments/loss", "train/lines/loss", "train/depth/loss",
    "train/superstructures/loss",
    "val/segments/miou", "val/segments/miou_no_background", "val/segments/pixel_accuracy",
    "val/segments/roof_iou", "val/segments/roof_precision", "val/segments/roof_recall",
    "val/segments/roof_f1", "val/segments/azimuth_coverage", "val/segments/azimuth_accuracy",
    "val/segments/azimuth_within_one_bin", "val/segments/azimuth_error_deg",
    "val/lines/precision_3px", "val/lines/recall_3px", "val/lines/f1_3px",
    "val/lines/eave_f1_3px", "val/lines/ridge_f1_3px", "val/lines/hip_f1_3px",
    "val/lines/valley_f1_3px",
    "val/depth/mae_m", "val/depth/rmse_m", "val/depth/bias_m", "val/depth/nmad_m",
    "val/depth/roof_mae_m", "val/depth/roof_rmse_m", "val/depth/roof_bias_m",
    "val/depth/roof_nmad_m", "val/depth/abs_rel", "val/depth/delta_1",
    "val/superstructures/miou", "val/superstructures/miou_no_background",
    "val/superstructures/any_superstructure_iou",
)  # fmt: skip


def metric_definitions() -> list[dict[str, str]]:
    """`MetricDefinitions` of CreateTrainingJob."""
    return [{"Name": name, "Regex": _regex(name)} for name in METRIC_NAMES]


def _regex(name: str) -> str:
    # The space before the name and the `=` after it tell it from names that it is a part of; what
    # stands in front tells the line from others that hold such a text.
    before = "metric " if name == "epoch" else "metric epoch=[0-9]+ step=[0-9]+.* "
    return rf"{before}{name}=(-?[0-9]+\.?[0-9]*)"
