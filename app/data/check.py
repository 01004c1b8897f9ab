"""The command check-data: audits datasets and says what it found, to people and as JSON."""

import contextlib
import errno
import json
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from tqdm import tqdm

from app.base.dataset_names import DATASET_TITLES, DatasetName, dataset_options
from app.base.errors import EXIT_OK, EXIT_USER_ERROR, ConfigError
from app.data.audit import audit_dataset
from app.data.findings.report import AuditReport
from app.data.findings.scope import AuditScope
from app.data.findings.text import describe
from app.data.findings.tools import Result
from app.job.paths import check_writable, scratch_folder
from app.settings.hyperparameters import Hyperparameters

logger = logging.getLogger(__name__)

# Findings that a run survives; the number is also that of a bug, which says so in its message.
EXIT_FINDINGS: Final = 1

_NUM_PROGRESS_LINES: Final = 4


def check_data(
    dataset_dirs: Mapping[DatasetName, Path],
    hyperparameters: Hyperparameters,
    json_path: Path | None = None,
    max_files: int | None = None,
) -> int:
    """Audit datasets, print a summary, and say in the exit code how bad it is.

    Args:
        dataset_dirs: The folders.
        hyperparameters: Settings of the run to come.
        json_path: Where everything that was found goes; its folder is made if it is not there.
        max_files: Read so many files of each dataset; None reads all.

    Returns:
        0: nothing to act on. 1: errors in single files, or warnings; training would run. 2: a
        dataset that training could not use.

    Raises:
        ConfigError: If no dataset is named, or the JSON cannot be written.
    """
    if not dataset_dirs:
        raise ConfigError(f"check-data: no dataset named; add {dataset_options(' DIR')}")
    if json_path is not None:
        _check_writable(json_path)  # to fail now, not after everything is read
    reports = []
    with scratch_folder() as scratch_dir:
        scope = AuditScope(hyperparameters, scratch_dir, max_files, _track)
        for name, root in dataset_dirs.items():
            report = audit_dataset(name, root, scope)
            reports.append(report)
            sys.stdout.write(f"\n{describe(report)}\n")
            sys.stdout.flush()
    exit_code = _exit_code(reports)
    if json_path is not None:
        document = {
            "exit_code": exit_code,
            "datasets": {report.dataset: report.to_json() for report in reports},
        }
        _write(json_path, json.dumps(document, indent=1, allow_nan=False) + "\n")
    for report in reports:
        if report.unusable is not None:
            # Why stands in what was printed, file by file.
            title = DATASET_TITLES[report.dataset]
            logger.error("%s cannot be used for training, see above", title)
    return exit_code


def _check_writable(json_path: Path) -> None:
    """Raise ConfigError if the report could not be written; an earlier one is unchanged."""
    with _json_problems(json_path):
        if json_path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not _is_device(json_path):
            check_writable(json_path.resolve().parent)


def _write(json_path: Path, text: str) -> None:
    with _json_problems(json_path):
        if _is_device(json_path):
            json_path.write_text(text, encoding="utf-8")
            return
        # Beside it and renamed: who reads it finds a whole report, the last one or this.
        path = json_path.resolve()
        temporary = path.with_name(f".check-data.{os.getpid()}")
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def _is_device(path: Path) -> bool:
    """Whether something else than a file is there, such as /dev/stdout: it cannot be renamed to."""
    return path.exists() and not path.is_file()


@contextlib.contextmanager
def _json_problems(json_path: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:  # of /dev/stdout
        raise
    # RuntimeError: pathlib's for links that lead in a circle.
    except (OSError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"--json {json_path}: cannot be written: {reason}") from error


def _exit_code(reports: list[AuditReport]) -> int:
    if any(report.unusable is not None for report in reports):
        return EXIT_USER_ERROR
    severities = {finding.severity for report in reports for finding in report.findings}
    return EXIT_FINDINGS if severities & {"error", "warning"} else EXIT_OK


def _track(results: Iterable[Result], num_results: int, title: str) -> Iterator[Result]:
    """A bar on a terminal, a few lines elsewhere."""
    # disable=None: no bar where stderr is no terminal.
    bar = tqdm(results, total=num_results, desc=title, disable=None, leave=False)
    lines_at = {num_results * line // _NUM_PROGRESS_LINES for line in range(1, _NUM_PROGRESS_LINES)}
    for number, result in enumerate(bar, start=1):
        yield result
        if bar.disable and number in lines_at:
            logger.info("%s: read %d of %d", title, number, num_results)
