"""Whether what a model states of planes holds on photos that it was not calibrated on.

    python -m bench.calibration MODEL [--own DIR] [--photos 60] [--seed 7] [--json FILE]

Half of some synthetic villages calibrate the model, as `app evaluate --vectors --calibrate` does,
and the other half judges: of the directions that are right, within 22.5 degrees, how many lie in
their stated interval of 90 %, and how far stated confidences are from the share that is right.
Beside that the same of what geometry alone states, and of the calibration in model.json, if there
is one: what training has measured on its own validation photos. --own takes people's own roofs
instead, of which the split `val` calibrates and `test` judges. The model folder is only read.
"""

import argparse
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from app.base.logs import configure_logging, ignore_expected_warnings
from app.inference.evaluate import Asking, evaluate_model
from app.inference.shape_scores import FindRoofs
from app.metrics.angles import ConfidenceSums
from app.metrics.matched import RIGHT_DEG, MatchedPlanes
from app.roofs.calibrating import fit_calibration
from app.roofs.calibration import CALIBRATION_KEY, UNMEASURED, Calibration
from app.roofs.scored import find_scored_roofs
from app.synthetic.staging import SplitParameters
from app.synthetic.write_own import write_own
from bench.support.environment import ROOT, describe_conditions
from bench.support.figures import Target, between, build_parser, print_table, report

_CACHE: Final = ROOT / "local/bench/calibration"
_HALF_INTERVAL_SD: Final = 1.6448536269514722
_TARGETS: Final = (
    *between("azimuth_held_percent", 85, 95),
    *between("pitch_held_percent", 85, 95),
    Target("confidence_off_percent", "<=", 10),
)


def _read_planes(model: Path, folder: Path, split: str) -> tuple[MatchedPlanes, Calibration | None]:
    """Planes as geometry alone states them, and the model's own calibration."""
    own: list[Calibration] = []

    def find_roofs_of(description: Mapping[str, Any]) -> FindRoofs:
        if CALIBRATION_KEY in description:
            own.append(Calibration.of_model(description))
        return partial(find_scored_roofs, calibration=None)

    with tempfile.TemporaryDirectory(prefix="calibration-") as scratch:
        output = Path(scratch) / "scores.json"
        asking = Asking(find_roofs_of=find_roofs_of)
        planes = evaluate_model(model, {"own": folder}, split, output, {}, asking)  # type: ignore[arg-type]
    return planes, own[0] if own else None


def _judge(planes: MatchedPlanes, calibration: Calibration | None) -> dict[str, float]:
    """Shares in percent; of what geometry states where there is no calibration."""
    confidence, sd, pitch_sd = planes.confidence, planes.azimuth_sd_deg, planes.pitch_sd_deg
    if calibration is not None:
        confidence = calibration.confidence(confidence)
        sd, pitch_sd = calibration.azimuth_sd_deg(sd), calibration.pitch_sd_deg(pitch_sd)
    is_right = planes.off_deg <= RIGHT_DEG
    sums = ConfidenceSums()
    sums.add(confidence, planes.is_right)
    stated = {name: value for name, (value, _) in sums.values().items()}
    return {
        "azimuth_held_percent": _share(planes.off_deg[is_right], sd[is_right]),
        "azimuth_sd_median_deg": float(np.median(sd[is_right])),
        "pitch_held_percent": _share(planes.pitch_off_deg, pitch_sd),
        "confidence_percent": 100 * float(confidence.mean()),
        "right_percent": 100 * float(planes.is_right.mean()),
        "confidence_off_percent": 100 * abs(stated["confidence_error"] or 0.0),
        "confidence_gap_percent": 100 * (stated["confidence_gap"] or 0.0),
    }


def _share(off: npt.NDArray[np.float64], sd: npt.NDArray[np.float64]) -> float:
    known = np.isfinite(off) & np.isfinite(sd)
    return 100 * float((off[known] <= _HALF_INTERVAL_SD * sd[known]).mean())


def _parse() -> argparse.Namespace:
    parser = build_parser(__doc__)
    parser.add_argument("model", type=Path, metavar="MODEL", help="a model folder")
    parser.add_argument("--own", type=Path, metavar="DIR", help="of roofs, in place of villages")
    parser.add_argument("--photos", type=int, default=60, help="villages of each half")
    parser.add_argument("--seed", type=int, default=7, help="of the villages")
    return parser.parse_args()


def main() -> None:
    """Calibrate, judge, print."""
    configure_logging(0)
    ignore_expected_warnings()
    options = _parse()
    print(describe_conditions())
    folder = options.own
    if folder is None:
        folder = _CACHE / f"villages-{options.seed}-{options.photos}"
        write_own(folder, SplitParameters(1, options.photos, options.photos, options.seed))
    learned, own = _read_planes(options.model, folder, "val")
    others, _ = _read_planes(options.model, folder, "test")
    rows = {
        "geometry alone": _judge(others, None),
        "nothing measured": _judge(others, UNMEASURED),
        "measured on 20 planes": _judge(others, fit_calibration(_first(learned, 20))),
        f"measured on {learned.num_planes} planes": (
            figures := _judge(others, fit_calibration(learned))
        ),
    }
    if own is not None:
        rows[f"model.json, of {own.num_planes} planes"] = _judge(others, own)
    print(f"judged by {others.num_planes} planes")
    print_table(
        ["what is stated by", *figures],
        [[name, *(f"{value:.1f}" for value in row.values())] for name, row in rows.items()],
    )
    report(figures, _TARGETS, options.json)


def _first(planes: MatchedPlanes, num_planes: int) -> MatchedPlanes:
    return MatchedPlanes._make(values[:num_planes] for values in planes)


if __name__ == "__main__":
    main()
