"""The command compare: runs side by side."""

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from app.base.errors import EXIT_OK, ConfigError
from app.base.storage import writing_to
from app.commands.compare.runs import (
    build_columns,
    common_folder,
    find_different_settings,
    read_runs,
)
from app.job.paths import check_writable
from app.report.comparison import Comparison, compare_columns, render_text, write_comparison

logger = logging.getLogger(__name__)


def compare(paths: Sequence[Path], output: Path | None) -> int:
    """Print the table and write the page; returns the exit code to end with.

    Args:
        paths: Runs.
        output: The page; None for compare.html in the folder that holds all runs.

    Raises:
        ConfigError: If there are no two runs, one cannot be read, or the page cannot be written.
        BrokenPipeError: If nobody reads what is written to stdout.
    """
    if len(paths) < 2:
        raise ConfigError("compare: got one run, expected two or more; name another one")
    runs = read_runs(paths)
    page = output or common_folder(paths) / "compare.html"
    if page.is_dir():
        raise ConfigError(f"--out {page}: got a folder, expected the name of an HTML file")
    check_writable(page.parent)
    columns = build_columns(runs)
    comparison = Comparison(
        columns=columns,
        rows=compare_columns(columns),
        settings=find_different_settings(runs),
        runs=[run.name for run in runs],
        histories={run.name: run.history for run in runs},
    )
    sys.stdout.write(render_text(comparison))
    with writing_to(page.parent):
        write_comparison(page, comparison)
    logger.info("page: %s", page)
    return EXIT_OK
