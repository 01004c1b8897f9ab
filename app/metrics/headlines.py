"""Which metrics matter, and how they are said."""

from collections.abc import Mapping

# The numbers a person asks for first: name in a row, words, format.
_HEADLINES = (
    ("train/loss", "loss", "{:.3f}"),
    ("val/segments/roof_iou", "roof IoU", "{:.3f}"),
    ("val/segments/miou", "plane mIoU", "{:.3f}"),
    ("val/segments/azimuth_error_deg", "azimuth error", "{:.0f} deg"),
    ("val/lines/f1_3px", "line F1 at 3 px", "{:.3f}"),
    ("val/depth/rmse_m", "height RMSE", "{:.2f} m"),
    ("val/superstructures/miou_no_background", "superstructure mIoU", "{:.3f}"),
    ("samples_per_s", "speed", "{:.1f} samples/s"),
)


def headline(row: Mapping[str, float | int | None], split: str = "val") -> str:
    """One line of the numbers a person asks for first; those without a value are left out."""
    return "  ".join(
        f"{words} {form.format(value)}"
        for name, words, form in _HEADLINES
        if (value := row.get(name.replace("val/", f"{split}/"))) is not None
    )
