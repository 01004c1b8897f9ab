"""`make-sample`: synthetic data in the layouts of all datasets."""

import argparse

from app.commands.options import Commands, add_base_dir, add_command, whole_number

_NUM_SCENES = (3, 100_000)  # a photo of each split
_SIZES_PX = (64, 2048)  # smaller ones show no roof; a scene of larger ones takes gigabytes
_MAX_SEED = 2**31 - 1

SUMMARY = "write a synthetic sample of all datasets"
DESCRIPTION = """\
Write villages of synthetic roofs, with exact labels, in the layouts of the three published
datasets; with --own also in that of own roofs.
"""
EPILOG = """\
examples:
  python -m app make-sample --base-dir local/ml
  python -m app make-sample --base-dir local/villages --own --num-scenes 400 --seed 1
"""


def add_parser(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    sample = add_command(commands, "make-sample", SUMMARY, DESCRIPTION, EPILOG)
    add_base_dir(sample)
    sample.add_argument(
        "--own",
        action="store_true",
        help="also write a folder of own roofs: photos/, heights/, roofs.gpkg, splits.csv",
    )
    sample.add_argument(
        "--num-scenes",
        type=whole_number(*_NUM_SCENES),
        metavar="N",
        help=f"photos of each dataset, {_between(_NUM_SCENES)}; validation and test get a tenth "
        "each (default: 260 of RID, 300 of Roofline, 10 of AIRS, 50 own)",
    )
    sample.add_argument(
        "--seed",
        type=whole_number(0, _MAX_SEED),
        metavar="N",
        default=0,
        help="another seed draws other villages (default: %(default)s)",
    )
    sample.add_argument(
        "--size",
        type=whole_number(*_SIZES_PX),
        metavar="PX",
        dest="size_px",
        help=f"rows and columns of every photo, {_between(_SIZES_PX)} pixels (default: 512 of RID, "
        "224 of Roofline, 2048 of AIRS, 1024 own)",
    )
    sample.set_defaults(run=_run)


def _between(bounds: tuple[int, int]) -> str:
    return f"{bounds[0]} to {bounds[1]}"


def _run(options: argparse.Namespace) -> None:
    from app.synthetic.sample import choose_writers, make_sample

    writers = choose_writers(
        with_own=options.own,
        num_scenes=options.num_scenes,
        seed=options.seed,
        size_px=options.size_px,
    )
    make_sample(options.base_dir, writers)
