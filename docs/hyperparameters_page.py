"""docs/hyperparameters.md, written from the fields of app/settings/hyperparameters.py."""

from itertools import groupby
from typing import Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from app.settings.fields import read_group
from app.settings.hyperparameters import Hyperparameters
from app.settings.presets import PRESETS
from app.settings.texts import split_optional


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
            lines.append(f"| `{name}` | {_describe_type(field)} | `{field.default}` | {meaning} |")
    lines += ["", "## Presets", ""]
    lines += ["What `phase` sets. Keys given beside it win; the rest keep their defaults.", ""]
    lines += ["| name | " + " | ".join(f"`phase` {phase}" for phase in PRESETS) + " |"]
    lines += ["| --- |" + " --- |" * len(PRESETS)]
    for name in fields:
        cells = [f"`{preset[name]}`" if name in preset else "" for preset in PRESETS.values()]
        if any(cells):
            lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _describe_type(field: FieldInfo) -> str:
    """A field's type and range in words, from what pydantic checks."""
    if field.annotation == int | Literal["auto"]:
        return "whole number, at least 1, or `auto`"
    kind, is_optional = split_optional(field)
    if get_origin(kind) is Literal:
        words = ["one of " + ", ".join(f"`{choice}`" for choice in get_args(kind))]
    else:
        kind_names: dict[object, str] = {int: "whole number", float: "number", str: "text"}
        kind_names[bool] = "`true` or `false`"
        words = [kind_names[kind]]
    bounds = {
        "ge": "at least", "gt": "above", "le": "at most", "lt": "below",
        "multiple_of": "a multiple of",
    }  # fmt: skip
    words += [
        f"{bound} {getattr(constraint, name)}"
        for constraint in field.metadata
        for name, bound in bounds.items()
        if hasattr(constraint, name)
    ]
    return ", ".join(words) + (", or None" if is_optional else "")
