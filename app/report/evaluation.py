"""The page of `evaluate`: scores by dataset, and the photos that a model does worst on."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from markupsafe import Markup

from app.base.dataset_names import title_of
from app.base.storage import replacing
from app.base.tasks import Task, find_task
from app.metrics.by_dataset import rows_by_dataset
from app.report.facts import title_panel
from app.report.legend import draw_compass, keys
from app.report.page import read_style, render_page
from app.report.pictures import Panel, view_panel

_TEMPLATE: Final = Path(__file__).parent / "templates/evaluation.html.j2"


@dataclass(frozen=True)
class EvaluationInput:
    """What the page is made of.

    Attributes:
        model: Where the model lies.
        split: Which split was scored.
        tasks: Tasks of the network.
        values: Metrics by name.
        num_photos: Photos by dataset.
        score_words: What the order of the pictures goes by.
        panels: The worst photos, the worst first.
        drawn: The datasets that a program drew.
    """

    model: str
    split: str
    tasks: Sequence[Task]
    values: Mapping[str, float | None]
    num_photos: Mapping[str, int]
    score_words: str
    panels: Sequence[Panel]
    drawn: Collection[str] = ()


def write_evaluation(path: Path, source: EvaluationInput) -> None:
    """Write the page, one HTML file that loads nothing.

    Args:
        path: The file.
        source: What is known of the scores.
    """
    rows = rows_by_dataset(source.values, source.split, list(source.num_photos))
    columns = list(rows[0].names) if rows else []
    titles = {name: title_of(name, is_drawn=name in source.drawn) for name in columns}
    counts = {**source.num_photos, "all": sum(source.num_photos.values())}
    shown = {
        "report_style": Markup(read_style()),
        "model": source.model,
        "split": source.split,
        "num_photos": sum(source.num_photos.values()),
        "headers": ["", *(f"{title}, {counts[name]} photos" for name, title in titles.items())],
        "rows": [(row.words, [row.format(name) for name in columns]) for row in rows],
        "score_words": source.score_words,
        "panels": [
            view_panel(panel, source.tasks, title_panel(panel.dataset, titles))
            for panel in source.panels
        ],
        "compass": draw_compass(find_task("segments", source.tasks)),
        "keys": keys(source.tasks),
    }
    content = render_page(shown, _TEMPLATE).encode("utf-8", "backslashreplace")
    with replacing(path) as file:
        file.write(content)
