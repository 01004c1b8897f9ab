"""The table of all metrics, as docs/metrics.md has it."""

import itertools

from app.base.tasks import ALL_TASKS
from app.metrics.definitions import define_metrics
from app.metrics.roof_definitions import define_shape_metrics


def render_metrics_table() -> str:
    """The table of a network of 16 directions as markdown, `val` standing for any split."""
    parts: list[str] = []
    rows = [row for task in ALL_TASKS for row in define_metrics(task)]
    for name, of_name in itertools.groupby((*rows, *define_shape_metrics()), lambda row: row.task):
        parts += [f"### {name}", ""]
        parts += ["| metric | unit | best | support counts | definition |"]
        parts += ["| --- | --- | --- | --- | --- |"]
        for row in of_name:
            shown = {key: f"<{key}>" for key in row.placeholders}
            label, text = row.name.format(**shown), row.text.format(**shown)
            text = text.replace("<", "&lt;").replace(">", "&gt;")
            parts.append(
                f"| `val/{row.task}/{label}` | {row.unit} | {row.best} | {row.support_unit} "
                f"| {text} |"
            )
        parts.append("")
    return "\n".join(parts)
