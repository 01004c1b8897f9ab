"""docs/scaling_strategy.md: what a ladder found, as tables and plots between two markers."""

import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import psutil

from app.errors import ConfigError
from app.ladder_rows import METRICS
from app.step_times import PARTS

START: Final = "<!-- Written by python -m app phases: run it anew. -->"
END: Final = "<!-- End of what python -m app phases writes. -->"
_PART_WORDS: Final = {
    "wait": "waiting for data", "transfer": "to the device", "forward": "forward and losses",
    "backward": "backward", "optimizer": "optimizer", "rest": "rest",
}  # fmt: skip
_GIB: Final = 2**30

Row = Mapping[str, Any]


def check_page(page: Path) -> None:
    """See that a page can be written, before hours go into what is to stand there.

    Raises:
        ConfigError: If it is not there, or has no place for the tables.
    """
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    if START not in text or END not in text.partition(START)[2]:
        raise ConfigError(
            f"--docs: {page} has no place for the tables; expected a file with the lines {START} "
            f"and {END}"
        )


def write_page(page: Path, rows: Sequence[Row]) -> None:
    """Put the tables between the page's markers, and the plots into a folder of its name beside it.

    Args:
        page: As `check_page`; what stands around the markers is kept.
        rows: Of a ladder.
    """
    from app.ladder_plots import write_plots

    plots = write_plots(page.with_suffix(""), rows)
    pictures = [f"![{title}]({page.stem}/{path.name})" for title, path in plots]
    before, _, rest = page.read_text(encoding="utf-8").partition(START)
    after = rest.partition(END)[2]
    parts = [START, describe_machine(), *render_tables(rows), *pictures, END]
    page.write_text(before + "\n\n".join(parts) + after, encoding="utf-8")


def render_tables(rows: Sequence[Row]) -> list[str]:
    """Markdown tables with their headings: overview, time, memory, predictions, quality."""
    return [
        "### Overview",
        _overview(rows),
        "### Where the time of a step goes, milliseconds",
        _time(rows),
        "### Memory, GiB",
        "Peak: of all processes at the worst moment, pages they share counted once. Unique: what "
        "only one process holds. Resident: shared pages counted once for each process.",
        _memory(rows),
        "### Predicted before each phase, and measured",
        _predictions(rows),
        "### Last validation",
        _quality(rows),
    ]


def describe_machine() -> str:
    """Processor, cores and memory of this machine, and the torch it runs."""
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    name = re.search(r"^model name\s*: (.+)$", text, flags=re.MULTILINE)
    processor = name.group(1).strip() if name else platform.machine()
    flags = " with avx512_bf16" if " avx512_bf16" in text else ""
    return (
        f"Measured on {len(os.sched_getaffinity(0))} cores of {processor}{flags}, "
        f"{psutil.virtual_memory().total / _GIB:.0f} GiB, torch {version('torch')}."
    )


def _overview(rows: Sequence[Row]) -> str:
    cells = []
    before: Row = {}
    for row in rows:
        if row["status"] not in ("done", "stopped"):
            reason = str(row["reason"]).replace("|", "/")
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
                f"{row['converging']} ({row['trend']})",
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
    columns = [("load", "peak_gib"), ("train", "peak_gib"), ("val", "peak_gib"),
               ("export", "peak_gib"), ("train", "uss_gib"), ("train", "rss_gib"),
               ("train", "cuda_reserved_gib")]  # fmt: skip
    cells = [
        [row["name"], *(_number(row["memory"][phase][kind], "{:.2f}") for phase, kind in columns)]
        for row in rows
        if "memory" in row
    ]
    header = [
        "phase", "peak, loading", "peak, training", "peak, validation", "peak, export",
        "unique, training", "resident, training", "CUDA, training",
    ]  # fmt: skip
    return _table(header, cells)


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
    """The value, and its ratio to that of the rung before."""
    value, old = row[name], before.get(name)
    if value is None or not old:
        return _number(value, form)
    return f"{form.format(value)} (x {value / old:.2f})"


def _number(value: float | None, form: str, factor: float = 1.0) -> str:
    return "" if value is None else form.format(factor * value)


def _table(header: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    lines: list[Sequence[str]] = [header, ["---"] * len(header), *cells]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def print_tables(rows: Sequence[Row], write: Callable[[str], object]) -> None:
    """Show the tables to whoever called the command.

    Args:
        rows: Of a ladder.
        write: Takes the text.
    """
    write("\n\n".join(render_tables(rows)) + "\n")
