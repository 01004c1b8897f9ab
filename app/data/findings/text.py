"""A report on a dataset as lines of text."""

import textwrap
from itertools import groupby
from typing import Final

from app.base.dataset_names import DATASET_TITLES
from app.base.errors import printable
from app.data.findings.report import SEVERITIES, AuditReport, Finding

_MAX_SHOWN: Final = 20
_LINE_WIDTH: Final = 100
_NAME_WIDTH: Final = 16


def describe(report: AuditReport) -> str:
    """A report as lines of text: what the dataset consists of, then the findings by kind."""
    tally = report.tally
    num_findings = {
        severity: sum(finding.severity == severity for finding in report.findings)
        for severity in SEVERITIES
    }
    rows = {
        "files": ", ".join(f"{count:,} {what}" for what, count in report.counts.items()),
        "layout": report.layout,
        "sizes": ", ".join(f"{size} px" for size, _ in tally.sizes_px.most_common(5)),
        "scale": _scale(report),
        **{
            task: ", ".join(f"{name} {_percent(share)}" for name, share in shares.items() if share)
            for task, shares in tally.class_shares().items()
        },
        "known": ", ".join(
            f"{task} {_percent(share)}" for task, share in tally.known_shares().items() if share
        ),
        "heights": _heights(report),
        "result": "cannot be used" if report.unusable is not None else "can be used",
    }
    rows["result"] += ": " + ", ".join(
        f"{count} {severity}{'' if count == 1 else 's'}" for severity, count in num_findings.items()
    )
    lines = [printable(f"{DATASET_TITLES[report.dataset]} in {report.root}")]
    for name, text in rows.items():
        if text:
            lines += _wrap(name, text)
    for (severity, kind), group in groupby(report.findings, lambda f: (f.severity, f.kind)):
        lines += ["", *_describe_group(f"{severity}, {kind}", list(group))]
    return "\n".join(lines)


def _scale(report: AuditReport) -> str:
    gsds_m = sorted(report.tally.gsds_m)
    if not gsds_m:
        return ""
    text = f"{gsds_m[len(gsds_m) // 2]:.4f} m per pixel"
    if gsds_m[-1] - gsds_m[0] > 1e-3 * gsds_m[0]:
        text += f" ({gsds_m[0]:.4f} to {gsds_m[-1]:.4f})"
    systems = ", ".join(name for name, _ in report.crs.most_common(5) if name != "none")
    return f"{text}, {systems}" if systems else text


def _heights(report: AuditReport) -> str:
    tally = report.tally
    if not tally.num_heights:
        return ""
    lowest_m, highest_m = tally.height_range_m
    mean_m = tally.height_sum_m / tally.num_heights
    text = f"{lowest_m:.1f} to {highest_m:.1f} m, {mean_m:.1f} m on average"
    return f"{text}; {report.heights.describe_dropped()}" if report.heights.num_dropped else text


def _percent(share: float) -> str:
    return f"{100 * share:.2f}%"


def _wrap(name: str, text: str) -> list[str]:
    indent = " " * (2 + _NAME_WIDTH)
    first = f"  {name:{_NAME_WIDTH}}"
    return textwrap.wrap(
        printable(text), _LINE_WIDTH, initial_indent=first, subsequent_indent=indent
    )


def _describe_group(title: str, findings: list[Finding]) -> list[str]:
    """Findings of one kind: what each is, and each remedy once."""
    lines = [f"  {title} ({len(findings)})"]
    shown = findings[:_MAX_SHOWN]
    for finding in shown:
        # Messages of readers name the file themselves.
        path = "" if str(finding.path) in finding.what else f"{finding.path}: "
        lines.append(printable(f"    {path}{finding.what}"))
    if len(findings) > len(shown):
        lines.append(f"    and {len(findings) - len(shown)} more (all in --json)")
    remedies = dict.fromkeys(finding.remedy for finding in shown if finding.remedy)
    return [*lines, *(printable(f"    -> {remedy}") for remedy in remedies)]
