"""Figures with targets: printed with a verdict, and written as flat JSON."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Target:
    """A bound that a figure should keep.

    Attributes:
        key: Key of the figure.
        relation: ">=", ">", "<=" or "<".
        bound: In the figure's own unit.
    """

    key: str
    relation: str
    bound: float

    def verdict(self, value: float) -> str:
        """One line: the figure, its target, and whether it is met."""
        is_met = {
            ">=": value >= self.bound,
            ">": value > self.bound,
            "<=": value <= self.bound,
            "<": value < self.bound,
        }[self.relation]
        judgement = "PASS" if is_met else "below target"
        return f"{self.key:<24} {value:8.2f}   target {self.relation} {self.bound:g}   {judgement}"


def between(key: str, low: float, high: float) -> tuple[Target, Target]:
    """The targets of a figure that should lie between two bounds."""
    return Target(key, ">=", low), Target(key, "<=", high)


def build_parser(doc: str | None) -> argparse.ArgumentParser:
    """A parser with the option every benchmark has, --json FILE.

    Args:
        doc: Docstring of the benchmark's module; its first line is the description.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m bench.{Path(sys.argv[0]).stem}",  # argparse would name the file
        description=doc.splitlines()[0] if doc else None,
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here as well")
    return parser


def report(figures: Mapping[str, float], targets: Sequence[Target], json_path: Path | None) -> None:
    """Print the verdicts and write all figures, rounded, to the file if one is given."""
    for target in targets:
        print(target.verdict(figures[target.key]))
    if json_path is not None:
        rounded = {key: round(value, 4) for key, value in figures.items()}
        json_path.parent.mkdir(parents=True, exist_ok=True)
        json_path.write_text(json.dumps(rounded, indent=2) + "\n")


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns as wide as their widest cell, the first one flush left."""
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for line in lines:
        cells = [line[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)]
        print("  ".join(cells))
