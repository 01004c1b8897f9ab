"""The commands: `python -m app train | evaluate | check-data | make-sample | plan | launch`.

This module imports nothing heavy: the parent of a training process and its data workers import it.
"""

import argparse
import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from app import __version__
from app.base.children import die_with_parent
from app.base.dataset_names import DATASET_TITLES, DatasetName
from app.base.errors import (
    EXIT_BROKEN_PIPE,
    EXIT_BUG,
    EXIT_INTERRUPTED,
    EXIT_LOST_PEER,
    EXIT_OK,
    EXIT_USER_ERROR,
    ConfigError,
    PeerLostError,
    RoofError,
    printable,
)
from app.base.logs import configure_logging
from app.job.failure import write_failure
from app.job.paths import Paths
from app.job.signals import StopFlag, StopRequests, end_rank
from app.launch_options import add_launch_options, read_options
from app.plan_options import add_plan_options, read_plan_options

logger = logging.getLogger("app")

_MAX_TRACEBACK_CHARS = 8000


def main(arguments: Sequence[str]) -> int:
    """Run a command and return the process's exit code."""
    configure_logging()
    options = _build_parser().parse_args(arguments or ["train"])
    options.arguments = arguments or ["train"]
    try:
        exit_code = _run_mapping_errors(options)
        if sys.stdout is not None:  # closed by who started us
            sys.stdout.flush()
    except BrokenPipeError:
        # As in `check-data ... | head`. Python flushes once more at its end, and would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN_PIPE
    return exit_code


def _run_mapping_errors(options: argparse.Namespace) -> int:
    """Run a command in this process; an error becomes one line, a failure file, an exit code.

    Raises:
        BrokenPipeError: If nobody reads what check-data, plan or launch prints.
    """
    command: Callable[[argparse.Namespace], int | None] = options.run
    try:
        return command(options) or EXIT_OK
    except RoofError as error:
        message, exit_code, details = str(error), error.exit_code, ""
        logger.error("%s", message)
    except KeyboardInterrupt:
        logger.error("stopped by Ctrl-C")
        return EXIT_INTERRUPTED
    except PeerLostError as error:
        # The parent knows, or will hear, what this follows from.
        sys.stderr.write(f"another training process is gone: {printable(str(error))}\n")
        return EXIT_LOST_PEER
    except ModuleNotFoundError as error:
        if str(error.name).partition(".")[0] == "app":
            raise
        message = (
            f"package {error.name} is not installed; install what pyproject.toml names "
            "(make setup), or run the image"
        )
        exit_code, details = EXIT_USER_ERROR, traceback.format_exc()[-_MAX_TRACEBACK_CHARS:]
        logger.error("%s", message)
    except Exception as error:
        prints = options.command in ("check-data", "launch", "phases", "plan")
        if prints and isinstance(error, BrokenPipeError):
            raise
        message = printable(f"internal error: {type(error).__name__}: {error}")
        exit_code, details = EXIT_BUG, traceback.format_exc()[-_MAX_TRACEBACK_CHARS:]
        logger.exception("%s", message)
    if options.command == "train":
        write_failure(Paths(options.base_dir), message, details)
    return exit_code


def _train(options: argparse.Namespace) -> int | None:
    if options.supervised == "script":
        from app.job.script_mode import run_script

        die_with_parent()
        return run_script(Paths(options.base_dir))
    if options.supervised is None and not options.in_process:
        return _supervise(options)
    _train_as_a_rank(options)
    return None


def _supervise(options: argparse.Namespace) -> int:
    requests = StopRequests()
    requests.listen()
    from app.job.failure import clear_failure
    from app.job.inputs import read_hyperparameters
    from app.job.paths import read_paths
    from app.job.supervisor import run_job
    from app.settings.texts import parse_settings

    clear_failure(Paths(options.base_dir))
    paths = read_paths(options.base_dir)
    settings = {**read_hyperparameters(paths), **parse_settings(options.set)}
    return run_job(
        options.arguments, paths, settings, requests, lambda: _find_channels(options, paths)
    )


def _find_channels(options: argparse.Namespace, paths: Paths) -> dict[str, Path]:
    """The datasets named on the command line, else the job's channels."""
    from app.job.inputs import read_channels

    return _named_dirs(options) or read_channels(paths)


def _train_as_a_rank(options: argparse.Namespace) -> None:
    from app.job.failure import clear_failure
    from app.job.inputs import read_hyperparameters
    from app.job.paths import check_writable, read_paths

    variable = os.environ.get("RANK", "0")
    rank = int(variable) if variable.isdecimal() else 0
    configure_logging(rank)
    if options.supervised:
        die_with_parent()
    elif rank == 0:
        clear_failure(Paths(options.base_dir))
    stop_flag = StopFlag()
    stop_flag.listen()
    from app.settings.texts import parse_hyperparameters, parse_settings

    paths = read_paths(options.base_dir)
    check_writable(paths.model_dir, paths.checkpoint_dir)
    settings = {**read_hyperparameters(paths), **parse_settings(options.set)}
    hyperparameters = parse_hyperparameters(settings)
    channels = _find_channels(options, paths)
    largest_pass = recalled_pass = None
    if hyperparameters.batch_size == "auto":
        from app.resources.batch_size import find_largest_pass, recall_batch_size

        # Before torch is imported: what this process holds, the one that measures cannot have.
        num_processes = int(os.environ.get("WORLD_SIZE", "1"))
        recalled_pass = recall_batch_size(paths.checkpoint_dir, hyperparameters, num_processes)
        if recalled_pass is None and os.environ.get("LOCAL_RANK", "0") == "0":
            num_local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
            largest_pass = find_largest_pass(
                hyperparameters, settings, channels, num_local, stop_flag
            )
        if stop_flag() and num_processes == 1:
            logger.info("asked to stop before training began")
            return
    # Late: torch takes seconds to import, and a wrong setting should not wait for it. Workers'
    # imports run beside ours.
    from app.data.workers import start_worker_server

    if hyperparameters.num_workers > 0:
        start_worker_server()
    from app.training.train import train

    train(paths, hyperparameters, channels, stop_flag, largest_pass, recalled_pass)


def _evaluate(options: argparse.Namespace) -> None:
    from app.inference.evaluate import evaluate_model
    from app.settings.texts import parse_hyperparameters, parse_settings

    settings = parse_settings(options.set)
    parse_hyperparameters(settings)  # a wrong one should not wait for the model
    dataset_dirs = _dataset_dirs(options)
    if not dataset_dirs:
        raise ConfigError("evaluate: no dataset named; add --rid DIR, --roofline DIR or --airs DIR")
    evaluate_model(options.model, dataset_dirs, options.split, options.out, settings)


def _check_data(options: argparse.Namespace) -> int:
    from app.data.check import check_data
    from app.settings.texts import parse_hyperparameters, parse_settings

    hyperparameters = parse_hyperparameters(parse_settings(options.set))
    return check_data(_dataset_dirs(options), hyperparameters, options.json, options.max_files)


def _launch(options: argparse.Namespace) -> int:
    from app.launch import launch

    return launch(read_options(options))


def _plan(options: argparse.Namespace) -> int | None:
    if options.count_facts:
        die_with_parent()
        from app.plan_count import run_count

        run_count(sys.stdin.read())
        return None
    from app.plan import plan

    return plan(read_plan_options(options))


def _probe(options: argparse.Namespace) -> None:  # noqa: ARG001 - it is asked on standard input
    import psutil

    from app.resources.measuring import ProbeRequest

    die_with_parent()
    launcher_gib = psutil.Process().memory_full_info().pss / 2**30
    from app.probe import run_probe

    run_probe(ProbeRequest.from_json(sys.stdin.read()), launcher_gib)


def _phases(options: argparse.Namespace) -> int:
    requests = StopRequests()
    requests.listen()
    from app.forecaster import build_forecaster
    from app.ladder import Ladder, climb, read_rows
    from app.ladder_page import check_page, print_tables, write_page
    from app.settings.texts import parse_hyperparameters, parse_settings
    from app.synthetic.sample import ensure_sample

    settings = parse_settings(options.set)
    if "phase" in settings:
        raise ConfigError("--set phase: phases runs all of them; leave it out, or use train")
    parse_hyperparameters(settings)  # a wrong one should not wait for the first phase
    if options.docs is not None:
        check_page(options.docs)
    channels = _named_dirs(options) or dict(ensure_sample(options.base_dir / "sample").items())
    ladder = Ladder(options.base_dir, channels, settings)
    forecast = build_forecaster(channels, settings, options.base_dir)
    exit_code = climb(ladder, requests, forecast, anew=options.fresh)
    rows = read_rows(options.base_dir)
    print_tables(rows, sys.stdout.write)
    if requests.to_stop():
        return exit_code
    if not any(row["status"] == "done" for row in rows):
        raise ConfigError(f"phases: none could be run; the first one: {rows[0]['reason']}")
    if options.docs is not None:
        write_page(options.docs, rows)
        logger.info("written: %s", options.docs)
    return exit_code


def _make_sample(options: argparse.Namespace) -> None:
    from app.synthetic.sample import make_sample

    make_sample(options.base_dir)


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m app",
        description="Train HybridRoofModel: roof planes by direction, roof lines and heights.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    train = commands.add_parser("train", help="train as a SageMaker job does (the default)")
    _add_base_dir(train)
    _add_dataset_dirs(train, "train on this {title} folder, not on the job's channels")
    _add_settings(train)
    train.add_argument(
        "--in-process",
        action="store_true",
        help="no supervising parent process: for debuggers and profilers",
    )
    train.add_argument("--supervised", choices=("rank", "script"), help=argparse.SUPPRESS)
    train.set_defaults(run=_train)

    evaluate = commands.add_parser("evaluate", help="score a trained model on datasets")
    evaluate.add_argument("--model", type=Path, metavar="DIR", required=True, help="model folder")
    _add_dataset_dirs(evaluate, "score on this {title} folder")
    evaluate.add_argument("--split", choices=("train", "val", "test", "all"), default="val")
    evaluate.add_argument("--out", type=Path, metavar="FILE.json", required=True)
    _add_settings(evaluate)
    evaluate.set_defaults(run=_evaluate)

    check = commands.add_parser(
        "check-data",
        help="see what a dataset holds and what is wrong with it, before training",
        description="Read datasets as training does, and say what they hold and what is wrong.",
        epilog="Exit code: 0, nothing to act on (infos are traits that the readers take care of, "
        "such as RID's overlapping images); 1, warnings, or files that training leaves out; 2, a "
        "dataset that training cannot use, or more bad files than max_bad_fraction.",
    )
    _add_dataset_dirs(check, "check this {title} folder")
    check.add_argument(
        "--json", type=Path, metavar="FILE", help="write every finding and number there"
    )
    check.add_argument(
        "--max-files",
        type=_positive,
        metavar="N",
        help="read so many files of each, for a quick look; overlaps and copies are not looked for",
    )
    _add_settings(check)
    check.set_defaults(run=_check_data)

    sample = commands.add_parser(
        "make-sample", help="write a synthetic sample of all three datasets"
    )
    _add_base_dir(sample)
    sample.set_defaults(run=_make_sample)

    phases = commands.add_parser(
        "phases",
        help="climb from ten samples to all data, and say at each step what it took",
        description="Run the presets phase=1 to 5 one after another (5 where there is a GPU), each "
        "predicted before it runs and compared with the one before. The same command goes on "
        "where it was stopped.",
    )
    _add_base_dir(phases)
    _add_dataset_dirs(phases, "train on this {title} folder; without any, on a synthetic sample")
    _add_settings(phases)
    phases.add_argument(
        "--docs", type=Path, metavar="FILE.md", help="write tables and plots between its markers"
    )
    phases.add_argument("--fresh", action="store_true", help="run what is done anew, too")
    phases.set_defaults(run=_phases)

    # What other commands start; it is not for people, and has no line in the list of commands.
    commands.add_parser("probe").set_defaults(run=_probe)

    plan = commands.add_parser("plan", help="what training takes and costs on an instance")
    add_plan_options(plan)
    plan.set_defaults(run=_plan)

    job = commands.add_parser("launch", help="create a SageMaker training job")
    add_launch_options(job)
    job.set_defaults(run=_launch)
    return parser


def _add_base_dir(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--base-dir",
        type=Path,
        metavar="DIR",
        default=Paths().base_dir,
        help="the /opt/ml tree (default: %(default)s)",
    )


def _add_dataset_dirs(parser: argparse.ArgumentParser, words: str) -> None:
    for name, title in DATASET_TITLES.items():
        parser.add_argument(f"--{name}", type=Path, metavar="DIR", help=words.format(title=title))


def _dataset_dirs(options: argparse.Namespace) -> dict[DatasetName, Path]:
    """The folders named on the command line, by dataset."""
    return {name: path for name in DATASET_TITLES if (path := getattr(options, name))}


def _named_dirs(options: argparse.Namespace) -> dict[str, Path]:
    """The same, for those who take any channel."""
    return dict(_dataset_dirs(options).items())


def _positive(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number, at least 1, got {text!r:.50}")
    return number


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a hyperparameter; may be given again (docs/hyperparameters.md lists them)",
    )


if __name__ == "__main__":
    code = main(sys.argv[1:])
    if os.environ.get("WORLD_SIZE", "1") != "1":
        end_rank(code)
    sys.exit(code)
