"""What other commands start in a process of its own: `probe` is not for people."""

import argparse
import sys

from app.base.children import die_with_parent
from app.commands.options import Commands


def add_parser(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command, without a line in the list of commands."""
    commands.add_parser("probe").set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:  # noqa: ARG001 - it is asked on standard input
    import psutil

    from app.resources.measuring import ProbeRequest

    die_with_parent()
    launcher_gib = psutil.Process().memory_full_info().pss / 2**30
    from app.commands.probe.measure import run_probe

    run_probe(ProbeRequest.from_json(sys.stdin.read()), launcher_gib)
