"""README.md of a model folder: a model card, with nothing in it that was not measured.

Its head is Hugging Face's (https://huggingface.co/docs/hub/model-cards).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from app.base.errors import CheckpointError, first_line
from app.base.storage import replacing
from app.metrics.headlines import HEADLINES
from app.metrics.held_out import HELD_OUT, HeldOut, tabulate

CARD_FILE: Final = "README.md"
_FILES: Final = ("model.json", "metrics.json")
_TAGS: Final = ("aerial-imagery", "roofs", "solar", "remote-sensing", "image-segmentation")
_RUN: Final = """\
With the project roof-model, or its image:

```
python -m app predict --model DIR photos/*.tif --out predictions     # rasters, shapes, take-offs
python -m app serve --model DIR                                      # the same behind HTTP
```

```python
from app.inference import load_model

found = load_model("DIR")("photo.tif")
```

In other servers: `code/` in this folder.
"""


def write_card(folder: Path, held_out: Sequence[HeldOut] = ()) -> None:
    """Write README.md of a model folder, from its model.json and metrics.json.

    Args:
        folder: As training has written it.
        held_out: Its scores by dataset, where `evaluate --vectors` has found some after training.

    Raises:
        CheckpointError: If the two cannot be read.
        OSError: If it cannot be written.
    """
    try:
        description, document = (
            json.loads((folder / name).read_text(encoding="utf-8")) for name in _FILES
        )
        text = render_card(description, document, held_out)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{folder}: got a {' or '.join(_FILES)} that cannot be read ({type(error).__name__}: "
            f"{first_line(error)}), expected those of a trained model; copy them again from the run"
        ) from error
    with replacing(folder / CARD_FILE) as file:
        file.write(text.encode())


def render_card(
    description: Mapping[str, Any],
    document: Mapping[str, Any],
    held_out: Sequence[HeldOut] = (),
) -> str:
    """The text of a model card.

    Args:
        description: Content of model.json.
        document: Content of metrics.json.
        held_out: As `write_card`.
    """
    measured = _find_measured(document["metrics"])
    parts = [
        _render_head(description, measured, held_out, document),
        f"# {description['architecture']['name']}\n",
        "A network that reads an aerial photo and says, pixel by pixel, which way each roof plane "
        "runs down, where eaves, ridges, hips and valleys are, and how high things stand. It "
        f"expects RGB photos at {description['gsd_m']:g} m per pixel, north up.\n",
        "## Taught and not taught\n",
        *_render_tasks(description["tasks"]),
        "## Data and licences\n",
        *_render_data(description),
        "## Measured\n",
        *_render_measured(measured, document),
        *_render_held_out(held_out, description, document),
        "## Limits\n",
        *_render_limits(description),
        "## Run it\n",
        _RUN,
        "## Origin\n",
        *_render_origin(description, document),
    ]
    return "\n".join(parts)


def _find_measured(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
    """The metrics that matter and have a value."""
    names = [one.name for one in HEADLINES if one.in_table or one.card is not None]
    return {
        name: metrics[name]
        for name in names
        if name in metrics and metrics[name].get("value") is not None
    }


def _render_head(
    description: Mapping[str, Any],
    measured: Mapping[str, Mapping[str, Any]],
    held_out: Sequence[HeldOut],
    document: Mapping[str, Any],
) -> str:
    """YAML, each value of which is JSON: that is YAML, too, whatever a name holds."""
    lines = [
        "---",
        "library_name: roof-model",
        "pipeline_tag: image-segmentation",
        "license: other",
        "license_name: by-the-data",
        'license_link: "#data-and-licences"',
        f"tags: {json.dumps(list(_TAGS))}",
    ]
    if measured or held_out:
        lines += ["model-index:", f"- name: {json.dumps(description['architecture']['name'])}"]
        lines += ["  results:"]
    for dataset, split in dict.fromkeys(
        (one["dataset"], one["split"]) for one in measured.values()
    ):
        of_split = {
            name: one
            for name, one in measured.items()
            if (one["dataset"], one["split"]) == (dataset, split)
        }
        title = _name_measured(dataset, document)
        lines += _render_result((title, dataset), f"split: {json.dumps(split)}", of_split)
    for part in held_out:
        args = f"{{tta: {part.num_poses}, vectors: {json.dumps(part.has_shapes)}}}"
        words = f"split: {json.dumps(part.split)}, args: {args}"
        of_part = {f"{part.split}/{name}": one for name, one in part.metrics.items()}
        title = f"{part.dataset} (synthetic)" if part.is_drawn else part.dataset
        lines += _render_result((title, part.dataset), words, of_part)
    return "\n".join([*lines, "---\n"])


def _render_result(
    names: tuple[str, str], words: str, metrics: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    title, dataset = map(json.dumps, names)
    yield "  - task: {type: image-segmentation}"
    yield f"    dataset: {{name: {title}, type: {dataset}, {words}}}"
    yield "    metrics:"
    for name, one in metrics.items():
        yield f"    - {{type: {json.dumps(name)}, value: {one['value']:.4g}}}"


def _render_tasks(tasks: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    yield "| task | classes taught | not taught |\n| --- | --- | --- |"
    for name, task in tasks.items():
        taught = task.get("trained_classes", [])
        untaught = [one for one in task["class_names"] if one not in taught]
        if not task["trained"]:
            taught, untaught = [], task["class_names"]
        yield f"| {name} | {', '.join(taught) or 'none'} | {', '.join(untaught) or 'none'} |"
    yield ""


def _render_data(description: Mapping[str, Any]) -> Iterator[str]:
    yield "| trained on | photos | licence of its photos and labels |\n| --- | --- | --- |"
    for data, is_own in _find_data(description):
        title = f"{data['title']}{' (synthetic)' if data['synthetic'] else ''}"
        words = "" if is_own else " (of the model that it started from)"
        yield f"| {title}{words} | {data['num_train']} | {data['licence']} |"
    yield "\nWhoever uses the weights keeps the licences of all data that they were made of.\n"


def _find_data(description: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], bool]]:
    """What a model was trained on, and what those were that it started from; whether its own."""
    found: list[tuple[Mapping[str, Any], bool]] = []
    origin: Mapping[str, Any] | None = description
    while origin is not None:
        found += [(data, origin is description) for data in origin.get("data", {}).values()]
        origin = origin.get("initial_model")
    return found


def _render_measured(
    measured: Mapping[str, Mapping[str, Any]], document: Mapping[str, Any]
) -> Iterator[str]:
    if not measured:
        yield "Nothing was measured: no photo was validated, or none had labels.\n"
        return
    validated, kept = document["validated"], document["kept"]
    same = "" if validated["step"] == kept["step"] else f"; the model is that of {kept['step']}"
    chosen = " These photos also chose the weights that are kept." if kept["keep"] == "best" else ""
    yield (
        f"On photos that were not trained on, by the weights of step {validated['step']}{same}."
        f"{chosen} All metrics with their definitions and confusion matrices: `metrics.json`.\n"
    )
    yield "| metric | value | of | on | how |\n| --- | --- | --- | --- | --- |"
    for name, one in measured.items():
        value = f"{one['value']:.4g} {one['unit']}".rstrip()
        yield (
            f"| `{name}` | {value} | {one['support']} {one['support_unit']} | "
            f"{_name_measured(one['dataset'], document)}, {one['split']} | {one['definition']} |"
        )
    yield ""


def _name_measured(dataset: str, document: Mapping[str, Any]) -> str:
    """The datasets that a metric is of, "rid+own"; says which of them a program drew."""
    facts = document.get("datasets") or {}
    names = dataset.split("+")
    drawn = [name for name in names if facts.get(name, {}).get("synthetic")]
    if not drawn:
        return dataset
    return f"{dataset} ({'' if drawn == names else '+'.join(drawn) + ' is '}synthetic)"


def _render_held_out(
    held_out: Sequence[HeldOut], description: Mapping[str, Any], document: Mapping[str, Any]
) -> Iterator[str]:
    if not held_out:
        return
    yield "## By dataset\n"
    poses = ", ".join(str(number) for number in sorted({part.num_poses for part in held_out}))
    yield (
        "By `evaluate` after training, each dataset by itself, whole photos at "
        f"{description['gsd_m']:g} m per pixel. The model was asked in {poses} turns and flips, "
        "and their mean is scored: planes as shapes that `predict` finds in it, the rest by pixel."
    )
    seen = [part.title for part in held_out if part.split == "val"]
    if seen and document["kept"]["keep"] == "best":
        yield (
            f"Photos of {'; '.join(seen)} also chose the weights that are kept, which makes their "
            "numbers too good."
        )
    heading, *rows = tabulate(held_out)
    yield "\n" + _render_row([heading[0] or "score", *heading[1:]])
    yield _render_row(["---"] * len(heading))
    yield from map(_render_row, rows)
    yield "\nWhat each score means:\n"
    for one in HELD_OUT:
        found = [part.metrics[one.name] for part in held_out if one.name in part.metrics]
        if found:
            yield f"- {one.words} (`{one.name}`): {found[0]['definition']}"
    yield ""


def _render_row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _render_limits(description: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"- Photos of other scales than {description['gsd_m']:g} m per pixel are resampled. What "
        "they do not show is not found."
    )
    yield "- Photos unlike those of training are predicted with a warning, not refused."
    yield "- Nothing is known of where it was not measured: of other places, of other seasons."
    data = [one for one, _ in _find_data(description)]
    if data and all(one["synthetic"] for one in data):
        yield "- It has seen drawn villages alone. Of real photos nothing is known."
    if any(not task["trained"] for task in description["tasks"].values()):
        yield "- A task that was not taught is not predicted."
    if "calibration" not in description:
        yield "- Stated directions were not checked against true ones: intervals are wide."
    yield "- It is no survey: lengths and areas are for estimates.\n"


def _render_origin(description: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[str]:
    versions = ", ".join(f"{name} {number}" for name, number in description["versions"].items())
    stopped = "; the run was stopped before its end" if document["stopped"] else ""
    created = description.get("created", "at an unknown time")
    revision = description.get("revision", "unknown")
    yield f"- Made {created}, revision {revision}, in {document['steps']} steps{stopped}."
    yield f"- With {versions}."
    yield "- Settings: `hyperparameters` in `model.json`. Curves and pictures: `report.html`.\n"
