"""The table of all metrics, as docs/metrics.md has it."""

from app.base.tasks import ALL_TASKS
from app.metrics.definitions import define_metrics


def render_metrics_table() -> str:
    """The table of a network of 16 directions as markdown, `val` standing for any split."""
    parts: list[str] = []
    for task in ALL_TASKS:
        parts += [f"### {task.name}", ""]
        parts += ["| metric | unit | best | support counts | definition |"]
        parts += ["| --- | --- | --- | --- | --- |"]
        for row in define_metrics(task):
            shown = {key: f"<{key}>" for key in row.placeholders}
            name, text = row.name.format(**shown), row.text.format(**shown)
            text = text.replace("<", "&lt;").replace(">", "&gt;")
            parts.append(
                f"| `val/{task.name}/{name}` | {row.unit} | {row.best} | {row.support_unit} "
                f"| {text} |"
            )
        parts.append("")
    return "\n".join(parts)
