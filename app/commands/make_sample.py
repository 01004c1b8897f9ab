"""`make-sample`: synthetic data in the layouts of all datasets."""

import argparse

from app.commands.options import Commands, add_base_dir


def add_parser(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command and its options."""
    sample = commands.add_parser(
        "make-sample", help="write a synthetic sample of all three datasets"
    )
    add_base_dir(sample)
    sample.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from app.synthetic.sample import make_sample

    make_sample(options.base_dir)
