"""How far predictions are off: memory and time of the phases on the CPU, predicted and run.

    python -m bench.plan [--json FILE] [--steps 12] [--own]

Measures passes of 1 and 2 samples and windows of 256 and 512 px, predicts phases 1 to 4 from them,
runs those phases for a few steps, and compares. The fit knows none of the phases. Then
the cost of the thread that samples memory. With --own, own roofs are among the datasets.
"""

import logging
import sys
import tempfile
from functools import partial
from pathlib import Path

from app.base.dataset_names import DatasetName
from app.base.logs import configure_logging
from app.commands.phases.phases import PHASES, PhaseSeries, read_rows, run_phases
from app.commands.phases.prediction import build_forecaster
from app.job.signals import StopRequests
from app.synthetic.sample import Writer, make_sample
from app.synthetic.staging import SplitParameters
from app.synthetic.write_airs import write_airs
from app.synthetic.write_own import write_own
from app.synthetic.write_rid import write_rid
from app.synthetic.write_roofline import CropParameters, write_roofline
from bench.support.environment import describe_conditions, load_average
from bench.support.figures import Target, build_parser, print_table, report
from bench.support.jobs.sampler_cost import measure_sampler_cost

_TARGETS = (
    Target("peak_error_percent", "<=", 10),
    Target("step_error_percent", "<=", 20),
    Target("sampler_cost_percent", "<", 0.5),
)


def _run_all(num_steps: int, *, with_own: bool) -> list[dict[str, object]]:
    """Rows of the phases on the CPU, each of num_steps steps, on a synthetic sample."""
    with tempfile.TemporaryDirectory(prefix="roof-bench-") as scratch:
        writers: dict[DatasetName, Writer] = {
            "rid": partial(write_rid, parameters=SplitParameters(40, 4, 1)),
            "roofline": partial(write_roofline, parameters=CropParameters(60)),
            "airs": partial(write_airs, parameters=SplitParameters(2, 1, 1, size_px=2048)),
        }
        if with_own:
            writers["own"] = partial(write_own, parameters=SplitParameters(8, 2, 1, size_px=1024))
        make_sample(Path(scratch) / "sample", writers)
        data_dir = Path(scratch) / "sample/input/data"
        channels: dict[str, Path] = {name: data_dir / name for name in writers}
        settings = {"epochs": "1", "steps_per_epoch": str(num_steps), "max_val_samples": "2"}
        phases = [phase for phase in PHASES if phase.preset < 5]
        series = PhaseSeries(Path(scratch) / "phases", channels, settings, phases)
        forecast = build_forecaster(channels, settings, series.base_dir)
        if run_phases(series, StopRequests(), forecast) != 0:
            sys.exit("plan: the phases were stopped")
        return read_rows(series.base_dir)


def main() -> None:
    """Measure, print, write."""
    parser = build_parser(__doc__)
    parser.add_argument("--steps", type=int, default=12, help="of a phase; default: %(default)s")
    parser.add_argument("--own", action="store_true", help="own roofs among the datasets, too")
    options = parser.parse_args()
    configure_logging()
    logging.getLogger("app").setLevel(logging.INFO)
    print(describe_conditions(), flush=True)
    rows = _run_all(options.steps, with_own=options.own)
    failed = [f"phase {row['name']}: {row['reason']}" for row in rows if row["status"] != "done"]
    if failed:
        sys.exit(f"plan: {'; '.join(failed)}")
    print()
    print_table(
        ["phase", "peak GiB", "predicted", "error %", "step s", "predicted", "error %"],
        [
            [
                str(row["name"]),
                *(
                    f"{row[name]:.2f}"
                    for name in (
                        "peak_gib", "predicted_peak_gib", "peak_error_percent",
                        "step_s", "predicted_step_s", "step_error_percent",
                    )
                ),
            ]
            for row in rows
        ],
    )  # fmt: skip
    print(
        "\npeak: of all processes of a job at the worst moment of training or validation, pages "
        "they share counted once\nsampler: CPU time of its thread, of the time of all cores, with "
        f"a training process and two data workers watched\nload {load_average()}\n"
    )
    figures = {
        "peak_error_percent": max(abs(row["peak_error_percent"]) for row in rows),
        "step_error_percent": max(abs(row["step_error_percent"]) for row in rows),
        "sampler_cost_percent": measure_sampler_cost(),
    }
    report(figures, _TARGETS, options.json)


if __name__ == "__main__":
    main()
