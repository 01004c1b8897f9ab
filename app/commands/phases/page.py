"""docs/phases.md: time, memory and scores of the phases, between two markers."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from app.base.errors import ConfigError
from app.base.storage import replacing, writing_to
from app.commands.phases.rows import MEMORY_PHASES, METRICS
from app.resources.steps import PARTS

START: Final = "<!-- Written by python -m app phases: run it again. -->"
END: Final = "<!-- End of what python -m app phases writes. -->"
_PART_WORDS: Final = {
    "wait": "waiting for data", "transfer": "to the device", "forward": "forward and losses",
    "backward": "backward", "optimizer": "optimizer", "rest": "rest",
}  # fmt: skip
_MAX_CELL_CHARS: Final = 60
_MEMORY_WORDS: Final = {
    "peak_gib": "peak", "uss_gib": "unique", "pss_gib": "proportional", "rss_gib": "resident",
    "cuda_allocated_gib": "CUDA, allocated", "cuda_reserved_gib": "CUDA, reserved",
}  # fmt: skip

Row = Mapping[str, Any]


def check_page(page: Path) -> None:
    """Check that a page can be written, before hours go into its content.

    Raises:
        ConfigError: If it is not there, or has no place for the tables.
    """
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    if START not in text or END not in text.partition(START)[2]:
        raise ConfigError(
            f"--docs: {page} has no place for the tables; expected a file with the lines {START} "
            f"and {END}, in this order; add them where the tables shall stand"
        )


def begin_page(page: Path) -> None:
    """Write an empty page with a place for the tables, in place of one that may be there.

    Raises:
        StorageError: If it cannot be written.
    """
    with writing_to(page.parent), replacing(page) as file:
        file.write(f"# Phases\n\n{START}\n{END}\n".encode())


def write_page(page: Path, rows: Sequence[Row]) -> None:
    """Put the tables between the page's markers, and the plots into a folder of its name beside it.

    Args:
        page: As `check_page`; the text around the markers is kept.
        rows: One for each phase.

    Raises:
        ConfigError: As `check_page`.
        StorageError: If the files cannot be written.
    """
    from app.commands.phases.plots import write_plots

    check_page(page)
    with writing_to(page.parent):
        plots = write_plots(page.with_suffix(""), rows)
        pictures = [f"![{title}]({page.stem}/{path.name})" for title, path in plots]
        before, _, rest = page.read_text(encoding="utf-8").partition(START)
        after = rest.partition(END)[2]
        parts = [START, *_machines(rows), *render_tables(rows), *pictures, END]
        with replacing(page) as file:
            file.write((before + "\n\n".join(parts) + after).encode())


def render_tables(rows: Sequence[Row]) -> list[str]:
    """Markdown tables with their headings: overview, time, memory, predictions, quality."""
    return [
        "### Overview",
        _overview(rows),
        "### Where the time of a step goes, milliseconds",
        _time(rows),
        "### Memory, GiB",
        "Peak: the most memory of all processes together at one moment; shared pages count once. "
        "The other rows are the highest samples of three ways to count. Unique: shared pages do "
        "not count. Proportional: they count once. Resident: they count once for every process.",
        _memory(rows),
        "### Predicted before each phase, and measured",
        _predictions(rows),
        "### Last validation",
        _quality(rows),
    ]


def _machines(rows: Sequence[Row]) -> list[str]:
    """What the phases ran on: one machine, unless their folder was moved."""
    by_machine: dict[str, list[str]] = {}
    for row in rows:
        if "machine" in row:
            by_machine.setdefault(row["machine"], []).append(row["name"])
    if len(by_machine) == 1:
        return [f"Measured on {next(iter(by_machine))}."]
    return [
        f"Phase{'s' if len(names) > 1 else ''} {', '.join(names)}: measured on {machine}."
        for machine, names in by_machine.items()
    ]


def _overview(rows: Sequence[Row]) -> str:
    cells = []
    before: Row = {}
    for row in rows:
        if "reason" in row:
            # Paths of one machine do not belong on a page that others read.
            reason = re.sub(r"(?:/[^/\s:;,]+)+/", ".../", str(row["reason"])).replace("|", "/")
            cells.append([row["name"], row["what"], f"{row['status']}: {reason}", *[""] * 6])
            continue
        cells.append(
            [
                row["name"],
                row["what"],
                row["status"],
                _number(row["samples_per_step"], "{:.0f}"),
                _against(row, before, "samples_per_s", "{:.2f}"),
                _against(row, before, "step_s", "{:.2f}"),
                _against(row, before, "peak_gib", "{:.2f}"),
                row["converging"]
                + ("" if row["loss_slope_stderr"] is None else f" ({row['trend']})"),
                _number(row["duration_s"], "{:.0f}"),
            ]
        )
        before = row
    header = [
        "phase", "tries", "status", "samples a step", "samples/s", "step s", "peak GiB",
        "converging (slope of the loss in 100 steps, 95 %)", "took s",
    ]  # fmt: skip
    return _table(header, cells)


def _time(rows: Sequence[Row]) -> str:
    names = [*PARTS, "rest"]
    cells = [
        [row["name"], *(_number(row[f"{name}_s"], "{:.0f}", 1000) for name in names)]
        for row in rows
        if row.get("step_s")
    ]
    return _table(["phase", *(_PART_WORDS[name] for name in names)], cells)


def _memory(rows: Sequence[Row]) -> str:
    measured = [row for row in rows if "memory" in row]
    kinds = [
        kind
        for kind in _MEMORY_WORDS
        if any(
            row["memory"][phase][kind] is not None for row in measured for phase in MEMORY_PHASES
        )
    ]
    cells = [
        [row["name"], _MEMORY_WORDS[kind]]
        + [_number(row["memory"][phase][kind], "{:.2f}") for phase in MEMORY_PHASES]
        for row in measured
        for kind in kinds
    ]
    return _table(["phase", "which", "loading", "training", "validation", "export"], cells)


def _predictions(rows: Sequence[Row]) -> str:
    cells = [
        [
            row["name"],
            _number(row["predicted_peak_gib"], "{:.2f}"),
            _number(row["peak_gib"], "{:.2f}"),
            _number(row["peak_error_percent"], "{:+.1f} %"),
            _number(row["predicted_step_s"], "{:.2f}"),
            _number(row["step_s"], "{:.2f}"),
            _number(row["step_error_percent"], "{:+.1f} %"),
        ]
        for row in rows
        if "predicted_peak_gib" in row
    ]
    if not cells:
        return "Nothing was predicted."
    header = [
        "phase", "peak GiB, predicted", "measured", "error", "step s, predicted", "measured",
        "error",
    ]  # fmt: skip
    return _table(header, cells)


def _quality(rows: Sequence[Row]) -> str:
    cells = [
        [row["name"], *(_number(row["metrics"][name], "{:.3f}") for name in METRICS)]
        for row in rows
        if "metrics" in row
    ]
    return _table(["phase", *METRICS.values()], cells)


def _against(row: Row, before: Row, name: str, form: str) -> str:
    """The value, and its ratio to that of the phase before."""
    value, old = row[name], before.get(name)
    if value is None or not old:
        return _number(value, form)
    return f"{form.format(value)} (x {value / old:.2f})"


def _number(value: float | None, form: str, factor: float = 1.0) -> str:
    return "" if value is None else form.format(factor * value)


def _table(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    # Columns have one width, to read well on a terminal, too; but one long reason widens no other
    # row.
    widths = [
        min(_MAX_CELL_CHARS, max(3, *map(len, column)))
        for column in zip(header, *cells, strict=True)
    ]
    lines = [header, ["-" * width for width in widths], *cells]
    return "\n".join(f"| {' | '.join(map(str.ljust, line, widths))} |" for line in lines)


def print_tables(rows: Sequence[Row], write: Callable[[str], object]) -> None:
    """Show the tables to whoever called the command.

    Args:
        rows: One for each phase.
        write: Takes the text.
    """
    write("\n\n".join(render_tables(rows)) + "\n")
