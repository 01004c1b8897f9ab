"""docs/hyperparameters.md, written from the fields of app/settings/hyperparameters.py."""

from itertools import groupby

from app.settings.fields import describe_values, read_group
from app.settings.hyperparameters import Hyperparameters
from app.settings.presets import PRESETS


def render_hyperparameters() -> str:
    """docs/hyperparameters.md: all fields by group, and the presets, as markdown tables."""
    lines = [
        "# Hyperparameters",
        "",
        "<!-- Written by docs/generate.py from app/settings/hyperparameters.py. -->",
        "",
        "Flat keys with defaults that work. Values may be written in any way SageMaker's SDKs do;",
        "`None`, `null` or an empty text mean None. An unknown key or a value out of range stops",
        "the job before it reads data, and all such keys are named at once.",
    ]
    fields = Hyperparameters.model_fields
    for title, group in groupby(fields.items(), lambda item: read_group(item[1])):
        lines += ["", f"## {title}", "", "| name | type and range | default | meaning |"]
        lines += ["| --- | --- | --- | --- |"]
        for name, field in group:
            meaning = " ".join((field.description or "").split())
            cells = (f"`{name}`", describe_values(field, "`"), f"`{field.default}`", meaning)
            lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "## Presets", ""]
    lines += ["What `phase` sets. Keys given beside it win; the rest keep their defaults.", ""]
    lines += ["| name | " + " | ".join(f"`phase` {phase}" for phase in PRESETS) + " |"]
    lines += ["| --- |" + " --- |" * len(PRESETS)]
    for name in fields:
        cells = [f"`{preset[name]}`" if name in preset else "" for preset in PRESETS.values()]
        if any(cells):
            lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
