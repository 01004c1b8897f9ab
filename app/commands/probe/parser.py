"""Questions that other commands ask of a child process by `app.base.children`; not for people."""

import argparse
import sys

from app.base.children import die_with_parent, tell_parent
from app.base.errors import RoofError
from app.commands.options import Commands


def add_parser(commands: "Commands[argparse.ArgumentParser]") -> None:
    """Add the command, without a line in the list of commands."""
    probe = commands.add_parser("probe")
    probe.add_argument("kind", choices=("measure", "count", "labels", "matlab", "predict"))
    probe.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    die_with_parent()
    question = sys.stdin.read()
    try:
        if options.kind == "measure":
            _measure(question)
        elif options.kind == "count":
            _count(question)
        elif options.kind == "labels":
            _look(question)
        elif options.kind == "predict":
            _predict(question)
        else:
            from app.data.roofline.matlab_v5 import convert

            convert(question)
    except RoofError as error:
        tell_parent("error", message=str(error))
        raise


def _measure(question: str) -> None:
    import psutil

    from app.resources.measuring import ProbeRequest
    from app.resources.process_memory import sum_shared_once_gib

    request = ProbeRequest.from_json(question)
    # Before torch is imported: the process that starts training has none.
    launcher_gib = sum_shared_once_gib([psutil.Process()])
    from app.commands.probe.measure import run_probe

    run_probe(request, launcher_gib)


def _count(question: str) -> None:
    from dataclasses import asdict

    from app.commands.plan.facts import FactsRequest
    from app.commands.probe.count import count_facts

    tell_parent("facts", **asdict(count_facts(FactsRequest.from_json(question))))


def _predict(question: str) -> None:
    from dataclasses import asdict

    from app.commands.plan.prediction import PredictionQuestion
    from app.commands.probe.prediction import measure_prediction

    tell_parent("prediction", **asdict(measure_prediction(PredictionQuestion.from_json(question))))


def _look(question: str) -> None:
    from app.commands.probe.labels import LookRequest, look_apart

    look_apart(LookRequest.from_json(question))
