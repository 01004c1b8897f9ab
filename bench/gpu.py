"""Training on a GPU: steps against other networks, the share of time that waits for data, a curve.

    python -m bench.gpu [--json FILE] [--only networks loader curve] [--minutes 10] [--plot FILE]

`networks` times steps of ours and of the peers in turns; `loader` runs `python -m app train` in
float32 and in the fastest format; `curve` trains for the minutes given on all three synthetic
datasets. Without a GPU it says so and ends; `--device cpu` only shows that the code runs.
"""

import importlib.util
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch

from app.resources.gpus import read_gpus
from app.synthetic.sample import make_sample
from app.synthetic.staging import SplitParameters
from app.synthetic.write_airs import write_airs
from app.synthetic.write_rid import write_rid
from app.synthetic.write_roofline import CropParameters, write_roofline
from bench.support.environment import describe_machine, prepare_peers_python
from bench.support.figures import Target, build_parser, report
from bench.support.jobs.on_gpu import follow_curve, measure_training
from bench.support.step.on_gpu import compare_networks

_TARGETS = (
    # The least of all batch sizes.
    Target("ratio_smp_unet", ">=", 1.3),
    Target("ratio_smp_fpn", ">=", 1),
    Target("wait_share", "<", 0.05),
)
_PARTS = ("networks", "loader", "curve")


def _peers_python() -> Path:
    """This interpreter where it has the peers: a machine with a GPU may reach no package index."""
    if importlib.util.find_spec("segmentation_models_pytorch") is not None:
        return Path(sys.executable)
    return prepare_peers_python()


def main() -> None:
    """Measure, print, write."""
    parser = build_parser(__doc__)
    parser.add_argument("--only", nargs="+", choices=_PARTS, default=_PARTS, metavar="PART")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=[16, 32, 64], metavar="N")
    parser.add_argument("--rounds", type=int, default=10, help="of steps; default: %(default)s")
    parser.add_argument("--steps", type=int, default=60, help="of an epoch of `loader`, of two")
    parser.add_argument("--minutes", type=float, default=10, help="of `curve`")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="a PNG of the curve")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        print("not measured: torch finds no GPU here")
        return
    print(f"{describe_machine()}; GPUs: {read_gpus().describe()}", flush=True)
    figures: dict[str, float] = {}
    if "networks" in options.only:
        python = _peers_python()
        figures |= compare_networks(python, options.batch_sizes, options.rounds, options.device)
    with tempfile.TemporaryDirectory(prefix="roof-gpu-") as folder:
        scratch = Path(folder)
        settings = [f"device={options.device}", *options.set]
        if "loader" in options.only or "curve" in options.only:
            writers = {
                "rid": partial(write_rid, parameters=SplitParameters(480, 10, 10)),
                "roofline": partial(write_roofline, parameters=CropParameters(1200)),
                "airs": partial(write_airs, parameters=SplitParameters(8, 1, 1, size_px=4096)),
            }
            make_sample(scratch / "sample", writers)
        if "loader" in options.only:
            figures |= measure_training(scratch, settings, options.steps)
        if "curve" in options.only:
            figures |= follow_curve(scratch, settings, options.minutes, options.plot)
    print()
    report(figures, [t for t in _TARGETS if t.key in figures], options.json)


if __name__ == "__main__":
    main()
